"""Pictures drawn on the spot, and a cache folder of the test's own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("VAE_CACHE", str(folder))
    return folder


@pytest.fixture
def draw() -> Callable[..., Path]:
    """draw(path, size=(H, W), mode="RGB", seed=0): a noisy picture saved by its extension."""

    def write(path: Path, size: tuple[int, int] = (8, 8), mode: str = "RGB", seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
        return path

    return write
