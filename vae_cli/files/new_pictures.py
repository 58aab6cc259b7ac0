"""Pictures of our own as files: in the format of their suffix, whole or not at all, and saying where they come from."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vae_cli import __version__
from vae_cli.atomic import write_atomically
from vae_cli.errors import ConfigError

_QUALITY: dict[str, dict[str, Any]] = {".jpg": {"quality": 95}, ".jpeg": {"quality": 95}, ".webp": {"lossless": True}}


def save_picture(pixels: np.ndarray, path: Path, *, seed: int | None = None) -> None:
    """Writes uint8 [H, W, C] in the format of the suffix; a PNG says in its text chunks where it comes from.

    Raises ConfigError when the format cannot hold it, WriteError when the disk refuses.
    """
    info = PngInfo()  # ignored by other formats
    info.add_text("Software", f"vae {__version__}")
    if seed is not None:
        info.add_text("seed", str(seed))
    _save(to_image(pixels), path, pnginfo=info)


def save_animation(frames: Iterable[np.ndarray], path: Path, *, frames_per_second: float) -> None:
    """Writes frames uint8 [H, W, C] as an endless GIF or WebP. Raises ConfigError, WriteError."""
    first, *rest = (to_image(frame) for frame in frames)
    _save(first, path, save_all=True, append_images=rest, duration=round(1000 / frames_per_second), loop=0)


def to_image(pixels: np.ndarray) -> Image.Image:
    """An image of mode L, LA, RGB or RGBA from uint8 [H, W, C]."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """The content of a file of one of Pillow's formats."""
    content = io.BytesIO()
    image.save(content, file_format, **options)
    return content.getvalue()


def _save(image: Image.Image, path: Path, **options: Any) -> None:
    suffix = path.suffix.lower()
    file_format = Image.registered_extensions()[suffix]
    try:
        content = encoded(image, file_format, **options, **_QUALITY.get(suffix, {}))
    except (OSError, ValueError, SystemError) as error:  # the encoder's; the disk comes later
        raise ConfigError(f"{path}: cannot be stored as {file_format} ({error}); try another suffix") from error
    write_atomically(path, content)
