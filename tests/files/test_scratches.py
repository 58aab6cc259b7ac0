"""Drawn damage is found, pictures without any are left alone."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vae_cli.files import scratches
from vae_cli.files.masks import dilate
from vae_cli.files.scratches import find_scratches

SIZE = (200, 240)


def scene(size: tuple[int, int] = SIZE, channels: int = 1, seed: int = 0) -> np.ndarray:
    """float32 [H, W, C]: slow shading with a little grain."""
    rows, columns = np.mgrid[0 : 1 : 1j * size[0], 0 : 1 : 1j * size[1]]
    shade = 90 + 50 * rows + 30 * np.sin(4 * columns)
    grain = np.random.default_rng(seed).normal(0, 2, (*size, channels))
    return (shade[..., None] + grain).astype(np.float32)


def distance_to(size: tuple[int, int], points: list[tuple[float, float]]) -> np.ndarray:
    """[H, W] pixels to a polyline through (row, column) points."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    nearest = np.full(size, np.inf)
    for (top, left), (bottom, right) in itertools.pairwise(points):
        down, across = bottom - top, right - left
        along = ((rows - top) * down + (columns - left) * across) / (down**2 + across**2)
        along = along.clip(0, 1)
        nearest = np.minimum(nearest, np.hypot(rows - top - along * down, columns - left - along * across))
    return nearest


def covered(picture: np.ndarray, points: list[tuple[float, float]], width: float, ink: float) -> np.ndarray:
    """bool [H, W]: where more than half of a pixel of the picture is now under an antialiased stroke."""
    part = (width / 2 - distance_to(picture.shape[:2], points) + 0.5).clip(0, 1)[..., None]
    picture += part * (ink - picture)
    return part[..., 0] > 0.5


def stored(picture: np.ndarray) -> np.ndarray:
    return picture.clip(0, 255).round().astype(np.uint8)


def scratched(channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A picture float32 [H, W, C] with three scratches and a hair, and where these are."""
    picture = scene(channels=channels)
    damaged = covered(picture, [(20, 15), (180, 60)], 1.5, 250)
    damaged |= covered(picture, [(30, 220), (120, 90), (190, 30)], 3, 20)
    damaged |= covered(picture, [(60.0, 10.0), (60.0, 150.0)], 2, 235)
    turns = np.linspace(0, 2, 20)
    damaged |= covered(picture, [(150 + 35 * np.sin(turn), 180 + 35 * np.cos(turn)) for turn in turns], 1.5, 30)
    return picture, damaged


@pytest.mark.parametrize("channels", [1, 3])
def test_scratches_and_hairs_are_found_whole_and_alone(channels: int) -> None:
    picture, damaged = scratched(channels)
    mask = find_scratches(stored(picture))
    assert mask.dtype == bool and mask.shape == SIZE
    assert (mask & damaged).sum() >= 0.97 * damaged.sum()
    assert not (mask & ~dilate(damaged, 3)).any()


@pytest.mark.parametrize("ink", [245, 15])
@pytest.mark.parametrize("radius", [1.0, 2.0, 3.5])
def test_dust_is_found_whole_and_alone(ink: int, radius: float) -> None:
    picture, damaged = scene(), np.zeros(SIZE, bool)
    for row, column in itertools.product((30, 90, 150), (40, 110.5, 200)):
        damaged |= covered(picture, [(row, column), (row + 0.01, column)], 2 * radius, ink)
    mask = find_scratches(stored(picture))
    assert (mask & damaged).sum() >= 0.95 * damaged.sum()
    assert not (mask & ~dilate(damaged, 3)).any()


def test_sixteen_bits_are_searched_alike() -> None:
    picture, _ = scratched(3)
    eight = stored(picture)
    np.testing.assert_array_equal(find_scratches(eight.astype(np.uint16) * 257), find_scratches(eight))
    deep = (picture.clip(0, 255) * 257).round().astype(np.uint16)
    assert (find_scratches(deep) != find_scratches(eight)).mean() < 0.002


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, _ = scratched()
    large = np.tile(stored(picture), (5, 4, 1))[:901, :833]  # with a second level, and sides that nothing divides
    whole = find_scratches(large)
    assert whole.any()
    monkeypatch.setattr(scratches, "_PIXELS_AT_ONCE", 1)
    np.testing.assert_array_equal(find_scratches(large), whole)


def clean_pictures() -> dict[str, np.ndarray]:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    rng = np.random.default_rng(1)
    houses, text = scene(), scene()
    for top, left, height, width in rng.integers((10, 10, 30, 30), (120, 160, 80, 80), (12, 4)):
        houses[top : top + height, left : left + width] = rng.uniform(20, 230)
    for top, left in itertools.product(range(20, 180, 24), range(20, 220, 12)):  # thick letters, all alike
        text[top : top + 14, left : left + 6] = 20
    return {
        "black": np.zeros((*SIZE, 1)),
        "white": np.full((*SIZE, 1), 255.0),
        "one shade": np.full((*SIZE, 3), 137.0),
        "grain": 128 + rng.normal(0, 40, (*SIZE, 1)),
        "noise": rng.uniform(0, 255, (*SIZE, 3)),
        "pepper": np.where(rng.random((*SIZE, 1)) < 0.5, 0.0, 255.0),
        "slopes": scene(),
        "two halves": np.where(columns < 100, 40.0, 200.0)[..., None],
        "a slanting edge": np.where(columns + 0.3 * rows < 150, 40.0, 200.0)[..., None],
        "houses": houses,
        "blocks": text,
        "a fence": np.where(columns // 10 % 2, 60.0, 180.0)[..., None],
        "a disc": 60 + 120 * (np.hypot(rows - 100, columns - 120) < 60)[..., None],
        "a soft line": 90 + 100 * np.exp(-((rows - columns / 2 - 40) ** 2) / 2 / 4**2)[..., None],
        "ripples": 128 + 60 * np.sin(rows / 6 + columns / 9)[..., None],
    }


@pytest.mark.parametrize("name", clean_pictures())
def test_pictures_without_damage_are_left_alone(name: str) -> None:
    assert not find_scratches(stored(clean_pictures()[name])).any()


def test_what_is_wide_on_a_small_picture_is_thin_on_a_large_one() -> None:
    picture = scene((820, 900))
    damaged = covered(picture, [(100, 50), (700, 600)], 7, 240)
    mask = find_scratches(stored(picture))
    assert (mask & damaged).sum() >= 0.97 * damaged.sum() and not (mask & ~dilate(damaged, 5)).any()
    assert not find_scratches(stored(picture[:390, :390])).any()


def test_less_is_asked_where_damage_is_certain() -> None:
    def with_faint_line() -> tuple[np.ndarray, np.ndarray]:
        picture = scene()
        picture[:, 119:] += 11  # one side is lighter, which makes the line uneven
        return picture, covered(picture, [(5, 119), (195, 119)], 2, 190)

    picture, faint = with_faint_line()
    assert not find_scratches(stored(picture)).any()
    covered(picture, [(10, 20), (190, 60)], 2, 250)
    covered(picture, [(20, 230), (180, 180)], 2, 10)
    mask = find_scratches(stored(picture))
    assert (mask & faint).sum() >= 0.9 * faint.sum()


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (1, 500), (3, 7), (28, 28), (64, 64), (79, 300), (90, 90)])
def test_small_pictures(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (*size, 1), np.uint8)
    for picture in (stored(scene(size, 1)), stored(scene(size, 3)), noise, np.zeros((*size, 3), np.uint16)):
        mask = find_scratches(picture)
        assert mask.shape == size and mask.dtype == bool and not mask.any()


def test_a_single_grain_is_no_evidence() -> None:
    picture = scene()
    covered(picture, [(90, 100), (90.01, 100)], 4, 245)
    assert not find_scratches(stored(picture)).any()


def test_a_scratch_across_a_small_picture() -> None:
    picture = scene()[:80, :80].copy()
    damaged = covered(picture, [(4, 3), (70, 74)], 2, 250)
    mask = find_scratches(stored(picture))
    assert (mask & damaged).sum() >= 0.9 * damaged.sum() and not (mask & ~dilate(damaged, 3)).any()


@pytest.mark.parametrize("name", ["astronaut.png", "camera.png", "chelsea.png", "coins.png", "moon.png"])
def test_clean_photographs_are_left_alone(name: str) -> None:
    data = pytest.importorskip("skimage.data")
    with Image.open(Path(data.__file__).parent / name) as image:
        pixels = np.asarray(image)
    assert not find_scratches(pixels.reshape(*pixels.shape[:2], -1)).any()
