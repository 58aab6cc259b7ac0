"""Pictures of any size through a model of one size: overlapping windows that fade into one another."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

OVERLAP = 1 / 4  # share of a window's side that it has in common with the next window, at least


@dataclass(frozen=True)
class Tiles:
    """The windows of one picture."""

    padded: np.ndarray
    """[H, W, C]: the picture, mirrored below and to the right where it is smaller than a window."""
    size: tuple[int, int]  # (height, width) of the picture itself
    window: tuple[int, int]  # (height, width) of every window
    corners: tuple[tuple[int, int], ...]  # (top, left) of each window, row by row

    @staticmethod
    def of(picture: np.ndarray, window: tuple[int, int]) -> "Tiles":
        """The windows that cover a picture [H, W, C] of any type."""
        height, width = picture.shape[:2]
        missing = max(0, window[0] - height), max(0, window[1] - width)
        padded = np.pad(picture, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
        rows, columns = starts_of(padded.shape[0], window[0]), starts_of(padded.shape[1], window[1])
        return Tiles(padded, (height, width), window, tuple((top, left) for top in rows for left in columns))

    def cut(self, numbers: Sequence[int]) -> np.ndarray:
        """[len(numbers), h, w, C], the picture's own type: the windows of these numbers."""
        height, width = self.window
        corners = (self.corners[number] for number in numbers)
        return np.stack([self.padded[top : top + height, left : left + width] for top, left in corners])

    def join(self, windows: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
        """float32 [H, W, C]: (number, window [h, w, C]) put back where they came from; a number may come repeatedly.

        Where windows overlap, each counts less the nearer a pixel is to its edge.
        """
        height, width = self.window
        weight = ramp(height)[:, None, None] * ramp(width)[None, :, None]
        total = np.zeros(self.padded.shape, np.float32)
        weights = np.zeros((*self.padded.shape[:2], 1), np.float32)
        for number, window in windows:
            top, left = self.corners[number]
            total[top : top + height, left : left + width] += weight * window
            weights[top : top + height, left : left + width] += weight
        return (total / weights)[: self.size[0], : self.size[1]]


def starts_of(side: int, window: int) -> list[int]:
    """Where the windows along a side of the picture begin: evenly spaced, overlapping by OVERLAP or more."""
    if side <= window:
        return [0]
    count = math.ceil((side - window) / (window * (1 - OVERLAP))) + 1
    return [round(number * (side - window) / (count - 1)) for number in range(count)]


def ramp(side: int) -> np.ndarray:
    """float32 [side]: a window's weight along one of its sides; least at its ends, where it has the least context."""
    ends = np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5)
    return np.minimum(ends / (side * OVERLAP), 1).astype(np.float32)
