"""What a JPEG 2000 file says about its picture and Pillow does not look for."""

import struct
from collections.abc import Iterator, Sequence

from PIL import Image

CODE_STREAM = b"\xff\x4f\xff\x51"  # its first bytes, also those of a file without a container
_COLOUR = 0  # a type of channel


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, content) of the parts of a file or of another box. Raises struct.error where they are damaged."""
    start = 0
    while len(data) >= start + 8:
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            size, head = *struct.unpack_from(">Q", data, start + 8), 16
        size = size or len(data) - start
        yield kind, data[start + head : start + size]
        start += max(size, head)


def header(content: bytes) -> dict[bytes, bytes]:
    """The boxes about the picture, from the file's beginning; none of a bare code stream."""
    if content.startswith(CODE_STREAM):
        return {}
    return dict(boxes(next((data for kind, data in boxes(content) if kind == b"jp2h"), b"")))


def profile(content: bytes) -> bytes | None:
    """The ICC profile."""
    colours = header(content).get(b"colr", b"")
    return colours[3:] if colours[:1] == b"\x02" else None


def channel_order(content: bytes) -> tuple[int, ...]:
    """The numbers of the channels that are grey, or red, green and blue, and alpha; empty where they lie in order."""
    definition = header(content).get(b"cdef", b"")[2:]
    kinds = sorted((kind != _COLOUR, place, number) for number, kind, place in struct.iter_unpack(">HHH", definition))
    order = tuple(number for *_, number in kinds)
    return order if sorted(order) == [*range(len(order))] != [*order] else ()


def in_order(image: Image.Image, order: Sequence[int]) -> Image.Image:
    """With its bands so arranged; `order` may be empty."""
    if len(order) != len(image.getbands()):
        return image
    bands = image.split()
    arranged = Image.merge(image.mode, [bands[number] for number in order])
    arranged.info = dict(image.info)
    return arranged
