"""PNG files of 16-bit colour, or grey with alpha: read at full depth, written with every chunk but the pixels."""

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, ClassVar

import numpy as np
from PIL import Image

from vae_cli.errors import DataError
from vae_cli.files.samples import Samples
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.bounds import refuse_hollow
from vae_cli.images.orientation import ORIENTATION_TAG, displayed_size, orientation_of

HEAD_BYTES = 26
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB, _GREY_ALPHA, _RGB_ALPHA = 2, 4, 6  # colour types
_COLOUR_TYPES = {3: _RGB, 2: _GREY_ALPHA, 4: _RGB_ALPHA}  # by samples
_RAW_MODES = {_RGB: ("RGB;16B", "RGB;16L"), _RGB_ALPHA: ("RGBA;16B", "RGBA;16L"), _GREY_ALPHA: ("RGBA",)}
"""Pillow keeps one byte of each sample. Asked to read them in either byte order, it first gives the upper one, then the
lower one. Two samples of two bytes it takes for four of one."""
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_MAX_CHUNK_BYTES = 1 << 30
_IDAT_BYTES = 1 << 20
_LEVEL = 3  # of deflate: the lower bytes are mostly noise, so that more takes time and saves nothing
_ROWS_AT_ONCE = 64

Chunk = tuple[bytes, bytes]


@dataclass(frozen=True)
class PngSource:
    """(name, data) of a file's chunks without IHDR and IEND; one empty IDAT stands for its pixels."""

    format: ClassVar = "PNG"
    chunks: tuple[Chunk, ...] = ()

    @property
    def num_frames(self) -> int:
        return max(1, sum(name == b"fcTL" for name, _ in self.chunks))

    def write(self, file: IO[bytes], samples: Samples, text: Mapping[str, str]) -> None:
        """Writes a picture with these chunks. `text` is added, replacing what has its keys."""
        file.write(SIGNATURE)
        for name, data in self._chunks_with(samples, text):
            checksum = zlib.crc32(data, zlib.crc32(name))
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum))

    def _chunks_with(self, samples: Samples, text: Mapping[str, str]) -> Iterator[Chunk]:
        height, width, num_samples = samples.pixels.shape
        bits = 8 * samples.pixels.itemsize
        keys = tuple(f"{key}\0".encode("latin-1") for key in text)
        yield b"IHDR", struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPES[num_samples], 0, 0, 0)
        for name, data in self.chunks:
            if name == b"IDAT":
                yield from ((b"tEXt", f"{key}\0{value}".encode("latin-1")) for key, value in text.items())
                yield from ((b"IDAT", part) for part in _compressed(samples.pixels))
            elif name not in _ANIMATION and not (name == b"tEXt" and data.startswith(keys)):
                yield name, data
        yield b"IEND", b""


def is_in_place(head: bytes) -> bool:
    """Whether a file that begins with these bytes is changed in place."""
    return head[:8] == SIGNATURE and len(head) >= HEAD_BYTES and head[24] == 16 and head[25] in _RAW_MODES


def display_size(path: Path) -> tuple[int, int]:
    """(height, width) as displayed, without reading the pixels. Raises DataError, without the file's name."""
    with bad_bytes_are_data_errors(), Image.open(path, formats=("PNG",)) as image:
        return displayed_size((image.height, image.width), orientation_of(image, header_only=True))


def read(path: Path) -> tuple[Samples, PngSource]:
    """Raises DataError, without the file's name."""
    with bad_bytes_are_data_errors(), path.open("rb") as file:
        colour_type, source = _read_chunks(file)
        decoded = []
        file.seek(0)
        head = file.read(HEAD_BYTES)
        for raw_mode in _RAW_MODES[colour_type]:
            file.seek(0)
            image = Image.open(file, formats=("PNG",))
            refuse_hollow(image, head, os.fstat(file.fileno()).st_size)
            image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
            image.load()
            decoded.append(image)
        if colour_type == _GREY_ALPHA:
            pixels = np.array(image).view(">u2").astype(np.uint16)
        else:
            pixels = np.array(decoded[0], np.uint16)
            pixels <<= 8
            pixels |= np.asarray(decoded[1])
        facts, orientation = image.info, orientation_of(image)
        described = facts.get("icc_profile"), facts.get("dpi")
        if colour_type == _RGB:
            return Samples(pixels, 3, orientation, None, facts.get("transparency"), *described), source
        num_colours = 1 if colour_type == _GREY_ALPHA else 3
        return Samples(pixels, num_colours, orientation, "straight", None, *described), source


def write_new(file: IO[bytes], samples: Samples, text: Mapping[str, str]) -> None:
    """Writes a picture that came from another format, with the chunks that describe it."""
    exif, described = Image.Exif(), BytesIO()
    if samples.orientation != 1:
        exif[ORIENTATION_TAG] = samples.orientation
    facts = {"exif": exif, "icc_profile": samples.icc_profile, "dpi": samples.dots_per_inch}
    Image.new("L", (1, 1)).save(described, "PNG", **facts)
    _read_chunks(described)[1].write(file, samples, text)


def _read_chunks(file: IO[bytes]) -> tuple[int, PngSource]:
    """The colour type of a PNG file, and its chunks."""
    file.seek(8)
    chunks: list[Chunk] = []
    header, pixels = b"", (b"IDAT", b"")
    while len(head := file.read(8)) == 8:
        num_bytes, name = struct.unpack(">I4s", head)
        if name == b"IEND":
            if len(header) < 13 or pixels not in chunks:
                raise DataError("damaged PNG (its header or its pixels are missing)")
            return header[9], PngSource(tuple(chunks))
        if name == b"IDAT":
            file.seek(num_bytes + 4, 1)
            if pixels not in chunks:
                chunks.append(pixels)
            continue
        if num_bytes > _MAX_CHUNK_BYTES or len(data := file.read(num_bytes + 4)) < num_bytes + 4:
            break
        if name == b"IHDR":
            header = data[:-4]
        else:
            chunks.append((name, data[:-4]))
    raise DataError("cut off (truncated file)")


def _compressed(pixels: np.ndarray) -> Iterator[bytes]:
    """The data of the IDAT chunks, a megabyte or a little more each."""
    deflate, waiting = zlib.compressobj(_LEVEL), b""
    height, width, num_samples = pixels.shape
    pixel_bytes = num_samples * pixels.itemsize
    above = np.zeros((1, width * pixel_bytes), np.uint8)
    for start in range(0, height, _ROWS_AT_ONCE):
        stored = pixels[start : start + _ROWS_AT_ONCE].astype(pixels.dtype.newbyteorder(">"))
        rows = stored.reshape(len(stored), -1).view(np.uint8)
        waiting += deflate.compress(_filtered(np.concatenate([above, rows]), pixel_bytes))
        above = rows[-1:]
        if len(waiting) >= _IDAT_BYTES:
            yield waiting
            waiting = b""
    yield waiting + deflate.flush()


def _filtered(rows: np.ndarray, pixel_bytes: int) -> bytes:
    """Rows uint8 [1 + R, N] without the first, each after the number of the filter (of Sub, Up and Paeth) that leaves
    the smallest sum of differences, as the standard advises."""
    wide = rows.astype(np.int16)
    here, up = wide[1:], wide[:-1]
    left, corner = (np.pad(part[:, :-pixel_bytes], ((0, 0), (pixel_bytes, 0))) for part in (here, up))
    to_left, to_up, to_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))
    candidates = [(here - guess).astype(np.uint8) for guess in (left, up, paeth)]
    costs = [np.abs(candidate.view(np.int8).astype(np.int16)).sum(1, dtype=np.int64) for candidate in candidates]
    best = np.argmin(costs, axis=0)
    return np.column_stack([np.array([1, 2, 4], np.uint8)[best], np.choose(best[:, None], candidates)]).tobytes()
