"""Windows of a picture: they cover it, they overlap, and put together they are it again."""

import itertools

import numpy as np
import pytest

from vae_cli.windows.tiles import Tiles, ramp, starts_of


@pytest.mark.parametrize("side", [8, 9, 13, 16, 100])
def test_windows_reach_both_ends_and_overlap(side: int) -> None:
    starts = starts_of(side, 8)
    assert starts[0] == 0 and starts[-1] == side - 8
    assert all(0 < after - before <= 6 for before, after in itertools.pairwise(starts))
    assert (ramp(8) > 0).all() and ramp(8).max() == 1


@pytest.mark.parametrize("size", [(8, 12), (3, 5), (20, 13), (1, 31), (9, 40)])
def test_windows_put_together_are_the_picture(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 65536, (*size, 3), dtype=np.uint16)
    tiles = Tiles.of(picture, (8, 12))
    numbers = range(len(tiles.corners))
    windows = tiles.cut(numbers)
    assert windows.shape == (len(numbers), 8, 12, 3) and windows.dtype == np.uint16
    np.testing.assert_allclose(tiles.join(zip(numbers, windows, strict=True)), picture, rtol=1e-5)


def test_windows_that_disagree_fade_into_one_another() -> None:
    """No step at a window's edge is larger than the ramp's."""
    tiles = Tiles.of(np.zeros((8, 14, 1), np.uint8), (8, 8))
    assert len(tiles.corners) == 2
    joined = tiles.join([(0, np.zeros((8, 8, 1))), (1, np.ones((8, 8, 1)))])[0, :, 0]
    assert joined[0] == 0 and joined[-1] == 1
    assert (np.diff(joined) >= 0).all() and np.diff(joined).max() < 0.6


def test_a_window_may_come_repeatedly() -> None:
    tiles = Tiles.of(np.zeros((4, 4, 1), np.uint8), (8, 8))
    joined = tiles.join([(0, np.full((8, 8, 1), 2.0)), (0, np.full((8, 8, 1), 4.0))])
    np.testing.assert_allclose(joined, np.full((4, 4, 1), 3.0))
