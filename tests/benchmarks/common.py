"""What the benchmarks share: running the program, data, machine facts, the report. Not part of the test run.

Each script is one command and runs `python -m vae_cli` of this checkout. It keeps its runs under --work, where a
finished run is used again, and so is every other part that takes long (one JSON file each); prints a short table and,
as its last line, one JSON object with every figure, the targets, the protocol and the machine. It leaves with 1 when a
target is missed. What they need beyond the program: `pip install .[benchmark]`.

    samples.py          samples of Fashion-MNIST after 10 and 30 minutes: Fréchet distance, coverage, solver steps
    labels.py           samples of each label named by a classifier, and their distances, by guidance
    ablations.py        one setting changed at a time: what each default is worth
    vs_pythae.py        samples at equal minutes and minutes to an equal bound, against pythae
    mnist_nll.py        likelihood of dynamically binarised MNIST
    fashion_nll.py      likelihood of Fashion-MNIST, binarised or with 8 bits
    emoji.py            a default run on colour icons: PSNR of unseen ones, coverage of samples, pictures to look at
    fills.py            fills against Telea, Navier-Stokes, biharmonic and published figures; their sharpness and spread
    photo_fills.py      holes in photographs at their own size: PSNR, FD, real dust, models stopped early
    large_photographs.py  holes in pictures far larger than the model, with and without close-ups in training
    folder_speed.py     `vae inpaint` from folder to folder: images a second, everything counted
    denoise.py          noise removed, against four classical methods
    augment.py          what new images are worth to a classifier: MNIST, and 50 images a class of Fashion-MNIST
    anomalies.py        odd images found: one class left out of training, against PCA and nearest pixels
    walks.py            walks between images: FD of mid-points, evenness of steps
    style.py            clothes carried to another label: accuracy of a classifier, SSIM to the input
    damage_detection.py scratches, hairs and dust drawn on photographs and found again
    sizes.py            speed, memory and quality from 32 to 256 px; cost of the `base` preset at 256 px
    roofline.py         images a second, share of the matmul peak and costliest operators of an update, per preset
    scale.py            on paper: an update of `base` on 8 and 64 GPUs
    command_lines.py    800 bad command lines: codes, messages, JSON, hangs
    kills.py            SIGKILL at random moments, resumed, against an undisturbed run
    stops.py            SIGTERM to each rank in turn, in both phases, in validation and in drawing
    many_images.py      second start of a folder of 60,000; memory of 2,000 and of 200,000; a million names
    fuzz.py             mutated images, masks, zips, lists, settings and weights: only errors of the program's own
    metadata.py         what of a file's metadata `inpaint` loses, and whether it says so, by exiftool
    soak.py             memory of `inpaint` over 10,000 images
    formats.py          `vae inpaint` on 16-bit, CMYK, palette and rotated files
    startup.py          seconds of `vae --help`; examples in every command's help

`--data` is a folder that holds mnist/{train,test}/<label>/<index>.png, fashion-mnist/train/<class>/<index>.png and
noto-emoji-64/<category>/<name>.png; indices count through the published files. `--features` is a Python file with
`compare(real, fake)` for uint8 tensors [N, 1, 28, 28]. The program's image cache goes under --work as well, so that
the first run of a benchmark reads every file, within its budget of time.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np

    from vae_cli.checkpoint import Model

FASHION = "fashion-mnist/train"
NUM_TRAINED, NUM_FASHION = 55_000, 60_000
"""Fashion-MNIST: images before the first index are trained on, those from there to the second held out."""
_PACKAGES = ("torch", "numpy", "pillow", "opencv-python-headless", "scikit-image")


# ---- command line and report


def parser(doc: str | None, *, data: bool = False, features: bool = False) -> argparse.ArgumentParser:
    """A parser with the options of all scripts; `doc` is the script's docstring. SIGTERM then ends a script cleanly."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="runs and pictures; made if missing")
    if data:
        made.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the unpacked data sets")
    if features:
        made.add_argument("--features", type=Path, required=True, metavar="FILE.py", help="defines compare(real, fake)")
    made.add_argument("--device", default="auto", help="as for vae (default auto)")
    made.add_argument("--seed", type=int, default=0, help="of training, samples, masks and fills (default 0)")
    return made


@dataclass(frozen=True)
class Target:
    """A figure's bound; `at_least` says on which side it has to lie."""

    figure: str
    bound: float
    at_least: bool = False

    def is_met(self, figures: Mapping[str, Any]) -> bool:
        value = figures[self.figure]
        return value is not None and (value >= self.bound if self.at_least else value <= self.bound)

    def describe(self) -> str:
        return f"{self.figure} {'>=' if self.at_least else '<='} {self.bound:g}"


def finish(
    name: str,
    figures: Mapping[str, Any],
    *,
    targets: Sequence[Target] = (),
    protocol: Mapping[str, Any],
    precision: str | None = None,
) -> NoReturn:
    """Print the verdicts and the JSON line; leave with 1 when a target is missed.

    figures: flat names with the targets' figures among them; nested ones are kept in the JSON.
    """
    verdicts = {target.describe(): target.is_met(figures) for target in targets}
    for text, is_met in verdicts.items():
        print(f"{'met   ' if is_met else 'MISSED'}  {text}")
    facts = {"benchmark": name, "figures": figures, "targets": verdicts, "passed": all(verdicts.values()),
             "protocol": protocol, "machine": machine(precision)}  # fmt: skip
    print(json.dumps(facts, default=str), flush=True)
    sys.exit(0 if facts["passed"] else 1)


def table(rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns, the first row a heading; floats with three digits after the point."""
    cells = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        first, *others = (cell.ljust(width) if i == 0 else cell.rjust(width)
                          for i, (cell, width) in enumerate(zip(row, widths, strict=True)))  # fmt: skip
        print("  ".join((first, *others)).rstrip())
    print(flush=True)


def machine(precision: str | None) -> dict[str, Any]:
    """What figures depend on beside the code. `precision` is the networks', None where none ran."""
    from vae_cli import __version__

    has_affinity = hasattr(os, "sched_getaffinity")
    return {
        "cores": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count(),
        "threads_limit": os.environ.get("OMP_NUM_THREADS"),
        "processor": _processor(),
        "precision": precision,
        "system": platform.platform(),
        "versions": {"vae_cli": __version__, "commit": _commit(), "python": platform.python_version(),
                     **{name: _version(name) for name in _PACKAGES}},
    }  # fmt: skip


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str | None:
    """The checkout's commit, with `+` where files differ from it; None outside git."""
    try:
        asked = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


# ---- the program


def vae_command(*words: object) -> list[str]:
    """The command line of `vae` with these words, for subprocess."""
    return [sys.executable, "-m", "vae_cli", *map(str, words)]


def environment(work: Path) -> dict[str, str]:
    """Of the program's processes: this checkout first, the image cache under `work`."""
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "VAE_CACHE": str((work / "cache").resolve())}


@dataclass(frozen=True)
class Outcome:
    """What a process of the program did."""

    facts: dict[str, Any]
    messages: str
    seconds: float
    peak_bytes: int | None
    """Largest resident memory; None where the system does not tell."""


def vae_json(work: Path, *words: object) -> Outcome:
    """Run `vae … --json` to its end; the script ends with its messages when it fails."""
    command = vae_command(*words, "--json")
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment(work))
        try:
            peak_bytes = _wait(process)
        finally:
            process.kill()  # does nothing to one that has ended; none outlives its script
        seconds = time.perf_counter() - start
        stdout.seek(0)
        stderr.seek(0)
        output, messages = stdout.read().decode(), stderr.read().decode(errors="replace")
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}\nleft with {process.returncode}:\n{messages}")
    return Outcome(json.loads(output), messages, seconds, peak_bytes)


def _wait(process: "subprocess.Popen[bytes]") -> int | None:
    """Wait for the end; returns the process's largest resident memory in bytes, where Linux tells.

    Asked again and again, as what wait4 reports begins with the memory of the parent.
    """
    status, peak_bytes = Path(f"/proc/{process.pid}/status"), None
    while process.poll() is None:
        try:
            lines = status.read_text().splitlines()
        except OSError:
            lines = []
        peaks = [1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
        peak_bytes = peaks[0] if peaks else peak_bytes
        time.sleep(0.01)
    return peak_bytes


def part(work: Path, name: str, arguments: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` returned, from `work/name.json` where it was made before with equal arguments, else made and kept.

    Whatever `make` was doing when it was interrupted is made anew, so that every figure comes from one go.
    """
    record, arguments = work / f"{name}.json", json.loads(json.dumps(arguments, default=str))
    if record.exists():
        known = json.loads(record.read_text())
        if known["arguments"] != arguments:
            sys.exit(f"{record}: made with other options ({known['arguments']}); choose another --work")
        print(f"{record}: made before, used again", file=sys.stderr)
        return dict(known["facts"])
    work.mkdir(parents=True, exist_ok=True)
    print(f"{work / name}: {arguments}", file=sys.stderr, flush=True)
    text = json.dumps({"arguments": arguments, "facts": make()})
    record.with_suffix(".tmp").write_text(text)
    record.with_suffix(".tmp").replace(record)
    return dict(json.loads(text)["facts"])


def train(work: Path, name: str, *words: object) -> tuple[Path, dict[str, Any]]:
    """The run `work/name` and the JSON object of its training, made by `vae train` unless it is there already.

    `peak_bytes` beside the program's own facts is the process's largest resident memory.
    """
    run, arguments = work / name, [str(word) for word in words]

    def make() -> dict[str, Any]:
        outcome = vae_json(work, "train", *arguments, "--out", run, "--overwrite")
        return {**outcome.facts, "peak_bytes": outcome.peak_bytes}

    return run, part(work, name, arguments, make)


def load(run: Path, device: str) -> "Model":
    """The model of a run, as the program's own commands load it; files that it caches stay beside the run."""
    from vae_cli.jobs.open_model import open_model

    os.environ.setdefault("VAE_CACHE", str((run.parent / "cache").resolve()))
    return open_model(run, device)


# ---- data


def load_features(path: Path) -> "ModuleType":
    """The module in `path`, which defines compare(real, fake)."""
    spec = importlib.util.spec_from_file_location("features", path)
    if spec is None or spec.loader is None or not path.exists():
        sys.exit(f"--features {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def indexed_files(data: Path, folder: str, first: int, last: int) -> list[Path]:
    """data/folder/<label>/<index>.png with first <= index < last, in the order of their indices."""
    found = [path for path in (data / folder).glob("*/*.png") if first <= int(path.stem) < last]
    if len(found) != last - first:
        sys.exit(f"--data {data}: {len(found)} files in {folder} with indices {first} to {last - 1}")
    return sorted(found, key=lambda path: int(path.stem))


def grey_pixels(files: Sequence[Path]) -> "np.ndarray":  # uint8 [N, H, W, 1]
    import numpy as np
    from PIL import Image

    return np.stack([np.asarray(Image.open(path))[:, :, None] for path in files])


def fashion_pixels(data: Path, first: int, last: int) -> "np.ndarray":
    """uint8 [N, 28, 28, 1] of Fashion-MNIST's training images with first <= index < last."""
    return grey_pixels(indexed_files(data, FASHION, first, last))


def link_images(folder: Path, files: Sequence[Path]) -> Path:
    """A folder of links to exactly these files, <label>/<name> each; left as it is where it is complete."""
    wanted = {Path(path.parent.name) / path.name: path for path in files}
    if {path.relative_to(folder) for path in folder.glob("*/*")} == set(wanted):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    for name, path in wanted.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(path.resolve())
    return folder


def fashion_run(work: Path, data: Path, *, minutes: float, device: str, seed: int) -> tuple[Path, dict[str, Any]]:
    """`vae train --labels none` on the first 55,000 images, which are linked into a folder of their own."""
    folder = link_images(work / "fashion-first-55000", indexed_files(data, FASHION, 0, NUM_TRAINED))
    return train(work, f"fashion-{minutes:g}m", folder, "--labels", "none", "--time", seconds_of(minutes),
                 "--device", device, "--seed", seed)  # fmt: skip


def seconds_of(minutes: float) -> str:
    """A budget for `--time`."""
    return f"{round(60 * minutes)}s"


def draw_picture(rng: "np.random.Generator", height: int, width: int, channels: int) -> "np.ndarray":
    """uint8 [H, W, channels]: overlapping ellipses on a shaded ground with a little noise; no two alike."""
    import numpy as np

    rows, columns = np.mgrid[0:1:1j * height, 0:1:1j * width].astype(np.float32)  # fmt: skip
    slope = rng.uniform(-80, 80, (2, channels))
    picture = rng.uniform(60, 200, channels) + rows[..., None] * slope[0] + columns[..., None] * slope[1]
    for _ in range(4):
        centre, radii, colour = rng.uniform(0.1, 0.9, 2), rng.uniform(0.08, 0.35, 2), rng.uniform(0, 255, channels)
        inside = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1
        picture[inside] = colour
    picture += rng.normal(0, 2, picture.shape)
    return picture.clip(0, 255).round().astype(np.uint8)


def draw_folder(folder: Path, num: int, side: int, channels: int, seed: int = 0) -> Path:
    """A folder of `num` drawn square PNGs; left as it is where it is complete."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    if len(list(folder.glob("*.png"))) != num:
        rng = np.random.default_rng(seed)
        for index in range(num):
            pixels = draw_picture(rng, side, side, channels)
            Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(folder / f"{index:05d}.png")
    return folder
