"""Pictures drawn for tests of what comes back from files, and the filling of a hole in them."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vae_cli.files.originals import open_original
from vae_cli.files.pillow_original import PillowOriginal

HEIGHT, WIDTH = 40, 56
FILL = (200.0, 100.0, 50.0)


def smooth(mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A picture that lossy formats change only a little."""
    few = np.random.default_rng(5).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(few).resize(size, Image.Resampling.BICUBIC).convert(mode)


def noise(*shape: int, below: int = 256) -> np.ndarray:
    return np.random.default_rng(7).integers(0, below, shape, dtype=np.uint8)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    content = BytesIO()
    image.save(content, file_format, **options)
    return content.getvalue()


def refilled(
    path: Path, content: bytes, *, opaque: bool = False, **options: Any
) -> tuple[PillowOriginal, PillowOriginal, np.ndarray, tuple[str, ...]]:
    """The original, what comes back after a hole of it is filled, the hole as displayed, and remarks. The result is
    `out` beside the path."""
    path.write_bytes(content)
    before = open_original(path)
    assert isinstance(before, PillowOriginal)
    height, width = before.display_size
    hole = np.zeros((height, width), bool)
    hole[height // 4 : height // 2, width // 4 : width // 2] = True
    filled = before.with_fill(np.full((height, width, 3), FILL, np.float32), hole, opaque_hole=opaque)
    remarks = filled.save(path.with_name(f"out{path.suffix}"), overwrite=True, **options)
    after = open_original(path.with_name(f"out{path.suffix}"))
    assert isinstance(after, PillowOriginal)
    return before, after, hole, remarks


def shown(original: PillowOriginal) -> np.ndarray:
    """[H, W, 6]: on white and on black, so that what is transparent shows."""
    return np.dstack([original.display_array(3), original.display_array(3, (0, 0, 0))])
