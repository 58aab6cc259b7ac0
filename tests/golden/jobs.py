"""Each command on fixed models and drawn pictures, and every array that it leaves behind."""

import json
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image, ImageDraw
from safetensors.numpy import load_file
from typer.testing import CliRunner

from vae_cli.cli.app import app

from .models import SETTINGS, write_model

Arrays = dict[str, np.ndarray]
TRAINING_STEPS = 60
COMMON = ("--device", "cpu", "--seed", 3, "--quiet")
COMMANDS: dict[str, tuple[object, ...]] = {
    "sample": ("sample", "RUN", "-n", 3),
    "sample-normal": ("sample", "RUN", "-n", 2, "--prior", "normal", "--temperature", 0.8),
    "sample-label": ("sample", "RUN", "-n", 2, "--label", "dog", "--guidance", 1.5, "--solver-steps", 3),
    "sample-grid": ("sample", "RUN", "-n", 5, "--label", "all", "--out", "OUT/grid.png"),
    "reconstruct": ("reconstruct", "RUN", "PICTURES"),
    "reconstruct-draw": ("reconstruct", "RUN", "PICTURES", "--sample", "--compare"),
    "inpaint": ("inpaint", "RUN", "PICTURES", "--mask", "MASKS", "--samples", 2),
    "inpaint-model": ("inpaint", "RUN", "PICTURES", "--mask", "MASKS", "--method", "model", "--mask-dilate", 2),
    "inpaint-classical": ("inpaint", "RUN", "PICTURES", "--mask", "MASKS", "--method", "classical", "--feather", 2),
    "inpaint-found": ("inpaint", "RUN", "PICTURES/c.png", "--mask-auto"),
    "inpaint-deep": ("inpaint", "RUN", "DEEP", "--mask", "MASKS"),
    "denoise": ("denoise", "RUN", "PICTURES", "--sigma", 20),
    "denoise-draws": ("denoise", "RUN", "PICTURES/b.png", "--samples", 2),
    "style-deep": ("style", "RUN", "DEEP", "--to", "cat"),
    "style-label": ("style", "RUN", "PICTURES", "--to", "dog"),
    "style-look": ("style", "RUN", "PICTURES", "--like", "ALBUM/cat", "--from", "ALBUM/dog", "--strength", 0.7),
    "interpolate": ("interpolate", "RUN", "PICTURES/a.png", "PICTURES/b.png", "--steps", 4),
    "interpolate-samples": ("interpolate", "RUN", "--from-samples", "0,1", "--steps", 5, "--mode", "lerp"),
    "encode": ("encode", "RUN", "PICTURES", "--out", "OUT/latents.npz"),
    "augment": ("augment", "RUN", "ALBUM", "--per-image", 1),
    "augment-extrapolate": ("augment", "RUN", "ALBUM", "--per-image", 1, "--method", "extrapolate"),
    "evaluate": ("evaluate", "RUN", "ALBUM", "--importance-samples", 3, "--holes", "brush", "--json"),
}  # fmt: skip
"""By name what the program is given. RUN, PICTURES, DEEP, MASKS, ALBUM and OUT stand for paths."""


def machine() -> str:
    """Whatever rounding may depend on: elsewhere the last bits differ."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    threads = os.environ.get("OMP_NUM_THREADS", "any")
    kernels = f"{torch.backends.cpu.get_cpu_capability()} with {threads} threads"
    return f"torch {torch.__version__}, numpy {np.__version__}, {kernels}, {model}"


def all_arrays(folder: Path) -> Iterator[tuple[str, Callable[[], Arrays]]]:
    """For each command and model, and for training, a name and what computes the arrays."""
    draw_everything(folder)
    for preset in SETTINGS:
        run = write_model(preset, folder)
        for name in COMMANDS:
            yield f"{preset}/{name}", lambda name=name, run=run, preset=preset: command(folder, run, preset, name)
    yield "train", lambda: training(folder)


def draw_everything(folder: Path) -> None:
    """Pictures of several sizes and kinds with masks, and an album of two classes."""
    for number, size in enumerate(((16, 16), (32, 32), (96, 70))):
        _picture(number, size).save(_below(folder / "pictures", f"{'abc'[number]}.png"))
        mask = Image.new("L", size, 0)
        width, height = size
        ImageDraw.Draw(mask).rectangle((width // 3, height // 4, width // 3 + height // 3, height // 2), fill=255)
        ImageDraw.Draw(mask).line((0, height - 3, width, height - 9), fill=255, width=2)
        mask.save(_below(folder / "masks", f"{'abc'[number]}.png"))
    deep = np.array(_picture(3, (40, 48)), np.uint16) * 257 + np.arange(48, dtype=np.uint16)[:, None, None]
    tifffile.imwrite(_below(folder / "deep", "d.tif"), deep, photometric="rgb")
    mask.resize((40, 48)).save(folder / "masks" / "d.png")
    for number in range(8):
        _picture(10 + number, (20, 20)).save(_below(folder / "album" / ("cat", "dog")[number % 2], f"{number}.png"))


def _below(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def _picture(number: int, size: tuple[int, int]) -> Image.Image:
    """A disc before a slope, with a bright scratch; different for each number."""
    random = np.random.default_rng(number)
    width, height = size
    slope = np.linspace(0, 120, width)[None, :, None] + np.zeros((height, 1, 3))
    image = Image.fromarray((slope * random.random(3)).astype(np.uint8))
    left, top = random.integers(0, min(size) // 2, 2).tolist()
    colour = tuple(random.integers(90, 230, 3).tolist())
    ImageDraw.Draw(image).ellipse((left, top, left + min(size) // 2, top + min(size) // 2), fill=colour)
    ImageDraw.Draw(image).line((width // 2, 0, width // 2 + 5, height), fill=(255, 255, 255))
    return image


def command(folder: Path, run: Path, preset: str, name: str) -> Arrays:
    """What a command writes, by file; and the figures that it prints."""
    out = folder / "out" / preset / name
    paths = {"RUN": run, "PICTURES": folder / "pictures", "MASKS": folder / "masks", "ALBUM": folder / "album",
             "DEEP": folder / "deep",
             "OUT": out}  # fmt: skip
    words = [_place(word, paths) for word in COMMANDS[name]]
    out.mkdir(parents=True)
    if "--out" not in words and "--json" not in words:
        words += ["--out", str(out / "files")]
    printed = _invoke(*words)
    if "--json" in words:
        return dict(_numbers(json.loads(printed), ""))
    return {path.relative_to(out).as_posix(): array for path in sorted(out.rglob("*.*")) for array in _read(path)}


def _place(word: object, paths: dict[str, Path]) -> str:
    first, slash, rest = str(word).partition("/")
    return f"{paths[first]}{slash}{rest}" if first in paths else str(word)


def _invoke(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in (*words, *COMMON)])
    assert result.exit_code in (0, 1), result.output  # some of what `augment` draws is refused
    return result.stdout


def _read(path: Path) -> Iterator[np.ndarray]:
    """The picture or the arrays of a file; nothing of others."""
    if path.suffix == ".npz":
        with np.load(path) as stored:
            of_images = [stored[key] for key in sorted(stored) if stored[key].ndim and stored[key].dtype.kind == "f"]
            yield np.concatenate([array.ravel() for array in of_images])
    elif path.suffix == ".tif":
        yield tifffile.imread(path)
    elif path.suffix == ".png":
        with Image.open(path) as image:
            yield np.array(image)


def _numbers(value: object, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """Every float in a JSON object, by its dotted name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{name}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _numbers(inner, f"{name}.{number}")
    elif isinstance(value, float):
        yield name, np.array(value)


def training(folder: Path) -> Arrays:
    """The weights of both phases after a few updates each."""
    settings = ("training.precision=float32", "training.threads=1", "training.save_every=20")
    sets = [word for text in settings for word in ("--set", text)]
    run = folder / "run"
    _invoke("train", folder / "album", "--preset", "tiny", "--steps", TRAINING_STEPS, "--out", run, *sets)
    weights = load_file(run / "checkpoints" / f"step-{TRAINING_STEPS:08d}" / "model.safetensors")
    return {name: np.atleast_1d(array) for name, array in weights.items()}
