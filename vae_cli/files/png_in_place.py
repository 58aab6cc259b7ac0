"""PNG files of 16-bit colour: read at full depth, and written with all chunks but the pixels as they were."""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from vae_cli.errors import DataError
from vae_cli.files.samples import DeepPicture
from vae_cli.images.decode import bad_bytes_are_data_errors, orientation_of
from vae_cli.images.orientation import ORIENTATION_TAG

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {2: 3, 4: 1, 6: 3}
_RGB = 2  # colour type
_COLOUR_TYPES = {3: 2, 2: 4, 4: 6}  # by samples
# Pillow keeps one byte of each sample. Asked to read them in either byte order, it gives first the upper, then the
# lower one; two samples of two bytes it takes for four of one.
_RAW_MODES = {2: ("RGB;16B", "RGB;16L"), 6: ("RGBA;16B", "RGBA;16L"), 4: ("RGBA",)}
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_MAX_CHUNK_BYTES, _MAX_PROFILE_BYTES = 1 << 30, 1 << 26
_IDAT_BYTES = 1 << 20
_LEVEL = 3  # the lower bytes are mostly noise: 6 takes twice as long and saves nothing
_ROWS_AT_ONCE = 64
_METRES_PER_INCH = 0.0254

Chunk = tuple[bytes, bytes]


@dataclass(frozen=True)
class PngChunks:
    """All of a file but its pixels: (name, data) of the chunks before and after them, IHDR and IEND left out."""

    before: Sequence[Chunk] = ()
    after: Sequence[Chunk] = ()

    @property
    def num_frames(self) -> int:
        return max(1, sum(name == b"fcTL" for name, _ in (*self.before, *self.after)))


def is_deep(head: bytes) -> bool:
    """Whether a file that begins with these 26 bytes is a PNG of 16-bit colour, or grey with alpha."""
    return head[:8] == SIGNATURE and len(head) >= 26 and head[24] == 16 and head[25] in _COLOURS


def header_facts(path: Path) -> tuple[tuple[int, int], int]:
    """((height, width) as stored, orientation) without the pixels. Raises DataError."""
    with bad_bytes_are_data_errors(), Image.open(path, formats=("PNG",)) as image:
        width, height = image.size
        return (height, width), orientation_of(image, header_only=True)


def read(path: Path) -> tuple[DeepPicture, PngChunks]:
    """Raises DataError, without the file's name."""
    with bad_bytes_are_data_errors(), path.open("rb") as file:
        header, before, after = _read_chunks(file)
        colour_type, by_name = header[9], dict((*before, *after))
        pixels, orientation = _pixels(file, colour_type)
        has_key = colour_type == _RGB and b"tRNS" in by_name
        picture = DeepPicture(
            pixels,
            _COLOURS[colour_type],
            orientation,
            alpha=None if colour_type == _RGB else "straight",
            key_colour=struct.unpack(">3H", by_name[b"tRNS"]) if has_key else None,
            icc_profile=_icc_profile(by_name),
            dots_per_inch=_dots_per_inch(by_name),
        )
        return picture, PngChunks(before, after)


def write(file: BinaryIO, picture: DeepPicture, chunks: PngChunks, text: Mapping[str, str]) -> None:
    """Write a picture with the chunks of the file that it came from. `text` is added, replacing what has its keys."""
    height, width, num_samples = picture.pixels.shape
    file.write(SIGNATURE)
    _put(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[num_samples], 0, 0, 0))
    keys = tuple(key.encode("latin-1") + b"\0" for key in text)
    before, after = (
        [
            chunk
            for chunk in part
            if chunk[0] not in _ANIMATION and not (chunk[0] == b"tEXt" and chunk[1].startswith(keys))
        ]
        for part in (chunks.before, chunks.after)
    )
    for name, data in before:
        _put(file, name, data)
    for key, value in text.items():
        _put(file, b"tEXt", key.encode("latin-1") + b"\0" + value.encode("latin-1"))
    for data in _compressed(picture.pixels):
        _put(file, b"IDAT", data)
    for name, data in after:
        _put(file, name, data)
    _put(file, b"IEND", b"")


def new_chunks(picture: DeepPicture) -> PngChunks:
    """What describes a picture that came from another format."""
    found: list[Chunk] = []
    if picture.icc_profile:
        found.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc_profile)))
    if picture.dots_per_inch:
        across, down = (round(value / _METRES_PER_INCH) for value in picture.dots_per_inch)
        found.append((b"pHYs", struct.pack(">IIB", across, down, 1)))
    if picture.orientation != 1:
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = picture.orientation
        found.append((b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    return PngChunks(tuple(found))


# ---- reading


def _read_chunks(file: BinaryIO) -> tuple[bytes, list[Chunk], list[Chunk]]:
    """IHDR's data, and the chunks before and after the pixels."""
    file.seek(8)
    before: list[Chunk] = []
    after: list[Chunk] = []
    header, has_pixels = b"", False
    while len(head := file.read(8)) == 8:
        num_bytes, name = struct.unpack(">I4s", head)
        if name == b"IEND":
            if len(header) < 13 or not has_pixels:
                raise DataError("damaged PNG (its header or its pixels are missing)")
            return header, before, after
        if name == b"IDAT":
            has_pixels = True
            file.seek(num_bytes + 4, 1)
            continue
        if num_bytes > _MAX_CHUNK_BYTES or len(data := file.read(num_bytes + 4)) < num_bytes + 4:
            break
        if name == b"IHDR":
            header = data[:-4]
        else:
            (after if has_pixels else before).append((name, data[:-4]))
    raise DataError("cut off (truncated file)")


def _pixels(file: BinaryIO, colour_type: int) -> tuple[np.ndarray, int]:
    """uint16 [H, W, S] as stored, and the orientation."""
    parts, orientation = [], 1
    for raw_mode in _RAW_MODES[colour_type]:
        file.seek(0)
        with Image.open(file, formats=("PNG",)) as image:
            image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
            image.load()
            parts.append(np.array(image))
            orientation = orientation_of(image)
    if len(parts) == 1:
        return parts[0].view(">u2").astype(np.uint16), orientation
    upper, lower = parts
    pixels = upper.astype(np.uint16)
    pixels <<= 8
    pixels |= lower
    return pixels, orientation


def _icc_profile(chunks: Mapping[bytes, bytes]) -> bytes | None:
    name, separator, packed = chunks.get(b"iCCP", b"").partition(b"\0")
    try:
        return zlib.decompressobj().decompress(packed[1:], _MAX_PROFILE_BYTES) if name and separator else None
    except zlib.error:
        return None


def _dots_per_inch(chunks: Mapping[bytes, bytes]) -> tuple[float, float] | None:
    data = chunks.get(b"pHYs", b"")
    if len(data) != 9 or data[8] != 1:
        return None
    across, down = struct.unpack(">II", data[:8])
    return across * _METRES_PER_INCH, down * _METRES_PER_INCH


# ---- writing


def _put(file: BinaryIO, name: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name))))


def _compressed(pixels: np.ndarray) -> Iterator[bytes]:
    """The data of the IDAT chunks, a megabyte or a little more each."""
    squeeze, waiting = zlib.compressobj(_LEVEL), b""
    height, width, num_samples = pixels.shape
    above = np.zeros((1, width * num_samples * 2), np.uint8)
    for start in range(0, height, _ROWS_AT_ONCE):
        rows = pixels[start : start + _ROWS_AT_ONCE].astype(">u2").reshape(-1, width * num_samples).view(np.uint8)
        waiting += squeeze.compress(_filtered(np.concatenate([above, rows]), num_samples * 2))
        above = rows[-1:]
        if len(waiting) >= _IDAT_BYTES:
            yield waiting
            waiting = b""
    yield waiting + squeeze.flush()


def _filtered(rows: np.ndarray, pixel_bytes: int) -> bytes:
    """Rows uint8 [1 + R, N] without the first, each behind the filter that leaves the smallest differences (the
    standard's advice; of Sub, Up and Paeth)."""
    wide = rows.astype(np.int16)
    here, up = wide[1:], wide[:-1]
    left, corner = (np.pad(part[:, :-pixel_bytes], ((0, 0), (pixel_bytes, 0))) for part in (here, up))
    to_left, to_up, to_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))
    candidates = [(here - guess).astype(np.uint8) for guess in (left, up, paeth)]
    costs = [np.abs(candidate.view(np.int8).astype(np.int16)).sum(1, dtype=np.int64) for candidate in candidates]
    best = np.argmin(costs, axis=0)
    chosen = np.choose(best[:, None], candidates)
    kinds = np.array([1, 2, 4], np.uint8)[best]
    return np.column_stack([kinds, chosen]).tobytes()
