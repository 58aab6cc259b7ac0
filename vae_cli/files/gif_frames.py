"""GIF files whose first frame is replaced while everything else in them stays, byte for byte."""

import struct
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from vae_cli.files.thumbnails import without_xmp_thumbnails

_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL, _APPLICATION = 0xF9, 0xFF
_ANIMATION = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_XMP = b"XMP DataXMP"
_XMP_TRAILER = bytes([1, *range(255, -1, -1), 0])
"""Leads whoever takes any byte of a text before it for a sub-block's length to the end of its last byte."""
_INTERLACED = 0x40


class _Block(NamedTuple):
    kind: int
    label: int  # of an extension
    start: int
    end: int


class _Frame(NamedTuple):
    box: tuple[int, int, int, int]  # on the canvas: left, top, right, bottom
    transparent: int | None  # the number of a colour
    block: _Block
    flags: int
    pixels: int  # where they begin in the file


def with_new_pixels(old: bytes, picture: Image.Image) -> bytes:
    """Raises ValueError when something outside the frame is to be seen and something else is not, but the file has no
    transparent colour; IndexError and struct.error for damaged files."""
    frame, pixels = _first_frame(old), np.asarray(picture)
    is_clear = pixels == picture.info.get("transparency", -1)
    left, top, right, bottom = frame.box
    is_outside = np.ones(pixels.shape, bool)
    is_outside[top:bottom, left:right] = False
    if (is_outside & ~is_clear).any():  # the frame has to grow
        left, top, right, bottom = 0, 0, *picture.size
        if is_clear.any() and frame.transparent is None:
            raise ValueError("no colour is transparent")
    cut = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    coded = b"\x08" + cut.tobytes("gif", "L", 8, bool(frame.flags & _INTERLACED)) + b"\0"
    old = _without_xmp_thumbnails(old)
    place, start = struct.pack("<4H", left, top, right - left, bottom - top), frame.block.start
    return old[: start + 1] + place + old[start + 9 : frame.pixels] + coded + old[frame.block.end :]


def _without_xmp_thumbnails(content: bytes) -> bytes:
    """A file of the same length."""
    changed = bytearray(content)  # in place, as a file may be of a million blocks
    with suppress(IndexError):  # what is damaged later is no fault of the first frame
        for block in _blocks(content):
            if content[block.start + 3 : block.start + 14] == _XMP:
                changed[block.start + 2 : block.end] = _with_blanks(content[block.start + 2 : block.end])
    return bytes(changed)


def _with_blanks(data: bytes) -> bytes:
    """XMP data of the same length without thumbnails; they are a text as it is, or in sub-blocks."""
    if data.endswith(_XMP_TRAILER):
        return without_xmp_thumbnails(data)
    pieces, place = [], 0
    while size := data[place]:
        pieces.append(data[place + 1 : place + 1 + size])
        place += size + 1
    new = BytesIO(without_xmp_thumbnails(b"".join(pieces)))
    return b"".join(bytes([len(piece)]) + new.read(len(piece)) for piece in pieces) + b"\0"


def without_metadata(content: bytes, _exif: bytes) -> bytes:
    """Without what is neither a frame nor how frames follow each other."""
    kept = [content[: _header_size(content)]]
    for block in _blocks(content):
        name = content[block.start + 3 : block.start + 14]
        is_animation = block.label == _GRAPHIC_CONTROL or (block.label == _APPLICATION and name in _ANIMATION)
        if block.kind == _IMAGE or is_animation:
            kept.append(content[block.start : block.end])
    return b"".join(kept) + bytes([_END])


def other_metadata(content: bytes) -> tuple[str, ...]:
    """Names of what a file holds beside frames, how they follow each other, and comments."""
    found = []
    for block in _blocks(content):
        name = content[block.start + 3 : block.start + 14]
        if block.label == _APPLICATION and name not in _ANIMATION:
            found.append("XMP" if name == _XMP else "application data")
    return tuple(dict.fromkeys(found))


def num_colours(content: bytes) -> int:
    """Entries of the first frame's palette."""
    flags = _first_frame(content).flags
    return _table_size(flags if flags & 0x80 else content[10]) // 3 or 256


def _first_frame(content: bytes) -> _Frame:
    transparent = None
    for block in _blocks(content):
        start = block.start
        if block.label == _GRAPHIC_CONTROL and content[start + 3] & 1:
            transparent = content[start + 6]
        if block.kind == _IMAGE:
            left, top, width, height, flags = struct.unpack_from("<4HB", content, start + 1)
            box = left, top, left + width, top + height
            return _Frame(box, transparent, block, flags, start + 10 + _table_size(flags))
    raise IndexError


def _blocks(content: bytes) -> Iterator[_Block]:
    place = _header_size(content)
    while place < len(content) and content[place] != _END:
        kind, label, start = content[place], 0, place
        if kind == _EXTENSION:
            label, place = content[place + 1], place + 2
        elif kind == _IMAGE:
            place += 11 + _table_size(content[place + 9])
        else:  # nothing that any standard knows
            place += 1
            continue
        while size := content[place]:
            place += size + 1
        place += 1
        yield _Block(kind, label, start, place)


def _header_size(content: bytes) -> int:
    return 13 + _table_size(content[10])


def _table_size(flags: int) -> int:
    """Bytes of the colour table that flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
