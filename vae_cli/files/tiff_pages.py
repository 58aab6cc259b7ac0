"""Changing one page of a TIFF file while everything else in it stays where it is, byte for byte."""

import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import IO, cast

import numpy as np
from tifffile import TiffFile, TiffFileError, TiffPage

from vae_cli.errors import DataError
from vae_cli.images.bad_files import BAD_BYTES
from vae_cli.images.bit_depth import open_tiff

_LONG, _LONG8 = 4, 16
_STORAGE_TAGS = {258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, *range(322, 326), 338, 339, 347,
                 *range(512, 522), *range(529, 533)}  # fmt: skip
"""Those that say how the pixels of a page are stored, and not what they show."""


def pages(tiff: TiffFile) -> Iterator[TiffPage]:
    """Raises DataError where a page is damaged, or where they form a loop."""
    positions = set()
    try:
        for page in tiff.pages:
            if page.offset in positions:
                raise DataError("damaged TIFF (its pages form a loop)")
            positions.add(page.offset)
            yield cast(TiffPage, page)
    except DataError:
        raise
    except (TiffFileError, *BAD_BYTES) as error:
        raise DataError("damaged TIFF (one of its pages)") from error


def page_at(tiff: TiffFile, number: int) -> TiffPage:
    """Raises DataError where there is none or it cannot be reached."""
    found = 0
    for found, page in enumerate(pages(tiff)):
        if found == number:
            return page
    raise DataError(f"has no page {number + 1}, only {found + 1}")


def count(tiff: TiffFile) -> int:
    """How many pages can be read: a damaged later page is no fault of the first one."""
    number = 0
    with suppress(DataError):
        for _ in pages(tiff):
            number += 1
    return max(number, 1)


def free_bytes(tiff: TiffFile, own: TiffPage) -> list[int]:
    """How many bytes may be written over each strip or tile of a page without touching anything else.

    Two pages may show the same strip, and byte counts are sometimes too large.
    """
    starts = [tiff.filehandle.size]
    try:
        for page in pages(tiff):
            starts += [page.offset, *(tag.valueoffset for tag in page.tags.values()), *map(int, page.dataoffsets)]
    except (DataError, ValueError, TypeError):  # a damaged page: nobody knows what else it uses
        return [0] * len(own.dataoffsets)
    until_next: dict[int, int] = {}
    for start, following in itertools.pairwise(sorted(starts)):
        until_next.setdefault(start, following - start)  # 0 where several things begin
    segments = zip(own.dataoffsets, own.databytecounts, strict=False)
    return [min(num_bytes, until_next.get(start, 0)) for start, num_bytes in segments]


def put(file: IO[bytes], data: bytes | memoryview, position: int = 0, num_free: int = 0) -> int:
    """Writes data at `position` where so many bytes are free, or else at the end of the file; returns where.

    The rest of the free bytes become zeros, as what they hold may show what the data replaces.
    """
    file.seek(position)
    file.write(bytes(num_free))
    if len(data) > num_free:
        position = file.seek(0, os.SEEK_END)
        position += file.write(bytes(position % 2))  # values have to begin on even bytes
    file.seek(position)
    file.write(data)
    return position


@contextmanager
def _within_4_gib() -> Iterator[None]:
    try:
        yield
    except struct.error as error:
        message = "the result would have more than 4 GiB, which this TIFF cannot hold; use --format png"
        raise DataError(message) from error


@_within_4_gib()
def set_segments(file: IO[bytes], number: int, positions: Sequence[int], sizes: Sequence[int]) -> None:
    """Says in a page's directory where its strips or tiles are now. Raises DataError."""
    for which, values in enumerate((positions, sizes)):
        tiff = open_tiff(file)  # anew for each tag, since tifffile remembers how long the file was
        page = page_at(tiff, number)
        tag = page.tags.get(segment_tags(page)[which])
        if tag is None:
            raise DataError("damaged TIFF (its strips or tiles)")
        tag.overwrite(values, dtype=_LONG8 if tiff.is_bigtiff else _LONG, erase=False)


@_within_4_gib()
def store_anew(file: IO[bytes], number: int, page_file: bytes) -> None:
    """Gives a page the pixels of another TIFF file's only page, stored as they are there, and keeps what else its
    directory says. Raises DataError."""
    target = open_tiff(file)
    old, new, form = page_at(target, number), open_tiff(BytesIO(page_file)).pages.first, target.tiff
    free = [*zip(old.dataoffsets, free_bytes(target, old), strict=False)]
    for position, num_free in free:
        put(file, bytes(num_free), position, num_free)
    segments = zip(new.dataoffsets, new.databytecounts, itertools.chain(free, itertools.repeat((0, 0))), strict=False)
    positions = [put(file, page_file[start : start + size], *place) for start, size, place in segments]
    entries = {}
    for tag in new.tags.values():
        if tag.code in _STORAGE_TAGS:
            data = page_file[tag.valueoffset : tag.valueoffset + tag.valuebytecount]
            if new.parent.byteorder != form.byteorder:
                data = np.frombuffer(data, f"u{struct.calcsize(tag.dataformat[-1])}").byteswap().tobytes()
            entries[tag.code] = int(tag.dtype), tag.count, data
    packed = struct.pack(f"{form.byteorder}{len(positions)}{form.offsetformat[-1]}", *positions)
    entries[segment_tags(new)[0]] = _LONG8 if target.is_bigtiff else _LONG, len(positions), packed

    directory = {}
    for code, (dtype, num, data) in entries.items():
        field = data if len(data) <= form.offsetsize else struct.pack(form.offsetformat, put(file, data))
        entry = struct.pack(form.tagformat1, code, dtype) + struct.pack(form.tagformat2, num, field)
        directory[code] = entry
    file.seek(old.offset)
    (num_tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    for _ in range(num_tags):
        entry = file.read(form.tagsize)
        (code,) = struct.unpack_from(f"{form.byteorder}H", entry)
        if code not in _STORAGE_TAGS:
            directory[code] = entry
    next_page = file.read(form.offsetsize)
    content = b"".join(directory[code] for code in sorted(directory))
    place = put(file, struct.pack(form.tagnoformat, len(directory)) + content + next_page)
    file.seek(_pointer_to(target, number))
    file.write(struct.pack(form.offsetformat, place))


def _pointer_to(tiff: TiffFile, number: int) -> int:
    """The position in the file of where the directory of a page is said to be."""
    if number == 0:
        return tiff.tiff.offsetsize  # 4 bytes into the file, or 8 in a BigTIFF
    before = page_at(tiff, number - 1)
    tiff.filehandle.seek(before.offset)
    (num_tags,) = struct.unpack(tiff.tiff.tagnoformat, tiff.filehandle.read(tiff.tiff.tagnosize))
    return before.offset + tiff.tiff.tagnosize + num_tags * tiff.tiff.tagsize


def segment_tags(page: TiffPage) -> tuple[int, int]:
    """The tags with the positions and sizes of a page's strips or tiles."""
    return (324, 325) if 324 in page.tags else (273, 279)
