"""Steps across the edge of a fill: none where it goes on smoothly, their height where it does not, and where."""

import numpy as np
import pytest

from vae_cli.metrics.seams import seams


def ramp(height: int = 60, width: int = 80) -> np.ndarray:
    """Two levels a column."""
    return np.repeat((np.arange(width, dtype=np.uint8) * 2)[None, :, None], height, 0).repeat(3, 2)


def test_a_perfect_fill_has_no_step_and_a_lighter_one_its_difference() -> None:
    hole = np.zeros((60, 80), bool)
    hole[20:30, 10:40] = True
    (seam,) = seams(ramp(), hole)
    assert (seam.box, seam.num_pixels, seam.step) == ((20, 10, 30, 40), 300, 0.0)
    pixels = ramp()
    pixels[hole] += 25
    (seam,) = seams(pixels, hole)
    # above and below 25 more, left and right 25 + 2 - 2 and 25 - 2 - 2 in the direction of the ramp
    assert seam.step == pytest.approx((60 * 25 + 10 * 25 + 10 * 21) / 80)


def test_texture_around_is_taken_off() -> None:
    noise = np.random.default_rng(0).integers(80, 120, (60, 80, 1), np.uint8)
    hole = np.zeros((60, 80), bool)
    hole[10:40, 10:60] = True
    assert abs(seams(noise, hole)[0].step) < 2
    noise[hole] = 100
    assert seams(noise, hole)[0].step < 0, "a smooth fill steps less than the texture does"


def test_the_largest_comes_first_and_the_worst_place_is_found() -> None:
    pixels, hole = np.full((300, 400, 3), 90, np.uint8), np.zeros((300, 400), bool)
    hole[10:60, 10:300] = hole[200:220, 200:230] = True
    pixels[50:60, 250:300, 1] = 150  # one corner of the large part, in one channel
    pixels[200:220, 200:230] = 110
    large, small = seams(pixels, hole)
    assert (large.num_pixels, small.num_pixels) == (50 * 290, 600)
    assert small.step == 20 and 0 < large.step < 20
    assert 40 <= large.worst[0] < 60 and 250 <= large.worst[1] < 300


def test_holes_at_the_border_specks_and_large_pictures() -> None:
    pixels, hole = np.full((40, 3000, 1), 50, np.uint8), np.zeros((40, 3000), bool)
    assert seams(pixels, hole) == []
    hole[0, 0] = hole[:, -30:] = True
    pixels[hole] = 60
    edge, speck = seams(pixels, hole)
    assert edge.step == 10 and edge.box[3] == 3000
    assert speck.step == 0 and speck.box[:2] == (0, 0), "too few pixels to tell"
