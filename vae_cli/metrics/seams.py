"""How well a filled hole meets what is around it: steps across its edge, which the eye finds first."""

import math
from typing import NamedTuple

import numpy as np
from scipy import ndimage

_GRID_SIDE = 1024  # parts of a hole are told apart on a grid of at most this many cells a side
_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
_WAYS = np.array([(0, 1), (0, -1), (1, 0), (-1, 0)])
_LEAST_PAIRS = 8  # of pixels, below which a mean says nothing
_NEAR = 32  # pixels; the worst place is the square of this side whose steps add up to most


class Seam(NamedTuple):
    """A connected part of a hole. box: (top, left, bottom, right), the ends excluded. step: the mean step across its
    edge, in grey levels of 255, minus the mean step between the known pixels right beside it; 0 where there are too few
    to tell. worst: (row, column) of where it is worst."""

    box: tuple[int, int, int, int]
    num_pixels: int
    step: float
    worst: tuple[int, int]


def seams(pixels: np.ndarray, hole: np.ndarray) -> list[Seam]:
    """The parts of a hole, bool [H, W], in a picture that was filled, uint8 [H, W, C]; the largest first."""
    cell = max(1, math.ceil(max(hole.shape) / _GRID_SIDE))
    grid = hole
    for axis in (0, 1):
        grid = np.logical_or.reduceat(grid, np.arange(0, grid.shape[axis], cell), axis=axis)
    labels, count = ndimage.label(grid, _EIGHT_NEIGHBOURS)
    if not count:
        return []
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * cell**2
    places, steps = _steps(pixels, hole)
    owners = labels[places[:, 0] // cell, places[:, 1] // cell]
    order = np.argsort(owners, kind="stable")
    ends = np.searchsorted(owners[order], np.arange(count + 1), side="right")
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        edges = (cell * rows.start, cell * columns.start, cell * rows.stop, cell * columns.stop)
        top, left, bottom, right = (min(edge, hole.shape[axis % 2]) for axis, edge in enumerate(edges))
        step, worst = 0.0, ((top + bottom) // 2, (left + right) // 2)
        own = order[ends[number - 1] : ends[number]]
        if len(own) >= _LEAST_PAIRS:
            step, worst = float(steps[own].mean()), _worst(places[own], steps[own])
        found.append(Seam((top, left, bottom, right), int(sizes[number]), step, worst))
    return sorted(found, key=lambda seam: -seam.num_pixels)


def _steps(pixels: np.ndarray, hole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places [N, 2] at the edge of a hole, inside it, and how much more a known neighbour differs from them than from
    its own neighbour beyond, [N]: of the channel that differs most."""
    places = np.argwhere(hole & ~ndimage.binary_erosion(hole, border_value=1))
    height, width = hole.shape

    def is_known(points: np.ndarray) -> np.ndarray:
        rows, columns = points.T
        is_inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return is_inside & ~hole[rows.clip(0, height - 1), columns.clip(0, width - 1)]

    def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.abs(pixels[*first.T].astype(np.int16) - pixels[*second.T]).max(1)

    found = []
    for way in _WAYS:
        can_tell = is_known(places + way) & is_known(places + 2 * way)
        inside = places[can_tell]
        beside, beyond = inside + way, inside + 2 * way
        found.append((inside, difference(inside, beside) - difference(beside, beyond)))
    inside, steps = zip(*found, strict=True)
    return np.concatenate(inside), np.concatenate(steps)


def _worst(places: np.ndarray, steps: np.ndarray) -> tuple[int, int]:
    squares = places // _NEAR
    _, owners = np.unique(squares, axis=0, return_inverse=True)
    worst = np.bincount(owners.ravel(), steps).argmax()
    row, column = places[owners.ravel() == worst].mean(0)
    return round(row), round(column)
