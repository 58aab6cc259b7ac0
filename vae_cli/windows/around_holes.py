"""Where a model looks at a picture of any size: windows around its holes.

For each hole (or group of near ones) there is a window of the model's aspect ratio, large enough to show the hole in
its surroundings. A hole that is long but thin, or many small ones, are looked at piece by piece, closer: a scratch
across a scan is mended at the scan's own resolution. A picture of exactly the model's size is one window.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vae_cli.files.components import roots

_LARGEST_HOLE_SHARE = 0.35
_THIN_SHARE = 0.2
"""Of a close window: a hole with no more of each is thin."""
_MOST_PIECES = 4096
"""Of a hole; more are looked at less closely, since each takes about as long as a small picture."""
_SHARE_STEP = 1.1  # windows grow by this factor until the hole is small enough in them
_GRID_SIDE = 1024  # components are found on a grid of at most this many cells a side


@dataclass(frozen=True, order=True)
class Box:
    """A rectangle in pixels of the picture; it may stick out of it."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns; only for boxes inside the picture."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def grown(self, margin: int) -> "Box":
        return Box(self.top - margin, self.left - margin, self.height + 2 * margin, self.width + 2 * margin)

    def overlap(self, other: "Box") -> "Box":
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.height, other.top + other.height)
        right = min(self.left + self.width, other.left + other.width)
        return Box(top, left, max(bottom - top, 0), max(right - left, 0))

    def inside(self, picture_size: tuple[int, int]) -> "Box":
        """The part inside a picture of (height, width)."""
        return self.overlap(Box(0, 0, *picture_size))


@dataclass(frozen=True, order=True)
class Window(Box):
    """What the model sees at once. It answers for the hole pixels in `targets`."""

    targets: tuple[Box, ...] = ()


def windows(hole: np.ndarray, model_size: tuple[int, int]) -> list[Window]:
    """Windows of the model's aspect ratio, ordered by place; each hole pixel lies in a target of at least one.

    Windows stay inside the picture where it is large enough, and leave room around the hole.
    """
    by_place: dict[Window, list[Box]] = {}
    for box in _hole_boxes(hole, model_size):
        for piece, window in _pieces(hole, box, model_size):
            by_place.setdefault(window, []).append(piece)
    return sorted(replace(window, targets=tuple(sorted(boxes))) for window, boxes in by_place.items())


def _pieces(hole: np.ndarray, box: Box, model_size: tuple[int, int]) -> list[tuple[Box, Window]]:
    """The hole in a box as a whole, or in pieces where it is thin, each with its window."""
    whole = _window_for(box, int(np.count_nonzero(hole[box.slices])), hole.shape, model_size)
    scale = 1.0
    while 2 * scale <= whole.height / model_size[0]:
        cut: list[tuple[Box, Window]] = []
        for piece in _cells(hole, box, [max(1, round(scale * side / 2)) for side in model_size]):
            window = _window_of(piece, scale, hole.shape, model_size)
            seen = hole[window.inside(hole.shape).slices]
            if np.count_nonzero(seen) > _THIN_SHARE * seen.size or len(cut) == _MOST_PIECES:
                break
            cut.append((piece, window))
        else:
            return cut
        scale *= 2
    return [(box, whole)]


def _cells(hole: np.ndarray, box: Box, sides: Sequence[int]) -> Iterator[Box]:
    """Tight boxes of what lies in each cell, of (height, width), of a grid over the box."""
    for top in range(box.top, box.top + box.height, sides[0]):
        for left in range(box.left, box.left + box.width, sides[1]):
            cell = Box(top, left, sides[0], sides[1]).overlap(box)
            if hole[cell.slices].any():
                yield _tight(hole, cell.top, cell.left, cell.top + cell.height, cell.left + cell.width)


def _window_for(box: Box, count: int, picture_size: tuple[int, int], model_size: tuple[int, int]) -> Window:
    """The smallest good window around a hole of `count` pixels in `box`."""
    sides = tuple(zip((box.height, box.width), picture_size, model_size, strict=True))
    whole = max(side / model for _, side, model in sides)  # this scale shows the whole picture
    scale = max(min(2 * hole, side) / model for hole, side, model in sides)
    scale = min(max(scale, 1.0), whole)
    while scale < whole:
        area = math.prod(min(scale * model, side) for _, side, model in sides)
        if count <= _LARGEST_HOLE_SHARE * area:
            break
        scale = min(scale * _SHARE_STEP, whole)
    return _window_of(box, scale, picture_size, model_size)


def _window_of(box: Box, scale: float, picture_size: tuple[int, ...], model_size: tuple[int, int]) -> Window:
    """The window around a box in which a pixel of the model is `scale` of the picture's."""
    height, width = (math.ceil(scale * model - 1e-6) for model in model_size)
    top = _start(box.top + box.height / 2, height, picture_size[0])
    return Window(top, _start(box.left + box.width / 2, width, picture_size[1]), height, width)


def _start(centre: float, length: int, side: int) -> int:
    """Where a stretch of `length` around `centre` begins: shifted inside the picture, or centred on it if longer."""
    if length >= side:
        return -((length - side) // 2)
    return min(max(round(centre - length / 2), 0), side - length)


def _hole_boxes(hole: np.ndarray, model_size: tuple[int, int]) -> list[Box]:
    """Tight boxes of the hole's components; near ones are one, so that scattered holes make few boxes."""
    cell = max(1, math.ceil(max(hole.shape) / _GRID_SIDE))
    grid = hole
    if cell > 1:
        for axis in (0, 1):
            grid = np.logical_or.reduceat(grid, np.arange(0, grid.shape[axis], cell), axis=axis)
    boxes = _united(*_runs(grid))
    while len(merged := _merged(boxes, grid.shape, np.array(model_size) / 4 / cell)) < len(boxes):
        boxes = merged
    return [_tight(hole, *(int(edge) * cell for edge in box)) for box in boxes]


def _merged(boxes: np.ndarray, grid_size: tuple[int, ...], least_margin: np.ndarray) -> np.ndarray:
    """Boxes [K, 4] joined where they overlap once grown by half their sides, or by least_margin [2]."""
    margin = np.ceil(np.maximum((boxes[:, 2:] - boxes[:, :2]) / 2, least_margin)).astype(np.int64)
    top, left = (boxes[:, :2] - margin).clip(min=0).T
    bottom, right = np.minimum(boxes[:, 2:] + margin, grid_size).T
    corners = np.zeros((grid_size[0] + 1, grid_size[1] + 1), np.int32)
    for rows, columns, sign in ((top, left, 1), (bottom, right, 1), (top, right, -1), (bottom, left, -1)):
        np.add.at(corners, (rows, columns), sign)
    painted = corners.cumsum(0).cumsum(1)[:-1, :-1] > 0
    runs, numbers = _runs(painted)
    places = runs[:, 0] * grid_size[1] + runs[:, 1]
    return _united(boxes, numbers[np.searchsorted(places, top * grid_size[1] + left, side="right") - 1])


def _united(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Boxes [K, 4] (top, left, bottom, right) joined by label [K]."""
    found, labels = np.unique(labels, return_inverse=True)
    joined = np.empty((len(found), 4), np.int64)
    joined[:, :2], joined[:, 2:] = np.iinfo(np.int64).max, -1
    np.minimum.at(joined[:, :2], labels, boxes[:, :2])
    np.maximum.at(joined[:, 2:], labels, boxes[:, 2:])
    return joined


def _tight(hole: np.ndarray, top: int, left: int, bottom: int, right: int) -> Box:
    part = hole[top:bottom, left:right]
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    return Box(
        top + int(rows[0]), left + int(columns[0]), int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
    )


def _runs(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The runs of each row of bool [H, W] as boxes int64 [R, 4], in reading order, and their components' numbers [R].

    Runs that touch, also at corners, have the same number. All unions of a round are made at once.
    """
    width = grid.shape[1] + 2  # rows are laid end to end with a gap, so that runs never touch over row ends
    change = np.diff(np.pad(grid, ((0, 0), (1, 1))).ravel().astype(np.int8))
    starts, ends = np.flatnonzero(change == 1) + 1, np.flatnonzero(change == -1) + 1
    first = np.searchsorted(ends, starts - width, side="left")  # the runs first..last of the row above touch this one
    last = np.searchsorted(starts, ends - width, side="right")
    num_touching = np.maximum(last - first, 0)
    below = np.repeat(np.arange(len(starts)), num_touching)
    above = np.arange(len(below)) + np.repeat(first - np.cumsum(num_touching) + num_touching, num_touching)
    top, left = starts // width, starts % width - 1
    return np.column_stack([top, left, top + 1, left + ends - starts]), roots(below, above, len(starts))
