"""PNG and TIFF files of which only the changed pixels are written anew, and everything else is kept as it was."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from vae_cli.atomic import writing
from vae_cli.errors import DataError
from vae_cli.files import png_in_place
from vae_cli.files.formats import refuse_existing, wanted_format
from vae_cli.files.png_in_place import PngSource
from vae_cli.files.samples import Samples
from vae_cli.images.bit_depth import TIFF_MAGIC, open_tiff
from vae_cli.images.colours import WHITE, Colour

if TYPE_CHECKING:
    from vae_cli.files.tiff_in_place import TiffSource


@dataclass(frozen=True, eq=False)
class InPlaceOriginal:
    """An `originals.Original` whose samples are read and written without Pillow's modes between."""

    path: Path
    samples: Samples
    source: "PngSource | TiffSource"
    text: Mapping[str, str] = field(default_factory=dict)

    @property
    def format(self) -> str:
        return self.source.format

    @property
    def has_transparency(self) -> bool:
        return self.samples.has_transparency

    @property
    def display_size(self) -> tuple[int, int]:
        return self.samples.display_size

    def display_array(self, channels: int, background: Colour = WHITE) -> np.ndarray:
        return self.samples.display_array(channels, background)

    def with_fill(self, fill: np.ndarray, hole: np.ndarray, *, opaque_hole: bool = False) -> "InPlaceOriginal":
        return replace(self, samples=self.samples.with_fill(fill, hole, opaque_hole=opaque_hole))

    def with_text(self, key: str, value: str) -> "InPlaceOriginal":
        return replace(self, text={**self.text, key: value})

    def save(self, path: Path, *, format: str = "keep", overwrite: bool = False) -> tuple[str, ...]:
        file_format = wanted_format(format, self.format)
        refuse_existing(path, overwrite=overwrite)
        if reason := self._why_not(file_format):
            raise DataError(f"{self.path}: {reason}; use --format {'tiff' if file_format == 'PNG' else 'png'}")
        with writing(path) as file:
            if file_format == self.format:
                self.source.write(file, self.samples, self.text)
            else:
                _module_of(file_format).write_new(file, self.samples, self.text)
        keeps_pages = self.format == file_format == "TIFF"
        return () if keeps_pages or self.source.num_frames == 1 else ("only the first frame is kept",)

    def _why_not(self, file_format: str) -> str | None:
        """Why the picture cannot be stored in a format; None where it can."""
        samples = self.samples
        if file_format not in ("PNG", "TIFF"):
            return f"16-bit colour cannot be stored as {file_format}"
        if file_format == self.format:
            return None
        if samples.key_colour is not None:
            return f"one colour of it is transparent, which {file_format} cannot say"
        has_more = samples.pixels.shape[2] > samples.num_colours + (samples.alpha is not None)
        if samples.alpha == "premultiplied" or has_more:
            return f"it has premultiplied or unnamed samples beside its colours, which {file_format} cannot hold"
        return None


def open_in_place(path: Path) -> InPlaceOriginal | None:
    """The file, if it is one that is changed in place. Raises DataError, without the file's name."""
    file_format = _format_of(path)
    return InPlaceOriginal(path, *_module_of(file_format).read(path)) if file_format else None


def size_in_place(path: Path) -> tuple[int, int] | None:
    """(height, width) as displayed of what `open_in_place` opens, from the header alone."""
    file_format = _format_of(path)
    return _module_of(file_format).display_size(path) if file_format else None


def _format_of(path: Path) -> str | None:
    """PNG or TIFF for a file that is changed in place, from its header alone."""
    with suppress(OSError, DataError, TypeError), path.open("rb") as file:  # whoever reads it will say what is wrong
        head = file.read(png_in_place.HEAD_BYTES)
        if png_in_place.is_in_place(head):
            return "PNG"
        if head[:4] in TIFF_MAGIC and _module_of("TIFF").is_in_place(open_tiff(file).pages.first):
            return "TIFF"
    return None


def _module_of(file_format: str) -> ModuleType:
    if file_format == "PNG":
        return png_in_place
    from vae_cli.files import tiff_in_place  # brings tifffile, which few need

    return tiff_in_place
