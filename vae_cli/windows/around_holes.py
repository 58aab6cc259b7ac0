"""Where a model looks at a picture of any size: windows around its holes.

For each hole (or group of near ones) there is a window of the model's aspect ratio, large enough to show the hole in
its surroundings. A hole that is long but thin, or many small ones, get several closer windows, so that a scratch across
a scan is filled at the scan's own resolution. Thin and thick parts of a hole have windows of their own, so that a torn
corner does not blur the scratches that meet it. A picture of exactly the model's size is one window.
"""

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy import ndimage

_LARGEST_HOLE_SHARE = 0.35  # share of a window that its hole may take up; the window grows until it does
_THIN_SHARE = 0.2  # share of a close window: a thick hole is seen close up where it takes up no more of any
_MOST_PIECES = 4096
"""Close windows of one hole at most, since each costs as much as a small picture; where more are needed, all widen."""
_THIN = 3 / 16  # of the model's shorter side: how thick the hole may be that is filled close up
_THICKER = 4  # how much thicker than that the parts of the next class may be, and so on
_SHARE_STEP = 1.1  # factor by which windows grow
_GRID_SIDE = 1024  # holes are searched for on a grid of at most this many cells a side
_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


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
        """Larger by the margin on each side."""
        return Box(self.top - margin, self.left - margin, self.height + 2 * margin, self.width + 2 * margin)

    def overlap(self, other: "Box") -> "Box":
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.height, other.top + other.height)
        right = min(self.left + self.width, other.left + other.width)
        return Box(top, left, max(bottom - top, 0), max(right - left, 0))

    def inside(self, picture_size: tuple[int, int]) -> "Box":
        """The part inside a picture of (height, width)."""
        return self.overlap(Box(0, 0, *picture_size))

    def from_corner(self, other: "Box") -> "Box":
        """This box in rows and columns counted from the other's corner."""
        return Box(self.top - other.top, self.left - other.left, self.height, self.width)


@dataclass(frozen=True, order=True)
class Window(Box):
    """What the model sees at once. It answers for the hole pixels of one class in `targets`."""

    targets: tuple[Box, ...] = ()
    thickness: int = 1


def thickness_classes(hole: np.ndarray, model_size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W] of a hole, bool [H, W]: 0 = known, 1 = where it is thin for a model of this size, 2 = thicker, ….

    Parts whose thickness is alike are worked on together, at a scale of their own. What lies beyond the picture counts
    as unknown, and a hole that is all of the picture as thin.
    """
    classes, reach = hole.astype(np.uint8), max(1, round(min(model_size) * _THIN / 2))
    depth = ndimage.distance_transform_cdt(hole, "chessboard")
    is_thick = ndimage.maximum_filter(depth > reach, 4 * reach + 1) & hole
    labels, count = ndimage.label(is_thick, _EIGHT_NEIGHBOURS)
    if count:
        peaks = ndimage.maximum(depth, labels, np.arange(1, count + 1))
        found = 1 + np.ceil(np.log(peaks / reach) / math.log(_THICKER) - 1e-6)
        found = found.clip(min=1)  # specks beside a thick part are thin
        classes[is_thick] = found.astype(np.uint8)[labels[is_thick] - 1]
    return classes


def windows_around(classes: np.ndarray, model_size: tuple[int, int]) -> list[Window]:
    """Windows of the model's aspect ratio around a hole, ordered by place.

    classes: `thickness_classes`; or a hole, bool [H, W], all of which is thin. Each hole pixel lies in a target of
    one window of its class. Windows stay inside the picture where it is large enough, and leave room around the hole.
    """
    targets: dict[Window, list[Box]] = {}
    for thickness in range(1, int(classes.max(initial=0)) + 1):
        hole = classes == thickness
        for box in _hole_boxes(hole, model_size):
            for piece, window in _pieces(hole, box, model_size, is_thin=thickness == 1):
                targets.setdefault(replace(window, thickness=thickness), []).append(piece)
    return sorted(replace(window, targets=tuple(sorted(boxes))) for window, boxes in targets.items())


def _pieces(hole: np.ndarray, box: Box, model_size: tuple[int, int], *, is_thin: bool) -> list[tuple[Box, Window]]:
    """The hole in a box as a whole, or in pieces that are seen close up, each with its window.

    A thin hole always is, whatever its share of a window: there are known pixels next to all of it.
    """
    whole = _window_for(box, int(np.count_nonzero(hole[box.slices])), hole.shape, model_size)
    scale, most_share, step = (1.0, 1.0, 1) if is_thin else (1.0, _THIN_SHARE, 2)
    while step * scale <= whole.height / model_size[0] and scale < whole.height / model_size[0]:
        cut: list[tuple[Box, Window]] = []
        height, width = (max(1, round(scale * side / 2)) for side in model_size)
        corners = product(range(box.top, box.top + box.height, height), range(box.left, box.left + box.width, width))
        cells = (Box(top, left, height, width).overlap(box) for top, left in corners)
        for piece in (_tight(hole, cell) for cell in cells if hole[cell.slices].any()):
            window = _window_of(piece, scale, hole.shape, model_size)
            visible = hole[window.inside(hole.shape).slices]
            if np.count_nonzero(visible) > most_share * visible.size or len(cut) == _MOST_PIECES:
                break
            cut.append((piece, window))
        else:
            return cut
        scale *= 2
    return [(box, whole)]


def _window_for(box: Box, count: int, picture_size: tuple[int, ...], model_size: tuple[int, int]) -> Window:
    """The smallest good window around a hole of `count` pixels in `box`."""
    sides = tuple(zip((box.height, box.width), picture_size, model_size, strict=True))
    whole = max(side / model for _, side, model in sides)  # this scale shows the whole picture
    scale = min(max(1.0, *(min(2 * hole, side) / model for hole, side, model in sides)), whole)
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
    """Tight boxes of the hole's components; near components share one, so that scattered holes make few boxes."""
    cell = max(1, math.ceil(max(hole.shape) / _GRID_SIDE))
    grid = hole
    if cell > 1:
        for axis in (0, 1):
            grid = np.logical_or.reduceat(grid, np.arange(0, grid.shape[axis], cell), axis=axis)

    def grown(part: slice, least_margin: float) -> slice:
        margin = math.ceil(max((part.stop - part.start) / 2, least_margin))
        return slice(max(0, part.start - margin), part.stop + margin)

    boxes = ndimage.find_objects(ndimage.label(grid, _EIGHT_NEIGHBOURS)[0])
    while True:  # boxes that overlap once grown become one, until none do
        painted = np.zeros_like(grid)
        for rows, columns in boxes:
            painted[grown(rows, model_size[0] / 4 / cell), grown(columns, model_size[1] / 4 / cell)] = True
        merged = ndimage.find_objects(ndimage.label(painted, _EIGHT_NEIGHBOURS)[0] * grid)
        if len(merged) == len(boxes):
            break
        boxes = merged
    in_picture = (Box(*(cell * edge for edge in (y.start, x.start, y.stop - y.start, x.stop - x.start)))
                  for y, x in boxes)  # fmt: skip
    return [_tight(hole, box.inside(hole.shape)) for box in in_picture]


def _tight(hole: np.ndarray, box: Box) -> Box:
    """The tight box of the hole's pixels in a box."""
    part = hole[box.slices]
    rows, columns = (np.flatnonzero(part.any(axis)).tolist() for axis in (1, 0))
    return Box(box.top + rows[0], box.left + columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
