"""One thread for every test, weights that no test leaves behind for another, and no limit on an example's time."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from vae_cli import runtime
from vae_cli.training import flow_phase

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

LONGEST = ("test_golden.py", "test_resume.py", "test_readme.py", "test_ddp.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first: at the end one would keep a single worker busy while the others wait."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Thousands of files are written, and no power is cut here: tests of what is left then watch the calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_trial_of_bfloat16() -> Iterator[None]:
    """Every training on its own would repeat it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "_trial_speed_up", cache(runtime._trial_speed_up))
        yield


@pytest.fixture(scope="module", autouse=True)
def short_calibration(request: pytest.FixtureRequest) -> Iterator[None]:
    """At the end of a training, where it takes longer than a few updates of tiny networks; in full only for a module
    that says so."""
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "FULL_CALIBRATION", False):
            for name, fewer in (("CALIBRATION_IMAGES", 64), ("WEIGHED_PAIRS", 1), ("FILL_STEPS", 1)):
                patch.setattr(flow_phase, name, fewer)
        yield


@pytest.fixture(scope="module", autouse=True)
def same_random_weights() -> None:
    """Of the models that a module's tests share, which are made before any test: torch's own first seed is random."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture
def draw() -> Callable[..., Path]:
    """draw(path, size=(H, W), mode="RGB", seed=0): a noisy picture saved by its extension."""

    def write(path: Path, size: tuple[int, int] = (8, 8), mode: str = "RGB", seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
        return path

    return write
