"""Changing one page of a TIFF file while everything else in it stays where it is, byte for byte."""

import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import IO, cast

import numpy as np
from tifffile import TiffFileError, TiffPage

from vae_cli.errors import DataError
from vae_cli.images import tiff
from vae_cli.images.bad_files import BAD_BYTES

_LONG, _LONG8, _SUB_DIRECTORIES = 4, 16, 330
STORAGE_TAGS = {258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, *range(322, 326), 338, 339, 347,
                 *range(512, 522), *range(529, 533)}  # fmt: skip
"""Those that say how the pixels of a page are stored, and not what they show."""


def previews(page: TiffPage) -> list[TiffPage]:
    """The smaller copies of a page that its file holds: those that follow it, and those below it. Raises DataError."""
    found = below(page)
    with suppress(DataError):  # a damaged later page is no fault of this one
        following = itertools.islice(tiff.directories(page.parent), page.index + 1, None)
        found = [*itertools.takewhile(lambda each: not tiff.is_page(each), following), *found]
    return [each for each in found if each.is_reduced and not each.is_mask]


def below(page: TiffPage) -> list[TiffPage]:
    """The pictures in a page's SubIFDs. Raises DataError."""
    tiff.refuse_overlaps(page.parent, page.subifds or ())
    try:
        return [cast(TiffPage, each) for each in page.pages or ()]
    except (TiffFileError, *BAD_BYTES) as error:
        raise DataError("damaged TIFF (what lies below one of its pages)") from error


def free_bytes(own: TiffPage) -> list[int]:
    """How many bytes may be written over each strip or tile of a page without touching anything else.

    Two pages may show the same strip, and byte counts are sometimes too large.
    """
    starts = [own.parent.filehandle.size]
    try:
        pages = list(tiff.directories(own.parent))
        tiff.refuse_overlaps(own.parent, [offset for page in pages for offset in page.subifds or ()])
        for page in itertools.chain.from_iterable((page, *below(page)) for page in pages):
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
def set_segments(file: IO[bytes], page: TiffPage, positions: Sequence[int], sizes: Sequence[int]) -> None:
    """Says in a page's directory where its strips or tiles are now. Raises DataError."""
    for which, values in enumerate((positions, sizes)):
        form = tiff.open_tiff(file)  # anew for each tag, since tifffile remembers how long the file was
        form.filehandle.seek(page.offset)
        page = TiffPage(form, index=page.index)
        tag = page.tags.get(segment_tags(page)[which])
        if tag is None:
            raise DataError("damaged TIFF (its strips or tiles)")
        tag.overwrite(values, dtype=_LONG8 if form.is_bigtiff else _LONG, erase=False)


@_within_4_gib()
def store_anew(file: IO[bytes], old: TiffPage, page_file: bytes) -> None:
    """Gives a page the pixels of another TIFF file's only page, stored as they are there, and keeps what else its
    directory says. Raises DataError."""
    new, form = tiff.open_tiff(BytesIO(page_file)).pages.first, old.parent.tiff
    free = [*zip(old.dataoffsets, free_bytes(old), strict=False)]
    for position, num_free in free:
        put(file, bytes(num_free), position, num_free)
    segments = zip(new.dataoffsets, new.databytecounts, itertools.chain(free, itertools.repeat((0, 0))), strict=False)
    positions = [put(file, page_file[start : start + size], *place) for start, size, place in segments]
    entries = {}
    for tag in new.tags.values():
        if tag.code in STORAGE_TAGS:
            data = page_file[tag.valueoffset : tag.valueoffset + tag.valuebytecount]
            if new.parent.byteorder != form.byteorder:
                data = np.frombuffer(data, f"u{struct.calcsize(tag.dataformat[-1])}").byteswap().tobytes()
            entries[tag.code] = int(tag.dtype), tag.count, data
    packed = struct.pack(f"{form.byteorder}{len(positions)}{form.offsetformat[-1]}", *positions)
    entries[segment_tags(new)[0]] = _LONG8 if old.parent.is_bigtiff else _LONG, len(positions), packed

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
        if code not in STORAGE_TAGS:
            directory[code] = entry
    next_page = file.read(form.offsetsize)
    content = b"".join(directory[code] for code in sorted(directory))
    place = put(file, struct.pack(form.tagnoformat, len(directory)) + content + next_page)
    position, pointer = _pointer_to(old)
    file.seek(position)
    file.write(struct.pack(pointer, place))


def _pointer_to(page: TiffPage) -> tuple[int, str]:
    """The position in the file of where the directory of a page is said to be, and the number's format."""
    form, handle = page.parent.tiff, page.parent.filehandle
    position = form.offsetsize  # 4 bytes into the file, or 8 in a BigTIFF
    for each in tiff.directories(page.parent):
        if each.offset == page.offset:
            break
        if page.offset in (each.subifds or ()):
            tag = each.tags[_SUB_DIRECTORIES]
            size = tag.valuebytecount // tag.count
            place = tag.valueoffset + size * list(each.subifds or ()).index(page.offset)
            return place, f"{form.byteorder}{'Q' if size == 8 else 'I'}"
        handle.seek(each.offset)
        (num_tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
        position = each.offset + form.tagnosize + num_tags * form.tagsize
    return position, form.offsetformat


def segment_tags(page: TiffPage) -> tuple[int, int]:
    """The tags with the positions and sizes of a page's strips or tiles."""
    return (324, 325) if 324 in page.tags else (273, 279)
