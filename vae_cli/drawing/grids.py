"""Many small pictures as one."""

import math
from collections.abc import Sequence

import numpy as np

GAP_PIXELS = 2
INK = 128
"""Grey of texts on transparent ground, readable on white as on black."""


def with_alpha(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, C + 1] with an opaque alpha channel behind the others: what lies beside it will be transparent."""
    return np.pad(image, ((0, 0), (0, 0), (0, 1)), constant_values=255)


def ground(channels: int) -> int:
    """What all channels of an empty pixel are: white, or transparent where the last one is alpha."""
    return 0 if channels in (2, 4) else 255


def enlarged(pixels: np.ndarray, scale: int) -> np.ndarray:
    """uint8 [H · scale, W · scale, C] of a picture [H, W, C]: every pixel becomes a square."""
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def grid(images: Sequence[np.ndarray], num_columns: int | None = None) -> np.ndarray:
    """One picture of equally large uint8 [H, W, C] images, row by row; nearly square unless columns are given.

    Gaps are white, or transparent between images with alpha, so that a page shows them in its own colour.
    torchvision's make_grid would also do, but takes over a second to import and turns grey pictures into RGB.
    """
    columns = min(num_columns or math.ceil(math.sqrt(len(images))), len(images))
    rows = math.ceil(len(images) / columns)
    height, width, channels = images[0].shape
    tiles = np.full((rows * columns, height + GAP_PIXELS, width + GAP_PIXELS, channels), ground(channels), np.uint8)
    tiles[: len(images), :height, :width] = images
    lines = tiles.reshape(rows, columns, *tiles.shape[1:]).swapaxes(1, 2)
    return lines.reshape(rows * tiles.shape[1], -1, channels)[:-GAP_PIXELS, :-GAP_PIXELS]
