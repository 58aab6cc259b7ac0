"""Images as the user stored them, written back with nothing changed but the pixels of a hole."""

import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np

from vae_cli.atomic import open_regular, writing
from vae_cli.errors import DataError
from vae_cli.files import png_in_place, tiff_in_place
from vae_cli.files.formats import refuse_existing, wanted_format
from vae_cli.files.pillow_encoding import says_more_than_orientation
from vae_cli.files.pillow_original import PillowOriginal, open_with_pillow
from vae_cli.files.png_in_place import PngSource
from vae_cli.files.tiff_in_place import TiffSource
from vae_cli.images import png, tiff
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.decode import NO_PAGES
from vae_cli.images.samples import PageChange, Samples, to_image

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
        if pages and file_format != self.format:
            raise DataError(f"{self.path}: another format holds one page; leave out --format or --pages")
        if file_format not in _IN_PLACE:
            return self._for_pillow(file_format).save(path, format=format, overwrite=overwrite, strip=strip)
        self = replace(self, text={}) if strip else self
        try:
            with writing(path) as file:
                if file_format != self.format:
                    return self._write_as(file, path, file_format, strip)
                return self._write_own(file, path, [*pages, self.page_change()], strip)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error

    def page_change(self) -> PageChange:
        """What `save` writes. Raises DataError, without the file's name."""
        with bad_bytes_are_data_errors():
            return PageChange(self.source.number, self.source.change_to(self), _checksum(self.pixels))

    def _write_own(self, file: BinaryIO, path: Path, changes: Sequence[PageChange], strip: bool) -> tuple[str, ...]:
        """In the format that it has. Returns remarks; raises DataError, without the file's name."""
        source, module = self.source, _IN_PLACE[self.format]
        if strip and isinstance(source, TiffSource):
            remarks = source.write(whole := BytesIO(), changes, self.text, pages_only=True)
            remarks += tiff_in_place.write_pages(file, whole)
            self._refuse_other(file, path, self.format, source.number)
            return remarks
        if isinstance(source, PngSource):
            source = source.without_metadata(self.orientation) if strip else source.showing(to_image(self))
        remarks = source.write(file, changes, self.text)
        file.flush()
        with bad_bytes_are_data_errors():
            for change in changes:
                if _checksum(module.read(file, path, change.number)[0].pixels) != change.checksum:
                    raise DataError(_CHANGED)
        return remarks

    def _write_as(self, file: BinaryIO, path: Path, file_format: str, strip: bool) -> tuple[str, ...]:
        """PNG as TIFF, or the other way round. Returns remarks; raises DataError, without the file's name."""
        self.refuse_unnamed(file_format)
        remarks = _IN_PLACE[file_format].write_new(file, self, self.text)
        self._refuse_other(file, path, file_format)
        exif = self.source.exif
        lost = (*self.source.metadata, *(["EXIF"] if exif and says_more_than_orientation(exif) else []))
        remarks += tuple(f"{name}: not kept in {file_format}" for name in lost if not strip)
        return (*remarks, *(["only the first frame is kept"] if self.source.num_frames > 1 else []))

    def _refuse_other(self, file: BinaryIO, path: Path, file_format: str, page: int = 0) -> None:
        """Raises DataError where what was written shows something else."""
        file.flush()
        with bad_bytes_are_data_errors():
            again = _IN_PLACE[file_format].read(file, path, page)[0]
            if not np.array_equal(again.display_array(3), self.display_array(3)):
                raise DataError(_CHANGED)

    def _for_pillow(self, file_format: str) -> PillowOriginal:
        """The same, to be stored in a format that only Pillow writes. Raises DataError."""
        try:
            self.refuse_unnamed(file_format)
            if self.pixels.itemsize > 1 and self.pixels.shape[2] > 1:
                raise DataError(f"16-bit colour cannot be stored as {file_format}; use --format png or tiff")
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error
        image = to_image(self)
        if self.source.exif:
            image.info["exif"] = self.source.exif
        described = self.orientation, self.format, self.source.num_frames, {"extras": self.source.metadata}
        return PillowOriginal(self.path, image, *described)


Original = InPlaceOriginal | PillowOriginal
"""The first frame of an image file as stored: not rotated, in its own mode and depth, with its metadata."""


def open_original(path: Path, page: int = 0) -> Original:
    """Read an image file as stored, or one page of it. Raises DataError naming the file when it cannot be kept bit for
    bit."""
    module = _in_place_module(path)
    try:
        if module is None:
            if page > 0:
                raise DataError(NO_PAGES.format(page + 1))
            return open_with_pillow(path)
        with bad_bytes_are_data_errors(), open_regular(path) as file:
            samples, source = module.read(file, path, page)
        return InPlaceOriginal(**vars(samples), path=path, source=source)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _checksum(pixels: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).data)


def _in_place_module(path: Path) -> ModuleType | None:
    """What reads and writes a file that is changed in place, by its first bytes; None for files left to Pillow."""
    with suppress(DataError), bad_bytes_are_data_errors(), open_regular(path) as file:  # its reader says what is wrong
        head = file.read(8)
        if head == png.SIGNATURE:
            return png_in_place
        return tiff_in_place if head[:4] in tiff.MAGIC else None
    return None
