"""Grids: images in reading order, two white pixels between them and none around."""

import numpy as np
import pytest

from vae_cli.drawing.grids import GAP_PIXELS, grid


@pytest.mark.parametrize(("count", "num_columns", "rows", "columns"),
                         [(1, None, 1, 1), (5, None, 2, 3), (9, None, 3, 3), (4, 9, 1, 4), (7, 2, 4, 2)])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_has_its_place(count: int, num_columns: int | None, rows: int, columns: int, channels: int) -> None:
    images = [np.full((5, 7, channels), number, np.uint8) for number in range(count)]
    sheet = grid(images, num_columns)
    assert sheet.shape == (rows * (5 + GAP_PIXELS) - GAP_PIXELS, columns * (7 + GAP_PIXELS) - GAP_PIXELS, channels)
    for number in range(count):
        top, left = number // columns * (5 + GAP_PIXELS), number % columns * (7 + GAP_PIXELS)
        assert (sheet[top : top + 5, left : left + 7] == number).all()
    assert (sheet < count).sum() == count * 5 * 7 * channels, "all else is white"
