"""TIFF files of which only the changed pixels are written: the first page is read at full depth, and its changed strips
or tiles go into a copy of the file, compressed as they were, while every other byte stays.

So far this is for 16-bit colour, and grey with alpha. tifffile finds the pages, tags, strips and tiles.
"""

import importlib.util
import itertools
import lzma
import math
import os
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

import numpy as np
import tifffile
from PIL import Image
from tifffile import TiffPage

from vae_cli.atomic import opened
from vae_cli.errors import DataError
from vae_cli.files import tiff_pages
from vae_cli.files.samples import Samples
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.bit_depth import open_tiff
from vae_cli.images.orientation import ORIENTATION_TAG, displayed_size

_COLOURS = {1: 1, 2: 3}  # by photometric interpretation: grey with black as 0, RGB
_ALPHAS: dict[int, Literal["straight", "premultiplied"]] = {1: "premultiplied", 2: "straight"}  # by extra sample
_UNSIGNED, _DIFFERENCING, _PLANAR = 1, 2, 2  # a sample format, a predictor, a planar configuration
_MAX_SAMPLES = 8
_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS, _LZMA, _ZSTANDARD = 1, 5, 8, 32946, 32773, 34925, 50000
_NEED_IMAGECODECS = {_LZW: "LZW", _PACKBITS: "PackBits", _ZSTANDARD: "Zstandard"}
_COMPRESSIONS = (_NONE, _DEFLATE, _OLD_DEFLATE, _LZMA, *_NEED_IMAGECODECS)
_MOST_TIMES = 1 << 16  # no compression makes data shorter by more
_NEW_STRIP_BYTES = 1 << 20

Place = tuple[slice, slice, slice]
"""The rows, columns and samples of a strip or tile; tiles may reach over the edges of the picture."""


@dataclass(frozen=True, eq=False)
class TiffSource:
    """The file that a picture came from, as it was then."""

    format: ClassVar = "TIFF"
    path: Path
    pixels: np.ndarray
    stamp: tuple[int, int]
    num_frames: int

    def write(self, file: BinaryIO, samples: Samples, _text: Mapping[str, str]) -> None:
        """Copies the file and puts those strips or tiles into the copy that hold a changed pixel. Raises DataError."""
        with opened(self.path) as original:
            shutil.copyfileobj(original, file, 1 << 20)
            is_as_read = _stamp(original) == self.stamp  # else an --overwrite has put another result there
        tiff = open_tiff(file)
        page = tiff.pages.first
        with bad_bytes_are_data_errors():
            places = _places(page)
        if (page.imagelength, page.imagewidth, page.samplesperpixel) != samples.pixels.shape:
            raise DataError(f"{self.path}: has changed since it was read; try again")
        positions, sizes = list(page.dataoffsets), list(page.databytecounts)
        for number, (place, num_free) in enumerate(zip(places, tiff_pages.free_bytes(tiff), strict=True)):
            new, old = samples.pixels[place], self.pixels[place]
            if not is_as_read or not all(map(np.array_equal, new, old)):  # row by row, as a strip may hold a whole scan
                data = _encoded(page, place, new)
                positions[number], sizes[number] = tiff_pages.put(file, data, positions[number], num_free), len(data)
        if (*positions, *sizes) != (*page.dataoffsets, *page.databytecounts):
            tiff_pages.set_segments(file, positions, sizes)


def is_in_place(page: TiffPage) -> bool:
    """Whether a file with this first page is changed in place."""
    num_samples, num_colours = page.samplesperpixel, _COLOURS.get(page.photometric, 0)
    is_colour = num_colours > 0 and max(num_colours, 2) <= num_samples <= _MAX_SAMPLES
    return is_colour and page.bitspersample == 16 and page.sampleformat == _UNSIGNED


def display_size(path: Path) -> tuple[int, int]:
    """(height, width) as displayed, without reading the pixels. Raises DataError, without the file's name."""
    with bad_bytes_are_data_errors(), path.open("rb") as file:
        page = open_tiff(file).pages.first
        _places(page)
        return displayed_size((page.imagelength, page.imagewidth), _orientation(page))


def read(path: Path) -> tuple[Samples, TiffSource]:
    """Raises DataError, without the file's name."""
    with bad_bytes_are_data_errors(), path.open("rb") as file:
        tiff = open_tiff(file)
        page = tiff.pages.first
        segments = [*zip(_places(page), page.dataoffsets, page.databytecounts, strict=True)]
        for place, position, num_bytes in segments:  # before any memory is taken for what the page claims to hold
            if position + num_bytes > tiff.filehandle.size:
                raise DataError("cut off (truncated file)")
            if _num_bytes(page, place) > num_bytes * (1 if page.compression == _NONE else _MOST_TIMES):
                raise DataError("cut off (a strip or tile of it)")
        shape = page.imagelength, page.imagewidth, page.samplesperpixel
        pixels = np.empty(shape, _dtype(page).newbyteorder("="))
        for place, position, num_bytes in segments:
            file.seek(position)
            _decode(page, file.read(num_bytes), place, pixels)
        num_colours, alpha, dots_per_inch = _COLOURS[page.photometric], None, None
        if page.samplesperpixel > num_colours:
            alpha = _ALPHAS.get(page.extrasamples[0] if page.extrasamples else 2)  # most take an unnamed one for alpha
        has_unit = page.tags.valueof("ResolutionUnit", 2) in (2, 3)  # inches, centimetres
        if has_unit and "XResolution" in page.tags and "YResolution" in page.tags:
            resolution = page.get_resolution("INCH")
            dots_per_inch = resolution if min(resolution) > 0 else None
        samples = Samples(pixels, num_colours, _orientation(page), alpha, None, page.iccprofile, dots_per_inch)
        return samples, TiffSource(path, pixels, _stamp(file), tiff_pages.count(tiff))


def write_new(file: BinaryIO, samples: Samples, _text: Mapping[str, str]) -> None:
    """Writes a picture that came from another format: strips, deflate with differencing."""
    options: dict[str, Any] = {"compression": "zlib", "predictor": True, "planarconfig": "contig", "software": False}
    options["rowsperstrip"] = max(1, _NEW_STRIP_BYTES // samples.pixels[0].nbytes)
    options["photometric"] = "rgb" if samples.num_colours == 3 else "minisblack"
    options["extrasamples"] = ["unassalpha"] if samples.alpha else None
    if samples.dots_per_inch:
        options |= {"resolution": samples.dots_per_inch, "resolutionunit": "inch"}
    tags = [(ORIENTATION_TAG, "H", 1, samples.orientation, True)]
    tifffile.imwrite(file, samples.pixels, iccprofile=samples.icc_profile, extratags=tags, metadata=None, **options)


def _places(page: TiffPage) -> list[Place]:
    """Of all strips or tiles, in the file's order. Raises DataError if not supported, many things on damaged pages."""
    height, width, num_samples = page.imagelength, page.imagewidth, page.samplesperpixel
    if not is_in_place(page) or height < 1 or width < 1 or page.fillorder != 1:
        raise DataError("damaged TIFF (its directory)")
    if height * width > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
        raise Image.DecompressionBombError
    if page.predictor not in (1, _DIFFERENCING) or page.compression not in _COMPRESSIONS:
        found = f"16-bit colour in a TIFF of compression {int(page.compression)} with predictor {int(page.predictor)}"
        raise DataError(f"{found}, which cannot be read; save it uncompressed, with LZW or with ZIP")
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
    depth = 1 if page.planarconfig == _PLANAR else num_samples
    grid = range(0, num_samples, depth), range(0, height, max(rows, 1)), range(0, width, max(columns, 1))
    has_tables = all(tag in page.tags for tag in tiff_pages.segment_tags(page))
    if not has_tables or not math.prod(map(len, grid)) == len(page.dataoffsets) == len(page.databytecounts):
        raise DataError("damaged TIFF (its strips or tiles)")
    lowest = math.inf if page.is_tiled else height
    return [
        np.s_[top : min(top + rows, lowest), left : left + columns, sample : sample + depth]
        for sample, top, left in itertools.product(*grid)
    ]


def _decode(page: TiffPage, data: bytes, place: Place, pixels: np.ndarray) -> None:
    """Puts the samples of a strip or tile where they belong in `pixels` [H, W, S]; damaged data raise many things."""
    num_bytes = _num_bytes(page, place)
    if page.compression in (_DEFLATE, _OLD_DEFLATE):  # no more than what is needed, which might fill the memory
        data = zlib.decompressobj().decompress(data, num_bytes)
    elif page.compression == _LZMA:
        data = lzma.LZMADecompressor().decompress(data, num_bytes)
    elif page.compression in _NEED_IMAGECODECS and importlib.util.find_spec("imagecodecs") is None:
        title = _NEED_IMAGECODECS[page.compression]
        raise DataError(f"16-bit colour with {title} needs one more package: pip install imagecodecs")
    else:
        data = tifffile.TIFF.DECOMPRESSORS[page.compression](data, out=num_bytes)
    if len(data) < num_bytes:
        raise DataError("cut off (a strip or tile of it)")
    target = pixels[place]
    samples = np.frombuffer(data[:num_bytes], _dtype(page)).reshape(_extent(place))
    samples = samples[: target.shape[0], : target.shape[1]]
    if page.predictor == _DIFFERENCING:
        np.cumsum(samples, axis=1, dtype=target.dtype, out=target)
    else:
        target[:] = samples


def _encoded(page: TiffPage, place: Place, samples: np.ndarray) -> bytes:
    """The bytes of a strip or tile that holds these samples, uint8 or uint16 [H, W, S]."""
    missing = [(0, wanted - have) for wanted, have in zip(_extent(place), samples.shape, strict=True)]
    samples = np.pad(samples, missing, mode="edge")
    if page.predictor == _DIFFERENCING:
        samples = np.concatenate([samples[:, :1], np.diff(samples, axis=1)], axis=1)
    samples = np.ascontiguousarray(samples, _dtype(page))
    encode = tifffile.TIFF.COMPRESSORS[page.compression]
    if page.compression == _PACKBITS:  # whose runs never go on over the end of a row
        return b"".join(encode(row.tobytes()) for row in samples)
    return encode(samples.tobytes())


def _dtype(page: TiffPage) -> np.dtype:
    """Of a sample in the file."""
    return np.dtype(f"{page.parent.byteorder}u{page.bitspersample // 8}")


def _extent(place: Place) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in place)


def _num_bytes(page: TiffPage, place: Place) -> int:
    """Of a strip or tile without compression."""
    return math.prod(_extent(place)) * _dtype(page).itemsize


def _orientation(page: TiffPage) -> int:
    orientation = page.tags.valueof(ORIENTATION_TAG, 1)
    return int(orientation) if orientation in range(1, 9) else 1


def _stamp(file: BinaryIO) -> tuple[int, int]:
    """Size and time of change."""
    facts = os.fstat(file.fileno())
    return facts.st_size, facts.st_mtime_ns
