"""PNG files of any depth, read as they store their pixels."""

import os
import struct
import zlib
from contextlib import suppress
from io import BytesIO
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from vae_cli.errors import DataError
from vae_cli.images.bad_files import BAD_BYTES
from vae_cli.images.bounds import MOST_TIMES_DEFLATE, refuse_claim, require_memory
from vae_cli.images.orientation import orientation_of
from vae_cli.images.samples import Alpha, Samples
from vae_cli.images.stored_values import Palette

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
"""Colour types."""
_NUM_COLOURS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 1, RGB_ALPHA: 3}
_DEEP_MODES = {RGB: ("RGB;16B", "RGB;16L"), RGB_ALPHA: ("RGBA;16B", "RGBA;16L"), GREY_ALPHA: ("RGBA",)}
"""Of 16 bits Pillow keeps one byte of each sample. Asked to read them in either byte order, it first gives the upper
one, then the lower one. Two samples of two bytes it takes for four of one."""
XMP_KEY, _RAW_KEY = b"XML:com.adobe.xmp", b"Raw profile type"
"""Of texts in which Pillow looks for the orientation."""
_MAX_PROFILE_BYTES = 1 << 26

Chunk = tuple[bytes, bytes]


class Content(NamedTuple):
    """A file's header, (name, data) of its other chunks without IEND, what follows, and (position, number of bytes) of
    the chunks with its pixels, for which one empty IDAT stands among the others."""

    header: bytes
    chunks: tuple[Chunk, ...]
    tail: bytes
    places: tuple[tuple[int, int], ...]

    @property
    def orientation(self) -> int:
        """As Pillow finds it."""
        wanted = [each for each in self.chunks if each[0] == b"eXIf" or each[1].startswith((XMP_KEY, _RAW_KEY))]
        header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
        chunks = [(b"IHDR", header), *wanted, (b"IDAT", zlib.compress(bytes(2))), (b"IEND", b"")]
        with suppress(*BAD_BYTES):
            return orientation_of(Image.open(BytesIO(SIGNATURE + b"".join(packed(*chunk) for chunk in chunks))))
        return 1


def read(file: IO[bytes]) -> Samples:
    """Raises DataError, without the file's name, or what BAD_BYTES lists."""
    return samples_of(file, read_chunks(file))


def samples_of(file: IO[bytes], content: Content) -> Samples:
    """The pixels of a file that has been read so far. Raises as `read`."""
    bits, colour_type = content.header[8:10]
    chunks = dict(reversed(content.chunks))
    entries = np.frombuffer(chunks.get(b"PLTE", b"")[: 3 << bits], np.uint8)
    if colour_type == PALETTE and not len(entries):
        raise DataError("damaged PNG (its palette is missing)")
    pixels = _decoded(file, content.header, entries.tobytes(), content.places)
    meaning, key, clear, num_colours = None, None, chunks.get(b"tRNS", b""), _NUM_COLOURS[colour_type]
    if colour_type == PALETTE:
        entries = entries[: len(entries) // 3 * 3].reshape(-1, 3)
        alphas = np.full(len(entries), 255, np.uint8)
        alphas[: len(clear)] = np.frombuffer(clear, np.uint8)[: len(alphas)]
        meaning = Palette(entries, alphas)
    elif colour_type in (GREY, RGB) and len(clear) >= 2 * num_colours:
        key = tuple(value & ((1 << bits) - 1) for value in struct.unpack_from(f">{num_colours}H", clear))
    across, down, unit = struct.unpack(">IIB", chunks.get(b"pHYs", b"")[:9].ljust(9, b"\0"))
    inches = (across * 0.0254, down * 0.0254) if unit == 1 and across and down else None
    alpha: Alpha = "straight" if colour_type in (GREY_ALPHA, RGB_ALPHA) else None
    profile = _profile(chunks.get(b"iCCP", b""))
    return Samples(pixels, num_colours, content.orientation, alpha, key, profile, inches, bits, meaning)


def read_chunks(file: IO[bytes]) -> Content:
    """What a PNG file holds, its pixels not yet read. Raises DataError, without the file's name."""
    size = file.seek(0, os.SEEK_END)
    file.seek(len(SIGNATURE))
    chunks: list[Chunk] = []
    places = list[tuple[int, int]]()
    while len(head := file.read(8)) == 8:
        num_bytes, name = struct.unpack(">I4s", head)
        if name == b"IEND":
            file.read(4)
            header = chunks[0][1] if chunks and chunks[0][0] == b"IHDR" else b""
            if len(header) != 13 or not places or (header[9] not in _NUM_COLOURS):
                raise DataError("damaged PNG (its header or its pixels are missing)")
            return Content(header, tuple(chunks[1:]), file.read(), tuple(places))
        if file.tell() + num_bytes + 4 > size:
            break
        if name == b"IDAT":
            chunks += [] if places else [(name, b"")]
            places.append((file.tell() - 8, num_bytes + 12))
            file.seek(num_bytes + 4, 1)
        else:
            chunks.append((name, file.read(num_bytes + 4)[:-4]))
    raise DataError("cut off (truncated file)")


def _decoded(file: IO[bytes], header: bytes, palette: bytes, places: tuple[tuple[int, int], ...]) -> np.ndarray:
    """[H, W, S] as Pillow decodes a file of nothing else: no text or profile is too long for it."""
    width, height, bits, colour_type = struct.unpack_from(">IIBB", header)
    num_samples = _NUM_COLOURS[colour_type] + (colour_type in (GREY_ALPHA, RGB_ALPHA))
    refuse_claim(width * height * num_samples * bits // 8, MOST_TIMES_DEFLATE * sum(num for _, num in places))
    require_memory(3 * width * height * num_samples * max(bits // 8, 1))
    pixels = BytesIO(SIGNATURE + packed(b"IHDR", header) + (packed(b"PLTE", palette) if palette else b""))
    pixels.seek(0, 2)
    for position, num_bytes in places:
        file.seek(position)
        pixels.write(file.read(num_bytes))
    pixels.write(packed(b"IEND", b""))
    decoded = []
    for raw_mode in _DEEP_MODES.get(colour_type, (None,)) if bits == 16 else (None,):
        pixels.seek(0)
        image = Image.open(pixels, formats=("PNG",))
        if raw_mode:
            image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        image.load()
        decoded.append(np.array(image))
    first = decoded[0]
    if bits == 16 and colour_type == GREY_ALPHA:
        first = first.view(">u2").astype(np.uint16)
    elif len(decoded) > 1:
        first = first.astype(np.uint16)
        first <<= 8
        first |= decoded[1]
    elif colour_type == GREY and bits < 8:
        first = first.astype(np.uint8) if bits == 1 else first // (255 // ((1 << bits) - 1))
    return first.reshape(*first.shape[:2], -1)


def _profile(data: bytes) -> bytes | None:
    """The ICC profile in an iCCP chunk."""
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(data.partition(b"\0")[2][1:], _MAX_PROFILE_BYTES) or None
    return None


def packed(name: bytes, data: bytes) -> bytes:
    """A chunk as bytes."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
