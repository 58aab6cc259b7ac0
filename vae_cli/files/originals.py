"""Images as the user stored them, written back with nothing changed but the pixels of a hole."""

import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from vae_cli.atomic import open_regular, writing
from vae_cli.errors import DataError
from vae_cli.files import png_in_place, tiff_in_place, tiff_pages
from vae_cli.files.formats import refuse_existing, wanted_format
from vae_cli.files.pillow_encoding import says_more_than_orientation
from vae_cli.files.pillow_original import PillowOriginal, open_with_pillow
from vae_cli.files.png_in_place import PngSource
from vae_cli.files.samples import PageChange, Samples, to_image
from vae_cli.files.tiff_in_place import TiffSource
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.bit_depth import TIFF_MAGIC, open_tiff
from vae_cli.images.decode import open_image, probe
from vae_cli.images.orientation import displayed_image

_IN_PLACE = {"PNG": png_in_place, "TIFF": tiff_in_place}
_CHANGED = "the result does not come back as it was written; please report this"


@dataclass(frozen=True, eq=False, kw_only=True)
class InPlaceOriginal(Samples):
    """What `PillowOriginal` is, for PNG and TIFF: their changed pixels are written anew and nothing else."""

    path: Path
    source: PngSource | TiffSource
    text: Mapping[str, str] = field(default_factory=dict)

    @property
    def format(self) -> str:
        return self.source.format

    def with_text(self, key: str, value: str) -> "InPlaceOriginal":
        return replace(self, text={**self.text, key: value})

    def save(
        self, path: Path, *, format: str = "keep", overwrite: bool = False, strip: bool = False,
        pages: Sequence[PageChange] = (),
    ) -> tuple[str, ...]:  # fmt: skip
        """As `PillowOriginal.save`. pages: what changes in other pages of the same file.

        Raises DataError also where what was written does not come back as it was meant.
        """
        file_format = wanted_format(format, self.format)
        refuse_existing(path, overwrite=overwrite)
        if strip:
            self = replace(self, text={})
        source = self.source
        if isinstance(source, PngSource):
            source = source.without_metadata(self.orientation) if strip else source.showing(to_image(self))
        if file_format != self.format or (strip and self.format == "TIFF"):
            if pages:
                hint = "leave out --format, --strip-metadata or --pages"
                raise DataError(f"{self.path}: another format, or a file without metadata, holds one page; {hint}")
            return self._save_as(format, path, overwrite=overwrite, strip=strip)
        try:
            changes = [*pages, self.page_change()]
            with writing(path) as file:
                remarks = source.write(file, changes, self.text)
                file.flush()
                with bad_bytes_are_data_errors():
                    for change in changes:
                        again, _ = _IN_PLACE[file_format].read(file, path, change.number)
                        if _checksum(again.pixels) != change.checksum:
                            raise DataError(_CHANGED)
            return remarks
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error

    def page_change(self) -> PageChange:
        """What `save` writes. Raises DataError, without the file's name."""
        with bad_bytes_are_data_errors():
            return PageChange(self.source.number, self.source.change_to(self), _checksum(self.pixels))

    def _save_as(self, format: str, path: Path, *, overwrite: bool, strip: bool) -> tuple[str, ...]:
        file_format = wanted_format(format, self.format)
        if self.alpha == "premultiplied" or self.pixels.shape[2] > self.num_colours + bool(self.alpha):
            reason = f"it has premultiplied or unnamed samples beside its colours, which {file_format} cannot hold"
            raise DataError(f"{self.path}: {reason}; leave out --format and --strip-metadata")
        lost = self.source.metadata
        if file_format in _IN_PLACE:
            with writing(path) as file:
                remarks = _IN_PLACE[file_format].write_new(file, self, self.text)
                file.flush()
                with bad_bytes_are_data_errors():
                    again, _ = _IN_PLACE[file_format].read(file, path)
                    if not np.array_equal(again.display_array(3), self.display_array(3)):
                        raise DataError(f"{self.path}: {_CHANGED}")
            if self.source.exif and says_more_than_orientation(self.source.exif):
                lost = (*lost, "EXIF")
            remarks = (*remarks, *(f"{name}: not kept in {file_format}" for name in lost if not strip))
            return (*remarks, *(["only the first frame is kept"] if self.source.num_frames > 1 else []))
        if self.pixels.itemsize > 1 and self.pixels.shape[2] > 1:
            raise DataError(f"{self.path}: 16-bit colour cannot be stored as {file_format}; use --format png or tiff")
        image = to_image(self)
        if self.source.exif:
            image.info["exif"] = self.source.exif
        described = self.orientation, self.format, self.source.num_frames, {"extras": lost}
        return PillowOriginal(self.path, image, *described).save(path, format=format, overwrite=overwrite, strip=strip)


Original = InPlaceOriginal | PillowOriginal
"""The first frame of an image file as stored: not rotated, in its own mode and depth, with its metadata."""


def open_original(path: Path, page: int = 0) -> Original:
    """Read an image file as stored, or one page of it. Raises DataError naming the file when it cannot be kept bit for
    bit."""
    module = _in_place_module(path)
    try:
        if module is None:
            if page > 0:
                raise DataError(f"has no page {page + 1}: only TIFF files have several")
            return open_with_pillow(path)
        with bad_bytes_are_data_errors(), open_regular(path) as file:
            samples, source = module.read(file, path, page)
        return InPlaceOriginal(**vars(samples), path=path, source=source)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def num_pages(path: Path) -> int:
    """How many pages of a file can be opened; 1 of what is no TIFF, or none."""
    if _in_place_module(path) is not tiff_in_place:
        return 1
    with suppress(DataError), bad_bytes_are_data_errors(), open_regular(path) as file:
        return tiff_pages.count(open_tiff(file))
    return 1


def size_of(path: Path, page: int = 0) -> tuple[int, int]:
    """(height, width) as displayed of what `open_original` opens, from the header alone. Raises DataError."""
    if (module := _in_place_module(path)) is None:
        return probe(path)[1]
    with bad_bytes_are_data_errors(), open_regular(path) as file:
        return module.display_size(file, page)


def shown_image(path: Path, page: int = 0) -> Image.Image:
    """What `open_original` opens, as displayed, with at most 8 bits of each colour or 16 of grey. Raises DataError."""
    if (module := _in_place_module(path)) is None:
        return open_image(path)
    with bad_bytes_are_data_errors(), open_regular(path) as file:
        samples = module.read(file, path, page)[0]
        return displayed_image(to_image(samples), samples.orientation)


def _checksum(pixels: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).data)


def _in_place_module(path: Path) -> ModuleType | None:
    """What reads and writes a file that is changed in place, by its first bytes; None for files left to Pillow."""
    with suppress(DataError), bad_bytes_are_data_errors(), open_regular(path) as file:  # its reader says what is wrong
        head = file.read(8)
        if head == png_in_place.SIGNATURE:
            return png_in_place
        return tiff_in_place if head[:4] in TIFF_MAGIC else None
    return None
