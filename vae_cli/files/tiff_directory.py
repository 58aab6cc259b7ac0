"""TIFF files (TIFF 6.0 and BigTIFF) as directories of tags, so that one page can change while all else in the file
stays where it is, byte for byte.
"""

import math
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Literal

import numpy as np

from vae_cli.errors import DataError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 3, 4, 5, 7, 16
STRIP_OFFSETS, STRIP_BYTE_COUNTS, TILE_OFFSETS, TILE_BYTE_COUNTS = 273, 279, 324, 325
# (bytes of a value, how many numbers it is made of, struct's letter) by type
_KINDS = {
    1: (1, 1, "B"), 2: (1, 1, "B"), 3: (2, 1, "H"), 4: (4, 1, "I"), 5: (8, 2, "I"), 6: (1, 1, "b"), 7: (1, 1, "B"),
    8: (2, 1, "h"), 9: (4, 1, "i"), 10: (8, 2, "i"), 11: (4, 1, "f"), 12: (8, 1, "d"), 13: (4, 1, "I"),
    16: (8, 1, "Q"), 17: (8, 1, "q"), 18: (8, 1, "Q"),
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A tag's values, as bytes in the file's order."""

    kind: int
    count: int
    data: bytes
    position: int
    """Where the directory's line for it lies in the file."""
    data_position: int


@dataclass(frozen=True)
class Page:
    """One page's directory."""

    order: Literal["<", ">"]
    is_big: bool
    position: int
    num_bytes: int
    entries: dict[int, Entry]
    next_position: int
    """Of the next page's directory; 0 = none."""

    def numbers(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The tag's numbers; `default` where it is missing. Raises DataError when it does not hold whole numbers."""
        entry = self.entries.get(tag)
        if entry is None:
            return default
        _, numbers_each, letter = _KINDS[entry.kind]
        if letter in "fd":
            raise DataError(f"damaged TIFF (tag {tag})")
        return struct.unpack(f"{self.order}{entry.count * numbers_each}{letter}", entry.data)

    def number(self, tag: int, default: int) -> int:
        """The first of the tag's numbers; `default` where there is none."""
        numbers = self.numbers(tag)
        return numbers[0] if numbers else default

    def segments(self) -> list[tuple[int, int]]:
        """(offset, number of bytes) of each strip or tile."""
        is_tiled = TILE_OFFSETS in self.entries
        offsets = self.numbers(TILE_OFFSETS if is_tiled else STRIP_OFFSETS)
        counts = self.numbers(TILE_BYTE_COUNTS if is_tiled else STRIP_BYTE_COUNTS)
        if not offsets or len(offsets) != len(counts):
            raise DataError("damaged TIFF (where its pixels lie is not said)")
        return list(zip(offsets, counts, strict=True))


# ---- reading


def read_page(file: IO[bytes], position: int | None = None) -> Page:
    """The directory at `position`, by default the first. Raises DataError."""
    head = _read_at(file, 0, 4)
    if head not in MAGIC:
        raise DataError("no TIFF file")
    order: Literal["<", ">"] = "<" if head[:2] == b"II" else ">"
    is_big = b"+" in head
    width, letter = (8, "Q") if is_big else (4, "I")
    if position is None:
        (position,) = struct.unpack(order + letter, _read_at(file, width, width))
    count_bytes = 8 if is_big else 2
    (num_entries,) = struct.unpack(order + ("Q" if is_big else "H"), _read_at(file, position, count_bytes))
    if num_entries > 65535:
        raise DataError("damaged TIFF (its directory)")
    start, line_bytes = position + count_bytes, 4 + 2 * width
    lines = _read_at(file, start, num_entries * line_bytes + width)
    (next_position,) = struct.unpack_from(order + letter, lines, num_entries * line_bytes)
    entries = {}
    for number in range(num_entries):
        at = number * line_bytes
        tag, kind = struct.unpack_from(order + "HH", lines, at)
        if kind in _KINDS:  # readers skip types that they do not know
            entries[tag] = _read_entry(file, kind, lines[at : at + line_bytes], start + at, order)
    return Page(order, is_big, position, count_bytes + len(lines), entries, next_position)


def pages(file: IO[bytes]) -> Iterator[Page]:
    """All pages of a file. Raises DataError, also where they form a loop."""
    page = read_page(file)
    seen = {page.position}
    yield page
    while page.next_position:
        if page.next_position in seen:
            raise DataError("damaged TIFF (its pages form a loop)")
        seen.add(page.next_position)
        page = read_page(file, page.next_position)
        yield page


def _read_entry(file: IO[bytes], kind: int, line: bytes, position: int, order: str) -> Entry:
    width, letter = (8, "Q") if len(line) == 20 else (4, "I")
    (count,) = struct.unpack_from(order + letter, line, 4)
    num_bytes = count * _KINDS[kind][0]
    if num_bytes <= width:
        return Entry(kind, count, line[-width:][:num_bytes], position, position + len(line) - width)
    (data_position,) = struct.unpack_from(order + letter, line, len(line) - width)
    return Entry(kind, count, _read_at(file, data_position, num_bytes), position, data_position)


def _read_at(file: IO[bytes], position: int, num_bytes: int) -> bytes:
    if position + num_bytes > file.seek(0, os.SEEK_END):
        raise DataError("cut off (truncated file)")
    file.seek(position)
    return file.read(num_bytes)


# ---- writing


class Room:
    """Where data may be put into a file: into the extents that are given up, then at its end."""

    def __init__(self, file: IO[bytes], extents: Iterable[tuple[int, int]], *, is_big: bool) -> None:
        self._file, self._limit = file, math.inf if is_big else 1 << 32
        self._free: list[list[int]] = []  # [start, end], neighbours joined
        for start, num_bytes in sorted(extents):
            if self._free and self._free[-1][1] == start:
                self._free[-1][1] += num_bytes
            else:
                self._free.append([start, start + num_bytes])

    def put(self, data: bytes | memoryview) -> int:
        """Writes the data and returns its position. Raises DataError where that is beyond what a TIFF can say."""
        extent = next((extent for extent in self._free if extent[1] - extent[0] >= len(data)), None)
        if extent is not None:
            position = extent[0]
            extent[0] += len(data)
            self._file.seek(position)
        else:
            position = self._file.seek(0, os.SEEK_END)
            if position % 2:  # values have to begin on even bytes
                position += self._file.write(b"\0")
        if position + len(data) > self._limit:
            raise DataError("the result would have more than 4 GiB, which this TIFF cannot hold; use --format png")
        self._file.write(data)
        return position


def own_extents(file: IO[bytes]) -> dict[int, int]:
    """Bytes by offset of those strips or tiles of the first page that share no byte with anything else known of the
    file: two pages may show the same strip, and counts are sometimes too large."""
    extents: list[tuple[int, int, bool]] = []
    try:
        for number, page in enumerate(pages(file)):
            extents += [(0, 16 if page.is_big else 8, False), (page.position, page.position + page.num_bytes, False)]
            extents += [(e.data_position, e.data_position + len(e.data), False) for e in page.entries.values()]
            extents += [(start, start + size, number == 0) for start, size in page.segments()]
    except DataError:  # what another page holds cannot be told
        return {}
    extents.sort()
    starts = [start for start, _, _ in extents[1:]] + [1 << 64]
    own, reach = {}, 0
    for (start, end, is_own), next_start in zip(extents, starts, strict=True):
        if is_own and reach <= start and end <= next_start:
            own[start] = end - start
        reach = max(reach, end)
    return own


def set_segments(file: IO[bytes], page: Page, segments: Sequence[tuple[int, int]]) -> None:
    """Say in a page's directory where its strips or tiles lie now, (offset, number of bytes) of each."""
    is_tiled = TILE_OFFSETS in page.entries
    tags = (TILE_OFFSETS, TILE_BYTE_COUNTS) if is_tiled else (STRIP_OFFSETS, STRIP_BYTE_COUNTS)
    room = Room(file, (), is_big=page.is_big)
    for tag, numbers in zip(tags, zip(*segments, strict=True), strict=True):
        line = _directory_line(page.order, page.is_big, tag, _positions(page, numbers), room)
        file.seek(page.entries[tag].position)
        file.write(line)


def replace_first_page(file: IO[bytes], page_file: bytes | memoryview) -> None:
    """Make the one page of another TIFF file the first page of this one, in the place of that which was."""
    old, new = read_page(file), read_page(BytesIO(page_file))
    room = Room(file, own_extents(file).items(), is_big=old.is_big)
    segments = new.segments()
    positions = [room.put(memoryview(page_file)[start : start + size]) for start, size in segments]
    entries = {tag: (entry.kind, entry.count, _reordered(entry, new, old)) for tag, entry in new.entries.items()}
    entries[TILE_OFFSETS if TILE_OFFSETS in entries else STRIP_OFFSETS] = _positions(old, positions)
    put_first_directory(file, old.order, entries, is_big=old.is_big, next_position=old.next_position)


def put_first_directory(
    file: IO[bytes],
    order: Literal["<", ">"],
    entries: dict[int, tuple[int, int, bytes]],
    *,
    is_big: bool = False,
    next_position: int = 0,
) -> None:
    """Append a directory of (type, count, values) by tag, whose pixels are in the file already, and begin with it."""
    room = Room(file, (), is_big=is_big)
    lines = [_directory_line(order, is_big, tag, entries[tag], room) for tag in sorted(entries)]
    count, pointer = ("Q", "Q") if is_big else ("H", "I")
    head = struct.pack(order + count, len(lines))
    position = room.put(head + b"".join(lines) + struct.pack(order + pointer, next_position))
    file.seek(8 if is_big else 4)
    file.write(struct.pack(order + pointer, position))


def _positions(page: Page, numbers: Sequence[int]) -> tuple[int, int, bytes]:
    kind = LONG8 if page.is_big else LONG
    return kind, len(numbers), struct.pack(f"{page.order}{len(numbers)}{_KINDS[kind][2]}", *numbers)


def _directory_line(order: str, is_big: bool, tag: int, entry: tuple[int, int, bytes], room: Room) -> bytes:
    kind, count, data = entry
    width, letter = (8, "Q") if is_big else (4, "I")
    field = data.ljust(width, b"\0") if len(data) <= width else struct.pack(order + letter, room.put(data))
    return struct.pack(f"{order}HH{letter}", tag, kind, count) + field


def _reordered(entry: Entry, source: Page, target: Page) -> bytes:
    """The entry's values in the byte order of another file."""
    item_bytes = _KINDS[entry.kind][0] // _KINDS[entry.kind][1]
    if source.order == target.order or item_bytes == 1:
        return entry.data
    return np.frombuffer(entry.data, f"u{item_bytes}").byteswap().tobytes()
