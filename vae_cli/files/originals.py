"""Images as the user stored them, written back with nothing changed but the pixels of a hole."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

from PIL import Image

from vae_cli.atomic import writing
from vae_cli.errors import DataError
from vae_cli.files import png_in_place, tiff_in_place
from vae_cli.files.formats import refuse_existing, wanted_format
from vae_cli.files.pillow_original import PillowOriginal, open_with_pillow
from vae_cli.files.png_in_place import PngSource
from vae_cli.files.samples import Samples
from vae_cli.files.tiff_in_place import TiffSource
from vae_cli.images.bit_depth import TIFF_MAGIC
from vae_cli.images.decode import open_image, probe

_IN_PLACE = {"PNG": png_in_place, "TIFF": tiff_in_place}


@dataclass(frozen=True, eq=False, kw_only=True)
class InPlaceOriginal(Samples):
    """What `PillowOriginal` is, for files that Pillow would reduce: only their changed pixels are written anew."""

    path: Path
    source: PngSource | TiffSource
    text: Mapping[str, str] = field(default_factory=dict)

    @property
    def format(self) -> str:
        return self.source.format

    def with_text(self, key: str, value: str) -> "InPlaceOriginal":
        return replace(self, text={**self.text, key: value})

    def save(self, path: Path, *, format: str = "keep", overwrite: bool = False) -> tuple[str, ...]:
        file_format = wanted_format(format, self.format)
        refuse_existing(path, overwrite=overwrite)
        is_other, reason = file_format != self.format, None
        if file_format not in _IN_PLACE:
            reason = f"16-bit colour cannot be stored as {file_format}"
        elif is_other and self.key_colour is not None:
            reason = f"one colour of it is transparent, which {file_format} cannot say"
        elif is_other and (self.alpha == "premultiplied" or self.pixels.shape[2] > self.num_colours + bool(self.alpha)):
            reason = f"it has premultiplied or unnamed samples beside its colours, which {file_format} cannot hold"
        if reason:
            raise DataError(f"{self.path}: {reason}; use --format {'tiff' if file_format == 'PNG' else 'png'}")
        with writing(path) as file:
            write = _IN_PLACE[file_format].write_new if is_other else self.source.write
            write(file, self, self.text)
        keeps_pages = self.format == file_format == "TIFF"
        return () if keeps_pages or self.source.num_frames == 1 else ("only the first frame is kept",)


Original = InPlaceOriginal | PillowOriginal
"""The first frame of an image file as stored: not rotated, in its own mode and depth, with its metadata."""


def open_original(path: Path) -> Original:
    """Read an image file as stored. Raises DataError naming the file when it cannot be kept bit for bit."""
    module = _in_place_module(path)
    try:
        if module is None:
            return open_with_pillow(path)
        samples, source = module.read(path)
        return InPlaceOriginal(**vars(samples), path=path, source=source)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) as displayed of what `open_original` opens, from the header alone. Raises DataError."""
    module = _in_place_module(path)
    return module.display_size(path) if module else probe(path)[1]


def shown_image(path: Path) -> Image.Image:
    """What `open_original` opens, as displayed and with at most 8 bits of each colour. Raises DataError."""
    module = _in_place_module(path)
    return module.read(path)[0].reduced() if module else open_image(path)


def _in_place_module(path: Path) -> ModuleType | None:
    """What reads and writes a file that is changed in place, by its first bytes; None for files left to Pillow."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError:
        return None  # whoever reads it will say what is wrong
    if head == png_in_place.SIGNATURE:
        return png_in_place
    return tiff_in_place if head[:4] in TIFF_MAGIC else None
