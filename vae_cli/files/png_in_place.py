"""PNG files of any depth: read as they store it, written with every chunk but the pixels as it was."""

import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
from PIL import Image

from vae_cli.errors import DataError
from vae_cli.files.samples import Alpha, PageChange, Samples, fitted, pack
from vae_cli.files.stored_values import Palette
from vae_cli.files.thumbnails import with_redrawn_thumbnail, without_xmp_thumbnails
from vae_cli.images.bad_files import BAD_BYTES
from vae_cli.images.bounds import refuse_claim, require_memory
from vae_cli.images.orientation import ORIENTATION_TAG, displayed_size, orientation_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6  # colour types
_NUM_COLOURS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 1, _RGB_ALPHA: 3}
_DEEP_MODES = {_RGB: ("RGB;16B", "RGB;16L"), _RGB_ALPHA: ("RGBA;16B", "RGBA;16L"), _GREY_ALPHA: ("RGBA",)}
"""Of 16 bits Pillow keeps one byte of each sample. Asked to read them in either byte order, it first gives the upper
one, then the lower one. Two samples of two bytes it takes for four of one."""
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""The first row and column, and the steps, of the seven pictures that an interlaced one consists of."""
_TEXTS = b"tEXt", b"zTXt", b"iTXt"
_SAY_ORIENTATION = b"XML:com.adobe.xmp", b"Raw profile type"  # texts in which Pillow looks for it
_SHOW = (b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV",
         b"cLLI", b"sBIT", b"bKGD", b"pHYs")  # fmt: skip
"""Chunks that say how to show the picture, and nothing of where it comes from."""
_MAX_PROFILE_BYTES = 1 << 26
_IDAT_BYTES = 1 << 20
_MOST_TIMES = 1032  # deflate makes data shorter by no more
_LEVEL, _DEEP_LEVEL = 6, 3  # of deflate: of 16 bits the lower ones are mostly noise, where more only takes time
_ROWS_AT_ONCE = 64

Chunk = tuple[bytes, bytes]


@dataclass(frozen=True)
class PngSource:
    """A file's header, (name, data) of its other chunks without IEND, and what follows. One empty IDAT stands for the
    pixels."""

    format: ClassVar = "PNG"
    number: ClassVar = 0
    header: bytes
    chunks: tuple[Chunk, ...]
    tail: bytes = b""

    @property
    def num_frames(self) -> int:
        return max(1, sum(name == b"fcTL" for name, _ in self.chunks))

    @property
    def exif(self) -> bytes | None:
        return next((b"Exif\0\0" + data for name, data in self.chunks if name == b"eXIf"), None)

    @property
    def metadata(self) -> tuple[str, ...]:
        """Names of what the file holds besides EXIF and no file of another format is given."""
        is_xmp = [data.startswith(_SAY_ORIENTATION[0]) for name, data in self.chunks if name in _TEXTS]
        return ("text",) * (False in is_xmp) + ("XMP",) * (True in is_xmp)

    def showing(self, picture: Image.Image) -> "PngSource":
        """With thumbnails of this picture in its metadata instead of those that it has."""
        redraw = {b"eXIf": lambda data: with_redrawn_thumbnail(data, picture), b"iTXt": without_xmp_thumbnails}
        return replace(self, chunks=tuple((name, redraw.get(name, bytes)(data)) for name, data in self.chunks))

    def without_metadata(self, orientation: int) -> "PngSource":
        """With nothing but what says how to show the pixels."""
        kept = [chunk for chunk in self.chunks if chunk[0] in _SHOW]
        if orientation != 1:
            tags = Image.Exif()
            tags[ORIENTATION_TAG] = orientation
            kept.insert(0, (b"eXIf", tags.tobytes().removeprefix(b"Exif\0\0")))
        return PngSource(self.header, tuple(kept))

    def change_to(self, samples: Samples) -> np.ndarray:
        return samples.pixels

    def write(self, file: BinaryIO, changes: Sequence[PageChange], text: Mapping[str, str]) -> tuple[str, ...]:
        """Writes a picture with these chunks. `text` is added, replacing what has its keys."""
        ((_, pixels, _),) = changes
        file.write(SIGNATURE)
        for name, data in self._chunks_with(pixels, text):
            file.write(_stored(name, data))
        file.write(self.tail)
        return ("only the first frame is changed, the others are as they were",) if self.num_frames > 1 else ()

    def _chunks_with(self, pixels: np.ndarray, text: Mapping[str, str]) -> Iterator[Chunk]:
        keys = tuple(f"{key}\0".encode("latin-1") for key in text)
        yield b"IHDR", self.header
        for name, data in self.chunks:
            if name == b"IDAT":
                yield from ((b"tEXt", f"{key}\0{value}".encode("latin-1")) for key, value in text.items())
                yield from ((b"IDAT", part) for part in _compressed(pixels, self.header))
            elif not (name == b"tEXt" and data.startswith(keys)):
                yield name, data
        yield b"IEND", b""


def display_size(file: BinaryIO, _page: int = 0) -> tuple[int, int]:
    """(height, width) as displayed, without reading the pixels. Raises DataError, without the file's name."""
    source, _ = _read_chunks(file)
    width, height = struct.unpack_from(">II", source.header)
    return displayed_size((height, width), _orientation(source))


def read(file: BinaryIO, _path: Path, page: int = 0) -> tuple[Samples, PngSource]:
    """Raises DataError, without the file's name, or what BAD_BYTES lists."""
    if page > 0:
        raise DataError(f"has no page {page + 1}: only TIFF files have several")
    source, places = _read_chunks(file)
    bits, colour_type = source.header[8:10]
    chunks = dict(reversed(source.chunks))
    entries = np.frombuffer(chunks.get(b"PLTE", b"")[: 3 << bits], np.uint8)
    if colour_type == _PALETTE and not len(entries):
        raise DataError("damaged PNG (its palette is missing)")
    pixels = _decoded(file, source.header, entries.tobytes(), places)
    meaning, key, clear, num_colours = None, None, chunks.get(b"tRNS", b""), _NUM_COLOURS[colour_type]
    if colour_type == _PALETTE:
        entries = entries[: len(entries) // 3 * 3].reshape(-1, 3)
        alphas = np.full(len(entries), 255, np.uint8)
        alphas[: len(clear)] = np.frombuffer(clear, np.uint8)[: len(alphas)]
        meaning = Palette(entries, alphas)
    elif colour_type in (_GREY, _RGB) and len(clear) >= 2 * num_colours:
        key = tuple(value & ((1 << bits) - 1) for value in struct.unpack_from(f">{num_colours}H", clear))
    across, down, unit = struct.unpack(">IIB", chunks.get(b"pHYs", b"")[:9].ljust(9, b"\0"))
    inches = (across * 0.0254, down * 0.0254) if unit == 1 and across and down else None
    alpha: Alpha = "straight" if colour_type in (_GREY_ALPHA, _RGB_ALPHA) else None
    profile = _profile(chunks.get(b"iCCP", b""))
    return Samples(pixels, num_colours, _orientation(source), alpha, key, profile, inches, bits, meaning), source


def write_new(file: BinaryIO, samples: Samples, text: Mapping[str, str]) -> tuple[str, ...]:
    """Writes a picture that came from another format, with the chunks that describe it. Returns remarks."""
    held, remarks = fitted(samples, (1, 2, 4, 8, 16), of_palettes=(1, 2, 4, 8))
    height, width, num_samples = held.pixels.shape
    colour_type = {1: _GREY, 2: _GREY_ALPHA, 3: _RGB, 4: _RGB_ALPHA}[num_samples]
    exif, described = Image.Exif(), BytesIO()
    if held.orientation != 1:
        exif[ORIENTATION_TAG] = held.orientation
    Image.new("L", (1, 1)).save(described, "PNG", exif=exif, icc_profile=held.icc_profile, dpi=held.dots_per_inch)
    chunks = list(_read_chunks(described)[0].chunks)
    if isinstance(held.space, Palette):
        colour_type, pixels = _PALETTE, chunks.index((b"IDAT", b""))
        chunks[pixels:pixels] = [(b"PLTE", held.space.entries.tobytes())]
        if held.has_transparency:
            chunks.insert(pixels + 1, (b"tRNS", held.space.alphas.tobytes()))
    bits = held.bits or 8 * held.pixels.itemsize
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return remarks + PngSource(header, tuple(chunks)).write(file, [PageChange(0, held.pixels, 0)], text)


def _read_chunks(file: BinaryIO) -> tuple[PngSource, list[tuple[int, int]]]:
    """What a PNG file holds, and (position, number of bytes) of the chunks with its pixels. Raises DataError."""
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
            return PngSource(header, tuple(chunks[1:]), file.read()), places
        if file.tell() + num_bytes + 4 > size:
            break
        if name == b"IDAT":
            chunks += [] if places else [(name, b"")]
            places.append((file.tell() - 8, num_bytes + 12))
            file.seek(num_bytes + 4, 1)
        else:
            chunks.append((name, file.read(num_bytes + 4)[:-4]))
    raise DataError("cut off (truncated file)")


def _decoded(file: BinaryIO, header: bytes, palette: bytes, places: list[tuple[int, int]]) -> np.ndarray:
    """[H, W, S] as Pillow decodes a file of nothing else: no text or profile is too long for it."""
    width, height, bits, colour_type = struct.unpack_from(">IIBB", header)
    num_samples = _NUM_COLOURS[colour_type] + (colour_type in (_GREY_ALPHA, _RGB_ALPHA))
    refuse_claim(width * height * num_samples * bits // 8, _MOST_TIMES * sum(num_bytes for _, num_bytes in places))
    require_memory(3 * width * height * num_samples * max(bits // 8, 1))
    pixels = BytesIO(SIGNATURE + _stored(b"IHDR", header) + (_stored(b"PLTE", palette) if palette else b""))
    pixels.seek(0, 2)
    for position, num_bytes in places:
        file.seek(position)
        pixels.write(file.read(num_bytes))
    pixels.write(_stored(b"IEND", b""))
    decoded = []
    for raw_mode in _DEEP_MODES.get(colour_type, (None,)) if bits == 16 else (None,):
        pixels.seek(0)
        image = Image.open(pixels, formats=("PNG",))
        if raw_mode:
            image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        image.load()
        decoded.append(np.array(image))
    first = decoded[0]
    if bits == 16 and colour_type == _GREY_ALPHA:
        first = first.view(">u2").astype(np.uint16)
    elif len(decoded) > 1:
        first = first.astype(np.uint16)
        first <<= 8
        first |= decoded[1]
    elif colour_type == _GREY and bits < 8:
        first = first.astype(np.uint8) if bits == 1 else first // (255 // ((1 << bits) - 1))
    return first.reshape(*first.shape[:2], -1)


def _orientation(source: PngSource) -> int:
    """As Pillow finds it."""
    wanted = [chunk for chunk in source.chunks if chunk[0] == b"eXIf" or chunk[1].startswith(_SAY_ORIENTATION)]
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), *wanted, (b"IDAT", zlib.compress(bytes(2))), (b"IEND", b"")]
    with suppress(*BAD_BYTES):
        return orientation_of(Image.open(BytesIO(SIGNATURE + b"".join(_stored(*chunk) for chunk in chunks))))
    return 1


def _profile(data: bytes) -> bytes | None:
    """The ICC profile in an iCCP chunk."""
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(data.partition(b"\0")[2][1:], _MAX_PROFILE_BYTES) or None
    return None


def _stored(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


def _compressed(pixels: np.ndarray, header: bytes) -> Iterator[bytes]:
    """The data of the IDAT chunks, a megabyte or a little more each."""
    bits, colour_type, is_interlaced = header[8], header[9], header[12]
    deflate, waiting = zlib.compressobj(_LEVEL if bits <= 8 else _DEEP_LEVEL), b""
    pixel_bytes = max(1, bits * pixels.shape[2] // 8)
    for top, left, down, across in _ADAM7 if is_interlaced else ((0, 0, 1, 1),):
        part = pixels[top::down, left::across]
        above = None
        for start in range(0, len(part) if part.size else 0, _ROWS_AT_ONCE):
            stored = part[start : start + _ROWS_AT_ONCE].reshape(-1, part.shape[1] * part.shape[2])
            rows = pack(stored, bits) if bits < 8 else np.ascontiguousarray(stored, f">u{bits // 8}").view(np.uint8)
            if bits < 8 or colour_type == _PALETTE:
                filtered = np.pad(rows, ((0, 0), (1, 0))).tobytes()
            else:
                above = np.zeros_like(rows[:1]) if above is None else above
                filtered = _filtered(np.concatenate([above, rows]), pixel_bytes)
                above = rows[-1:]
            waiting += deflate.compress(filtered)
            if len(waiting) >= _IDAT_BYTES:
                yield waiting
                waiting = b""
    yield waiting + deflate.flush()


def _filtered(rows: np.ndarray, pixel_bytes: int) -> bytes:
    """Rows uint8 [1 + R, N] without the first, each after the number of the filter (None, Sub, Up or Paeth) that leaves
    the smallest sum of differences, as the standard advises."""
    wide = rows.astype(np.int16)
    here, up = wide[1:], wide[:-1]
    left, corner = (np.pad(part[:, :-pixel_bytes], ((0, 0), (pixel_bytes, 0))) for part in (here, up))
    to_left, to_up, to_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))
    candidates = [(here - guess).astype(np.uint8) for guess in (0, left, up, paeth)]
    costs = [np.abs(candidate.view(np.int8).astype(np.int16)).sum(1, dtype=np.int64) for candidate in candidates]
    best = np.argmin(costs, axis=0)
    return np.column_stack([np.array([0, 1, 2, 4], np.uint8)[best], np.choose(best[:, None], candidates)]).tobytes()
