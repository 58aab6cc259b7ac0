"""Scans of 48 and 64 bits for tests: written, and opened as such."""

from pathlib import Path

from vae_cli.data import deep_png, deep_tiff
from vae_cli.data.deep import DeepOriginal
from vae_cli.data.deep_picture import DeepPicture
from vae_cli.data.originals import open_original


def stored(path: Path, picture: DeepPicture) -> Path:
    """A PNG or TIFF of the picture, by the path's extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w+b") as file:
        if path.suffix == ".png":
            deep_png.write(file, picture, deep_png.new_chunks(picture), {})
        else:
            deep_tiff.write_new(file, picture)
    return path


def opened(path: Path) -> DeepOriginal:
    """The file, which has to be a scan of 16-bit colour."""
    original = open_original(path)
    assert isinstance(original, DeepOriginal)
    return original
