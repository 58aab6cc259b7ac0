"""A tiny trained run, pictures and masks for the tests of the program."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from vae_cli.cli.app import app

SIDE = 16
COLOUR_VARIABLES = ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


@dataclass(frozen=True)
class Outcome:
    """What one invocation of the program left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout; fails when there is anything else."""
        return json.loads(self.stdout)

    @property
    def errors(self) -> list[str]:
        """The lines of the error message."""
        lines = self.stderr.splitlines()
        first = next((number for number, line in enumerate(lines) if line.startswith("error: ")), len(lines))
        return lines[first:]


Vae = Callable[..., Outcome]


def invoke(*words: object) -> Outcome:
    """Runs the program in this process."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert "Traceback" not in result.stdout + result.stderr
    assert result.exit_code != 70, result.stderr
    return Outcome(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No colours forced from outside, one thread, and a cache of our own."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        for name in COLOUR_VARIABLES:
            patch.delenv(name, raising=False)
        patch.setenv("VAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def vae() -> Vae:
    return invoke


def draw(path: Path, number: int, *, mode: str = "RGB", side: int = SIDE) -> Path:
    """A disc on a coloured ground; different for each number."""
    random = np.random.default_rng(number)
    image = Image.new("RGB", (side, side), tuple(int(value) for value in random.integers(0, 200, 3)))
    left, top = (int(value) for value in random.integers(0, side // 2, 2))
    fill = tuple(int(value) for value in random.integers(50, 256, 3))
    ImageDraw.Draw(image).ellipse((left, top, left + side // 2, top + side // 2), fill=fill)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert(mode).save(path)
    return path


def draw_mask(path: Path, *, box: tuple[int, int, int, int] = (4, 4, 9, 9), side: int = SIDE) -> Path:
    """A white rectangle (both corners included) on black."""
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).rectangle(box, fill=255)
    path.parent.mkdir(parents=True, exist_ok=True)
    mask.save(path)
    return path


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures in two class folders."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    for number in range(12):
        draw(folder / ("cat" if number % 2 else "dog") / f"{number:02d}.png", number)
    return folder


@pytest.fixture(scope="session")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with labels and a flow, trained by the program."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    outcome = invoke("train", photos, "--preset", "tiny", "--steps", 30, "--out", folder, "--device", "cpu")
    assert outcome.code == 0, outcome.stderr
    return folder


@pytest.fixture(scope="session")
def run_without_flow(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "flowless"
    words = ("--preset", "tiny", "--steps", 4, "--set", "training.flow_share=0", "--labels", "none")
    outcome = invoke("train", photos, *words, "--out", folder, "--device", "cpu")
    assert outcome.code == 0, outcome.stderr
    return folder


@pytest.fixture(scope="session")
def grey_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "grey"
    words = ("--preset", "tiny", "--steps", 8, "--channels", 1, "--labels", "none")
    outcome = invoke("train", photos, *words, "--out", folder, "--device", "cpu")
    assert outcome.code == 0, outcome.stderr
    return folder
