"""PNG and TIFF files of which only the changed pixels are written anew, and everything else is kept as it was."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import numpy as np

from vae_cli.atomic import opened, writing
from vae_cli.errors import DataError
from vae_cli.files import png_in_place, tiff_in_place
from vae_cli.files.formats import refuse_existing, wanted_format
from vae_cli.files.png_in_place import PngSource
from vae_cli.files.samples import Samples
from vae_cli.files.tiff_in_place import TiffSource
from vae_cli.images.bit_depth import TIFF_MAGIC, open_tiff
from vae_cli.images.colours import WHITE, Colour


@dataclass(frozen=True, eq=False)
class InPlaceOriginal:
    """An `originals.Original` whose samples are read and written without Pillow's modes between."""

    path: Path
    samples: Samples
    source: PngSource | TiffSource
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
        source, samples = self.source, self.samples
        if isinstance(source, TiffSource) and file_format == "TIFF":
            with opened(self.path) as original, writing(path) as file:
                tiff_in_place.write_changed(source, file, original, samples)
            return ()
        with writing(path) as file:
            if file_format == "TIFF":
                tiff_in_place.write_new(file, samples)
            else:
                chunks = source if isinstance(source, PngSource) else png_in_place.new_source(samples)
                png_in_place.write(file, samples, chunks, self.text)
        return ("only the first frame is kept",) if source.num_frames > 1 else ()

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
    reader = _reader_of(path)
    return InPlaceOriginal(path, *reader.read(path)) if reader else None


def size_in_place(path: Path) -> tuple[int, int] | None:
    """(height, width) as displayed of what `open_in_place` opens, from the header alone."""
    reader = _reader_of(path)
    if reader is None:
        return None
    (height, width), orientation = reader.header_facts(path)
    return (width, height) if orientation >= 5 else (height, width)


def _reader_of(path: Path) -> ModuleType | None:
    """The module that reads a file, if it is changed in place; from its header alone."""
    try:
        with path.open("rb") as file:
            head = file.read(png_in_place.HEAD_BYTES)
            if png_in_place.is_in_place(head):
                return png_in_place
            if head[:4] in TIFF_MAGIC and tiff_in_place.is_in_place(open_tiff(file).pages.first):
                return tiff_in_place
    except (OSError, DataError, TypeError):  # whoever reads it will say what is wrong
        pass
    return None
