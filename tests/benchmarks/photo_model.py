"""Makes `photo`, the model that ships with the package: nine tenths of five sets of photographs and paintings.

    python tests/benchmarks/photo_model.py --sets FOLDER --work FOLDER [--time 4h] [--init WEIGHTS]

FOLDER of --sets holds one folder or tar of pictures a set: grocery, flower_photos, monet, pissarro, sisley. Of each
set's sorted names every tenth (number 7, 17, …) is held out under --work/held-out, and the others are linked as class
folders under --work/data, so that sets are labels. Then `vae train --config sample_configs/photo.yaml`, or `--resume`
where an earlier call was stopped, and `vae export --bfloat16`. Copy the result to vae_cli/pretrained/photo.safetensors.

--init: weights of such a run, whose flow alone learns on. The model that ships is four runs on one core each: 4,977
updates of the VAE and 10,000 of the flow in about two hours, then `--init photo` with `--time 91m`, 6,144 of the flow,
which took the Fréchet distance of 400 samples of flowers from 52.6 to 50.2; 72 minutes, 4,517, in which it learned to
start from layouts by a draft of that code (shares of 0.5 to 1; today's are 0.8 to 1); and, as the code is, 85 minutes,
6,195. Its part in fills of its own held-out pictures rose from 25 over 37 to 42 %.
"""

import subprocess
import sys
import tarfile
from argparse import ArgumentParser
from pathlib import Path

SETS = ("grocery", "flower_photos", "monet", "pissarro", "sisley")
HELD_OUT = 7  # of every ten
SUFFIXES = (".jpg", ".jpeg", ".png")
CONFIG = Path(__file__).parents[2] / "sample_configs" / "photo.yaml"


def pictures_of(sets: Path, name: str) -> list[tuple[str, bytes]]:
    """(name, content) of a set's pictures, sorted by name."""
    archive = sets / f"{name}.tar"
    if not archive.exists():
        found = [path for path in (sets / name).rglob("*") if path.suffix.lower() in SUFFIXES]
        return sorted((str(path.relative_to(sets / name)), path.read_bytes()) for path in found)
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES]
        return sorted((member.name, tar.extractfile(member).read()) for member in members)  # type: ignore[union-attr]


def lay_out(sets: Path, work: Path) -> None:
    """Write the pictures as class folders, the held-out ones apart."""
    for name in SETS:
        for number, (path, content) in enumerate(pictures_of(sets, name)):
            part = "held-out" if number % 10 == HELD_OUT else "data"
            target = work / part / name / path.replace("/", "_")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--time", help="instead of the recipe's steps, as `vae train --time`")
    parser.add_argument("--init", help="weights or photo, whose flow learns on; its VAE stays as it is")
    args = parser.parse_args()
    if not (args.work / "data").exists():
        lay_out(args.sets, args.work)
    run = args.work / "run"
    start = ["--resume"] if run.exists() else [args.work / "data", "--config", CONFIG]
    if args.init and not run.exists():
        start += ["--init", args.init, "--set", "training.flow_share=1"]
    vae = [sys.executable, "-m", "vae_cli"]
    budget = ["--time", args.time] if args.time else []
    subprocess.run([*vae, "train", *start, "--out", run, *budget], check=True)
    subprocess.run(
        [*vae, "export", run, "--bfloat16", "--out", args.work / "photo.safetensors", "--overwrite"], check=True
    )


if __name__ == "__main__":
    main()
