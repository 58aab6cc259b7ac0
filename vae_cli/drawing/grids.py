"""Many small pictures as one."""

import math
from collections.abc import Sequence

import numpy as np

GAP_PIXELS = 2


def grid(images: Sequence[np.ndarray], num_columns: int | None = None) -> np.ndarray:
    """One picture of equally large uint8 [H, W, C] images, row by row; nearly square unless columns are given."""
    columns = min(num_columns or math.ceil(math.sqrt(len(images))), len(images))
    rows = math.ceil(len(images) / columns)
    height, width, channels = images[0].shape
    down, right = height + GAP_PIXELS, width + GAP_PIXELS
    sheet = np.full((rows * down - GAP_PIXELS, columns * right - GAP_PIXELS, channels), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * down, index % columns * right
        sheet[top : top + height, left : left + width] = image
    return sheet
