"""The first page of TIFF files of 16-bit colour: read at full depth, and changed in place in a copy of the file.

TIFF 6.0: strips or tiles, samples together or in planes, either byte order, horizontal differencing.
"""

import math
import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image

from vae_cli.errors import DataError
from vae_cli.files import tiff_codecs, tiff_directory
from vae_cli.files.samples import DeepPicture
from vae_cli.files.tiff_directory import LONG, RATIONAL, SHORT, UNDEFINED, Page
from vae_cli.images.decode import bad_bytes_are_data_errors
from vae_cli.images.orientation import ORIENTATION_TAG

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_SAMPLES, _ROWS_PER_STRIP, _X_RESOLUTION, _Y_RESOLUTION, _PLANAR, _RESOLUTION_UNIT = 277, 278, 282, 283, 284, 296
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _ICC_PROFILE = 317, 322, 323, 338, 339, 34675
_COLOURS = {1: 1, 2: 3}  # by photometric interpretation: black is zero, RGB
_DIFFERENCING = 2
_MAX_SAMPLES = 8
_ALPHAS: dict[int, Literal["straight", "premultiplied"]] = {1: "premultiplied", 2: "straight"}
_INCHES = {2: 1.0, 3: 2.54}  # in a unit of resolution
_NEW_STRIP_BYTES = 1 << 20


@dataclass(frozen=True)
class Segment:
    """A strip or a tile: where its bytes lie and which samples it holds."""

    number: int
    offset: int
    num_bytes: int
    place: tuple[slice, slice, slice]
    """Rows, columns and samples of the picture; tiles may be larger."""
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Layout:
    """How the samples of a page lie in its file."""

    order: str
    size: tuple[int, int]
    """(height, width) as stored."""
    num_samples: int
    compression: int
    is_differenced: bool
    segments: tuple[Segment, ...]


@dataclass(frozen=True, eq=False)
class TiffSource:
    """The file that a picture came from, as it was then."""

    path: Path
    pixels: np.ndarray
    stamp: tuple[int, int]
    num_frames: int


def is_deep(page: Page) -> bool:
    """Whether a page holds 16-bit RGB or grey, with alpha or other samples beside it, as whole numbers."""
    num_samples = page.number(_SAMPLES, 1)
    num_colours = _COLOURS.get(page.number(_PHOTOMETRIC, -1), 0)
    bits, formats = page.numbers(_BITS, (1,)), page.numbers(_SAMPLE_FORMAT, (1,))
    is_colour = num_colours > 0 and max(num_colours, 2) <= num_samples <= _MAX_SAMPLES
    return is_colour and len(bits) in (1, num_samples) and set(bits) == {16} and set(formats) == {1}


def header_facts(path: Path) -> tuple[tuple[int, int], int]:
    """((height, width) as stored, orientation) without the pixels. Raises DataError."""
    with bad_bytes_are_data_errors(), path.open("rb") as file:
        page = tiff_directory.read_page(file)
        return layout_of(page).size, _orientation(page)


def read(path: Path) -> tuple[DeepPicture, TiffSource]:
    """Raises DataError, without the file's name."""
    with bad_bytes_are_data_errors(), path.open("rb") as file:
        page = tiff_directory.read_page(file)
        layout = layout_of(page)
        pixels = np.empty((*layout.size, layout.num_samples), np.uint16)
        for segment in layout.segments:
            _read_segment(file, layout, segment, pixels)
        profile = page.entries.get(_ICC_PROFILE)
        num_colours = _COLOURS[page.number(_PHOTOMETRIC, 0)]
        picture = DeepPicture(
            pixels,
            num_colours,
            _orientation(page),
            alpha=_alpha(page, num_colours),
            icc_profile=profile.data if profile else None,
            dots_per_inch=_dots_per_inch(page),
        )
        num_frames = _num_pages(file)
        return picture, TiffSource(path, pixels, _stamp(file), num_frames)


def _num_pages(file: BinaryIO) -> int:
    """As many as can be read: a damaged later page is no fault of the first one."""
    count = 0
    try:
        for _ in tiff_directory.pages(file):
            count += 1
    except DataError:
        pass
    return max(count, 1)


def write_changed(source: TiffSource, file: BinaryIO, original: BinaryIO, picture: DeepPicture) -> None:
    """Copy the original file and put those strips or tiles into it that hold a changed pixel, compressed as they were.

    All else stays byte for byte: tags, other pages, the strips between. Raises DataError.
    """
    shutil.copyfileobj(original, file, 1 << 20)
    page = tiff_directory.read_page(file)
    layout = layout_of(page)
    if (*layout.size, layout.num_samples) != picture.pixels.shape:
        raise DataError(f"{source.path}: has changed since it was read; try again")
    is_as_read = _stamp(original) == source.stamp  # else an --overwrite has put another result there
    changed = [
        segment for segment in layout.segments
        if not is_as_read or _differ(picture.pixels[segment.place], source.pixels[segment.place])
    ]  # fmt: skip
    own = tiff_directory.own_extents(file)
    given_up = [(segment.offset, own[segment.offset]) for segment in changed if segment.offset in own]
    room = tiff_directory.Room(file, given_up, is_big=page.is_big)
    extents = [(segment.offset, segment.num_bytes) for segment in layout.segments]
    for segment in changed:
        data = _encoded(picture.pixels, layout, segment)
        extents[segment.number] = (room.put(data), len(data))
    if extents != [(segment.offset, segment.num_bytes) for segment in layout.segments]:
        tiff_directory.set_segments(file, page, extents)


def _differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two parts differ; row by row, since a single strip may be a whole scan."""
    return any(not np.array_equal(row, old) for row, old in zip(one, other, strict=True))


def write_new(file: BinaryIO, picture: DeepPicture) -> None:
    """Write a picture that came from another format: little-endian, strips, deflate with differencing."""
    height, width, num_samples = picture.pixels.shape
    rows = max(1, _NEW_STRIP_BYTES // (width * num_samples * 2))
    file.write(b"II*\0" + bytes(4))
    room = tiff_directory.Room(file, (), is_big=False)
    extents = []
    for start in range(0, height, rows):
        place = (slice(start, min(start + rows, height)), slice(0, width), slice(0, num_samples))
        segment = Segment(0, 0, 0, place, picture.pixels[place].shape)
        layout = Layout("<", (height, width), num_samples, tiff_codecs.DEFLATE, True, ())
        data = _encoded(picture.pixels, layout, segment)
        extents.append((room.put(data), len(data)))
    numbers = {
        _WIDTH: [width], _HEIGHT: [height], _BITS: [16] * num_samples, _COMPRESSION: [tiff_codecs.DEFLATE],
        _PHOTOMETRIC: [2 if picture.num_colours == 3 else 1], ORIENTATION_TAG: [picture.orientation],
        _SAMPLES: [num_samples], _ROWS_PER_STRIP: [rows], _PLANAR: [1], _PREDICTOR: [_DIFFERENCING],
    }  # fmt: skip
    if picture.alpha:
        numbers[_EXTRA_SAMPLES] = [2]
    entries = {tag: _entry(LONG if max(found) > 65535 else SHORT, found) for tag, found in numbers.items()}
    entries[tiff_directory.STRIP_OFFSETS] = _entry(LONG, [offset for offset, _ in extents])
    entries[tiff_directory.STRIP_BYTE_COUNTS] = _entry(LONG, [size for _, size in extents])
    if picture.dots_per_inch:
        entries[_RESOLUTION_UNIT] = _entry(SHORT, [2])
        for tag, value in zip((_X_RESOLUTION, _Y_RESOLUTION), picture.dots_per_inch, strict=True):
            entries[tag] = (RATIONAL, 1, struct.pack("<II", round(value * 10_000), 10_000))
    if picture.icc_profile:
        entries[_ICC_PROFILE] = (UNDEFINED, len(picture.icc_profile), picture.icc_profile)
    tiff_directory.put_first_directory(file, "<", entries)


# ---- where the samples lie


def layout_of(page: Page) -> Layout:
    """Raises DataError for what is damaged or not supported."""
    height, width, num_samples = page.number(_HEIGHT, 0), page.number(_WIDTH, 0), page.number(_SAMPLES, 1)
    compression, predictor = page.number(_COMPRESSION, tiff_codecs.NONE), page.number(_PREDICTOR, 1)
    if not is_deep(page) or height < 1 or width < 1 or page.number(_FILL_ORDER, 1) != 1:
        raise DataError("damaged TIFF (its directory)")
    if height * width > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
        raise Image.DecompressionBombError
    if predictor not in (1, _DIFFERENCING) or compression not in tiff_codecs.SUPPORTED:
        raise DataError(
            f"16-bit colour in a TIFF of compression {compression} with predictor {predictor}, which cannot be read; "
            "save it uncompressed, with LZW or with ZIP"
        )
    segments = tuple(_segments(page, (height, width), num_samples))
    return Layout(page.order, (height, width), num_samples, compression, predictor == _DIFFERENCING, segments)


def _segments(page: Page, size: tuple[int, int], num_samples: int) -> Iterator[Segment]:
    height, width = size
    is_tiled = tiff_directory.TILE_OFFSETS in page.entries
    rows = page.number(_TILE_HEIGHT, 0) if is_tiled else min(page.number(_ROWS_PER_STRIP, height), height)
    columns = page.number(_TILE_WIDTH, 0) if is_tiled else width
    if rows < 1 or columns < 1 or rows > height + 65535 or columns > width + 65535:
        raise DataError("damaged TIFF (its strips or tiles)")
    planes = [slice(0, num_samples)] if page.number(_PLANAR, 1) == 1 else [slice(s, s + 1) for s in range(num_samples)]
    extents = page.segments()
    num_down, num_across = math.ceil(height / rows), math.ceil(width / columns)
    if len(extents) != len(planes) * num_down * num_across:
        raise DataError("damaged TIFF (its strips or tiles)")
    for number, (offset, num_bytes) in enumerate(extents):
        plane, inside = divmod(number, num_down * num_across)
        top, left = inside // num_across * rows, inside % num_across * columns
        down, across = slice(top, min(top + rows, height)), slice(left, min(left + columns, width))
        depth = planes[plane].stop - planes[plane].start
        shape = (rows if is_tiled else down.stop - top, columns, depth)
        yield Segment(number, offset, num_bytes, (down, across, planes[plane]), shape)


# ---- segments


def _read_segment(file: BinaryIO, layout: Layout, segment: Segment, pixels: np.ndarray) -> None:
    """Puts a segment's samples where they belong in `pixels`, uint16 [H, W, S]."""
    num_bytes = math.prod(segment.shape) * 2
    end = file.seek(0, os.SEEK_END)
    if not segment.num_bytes or segment.offset + segment.num_bytes > end:
        raise DataError("cut off (truncated file)")
    file.seek(segment.offset)
    data = tiff_codecs.decompressed(file.read(segment.num_bytes), layout.compression, num_bytes)
    if len(data) < num_bytes:
        raise DataError("cut off (a strip or tile of it)")
    samples = np.frombuffer(data, f"{layout.order}u2", num_bytes // 2).reshape(segment.shape)
    target = pixels[segment.place]
    samples = samples[: target.shape[0], : target.shape[1]]
    if layout.is_differenced:
        np.cumsum(samples, axis=1, dtype=np.uint16, out=target)
    else:
        target[:] = samples


def _encoded(pixels: np.ndarray, layout: Layout, segment: Segment) -> bytes | memoryview:
    """The bytes of a segment with the samples that `pixels`, uint16 [H, W, S], has in its place."""
    samples = pixels[segment.place]
    missing = [(0, wanted - have) for wanted, have in zip(segment.shape, samples.shape, strict=True)]
    if any(after for _, after in missing):
        samples = np.pad(samples, missing, mode="edge")
    if layout.is_differenced:
        differences = samples.copy()
        differences[:, 1:] -= samples[:, :-1]
        samples = differences
    stored = np.ascontiguousarray(samples, f"{layout.order}u2")
    return tiff_codecs.compressed(stored.reshape(len(stored), -1), layout.compression)


# ---- what a directory says


def _orientation(page: Page) -> int:
    orientation = page.number(ORIENTATION_TAG, 1)
    return orientation if orientation in range(1, 9) else 1


def _alpha(page: Page, num_colours: int) -> Literal["straight", "premultiplied"] | None:
    """A fourth sample without a word about it is alpha to most programs."""
    if page.number(_SAMPLES, 1) == num_colours:
        return None
    return _ALPHAS.get(page.number(_EXTRA_SAMPLES, 2))


def _dots_per_inch(page: Page) -> tuple[float, float] | None:
    inches = _INCHES.get(page.number(_RESOLUTION_UNIT, 2))
    across, down = page.numbers(_X_RESOLUTION), page.numbers(_Y_RESOLUTION)
    if inches is None or len(across) != 2 or len(down) != 2 or 0 in (*across, *down):
        return None
    return across[0] / across[1] * inches, down[0] / down[1] * inches


def _entry(kind: int, numbers: Sequence[int]) -> tuple[int, int, bytes]:
    return kind, len(numbers), struct.pack(f"<{len(numbers)}{'H' if kind == SHORT else 'I'}", *numbers)


def _stamp(file: BinaryIO) -> tuple[int, int]:
    """Changes when the file does."""
    facts = os.fstat(file.fileno())
    return facts.st_size, facts.st_mtime_ns
