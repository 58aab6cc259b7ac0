"""JPEG files whose pixels are encoded anew while everything else in them stays, byte for byte."""

import struct
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import NamedTuple

from PIL import Image

from vae_cli.files.thumbnails import jpeg_end, with_redrawn_jpegs, with_redrawn_thumbnail, without_xmp_thumbnails

_APP0, _APP1, _APP2, _APP13, _APP14, _COMMENT, _START_OF_SCAN = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE, 0xDA
_JFIF, _JFXX, _MPF, _ADOBE, _XMP = b"JFIF\0", b"JFXX\0", b"MPF\0", b"Adobe", b"http://ns.adobe.com/xap/1.0/\0"
_MORE_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_MORE_XMP_HEAD = len(_MORE_XMP) + 40  # with the whole's checksum and length, and where in it a part belongs
_NAMES = {_APP13: "IPTC and Photoshop data", _APP1: "extended XMP"}
_SHOW_COLOURS = (_JFIF, _ADOBE, b"ICC_PROFILE\0")
_MPF_ENTRIES, _MPF_THUMBNAIL = 0xB002, 0x01


class Segment(NamedTuple):
    """marker: the second byte of it. data: without marker and length. start: of the data in the file."""

    marker: int
    data: bytes
    start: int

    @property
    def is_metadata(self) -> bool:
        return _APP0 <= self.marker <= 0xEF or self.marker == _COMMENT

    def packed(self) -> bytes:
        return struct.pack(">BBH", 0xFF, self.marker, len(self.data) + 2) + self.data


def segments(jpeg: bytes) -> Iterator[Segment]:
    """Those before the first scan, and the scan's own header as the last."""
    place, marker = 2, 0
    while marker != _START_OF_SCAN:
        place = jpeg.index(b"\xff", place)
        while jpeg[place] == 0xFF:  # any number of fill bytes
            place += 1
        marker, length = jpeg[place], int.from_bytes(jpeg[place + 1 : place + 3], "big")
        yield Segment(marker, jpeg[place + 3 : place + 1 + length], place + 3)
        place += 1 + length


def other_metadata(jpeg: bytes) -> tuple[str, ...]:
    """Names of what a JPEG file holds besides what Pillow hands over: EXIF, XMP, profile, resolution and comment."""
    known = (b"Exif\0", _XMP, b"ICC_PROFILE\0", _JFIF, _JFXX, _ADOBE, _MPF)
    names = list[str]()
    with suppress(IndexError, ValueError):
        for segment in segments(jpeg):
            if segment.is_metadata and segment.marker != _COMMENT and not segment.data.startswith(known):
                names.append(_NAMES.get(segment.marker, f"APP{segment.marker - _APP0} data"))
    if jpeg[jpeg_end(jpeg) :].strip(b"\0"):
        names.append("what follows the picture")
    return tuple(dict.fromkeys(names))


def with_new_pixels(old: bytes, new: bytes, picture: Image.Image) -> bytes:
    """The file `old` with the tables and scans of `new`, which shows `picture`, and with thumbnails of that.

    What lies behind the old picture (a film, a gain map, further pictures) goes behind the new one, and their directory
    is set right. Damaged files raise many things.
    """
    end, directory = jpeg_end(old), None
    head, num_bytes = [b"\xff\xd8"], 2
    for segment in _without_xmp_thumbnails([*segments(old)]):
        if segment.is_metadata and (data := _updated(segment, picture)):
            if segment.marker == _APP2 and data.startswith(_MPF):
                directory = segment.start + len(_MPF), num_bytes + 4 + len(_MPF), len(data) - len(_MPF)
            head.append(segment._replace(data=data).packed())
            num_bytes += len(head[-1])
    *tables, scan = segments(new)
    body = b"".join(table.packed() for table in tables if not table.is_metadata) + new[scan.start - 4 : jpeg_end(new)]
    if directory is None:
        return b"".join(head) + body + old[end:]
    return _with_directory(b"".join(head) + body, old, end, *directory, picture)


def without_metadata(jpeg: bytes, exif: bytes) -> bytes:
    """A JPEG file with nothing but what its pixels and their colours need, and with this EXIF data, if any."""
    *before, scan = segments(jpeg)
    kept = [segment for segment in before if not segment.is_metadata or segment.data.startswith(_SHOW_COLOURS)]
    place = int(bool(kept) and kept[0].marker == _APP0)
    kept[place:place] = [Segment(_APP1, exif, 0)] if exif else []
    return jpeg[:2] + b"".join(segment.packed() for segment in kept) + jpeg[scan.start - 4 : jpeg_end(jpeg)]


def _updated(segment: Segment, picture: Image.Image) -> bytes:
    """The data of a segment without anything that shows the picture as it was; empty for one to be left out."""
    marker, data, _ = segment
    if marker == _APP0 and data.startswith(_JFIF):
        return data[:12] + b"\0\0"  # the size of a thumbnail that would follow
    if marker == _APP0 and data.startswith(_JFXX):
        return with_redrawn_jpegs(data, picture) if data[5:6] == b"\x10" else b""  # others are no JPEG
    if marker == _APP1 and data.startswith(b"Exif\0\0"):
        return with_redrawn_thumbnail(data, picture)
    if marker == _APP1 and data.startswith(_XMP):
        return without_xmp_thumbnails(data)
    if marker == _APP13:
        return with_redrawn_jpegs(data, picture)
    if marker == _APP14 and data.startswith(_ADOBE) and picture.mode == "CMYK":
        return data[:11] + b"\0" + data[12:]  # no YCCK, which Pillow cannot write
    return data


def _without_xmp_thumbnails(parts: list[Segment]) -> list[Segment]:
    """The segments with blanks for those thumbnails that may reach from one to the next."""
    numbers = [number for number, part in enumerate(parts) if part.data.startswith(_MORE_XMP)]
    numbers.sort(key=lambda number: _xmp_place(parts[number]))
    new = BytesIO(without_xmp_thumbnails(b"".join(parts[number].data[_MORE_XMP_HEAD:] for number in numbers)))
    for number in numbers:
        head, rest = parts[number].data[:_MORE_XMP_HEAD], parts[number].data[_MORE_XMP_HEAD:]
        parts[number] = parts[number]._replace(data=head + new.read(len(rest)))
    return parts


def _xmp_place(part: Segment) -> tuple[bytes, bytes]:
    """Which text a part of extended XMP belongs to, by its checksum, and where in it."""
    return part.data[len(_MORE_XMP) : len(_MORE_XMP) + 32], part.data[_MORE_XMP_HEAD - 4 : _MORE_XMP_HEAD]


def _with_directory(
    new: bytes, old: bytes, end: int, old_start: int, new_start: int, num_bytes: int, picture: Image.Image
) -> bytes:
    """The new file with what lies behind the picture in the old one, and with its multi-picture directory set right
    (CIPA DC-007). Its positions count from where it begins itself; previews among its pictures are drawn anew."""
    directory, behind = bytearray(old[old_start : old_start + num_bytes]), old[end:]
    order = "<" if directory[:1] == b"I" else ">"
    (first,) = struct.unpack_from(f"{order}I", directory, 4)
    (num_tags,) = struct.unpack_from(f"{order}H", directory, first)
    tags = (struct.unpack_from(f"{order}HHII", directory, first + 2 + 12 * number) for number in range(num_tags))
    _, _, size, entries = next(tag for tag in tags if tag[0] == _MPF_ENTRIES)
    for place in range(entries, entries + size, 16):
        kind, num_bytes, position = struct.unpack_from(f"{order}III", directory, place)
        if position == 0:  # the first picture
            num_bytes += len(new) - end
        else:
            start = old_start + position - end
            if kind >> 16 & 0xFF == _MPF_THUMBNAIL and start >= 0:
                preview = with_redrawn_jpegs(behind[start : start + num_bytes], picture)
                behind = behind[:start] + preview + behind[start + num_bytes :]
            position += old_start - end - new_start + len(new)
        struct.pack_into(f"{order}III", directory, place, kind, num_bytes, position)
    return new[:new_start] + directory + new[new_start + len(directory) :] + behind
