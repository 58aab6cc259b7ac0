"""Detail for large holes: tiles cover them, coarse fills keep their shades, and nothing known changes."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import pictures, tiny_model, vivid

from vae_cli.tasks import detail
from vae_cli.tasks.detail import LEAST_RATIO, add_detail, scales_from
from vae_cli.tasks.holes import Filling
from vae_cli.tasks.inpaint import Picture, inpaint
from vae_cli.tasks.windows import Box, windows
from vae_cli.training.checkpoint import LoadedModel

SIZE = (8, 8)


def close_up_model() -> LoadedModel:
    """The tiny model, which has seen close-ups, its pictures rich in contrast."""
    model = vivid(tiny_model({"data": {"patches": 100}}))
    assert model.flow is not None
    model.flow.most_zoom.fill_(4.0)
    return model


def coarse(model: LoadedModel, *, dtype: type = np.uint8) -> Filling:
    """A picture of 48×40 whose middle, 20×20, is answered with a ramp at a sixth or so of its resolution."""
    image = pictures(1, (48, 40))[0].astype(dtype) * (257 if dtype == np.uint16 else 1)
    hole = np.zeros((48, 40), bool)
    hole[14:34, 10:30] = True
    filling = Filling(image, hole, windows(hole, SIZE), SIZE)
    ramp = torch.linspace(-0.5, 0.5, 8).expand(1, 1, 8, 8)
    for index in range(len(filling.windows)):
        filling.answer(index, ramp)
    assert filling.scale > 3
    return filling


def test_each_scale_is_about_half_the_one_before() -> None:
    assert scales_from(1.0) == scales_from(LEAST_RATIO - 0.01) == []
    assert scales_from(2.0) == [1.0] and scales_from(8.0) == pytest.approx([4, 2, 1])
    for scale in np.linspace(LEAST_RATIO, 60, 200):
        found = [scale, *scales_from(scale)]
        assert found[-1] == 1 and all(1.2 < one / next < 2.2 for one, next in pairwise(found))


@given(st.data())
def test_tiles_cover_the_target_and_stay_inside_the_picture(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(9, 90)), data.draw(st.integers(9, 90))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    target = Box(top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)))
    scale = data.draw(st.floats(1, 6))
    hole = np.zeros((height, width), bool)
    filling = Filling(np.zeros((height, width, 1), np.uint8), hole, [], SIZE)
    covered = np.zeros_like(hole)
    for tile in detail._tiles(target, scale, filling):
        assert (tile.height, tile.width) == (round(8 * scale), round(8 * scale))
        for side, limit, start in zip((tile.height, tile.width), hole.shape, (tile.top, tile.left), strict=True):
            assert side > limit or 0 <= start <= limit - side
        covered[tile.inside(hole.shape).slices] = True
    assert covered[target.slices].all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_detail_is_added_in_the_hole_alone_and_keeps_the_shades(dtype: type) -> None:
    model = close_up_model()
    filling = coarse(model, dtype=dtype)
    before = filling.pixels.copy()
    assert add_detail(model, filling, 1, 2, 3) == 1.0
    assert np.array_equal(filling.pixels[~filling.hole], before[~filling.hole])
    change = (filling.pixels - before)[14:34, 10:30, 0]
    assert change.std() > 0.5, "there is something new"
    blocks = change.reshape(2, 10, 2, 10).mean((1, 3))
    assert abs(blocks).max() < change.std() / 2, "but not on the whole"


def test_detail_depends_on_its_place_alone() -> None:
    model = close_up_model()
    one, same, other = (coarse(model) for _ in range(3))
    for filling, number in ((one, 0), (same, 0), (other, 2)):
        add_detail(model, filling, 1, 2, number)
    assert np.array_equal(one.pixels, same.pixels) and not np.array_equal(one.pixels, other.pixels)


def test_models_without_close_ups_leave_a_fill_as_it_is() -> None:
    model = vivid(tiny_model())
    filling = coarse(model)
    before = filling.pixels.copy()
    assert add_detail(model, filling, 1, 2, 3) == filling.scale
    assert np.array_equal(filling.pixels, before)


def test_a_level_of_too_many_tiles_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = close_up_model()
    filling = coarse(model)
    monkeypatch.setattr(detail, "MOST_TILES", 4)
    assert 1 < add_detail(model, filling, 1, 2, 3) < filling.scale


def test_a_fill_says_how_fine_it_is() -> None:
    image, hole = pictures(1, (48, 40))[0], np.zeros((48, 40), bool)
    hole[14:34, 10:30] = True
    plain, fine = vivid(tiny_model()), close_up_model()
    scales = [next(inpaint(model, [Picture("a", image, hole)])).scale for model in (plain, fine)]
    assert scales[0] > 3 and scales[1] == 1
    classical = next(inpaint(replace(fine, flow=None), [Picture("a", image, hole)], method="classical"))
    assert classical.scale == scales[0]
