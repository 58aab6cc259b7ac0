"""Scratches, hairs and dust, found by their shape: thin or small, sharp, even, and unlike what lies around them.

Lines (see `thin_lines`) and specks (see `specks`) are searched for on the picture and, where it is large, on smaller
copies of it, so that what counts as thin grows with the picture. Each gets the log-odds that it lies on top of the
picture. A picture is left alone unless enough of it is beyond doubt; then less is asked of the rest, since a scratched
picture has more scratches.
"""

import math
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from vae_cli.files.masks import dilate
from vae_cli.files.specks import speck_marks
from vae_cli.files.thin_lines import HALO, STEPS_A_GREY, find_ridges, highest_ridges, line_marks

_LUMA = (77, 150, 29)  # of 256 parts: red, green, blue
_CELL, _CELLS_AROUND = 32, 2  # how high ridges typically are is measured on squares, with neighbours to each side
_PIXELS_AT_ONCE = 1 << 20
_LEAST_PICTURE = 80  # pixels: on a smaller picture, such as an icon, every thin stroke belongs to it
_LEAST_COPY = 400  # pixels of the shorter side of smaller copies, on which scratches may be twice as wide
_CERTAIN_LINE, _LIKELY_LINE = 2.0, 0.0  # log-odds
_CERTAIN_SPECK, _LIKELY_SPECK = 1.2, -1.0


def find_scratches(image: np.ndarray) -> np.ndarray:
    """bool [H, W]: scratches, hairs and dust on a picture uint8 or uint16 [H, W, 1 or 3], and one pixel around them."""
    hole = np.zeros(image.shape[:2], bool)
    side: int = min(hole.shape)
    if side < _LEAST_PICTURE:
        return hole
    picture = copy = _brightness(image)
    found = [_marks_of(copy)]
    while min(copy.shape) >= 2 * _LEAST_COPY:
        height, width = (length // 2 * 2 for length in copy.shape)
        upper, lower = copy[:height:2, :width], copy[1:height:2, :width]
        copy = (upper[:, ::2] + upper[:, 1::2] + lower[:, ::2] + lower[:, 1::2] + np.int16(2)) >> 2
        scale, smaller = 1 << len(found), _marks_of(copy)
        for marks in smaller:
            for name in ("row", "column"):
                marks[name] = marks[name] * scale + scale // 2
            marks["reach"] *= scale
        found.append(smaller)
    lines, specks = (np.concatenate(marks) for marks in zip(*found, strict=True))

    # More is asked of a large picture, where chance finds more.
    length, count = (lines["log_odds"] >= _CERTAIN_LINE).sum(), (specks["log_odds"] >= _CERTAIN_SPECK).sum()
    if length / max(min(100, side // 2), side // 5) + count / max(5, side // 200) >= 1:
        _draw(hole, picture, np.concatenate([lines, specks]))
    return dilate(hole, 1)


def _brightness(image: np.ndarray) -> np.ndarray:
    """int16 [H, W], sixths of a grey level, of a picture uint8 or uint16 [H, W, C]."""
    found = np.empty(image.shape[:2], np.int16)
    parts = 256 * (1 if image.dtype == np.uint8 else 257)
    weights = _LUMA if image.shape[2] == 3 else (256,)
    for rows in _strips(found.shape):  # never the whole picture in wide numbers
        luma = sum(weight * image[rows, :, channel].astype(np.int32) for channel, weight in enumerate(weights))
        found[rows] = (luma * STEPS_A_GREY + parts // 2) // parts
    return found


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Whole rows of cells, from top to bottom."""
    rows = _CELL * max(_PIXELS_AT_ONCE // (_CELL * shape[1]), 4)
    return (slice(top, min(top + rows, shape[0])) for top in range(0, shape[0], rows))


def _marks_of(picture: np.ndarray) -> list[np.ndarray]:
    """MARK [M] of the lines, and of the specks, that are likely to be damage. picture: brightness [H, W]."""
    padded = np.pad(picture, [(HALO, HALO + -side % _CELL) for side in picture.shape], mode="edge")
    whole = padded.shape[0] - 2 * HALO, padded.shape[1] - 2 * HALO
    strips = [(rows, padded[rows.start : rows.stop + 2 * HALO]) for rows in _strips(whole)]
    medians = []
    for _, pixels in strips:
        ridges = highest_ridges(pixels)[::2, ::2]  # a quarter of them says as much
        cells = ridges.reshape(-1, _CELL // 2, whole[1] // _CELL, _CELL // 2)
        medians.append(np.median(cells, axis=(1, 3)))
    typical = ndimage.uniform_filter(np.concatenate(medians), 2 * _CELLS_AROUND + 1, mode="nearest")
    found = []
    for rows, pixels in strips:
        typical_here = typical[rows.start // _CELL : rows.stop // _CELL].repeat(_CELL, 0).repeat(_CELL, 1)
        tables = *find_ridges(pixels, typical_here), speck_marks(pixels, typical_here)
        for table in tables:
            table["row"] += rows.start
        height, width = picture.shape
        found.append([table[(table["row"] < height) & (table["column"] < width)] for table in tables])
    bright, dark, specks = (np.concatenate(tables) for tables in zip(*found, strict=True))
    lines = np.concatenate([line_marks(bright, 1, _LIKELY_LINE), line_marks(dark, -1, _LIKELY_LINE)])
    return [lines, specks[specks["log_odds"] >= _LIKELY_SPECK]]


def _draw(hole: np.ndarray, picture: np.ndarray, marks: np.ndarray) -> None:
    """Sets the pixels that belong to a mark. hole: bool, picture: brightness, both [H, W]."""
    least = marks["least"] * STEPS_A_GREY
    most = math.floor(marks["reach"].max(initial=0))
    for down in range(-most, most + 1):
        for right in range(-most, most + 1):
            near = np.flatnonzero(marks["reach"] >= math.hypot(down, right))
            row, column = marks["row"][near] + down, marks["column"][near] + right
            is_inside = (row >= 0) & (row < hole.shape[0]) & (column >= 0) & (column < hole.shape[1])
            near, row, column = near[is_inside], row[is_inside], column[is_inside]
            belongs = marks["sign"][near] * picture[row, column] >= least[near]
            hole[row[belongs], column[belongs]] = True
