"""Thin lines, bright or dark, and how likely each of them is a scratch or a hair.

A ridge is a short segment that is brighter, or darker, than both its sides. An opening by lines of 15 pixels in 16
directions (Soille & Talbot 2001) keeps the ridges that go straight on. What then stands out of its surroundings is
thinned to the middle of the line and joined where directions agree, and each line is judged by its profile.
"""

import functools
import itertools
import math

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

STEPS_A_GREY = 6  # brightness is int16 in sixths of a grey level: 0..1530, of which 21 still add up
HALO = 18  # pixels of brightness that are needed around those that are searched
PART_OF_CONTRAST = 1 / 3  # what stands out by this part of the height of a line, or of a speck, belongs to it
MARK = np.dtype([("row", "i4"), ("column", "i4"), ("sign", "i2"), ("least", "f4"), ("reach", "f4"), ("log_odds", "f4")])
"""Pixels in the middle of something thin or small, with the log-odds that this is damage. What belongs to it: pixels up
to `reach` away whose brightness in grey levels, times sign (1 = bright, -1 = dark), is at least `least`."""

_RIDGE = np.dtype(
    [
        ("row", "i4"),
        ("column", "i4"),
        ("direction", "i1"),  # in steps of a sixteenth of a half turn: 0 = along rows, 8 = along columns
        ("middle", "f4"),  # brightness in grey levels; as all of it, negated for dark lines
        ("side", "f4"),  # of the side that is nearer to it in brightness
        ("height", "f4"),  # of the middle above the mean of both sides
        ("slope", "f4"),  # one side less the other
        ("beyond_one", "f4"),  # what lies beyond a side less that side
        ("beyond_other", "f4"),
        ("blur", "f4"),  # 0 = the line begins from one pixel to the next, 1 = it fades into its sides
        ("breadth", "f4"),  # pixels on each side that belong to the line
    ]
)
_NUM_DIRECTIONS = 16
_SEGMENT = (-2, -1, 0, 1, 2)
_SIDES = (3, 4)  # pixels off the middle, where a segment's sides are: lines up to 4 pixels wide lie between
_AWAY = (0, 1, 2, 3, 4, 6)  # pixels off the middle, where profiles are taken
_LINK = 5  # a line is three segments this far apart
_UNIT = len(_SIDES) * len(_SEGMENT) * STEPS_A_GREY  # a ridge one grey level high
_LEAST_GREYS, _LEAST_TIMES = 8.0, 1.5  # height of a ridge: grey levels, and times the typical one around
_GAP = 2  # rows or columns so far apart may still touch: a thinned line has gaps
_LEAST_LENGTH = 12  # pixels


def shifted(plane: np.ndarray, offset: tuple[int, int], trim: int) -> np.ndarray:
    """A view of what lies (down, right) of each pixel of a plane [H, W], without `trim` pixels at each border."""
    (height, width), (down, right) = plane.shape, offset
    return plane[trim + down : height - trim + down, trim + right : width - trim + right]


def highest_ridges(pixels: np.ndarray) -> np.ndarray:
    """float32 [H, W]: grey levels of the highest ridge in four directions. pixels: int16, with HALO at each border."""
    inner = shifted(pixels, (0, 0), HALO - 6)
    heights = [height for number in range(0, _NUM_DIRECTIONS, 4) for height in _heights(inner, number)]
    return functools.reduce(np.maximum, heights).clip(0) / np.float32(_UNIT)


def find_ridges(pixels: np.ndarray, typical: np.ndarray) -> list[np.ndarray]:
    """_RIDGE [N] of the bright ones and of the dark ones, thinned.

    pixels: as for `highest_ridges`; typical: [H, W] grey levels that ridges have around there.
    """
    inner = shifted(pixels, (0, 0), 1)
    shape = typical.shape[0] + 2, typical.shape[1] + 2  # one more around, for the thinning
    highest = [np.zeros(shape, np.int16) for _ in range(2)]
    direction_of = [np.zeros(shape, np.int8) for _ in range(2)]
    for direction in range(_NUM_DIRECTIONS):
        for sign, height in enumerate(_heights(inner, direction)):
            for extreme in (
                np.minimum,
                np.maximum,
            ):  # an opening: nothing stays where no ridge goes straight on
                before, after = (shifted(height, _step(direction, along, 0), _LINK) for along in (-_LINK, _LINK))
                height = extreme(extreme(before, after), shifted(height, (0, 0), _LINK))
            np.copyto(direction_of[sign], direction, where=height > highest[sign])
            np.maximum(highest[sign], height, out=highest[sign])
    least = np.maximum(_LEAST_GREYS, _LEAST_TIMES * typical) * _UNIT
    return [
        _profiled(pixels * np.int16(sign), heights, directions, least)
        for sign, heights, directions in zip((1, -1), highest, direction_of, strict=True)
    ]


def _step(direction: int, along: int, across: int) -> tuple[int, int]:
    """Whole pixels (down, right) to what lies so far along a direction and to its side."""
    angle = math.pi * direction / _NUM_DIRECTIONS
    down, right = math.sin(angle), math.cos(angle)
    return round(along * down - across * right), round(along * right + across * down)


def _heights(pixels: np.ndarray, direction: int) -> tuple[np.ndarray, np.ndarray]:
    """int16: how far segments are above, and below, both their sides; 6 pixels less at each border."""
    segment = functools.reduce(np.add, (shifted(pixels, _step(direction, along, 0), 2) for along in _SEGMENT))
    one, other = (
        functools.reduce(np.add, (shifted(segment, _step(direction, 0, side * away), 4) for away in _SIDES))
        for side in (-1, 1)
    )
    middle = shifted(segment, (0, 0), 4) * np.int16(len(_SIDES))
    return middle - np.maximum(one, other), np.minimum(one, other) - middle


def _profiled(pixels: np.ndarray, heights: np.ndarray, direction_of: np.ndarray, least: np.ndarray) -> np.ndarray:
    """_RIDGE [N]: profiles through pixels above `least` that are no lower than both neighbours across the line.

    pixels: as above, negated for dark lines; heights, direction_of: [H + 2, W + 2]; least: [H, W].
    """
    row, column = np.nonzero(heights[1:-1, 1:-1] > least)
    direction = direction_of[row + 1, column + 1]
    down, right = np.array([_step(number, 0, 1) for number in range(_NUM_DIRECTIONS)]).T[:, direction]
    one, other = (heights[row + 1 + side * down, column + 1 + side * right] for side in (-1, 1))
    is_middle = heights[row + 1, column + 1] >= np.maximum(one, other)
    row, column, direction = row[is_middle], column[is_middle], direction[is_middle]

    across = [side * away for side in (-1, 1) for away in _AWAY]
    steps = itertools.starmap(_step, itertools.product(range(_NUM_DIRECTIONS), _SEGMENT, across))
    jumps = np.array([*steps]) @ (pixels.shape[1], 1)
    jumps = jumps.reshape(_NUM_DIRECTIONS, len(_SEGMENT), len(across))[direction]
    here = (row + HALO) * pixels.shape[1] + column + HALO
    sums = pixels.ravel()[here[:, None, None] + jumps].sum(1, dtype=np.int32)
    profile = (sums / np.float32(len(_SEGMENT) * STEPS_A_GREY)).T.reshape(2, len(_AWAY), -1)
    middle, near, sides, beyond = profile[0, 0], profile[:, 1:4], profile[:, 3:5].mean(1), profile[:, 5]
    share = ((near - sides[:, None]) / np.maximum(middle - sides, 1)[:, None]).clip(0, 1)  # [2, 3, N] of the height
    ridges = np.empty(len(row), _RIDGE)
    ridges["row"], ridges["column"], ridges["direction"] = row, column, direction
    ridges["middle"], ridges["side"], ridges["height"] = middle, sides.max(0), middle - sides.mean(0)
    ridges["slope"] = sides[0] - sides[1]
    ridges["beyond_one"], ridges["beyond_other"] = beyond - sides
    ridges["blur"] = (4 * share * (1 - share)).mean((0, 1))
    ridges["breadth"] = (share > PART_OF_CONTRAST).sum((0, 1)) / 2
    return ridges


def line_marks(ridges: np.ndarray, sign: int, least_log_odds: float) -> np.ndarray:
    """MARK [M]: the pixels of those lines that are at least as likely to be scratches. ridges: [N], all of one sign."""
    labels = _line_of(ridges)
    order = np.argsort(labels, kind="stable")
    found = [np.empty(0, MARK)]
    for line in np.split(ridges[order], np.flatnonzero(np.diff(labels[order])) + 1):
        if len(line) >= _LEAST_LENGTH and (log_odds := _log_odds(line)) >= least_log_odds:
            marks = np.empty(len(line), MARK)
            marks["row"], marks["column"] = line["row"], line["column"]
            marks["sign"], marks["log_odds"] = sign, log_odds
            height = np.maximum(line["middle"] - line["side"], _quantile(line["height"]))  # blurred ends lack some
            marks["least"] = line["side"] + PART_OF_CONTRAST * height
            marks["reach"] = _quantile(line["breadth"]) + 1
            found.append(marks)
    return np.concatenate(found)


def _line_of(ridges: np.ndarray) -> np.ndarray:
    """[N] number of the line of each ridge: near ones belong together where their directions nearly agree."""
    count = len(ridges)
    places = np.column_stack([ridges["row"], ridges["column"]])
    pairs = cKDTree(places).query_pairs(_GAP, p=np.inf, output_type="ndarray")
    turn = np.abs(np.diff(ridges["direction"][pairs], axis=1)[:, 0])
    one, other = pairs[np.minimum(turn, _NUM_DIRECTIONS - turn) <= 1].T  # directions go round
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def _log_odds(line: np.ndarray) -> float:
    """That these ridges [N] are a scratch: a logistic regression on scratches drawn on photographs, rounded.

    What belongs to the picture (edges, folds, outlines) is brighter on one side, goes over into what lies beyond, is
    as blurred as the picture or changes on its way. A scratch lies on top of all that, and stays the same while what
    it crosses changes.
    """
    has_turned = np.abs(line["direction"] - line["direction"][0]) > _NUM_DIRECTIONS // 2
    slope = np.where(has_turned, -line["slope"], line["slope"])  # directions go round, and take the sides with them
    one = np.where(has_turned, line["beyond_other"], line["beyond_one"])
    other = np.where(has_turned, line["beyond_one"], line["beyond_other"])
    height = max(_quantile(line["height"]), 1)
    # What differs all along the line counts more than what differs here and there, as where it crosses something.
    all_along = abs(_quantile(slope)) + (abs(_quantile(one)) + abs(_quantile(other))) / 2
    mostly = _quantile(np.abs(slope)) + _quantile(np.abs(one) + np.abs(other)) / 2
    own_change = _deviation(line["middle"]) / height
    crossed = _deviation(line["middle"] - line["height"]) / height
    widening = _quantile(line["breadth"], 0.8) - _quantile(line["breadth"], 0.2)
    return (
        -6.57
        - 3.53 * math.log((all_along + 0.3 * mostly) / height + own_change + 0.1)
        + 1.3 * math.log((crossed + 0.1) / (own_change + 0.1))
        + 1.0 * math.log(height + 0.1)
        - 13 * _quantile(line["blur"]) ** 2
        - 1.1 * widening
    )


def _quantile(values: np.ndarray, share: float = 0.5) -> float:
    """The one of values [N] that about this share of them lies below; faster than numpy's for short arrays."""
    return float(np.sort(values)[round(share * (len(values) - 1))])


def _deviation(values: np.ndarray) -> float:
    """Median distance to the median."""
    return _quantile(np.abs(values - _quantile(values)))
