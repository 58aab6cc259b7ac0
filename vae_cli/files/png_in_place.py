"""PNG files of any depth: read as they store it, written with every chunk but the pixels as it was."""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
from PIL import Image

from vae_cli.errors import DataError
from vae_cli.files import png_texts
from vae_cli.files.thumbnails import with_redrawn_thumbnail
from vae_cli.images import png
from vae_cli.images.decode import NO_PAGES
from vae_cli.images.orientation import ORIENTATION_TAG
from vae_cli.images.samples import PageChange, Samples, fitted, pack
from vae_cli.images.stored_values import Palette

_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""The first row and column, and the steps, of the seven pictures that an interlaced one consists of."""
_TEXTS = b"tEXt", b"zTXt", b"iTXt"
_SHOW = (b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV",
         b"cLLI", b"sBIT", b"bKGD", b"pHYs")  # fmt: skip
"""Chunks that say how to show the picture, and nothing of where it comes from."""
_CARRIED = (b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT", b"iCCP", b"pHYs", b"eXIf", b"sRGB")
"""Chunks of what another format is given, too, or is said in other words; and sRGB, which others take for granted."""
_IDAT_BYTES = 1 << 20
_LEVEL, _DEEP_LEVEL = 6, 3  # of deflate: of 16 bits the lower ones are mostly noise, where more only takes time
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class PngSource:
    """A file's header, (name, data) of its other chunks without IEND, and what follows. One empty IDAT stands for the
    pixels."""

    format: ClassVar = "PNG"
    number: ClassVar = 0
    header: bytes
    chunks: tuple[png.Chunk, ...]
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
        is_xmp = [data.startswith(png.XMP_KEY) for name, data in self.chunks if name in _TEXTS]
        others = (f"chunk {name.decode('latin-1')}" for name, _ in self.chunks if name not in (*_TEXTS, *_CARRIED))
        return (*["text"] * (False in is_xmp), *["XMP"] * (True in is_xmp), *dict.fromkeys(others))

    def showing(self, picture: Image.Image) -> "PngSource":
        """With thumbnails of this picture in its metadata instead of those that it has."""

        def showing(name: bytes, data: bytes) -> bytes:
            if name == b"eXIf":
                return with_redrawn_thumbnail(data, picture)
            return png_texts.showing(name, data, picture) if name in _TEXTS else data

        return replace(self, chunks=tuple((name, showing(name, data)) for name, data in self.chunks))

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
        file.write(png.SIGNATURE)
        for name, data in self._chunks_with(pixels, text):
            file.write(png.packed(name, data))
        file.write(self.tail)
        own = {data for name, data in self.chunks if name == b"tEXt"}
        remarks = [f"its own text {key!r} is replaced" for key, value in text.items()
                   if any(data.startswith(f"{key}\0".encode()) for data in own - {f"{key}\0{value}".encode()})
                   ]  # fmt: skip
        if self.num_frames > 1:
            remarks.append("only the first frame is changed, the others are as they were")
        return tuple(remarks)

    def _chunks_with(self, pixels: np.ndarray, text: Mapping[str, str]) -> Iterator[png.Chunk]:
        keys = tuple(f"{key}\0".encode("latin-1") for key in text)
        yield b"IHDR", self.header
        for name, data in self.chunks:
            if name == b"IDAT":
                yield from ((b"tEXt", f"{key}\0{value}".encode("latin-1")) for key, value in text.items())
                yield from ((b"IDAT", part) for part in _compressed(pixels, self.header))
            elif not (name == b"tEXt" and data.startswith(keys)):
                yield name, data
        yield b"IEND", b""


def read(file: BinaryIO, _path: Path, page: int = 0) -> tuple[Samples, PngSource]:
    """Raises DataError, without the file's name, or what BAD_BYTES lists."""
    if page > 0:
        raise DataError(NO_PAGES.format(page + 1))
    content = png.read_chunks(file)
    return png.samples_of(file, content), PngSource(content.header, content.chunks, content.tail)


def write_new(file: BinaryIO, samples: Samples, text: Mapping[str, str]) -> tuple[str, ...]:
    """Writes a picture that came from another format, with the chunks that describe it. Returns remarks."""
    held, remarks = fitted(samples, (1, 2, 4, 8, 16), of_palettes=(1, 2, 4, 8))
    height, width, num_samples = held.pixels.shape
    colour_type = {1: png.GREY, 2: png.GREY_ALPHA, 3: png.RGB, 4: png.RGB_ALPHA}[num_samples]
    exif, described = Image.Exif(), BytesIO()
    if held.orientation != 1:
        exif[ORIENTATION_TAG] = held.orientation
    Image.new("L", (1, 1)).save(described, "PNG", exif=exif, icc_profile=held.icc_profile, dpi=held.dots_per_inch)
    chunks = list(png.read_chunks(described).chunks)
    if isinstance(held.space, Palette):
        colour_type, pixels = png.PALETTE, chunks.index((b"IDAT", b""))
        chunks[pixels:pixels] = [(b"PLTE", held.space.entries.tobytes())]
        if held.has_transparency:
            chunks.insert(pixels + 1, (b"tRNS", held.space.alphas.tobytes()))
    bits = held.bits or 8 * held.pixels.itemsize
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return remarks + PngSource(header, tuple(chunks)).write(file, [PageChange(0, held.pixels, 0)], text)


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
            if bits < 8 or colour_type == png.PALETTE:
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
