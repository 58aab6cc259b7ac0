"""Files of 16-bit colour, PNG and TIFF, with the interface of `originals.Original`: opened at full depth, filled and
written back in the format in which they came."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vae_cli.atomic import opened, writing
from vae_cli.errors import ConfigError, DataError
from vae_cli.files import png_in_place, tiff_directory, tiff_in_place
from vae_cli.files.formats import wanted_format
from vae_cli.files.samples import DeepPicture

_HEAD_BYTES = 26


@dataclass(frozen=True, eq=False)
class DeepOriginal:
    """A picture of 16-bit colour and what the file holds besides it."""

    path: Path
    picture: DeepPicture
    source: png_in_place.PngChunks | tiff_in_place.TiffSource
    text: Mapping[str, str] = field(default_factory=dict)

    @property
    def format(self) -> str:
        """PNG or TIFF."""
        return "PNG" if isinstance(self.source, png_in_place.PngChunks) else "TIFF"

    @property
    def has_transparency(self) -> bool:
        """Whether alpha or a key colour lets a background show."""
        return self.picture.has_transparency

    @property
    def display_size(self) -> tuple[int, int]:
        """(height, width) after EXIF orientation."""
        return self.picture.display_size

    def display_array(self, channels: int, background: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
        """uint16 [H, W, channels] as displayed."""
        return self.picture.display_array(channels, background)

    def with_fill(self, fill: np.ndarray, hole: np.ndarray, *, opaque_hole: bool = False) -> "DeepOriginal":
        """See `DeepPicture.with_fill`."""
        return replace(self, picture=self.picture.with_fill(fill, hole, opaque_hole=opaque_hole))

    def with_text(self, key: str, value: str) -> "DeepOriginal":
        """The same with one more text chunk, in formats that have such."""
        return replace(self, text={**self.text, key: value})

    def save(self, path: Path, *, format: str = "keep", overwrite: bool = False) -> tuple[str, ...]:
        """Write the image atomically; returns remarks for the user.

        Raises ConfigError when path exists or the format is unknown, DataError when the format cannot hold the
        image, WriteError when the disk refuses.
        """
        file_format = wanted_format(format, self.format)
        if os.path.lexists(path) and not overwrite:
            raise ConfigError(f"{path}: exists already; use --overwrite or another --out")
        if reason := self._why_not(file_format):
            raise DataError(f"{self.path}: {reason}; use --format {'tiff' if file_format == 'PNG' else 'png'}")
        source = self.source
        if isinstance(source, tiff_in_place.TiffSource) and file_format == "TIFF":
            with opened(self.path) as original, writing(path) as file:
                tiff_in_place.write_changed(source, file, original, self.picture)
            return ()
        with writing(path) as file:
            if file_format == "TIFF":
                tiff_in_place.write_new(file, self.picture)
            else:
                chunks = source if isinstance(source, png_in_place.PngChunks) else png_in_place.new_chunks(self.picture)
                png_in_place.write(file, self.picture, chunks, self.text)
        return ("only the first frame is kept",) if source.num_frames > 1 else ()

    def _why_not(self, file_format: str) -> str | None:
        """Why the picture cannot be stored in a format; None where it can."""
        picture = self.picture
        if file_format not in ("PNG", "TIFF"):
            return f"16-bit colour cannot be stored as {file_format}"
        if file_format == self.format:
            return None
        if picture.key_colour is not None:
            return f"one colour of it is transparent, which {file_format} cannot say"
        has_more = picture.pixels.shape[2] > picture.num_colours + (picture.alpha is not None)
        if picture.alpha == "premultiplied" or has_more:
            return f"it has premultiplied or unnamed samples beside its colours, which {file_format} cannot hold"
        return None


def deep_format(path: Path) -> str | None:
    """PNG or TIFF for a file of 16-bit colour in that format, else None; from its header alone."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if png_in_place.is_deep(head):
                return "PNG"
            return (
                "TIFF"
                if head[:4] in tiff_directory.MAGIC and tiff_in_place.is_deep(tiff_directory.read_page(file))
                else None
            )
    except (OSError, DataError):  # who reads it will say what is wrong
        return None


def open_deep(path: Path, file_format: str) -> DeepOriginal:
    """Read a file that is of `deep_format`. Raises DataError, without its name."""
    picture, source = png_in_place.read(path) if file_format == "PNG" else tiff_in_place.read(path)
    return DeepOriginal(path, picture, source)


def deep_size(path: Path, file_format: str) -> tuple[int, int]:
    """(height, width) as displayed, from the header alone. Raises DataError, without the file's name."""
    read_facts = png_in_place.header_facts if file_format == "PNG" else tiff_in_place.header_facts
    (height, width), orientation = read_facts(path)
    return (width, height) if orientation >= 5 else (height, width)
