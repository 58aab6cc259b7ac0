"""Small blobs, bright or dark, and how likely each of them is dust."""

import functools
import math

import numpy as np

from vae_cli.files.thin_lines import HALO, MARK, PART_OF_CONTRAST, STEPS_A_GREY, shifted

_UNIT = 9 * STEPS_A_GREY  # of a block of 3 x 3 pixels that is one grey level brighter
_RING, _FAR_RING = 5, 9  # radii: a speck lies within the first, nothing of the kind within the second
_LEAST_GREYS, _LEAST_TIMES = 6.0, 0.7  # height above the ring: grey levels, and times the typical ridge around
_PEAK = 3  # pixels to the next speck


def speck_marks(pixels: np.ndarray, typical: np.ndarray) -> np.ndarray:
    """MARK [M]: the middles of blobs up to 9 pixels wide; see `thin_lines.find_ridges` for the arguments.

    They are blocks of 3 x 3 pixels that are brighter, or darker, than all blocks on a ring around them.
    """
    rows = pixels[:-2] + pixels[1:-1] + pixels[2:]
    blocks = np.pad(rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:], 1)  # as large as pixels
    middle, ring = shifted(blocks, (0, 0), _RING), [shifted(blocks, offset, _RING) for offset in set(_ring(_RING))]
    heights = middle - functools.reduce(np.maximum, ring), functools.reduce(np.minimum, ring) - middle
    least = np.maximum(_LEAST_GREYS, _LEAST_TIMES * typical) * _UNIT
    found = []
    for sign, height in zip((1, -1), heights, strict=True):
        margin = HALO - _RING
        row, column = np.nonzero(shifted(height, (0, 0), margin) > least)
        value, is_peak = height[row + margin, column + margin], np.ones(len(row), bool)
        for down in range(-_PEAK, _PEAK + 1):
            for right in range(-_PEAK, _PEAK + 1):
                other = height[row + margin + down, column + margin + right]
                is_peak &= value > other if (down, right) < (0, 0) else value >= other  # the first of equal ones
        row, column = row[is_peak], column[is_peak]
        found.append(_described(pixels, blocks, row, column, sign, typical[row, column]))
    return np.concatenate(found)


def _ring(radius: int) -> list[tuple[int, int]]:
    """Sixteen offsets (down, right), some of them twice on small rings."""
    angles = [math.pi * number / 8 for number in range(16)]
    return [(round(radius * math.sin(angle)), round(radius * math.cos(angle))) for angle in angles]


def _described(
    pixels: np.ndarray, blocks: np.ndarray, row: np.ndarray, column: np.ndarray, sign: int, typical: np.ndarray
) -> np.ndarray:
    """MARK [N]. Dust is smooth, and lies on something that goes on around it; the odds are a logistic regression."""

    def on_ring(radius: int, plane: np.ndarray = blocks, unit: int = _UNIT) -> np.ndarray:
        """float32 [16, N]: grey levels at this distance, negated for dark specks."""
        values = [plane[row + HALO + down, column + HALO + right] for down, right in _ring(radius)]
        return np.stack(values) * np.float32(sign / unit)

    middle, ring, far = on_ring(0)[0], on_ring(_RING), on_ring(_FAR_RING)
    ground = np.median(ring, 0)
    contrast = middle - ground
    unevenness = (ring.std(0) + far.std(0) / 2 + np.abs(np.median(far, 0) - ground)) / contrast
    height = (middle - ring.max(0)) / (typical + 1)
    rough, smooth = on_ring(2, pixels, STEPS_A_GREY).std(0) / contrast, on_ring(2).std(0) / contrast
    share = np.stack([(on_ring(radius).mean(0) - ground) / contrast for radius in (2, 3, 4)])
    marks = np.empty(len(row), MARK)
    marks["row"], marks["column"], marks["sign"] = row, column, sign
    marks["least"] = np.maximum(ring.max(0), ground + PART_OF_CONTRAST * contrast)
    marks["reach"] = 1.5 + (share > PART_OF_CONTRAST).sum(0)
    marks["log_odds"] = (
        -4.9 - 2.0 * np.log(unevenness + 0.05) + 1.1 * np.log(height) + 3.8 * np.log((smooth + 0.05) / (rough + 0.05))
    )
    return marks
