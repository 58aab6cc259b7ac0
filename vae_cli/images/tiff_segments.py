"""The strips and tiles of a TIFF page: where their samples belong, and how they become bytes and samples again.

The libtiff that comes with Pillow packs and unpacks them as rows of bytes, whatever their samples mean.
"""

import itertools
import math
import struct
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2, TiffImageFile
from tifffile import TiffPage

from vae_cli.errors import DataError
from vae_cli.images.bounds import MOST_TIMES, MOST_TIMES_DEFLATE, MOST_TIMES_LZW, refuse_claim, require_memory
from vae_cli.images.samples import pack, unpack

_NONE, _LZW, _DEFLATE, _PACKBITS = 1, 5, 8, 32773
_FAX = {2: 0, 3: 292, 4: 293}  # compressions of black and white, and the tags of their options
_WITH_PREDICTOR = (_LZW, _DEFLATE, 32946, 34925, 50000)  # and old deflate, LZMA, Zstandard; others ignore a predictor
_DIFFERENCING, _PLANAR, _LONG = 2, 2, 4  # a predictor, a planar configuration, a type of tags
_MOST_TIMES = {_NONE: 1, _LZW: MOST_TIMES_LZW, _DEFLATE: MOST_TIMES_DEFLATE}
_BYTES_AT_ONCE = 1 << 26

Place = tuple[slice, slice, slice]
"""The rows, columns and samples of a strip or tile; tiles may reach over the edges of the picture."""
Segment = tuple[Place, int, int]
"""A strip or tile with its position in the file and its number of bytes there."""


def can_be_written(page: TiffPage) -> bool:
    """Whether the page's pixels can be packed again as they are."""
    if page.compression in _WITH_PREDICTOR:
        return page.predictor == 1 or (page.predictor == _DIFFERENCING and page.bitspersample in (8, 16))
    is_fax = page.compression in _FAX and (page.bitspersample, page.samplesperpixel) == (1, 1)
    return is_fax or page.compression in (_NONE, _PACKBITS)


def is_packed(page: TiffPage) -> bool:
    """Whether its strips or tiles change their size when they are written."""
    return bool(page.compression != _NONE)


def places(page: TiffPage) -> list[Place]:
    """Of all strips or tiles, in the file's order. Raises DataError, and many things on damaged pages."""
    height, width, num_samples = page.imagelength, page.imagewidth, page.samplesperpixel
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
    depth = 1 if page.planarconfig == _PLANAR else num_samples
    grid = range(0, num_samples, depth), range(0, height, max(rows, 1)), range(0, width, max(columns, 1))
    are_numbers = all(isinstance(value, int) for value in (*page.dataoffsets, *page.databytecounts))
    if not are_numbers or not math.prod(map(len, grid)) == len(page.dataoffsets) == len(page.databytecounts):
        raise DataError("damaged TIFF (its strips or tiles)")
    lowest = math.inf if page.is_tiled else height
    return [
        np.s_[top : min(top + rows, lowest), left : left + columns, sample : sample + depth]
        for sample, top, left in itertools.product(*grid)
    ]


def read(file: BinaryIO, page: TiffPage) -> np.ndarray:
    """The samples of a page, [H, W, S]. Raises DataError, and many things on damaged pages."""
    segments, size = [], page.parent.filehandle.size
    for place, position, num_bytes in zip(places(page), page.dataoffsets, page.databytecounts, strict=True):
        wanted = math.prod(_shape(page, place))
        if position == num_bytes == 0:
            continue  # sparse files leave out black tiles
        num_bytes = num_bytes if is_packed(page) else wanted  # of which some writers say too few or too many
        refuse_claim(position + num_bytes, size)
        refuse_claim(wanted, num_bytes * _MOST_TIMES.get(page.compression, MOST_TIMES))
        segments.append((place, position, num_bytes))
    shape = page.imagelength, page.imagewidth, page.samplesperpixel
    if len(segments) < len(page.dataoffsets):
        refuse_claim(math.prod(shape), size * MOST_TIMES_DEFLATE)
    require_memory(3 * math.prod(shape) * _dtype(page).itemsize)
    pixels = np.zeros(shape, _dtype(page).newbyteorder("="))
    for group in _groups(page, segments):
        rows = _unpacked(file, page, group)
        for place, _, _ in group:
            num_rows = place[0].stop - place[0].start
            _put_samples(page, rows[:num_rows], pixels[place], place)
            rows = rows[num_rows:]
    return pixels


def encoded(page: TiffPage, place: Place, samples: np.ndarray) -> bytes:
    """The bytes of a strip or tile that holds these samples, uint8 or uint16 [H, W, S]."""
    extent = [part.stop - part.start for part in place]
    samples = np.pad(samples, [(0, all_ - own) for all_, own in zip(extent, samples.shape, strict=True)], mode="edge")
    if _has_differences(page):
        samples = np.concatenate([samples[:, :1], np.diff(samples, axis=1)], axis=1)
    if page.bitspersample in (8, 16):
        rows = np.ascontiguousarray(samples, _dtype(page)).reshape(len(samples), -1).view(np.uint8)
    else:
        rows = pack(samples.reshape(len(samples), -1), page.bitspersample)
    data = rows.tobytes()
    if is_packed(page):
        is_fax, file = page.compression in _FAX, BytesIO()
        size = extent[1] if is_fax else rows.shape[1], len(rows)
        image, directory = Image.frombytes("1" if is_fax else "L", size, data), _directory(page, len(rows))
        image.save(file, "TIFF", compression=COMPRESSION_INFO[page.compression], tiffinfo=directory)
        file.seek(0)
        tags = TiffImageFile(file).tag_v2
        data = file.getvalue()[tags[273][0] : tags[273][0] + tags[279][0]]
    return _in_bit_order(page, data)


def _groups(page: TiffPage, segments: list[Segment]) -> Iterator[list[Segment]]:
    """Strips or tiles that can be unpacked together: all but the last have equally many rows."""
    group, num_bytes = list[Segment](), 0
    for segment in segments:
        if group and (num_bytes > _BYTES_AT_ONCE or _shape(page, group[-1][0]) != _shape(page, group[0][0])):
            yield group
            group, num_bytes = [], 0
        group.append(segment)
        num_bytes += math.prod(_shape(page, segment[0]))
    yield from [group] if group else []


def _unpacked(file: BinaryIO, page: TiffPage, group: list[Segment]) -> np.ndarray:
    """uint8 [R, B]: the bytes of the rows of strips or tiles, one below the other; damaged ones raise an OSError."""
    strips = []
    for _, position, num_bytes in group:
        file.seek(position)
        strips.append(_in_bit_order(page, file.read(num_bytes)))
    place, data = group[0][0], b"".join(strips)
    shape = sum(_shape(page, segment[0])[0] for segment in group), _shape(page, place)[1]
    if is_packed(page):
        is_fax, sizes = page.compression in _FAX, [len(strip) for strip in strips]
        directory = _directory(page, _shape(page, place)[0])
        width = place[1].stop - place[1].start if is_fax else shape[1]
        directory.update({256: width, 257: shape[0], 258: 1 if is_fax else 8, 259: int(page.compression)})
        for tag, values in ((273, np.cumsum([0, *sizes[:-1]])), (279, sizes)):  # positions from the directory's end on
            directory.tagtype[tag] = _LONG
            directory[tag] = tuple(map(int, values))
        header = struct.pack("<2sHL", b"II", 42, 8) + directory.tobytes(8)
        data = TiffImageFile(BytesIO(header + data)).tobytes()
    return np.frombuffer(data, np.uint8).reshape(shape)


def _put_samples(page: TiffPage, rows: np.ndarray, target: np.ndarray, place: Place) -> None:
    """Puts the samples of the rows of a strip or tile, uint8 [R, B], into the part of [H, W, S] where they belong."""
    extent = [part.stop - part.start for part in place]
    if page.bitspersample in (8, 16):
        samples = np.ascontiguousarray(rows).view(_dtype(page)).reshape(extent)
    else:
        samples = unpack(rows, page.bitspersample, extent[1] * extent[2]).reshape(extent)
    samples = samples[: target.shape[0], : target.shape[1]]
    if _has_differences(page):
        np.cumsum(samples, axis=1, dtype=target.dtype, out=target)
    else:
        target[:] = samples


def _directory(page: TiffPage, rows_per_strip: int) -> ImageFileDirectory_v2:
    """Of a file of grey bytes, or of a fax, with the page's compression."""
    directory = ImageFileDirectory_v2()
    directory.update({262: 1, 277: 1, 278: rows_per_strip})
    if tag := _FAX.get(page.compression):
        directory[tag] = int(page.tags.valueof(tag, 0))
    return directory


def _in_bit_order(page: TiffPage, data: bytes) -> bytes:
    """The bytes of a strip or tile, turned over where the lowest bit comes first."""
    if page.fillorder == 1:
        return data
    return np.packbits(np.unpackbits(np.frombuffer(data, np.uint8)), bitorder="little").tobytes()


def _has_differences(page: TiffPage) -> bool:
    """Whether each sample is stored as its difference from the one to its left."""
    return page.predictor == _DIFFERENCING and page.compression in _WITH_PREDICTOR


def _dtype(page: TiffPage) -> np.dtype:
    """Of a sample in the file, or of one that has been unpacked from bits."""
    return np.dtype(f"{page.parent.byteorder}u{1 if page.bitspersample <= 8 else 2}")


def _shape(page: TiffPage, place: Place) -> tuple[int, int]:
    """Rows, and bytes in each, of a strip or tile without compression."""
    rows, width, depth = (part.stop - part.start for part in place)
    return rows, (width * depth * page.bitspersample + 7) // 8
