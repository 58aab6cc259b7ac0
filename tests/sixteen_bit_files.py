"""Scans of 48 and 64 bits for tests: written, and opened as such."""

from pathlib import Path

from vae_cli.files import png_in_place, tiff_in_place
from vae_cli.files.originals import InPlaceOriginal, open_original
from vae_cli.images.samples import Samples


def stored(path: Path, picture: Samples) -> Path:
    """A PNG or TIFF of the picture, by the path's extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w+b") as file:
        (png_in_place if path.suffix == ".png" else tiff_in_place).write_new(file, picture, {})
    return path


def opened(path: Path) -> InPlaceOriginal:
    """The file, which has to be a scan of 16-bit colour."""
    original = open_original(path)
    assert isinstance(original, InPlaceOriginal)
    return original
