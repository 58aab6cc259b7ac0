"""Holes: windows cover every hole, known pixels alone decide what a model sees, and seams close."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vae_cli.model.continuation import membrane
from vae_cli.windows import around_holes as windows_module
from vae_cli.windows.around_holes import Box, Window, thickness_classes, windows_around
from vae_cli.windows.window_fill import Filling, blend, from_window, to_window

SIDES = st.integers(1, 70)
THICK = np.uint8(2)  # the class of a hole that is thick
MODEL_SIZES = st.tuples(st.integers(4, 24), st.integers(4, 24))


@st.composite
def holes(draw: st.DrawFn) -> np.ndarray:
    """bool [H, W] with at least one hole pixel: some rectangles, sometimes scattered pixels."""
    height, width = draw(SIDES), draw(SIDES)
    hole = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(1, 4))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        hole[top : top + draw(st.integers(1, 20)), left : left + draw(st.integers(1, 20))] = True
    share = draw(st.sampled_from([0.0, 0.02, 0.75]))
    return hole | (np.random.default_rng(draw(st.integers(0, 99))).random(hole.shape) < share)


def fill_picture(
    image: np.ndarray,
    hole: np.ndarray,
    model_size: tuple[int, int],
    fill_window: Callable[[Tensor, Tensor, int], Tensor],
    *,
    feather: float = 0.0,
) -> np.ndarray:
    """The pixels of a filling whose every window is answered by a function of x, observed and its number."""
    classes = THICK * hole
    filling = Filling(image, classes, windows_around(classes, model_size), model_size, feather=feather)
    for index in range(len(filling.windows)):
        x, observed, _ = filling.inputs(index)
        filling.answer(index, fill_window(x[None], observed[None], index)[0])
    return filling.pixels


def random_image(size: tuple[int, int], channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)


@settings(max_examples=150)
@given(holes(), MODEL_SIZES)
def test_windows_cover_every_hole_pixel(hole: np.ndarray, model_size: tuple[int, int]) -> None:
    covered = np.zeros(hole.shape, int)
    for window in windows_around(hole, model_size):
        for target in window.targets:
            assert target.inside(hole.shape) == target
            assert window.top <= target.top and target.top + target.height <= window.top + window.height
            assert window.left <= target.left and target.left + target.width <= window.left + window.width
            covered[target.slices] += 1
    assert (covered[hole] == 1).all()


@settings(max_examples=100)
@given(holes(), MODEL_SIZES)
def test_every_hole_pixel_has_one_window_of_its_thickness(hole: np.ndarray, model_size: tuple[int, int]) -> None:
    classes = thickness_classes(hole, model_size)
    assert ((classes > 0) == hole).all()
    covered = np.zeros(hole.shape, int)
    for window in windows_around(classes, model_size):
        for target in window.targets:
            covered[target.slices] += classes[target.slices] == window.thickness
    assert (covered[hole] == 1).all()


def test_a_torn_corner_does_not_blur_the_scratches_that_meet_it() -> None:
    hole = np.zeros((1000, 1200), bool)
    scratch = (np.arange(1000), np.arange(1000))
    hole[scratch] = hole[scratch[0], scratch[1] + 1] = True  # from the corner right across
    hole[:400, :300] = True
    hole[500:530, 700:720] = True  # a spot of medium thickness
    classes = thickness_classes(hole, (64, 64))
    assert set(np.unique(classes)) == {0, 1, 2, 4}
    assert (classes[420:, :][hole[420:, :] & (classes[420:, :] < 2)] == 1).all()
    assert (classes[500:530, 700:720] == 2).all() and (classes[:400, :300] == 4).all()
    scales: dict[int, set[float]] = {}
    for window in windows_around(classes, (64, 64)):
        scales.setdefault(window.thickness, set()).add(window.height / 64)
    assert scales[1] == {1} and scales[2] == {1} and min(scales[4]) > 8


@pytest.mark.parametrize(("thickness", "wanted"), [(1, 1), (12, 1), (13, 2), (48, 2), (49, 3)])
def test_thickness_is_measured_by_the_model(thickness: int, wanted: int) -> None:
    hole = np.zeros((200, 300), bool)
    hole[60 : 60 + thickness, 40:250] = True
    assert set(np.unique(thickness_classes(hole, (64, 80)))) == {0, wanted}
    assert not thickness_classes(np.zeros((9, 9), bool), (64, 80)).any()
    assert (thickness_classes(np.ones((9, 9), bool), (64, 80)) == 1).all()


@pytest.mark.parametrize("model_size", [(64, 64), (128, 128), (128, 96)])
def test_a_speck_beside_a_torn_corner_is_a_hole_like_others(model_size: tuple[int, int]) -> None:
    """It lies where the corner's surroundings count as thick, and is thinner than anything thick."""
    rows, columns = np.mgrid[:144, :216]
    hole = (rows / 43 + columns / 75 < 1) | ((rows - 38) ** 2 + (columns - 44) ** 2 <= 4)
    classes = thickness_classes(hole, model_size)
    assert ((classes > 0) == hole).all() and classes[38, 44] == 1 < classes.max()


@settings(max_examples=150)
@given(holes(), MODEL_SIZES)
def test_windows_have_the_models_shape_and_stay_inside(hole: np.ndarray, model_size: tuple[int, int]) -> None:
    for window in windows_around(hole, model_size):
        scale = window.height / model_size[0]
        assert abs(window.width - scale * model_size[1]) <= max(1, model_size[1] / model_size[0]) + 1e-6
        for start, length, side in (
            (window.top, window.height, hole.shape[0]),
            (window.left, window.width, hole.shape[1]),
        ):
            if length <= side:
                assert start >= 0 and start + length <= side
            else:
                assert start <= 0 and start + length >= side
        if hole.shape[0] >= model_size[0] and hole.shape[1] >= model_size[1]:
            assert (window.height, window.width) >= model_size


@settings(max_examples=80)
@given(st.tuples(st.integers(2, 40), st.integers(2, 40)), st.data())
def test_picture_of_model_size_is_seen_whole_and_exactly(size: tuple[int, int], data: st.DataObject) -> None:
    hole = np.random.default_rng(data.draw(st.integers(0, 999))).random(size) < data.draw(st.floats(0.01, 0.99))
    hole[0, 0] = True
    (window,) = windows_around(hole, size)
    assert (window.top, window.left, window.height, window.width) == (0, 0, *size)
    image = random_image(size)
    x, observed = to_window(image, hole, window, size)
    assert torch.equal(observed[0, 0].bool(), torch.from_numpy(~hole))
    exact = torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1
    assert torch.equal(x[0][:, ~hole], exact[:, ~hole])
    answer = torch.rand(1, 3, *size) * 2 - 1
    expected = ((answer[0] + 1) * 127.5).permute(1, 2, 0).numpy()
    filled = fill_picture(image, hole, size, lambda _x, _observed, _index: answer)
    np.testing.assert_array_equal(filled[hole], expected[hole])
    assert not filled[~hole].any()


@settings(max_examples=80)
@given(holes(), MODEL_SIZES, st.integers(0, 99))
def test_values_under_the_hole_are_never_seen(hole: np.ndarray, model_size: tuple[int, int], seed: int) -> None:
    image, other = random_image(hole.shape, 1), random_image(hole.shape, 1)
    other[hole] = random_image(hole.shape, 1, seed + 1)[hole]
    for window in windows_around(hole, model_size):
        x, observed = to_window(image, hole, window, model_size)
        other_x, other_observed = to_window(other, hole, window, model_size)
        assert torch.equal(x, other_x) and torch.equal(observed, other_observed)
        assert x.shape == (1, 1, *model_size) and observed.shape == (1, 1, *model_size)
        assert float(x.abs().max()) <= 1 + 1e-5

    def echo(x: Tensor, _observed: Tensor, _index: int) -> Tensor:
        return x

    filled = fill_picture(image, hole, model_size, echo, feather=2)
    np.testing.assert_array_equal(filled, fill_picture(other, hole, model_size, echo, feather=2))
    assert np.isfinite(filled).all() and filled.min() >= 0 and filled.max() <= 255


def test_a_scratch_across_a_picture_is_seen_at_its_own_resolution() -> None:
    hole = np.zeros((300, 400), bool)
    hole[np.arange(300), np.arange(300)] = hole[np.arange(300), np.arange(300) + 1] = True
    hole[150:152] = True
    found = windows_around(hole, (32, 32))
    assert {(window.height, window.width) for window in found} == {(32, 32)} and len(found) > 20
    covered = np.zeros(hole.shape, int)
    for window in found:
        for target in window.targets:
            covered[target.slices] += 1
    assert (covered[hole] == 1).all()


def test_a_thick_stroke_is_seen_less_closely_and_a_blot_as_a_whole() -> None:
    hole = np.zeros((300, 400), bool)
    hole[140:152, 20:380] = True
    assert {window.height for window in windows_around(THICK * hole, (32, 32))} == {64}
    hole[90:200, 100:200] = True
    assert len(windows_around(THICK * hole, (32, 32))) == 1


def test_known_colour_does_not_mix_with_the_hole() -> None:
    image = np.full((64, 64, 3), 100, np.uint8)
    hole = np.zeros((64, 64), bool)
    hole[10:31, 7:50] = True
    image[hole] = 255
    x, observed = to_window(image, hole, Box(0, 0, 64, 64), (16, 16))
    assert 0.5 < observed.mean() < 1
    torch.testing.assert_close(x, ((100 / 127.5 - 1) * observed).expand_as(x))


def test_observed_means_at_least_half_known() -> None:
    hole = np.zeros((8, 8), bool)
    hole[:, :2] = True  # exactly half of the first column of 4-pixel cells
    hole[:, 6:] = hole[0, 5] = True  # a little more than half of one cell of the second
    _, observed = to_window(random_image((8, 8)), hole, Box(0, 0, 8, 8), (2, 2))
    assert observed[0, 0].tolist() == [[1, 0], [1, 1]]


def test_outside_of_the_picture_is_unobserved() -> None:
    _, observed = to_window(random_image((10, 20)), np.zeros((10, 20), bool), Box(-5, 0, 20, 20), (10, 10))
    assert (observed[0, 0, 3:7] == 1).all() and not observed[0, 0, :2].any() and not observed[0, 0, 8:].any()


def test_shrinking_averages_areas() -> None:
    image = random_image((12, 18), 1)
    x, _ = to_window(image, np.zeros((12, 18), bool), Box(0, 0, 12, 18), (4, 6))
    means = image[..., 0].reshape(4, 3, 6, 3).mean((1, 3))
    np.testing.assert_allclose((x[0, 0].numpy() + 1) * 127.5, means, atol=1e-3)


def test_sixteen_bits_keep_fractions() -> None:
    image = np.full((16, 16, 1), 25_765, np.uint16)  # 100.25 of 255
    x, _ = to_window(image, np.zeros((16, 16), bool), Box(0, 0, 16, 16), (16, 16))
    torch.testing.assert_close(x, torch.full_like(x, 25_765 / 32_767.5 - 1))
    patch = from_window(x[0], Window(0, 0, 16, 16), Box(0, 0, 16, 16))
    np.testing.assert_allclose(patch, 25_765 / 257, atol=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (57, 91), (9, 9)])
def test_there_and_back_keeps_a_ramp(size: tuple[int, int]) -> None:
    ramp = np.add.outer(np.arange(size[0]), np.arange(size[1])).astype(np.uint8)[..., None]
    window = Window(0, 0, max(size), max(size))
    x, observed = to_window(ramp, np.zeros(size, bool), window, (16, 16))
    x = membrane(x, observed)  # beyond the picture's border
    region = Box(2, 2, size[0] - 4, size[1] - 4)
    back = from_window(x[0], window, region)
    np.testing.assert_allclose(back, ramp[region.slices], atol=3)


def test_part_of_a_window_is_the_part() -> None:
    answer, window = torch.rand(3, 8, 8) * 2 - 1, Window(-3, 10, 40, 40)
    whole = from_window(answer, window, Box(0, 10, 30, 40))
    part = from_window(answer, window, Box(5, 20, 10, 7))
    np.testing.assert_allclose(part, whole[5:15, 10:17], atol=1e-3)


def test_large_picture_with_small_holes_is_seen_at_full_scale() -> None:
    hole = np.zeros((3000, 4000), bool)
    hole[100:110, 200:220] = hole[2990:, 3990:] = True
    assert [(w.top, w.left, w.height, w.width) for w in windows_around(hole, (64, 64))] == [
        (73, 178, 64, 64),
        (2936, 3936, 64, 64),
    ]


def test_window_leaves_room_around_a_large_hole() -> None:
    hole = np.zeros((1000, 1000), bool)
    hole[300:500, 400:700] = True
    (window,) = windows_around(THICK * hole, (64, 64))
    assert (window.height, window.width) == (600, 600)
    assert window.top <= 200 and window.top + window.height >= 600
    assert window.left == 250


def test_half_of_a_picture_of_the_models_shape_is_one_whole_window() -> None:
    hole = np.zeros((300, 450), bool)
    hole[:, :225] = True
    (window,) = windows_around(THICK * hole, (32, 48))
    assert (window.top, window.left, window.height, window.width) == (0, 0, 300, 450)


def test_scattered_pixels_are_seen_closely_where_there_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    def heights(share: float, thickness: int = 1) -> set[int]:
        hole = np.random.default_rng(0).random((500, 700)) < share
        return {window.height for window in windows_around(np.uint8(thickness) * hole, (64, 64))}

    assert heights(0.01) == heights(0.1) == heights(0.75) == heights(0.1, 2) == {64}
    assert min(heights(0.75, 2)) >= 500, "nearly all is missing, in large parts: the picture is seen whole"
    monkeypatch.setattr(windows_module, "_MOST_PIECES", 200)
    assert heights(0.01) == {128}, "many pieces are looked at less closely"


def test_components_of_a_spiral_are_one() -> None:
    hole = np.zeros((400, 400), bool)
    for edge in range(0, 180, 60):  # rings, joined by one diagonal
        hole[edge, edge : 400 - edge] = hole[399 - edge, edge : 400 - edge] = True
        hole[edge : 400 - edge, edge] = hole[edge : 400 - edge, 399 - edge] = True
    hole[np.arange(200), np.arange(200)] = True
    assert windows_module._hole_boxes(hole, (8, 8)) == [Box(0, 0, 400, 400)]


def test_many_megapixels_are_quick() -> None:
    hole = np.zeros((5000, 7000), bool)
    hole[10:40, 10:40] = hole[4000:4100, 6000:6100] = True
    start = time.process_time()
    assert len(windows_around(THICK * hole, (64, 64))) == 2
    assert time.process_time() - start < 3


def test_empty_hole_has_no_window() -> None:
    assert windows_around(np.zeros((20, 30), bool), (8, 8)) == []
    assert not fill_picture(random_image((20, 30)), np.zeros((20, 30), bool), (8, 8), _never).any()


def _never(_x: Tensor, _observed: Tensor, _index: int) -> Tensor:
    raise AssertionError("no window, no call")


def test_full_hole_is_filled_by_the_model_alone() -> None:
    def grey(x: Tensor, observed: Tensor, _index: int) -> Tensor:
        assert not observed.any()
        return torch.zeros_like(x)

    filled = fill_picture(random_image((20, 30)), np.ones((20, 30), bool), (8, 8), grey, feather=3)
    np.testing.assert_allclose(filled, 127.5)


def test_membrane_meets_its_border_and_stays_within_it() -> None:
    values, weight = torch.rand(1, 2, 37, 50), torch.ones(1, 1, 37, 50)
    weight[..., 5:30, 8:44] = 0
    smooth = membrane(values, weight)
    known = weight.bool().expand_as(values)
    assert torch.equal(smooth[known], values[known])
    assert values.min() <= smooth.min() and smooth.max() <= values.max()
    assert torch.equal(smooth, membrane(torch.where(known, values, 9.0), weight))


def test_membrane_continues_a_ramp() -> None:
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    weight = torch.ones(1, 1, 64, 64)
    weight[..., 16:48, 16:48] = 0
    assert float((membrane(ramp, weight) - ramp).abs().max()) < 0.1


def test_seam_closes_when_the_model_is_off_by_a_shade() -> None:
    image = np.full((256, 256, 1), 120, np.uint8)
    hole = np.zeros((256, 256), bool)
    hole[100:150, 90:160] = True
    filled = fill_picture(image, hole, (16, 16), lambda x, observed, _index: membrane(x, observed) + 0.3)
    np.testing.assert_allclose(filled[hole], 120, atol=0.1)


def test_model_is_trusted_at_its_own_size() -> None:
    image, hole = np.full((16, 16, 1), 120, np.uint8), np.zeros((16, 16), bool)
    hole[4:12, 4:12] = True
    filled = fill_picture(image, hole, (16, 16), lambda x, _observed, _index: torch.zeros_like(x))
    np.testing.assert_array_equal(filled[hole], 127.5)


def test_feather_works_inside_the_hole_only() -> None:
    image, hole = np.full((40, 40, 1), 100, np.uint8), np.zeros((40, 40), bool)
    hole[8:32, 8:32] = True
    patch = np.full((40, 40, 1), 200, np.float32)
    row = blend(image, patch, hole, feather=4, is_resampled=False)[20, :, 0]
    assert row[8] == pytest.approx(125, abs=1)  # a quarter of the way
    assert (np.diff(row[8:13]) >= 0).all() and row[8] < row[9] < row[10]
    assert (row[12:28] == 200).all()
    sharp = blend(image, patch, hole, feather=0, is_resampled=False)
    np.testing.assert_array_equal(sharp, patch)


def test_each_window_is_asked_once_and_fills_its_own_hole() -> None:
    image, hole = random_image((300, 300)), np.zeros((300, 300), bool)
    hole[10:20, 10:20] = hole[250:260, 240:250] = True
    asked = []

    def numbered(x: Tensor, observed: Tensor, index: int) -> Tensor:
        assert not observed.all()
        asked.append(index)
        return torch.full_like(x, index / 2)

    filled = fill_picture(image, hole, (32, 32), numbered)
    assert asked == [0, 1]
    assert (filled[10:20, 10:20] == 127.5).all()
    np.testing.assert_allclose(filled[250:260, 240:250], 191.25)


def test_an_enlarged_fill_has_the_noise_of_its_surroundings_and_another_none() -> None:
    noisy = (128 + 12 * np.random.default_rng(0).standard_normal((64, 64, 3))).astype(np.uint8)
    hole = np.zeros((64, 64), bool)
    hole[20:44, 20:44] = True

    def filled(model_size: tuple[int, int], noise_seed: tuple[int, ...] | None = (1, 2)) -> np.ndarray:
        classes = THICK * hole
        filling = Filling(noisy, classes, windows_around(classes, model_size), model_size, noise_seed=noise_seed)
        for index in range(len(filling.windows)):
            filling.answer(index, torch.zeros(3, *model_size))
        return filling.pixels[26:38, 26:38]

    assert filled((16, 16)).std() == pytest.approx(12, abs=2.5)
    assert filled((16, 16), None).std() < 4 and filled((64, 64)).std() == 0
    assert np.array_equal(filled((16, 16)), filled((16, 16))) and not np.array_equal(
        filled((16, 16)), filled((16, 16), (1, 3))
    )
