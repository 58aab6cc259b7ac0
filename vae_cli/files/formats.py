"""The formats that results can be written in, by the names that users give them."""

import os
from pathlib import Path

from vae_cli.errors import ConfigError

FORMATS = {  # Pillow's names by the user's
    **{"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "jfif": "JPEG", "tif": "TIFF", "tiff": "TIFF", "webp": "WEBP"},
    **{"bmp": "BMP", "gif": "GIF", "ppm": "PPM", "pgm": "PPM", "pbm": "PPM", "avif": "AVIF", "jp2": "JPEG2000"},
}


def wanted_format(format: str, own_format: str) -> str:
    """Pillow's name of a format that the user named; `keep` is the image's own. Raises ConfigError."""
    if format == "keep":
        return "JPEG" if own_format == "MPO" else own_format
    name = format.lower().lstrip(".")
    if name not in FORMATS:
        raise ConfigError(f"--format {format}: unknown; choose keep or one of {', '.join(FORMATS)}")
    return FORMATS[name]


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raises ConfigError where a result would replace a file, unless that is wanted."""
    if os.path.lexists(path) and not overwrite:
        raise ConfigError(f"{path}: exists already; use --overwrite or another --out")
