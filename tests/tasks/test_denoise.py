"""Noise: how much of it there is, and pictures without it, put together from windows."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import pictures, tiny_model

from vae_cli.checkpoint import Model
from vae_cli.errors import ConfigError
from vae_cli.model.condition import Condition
from vae_cli.tasks.denoise import denoise
from vae_cli.windows.picture_noise import estimate_sigma


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


def one(model: Model, image: np.ndarray, **settings: object) -> np.ndarray:
    return next(denoise(model, image, **{"sigma": 25.0, "image_id": "a", **settings}))  # type: ignore[arg-type]


# How much


def landscape(side: int = 128) -> np.ndarray:
    """Smooth, float [side, side, 1], away from black and white."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    return (128 + 50 * np.sin(5 * rows) * np.cos(4 * columns))[:, :, None]


@pytest.mark.parametrize("sigma", [2.0, 10.0, 25.0, 50.0])
def test_sigma_is_found(sigma: float) -> None:
    noisy = landscape() + np.random.default_rng(0).normal(0, sigma, (128, 128, 1))
    assert estimate_sigma(noisy.clip(0, 255).round().astype(np.uint8)) == pytest.approx(sigma, rel=0.12)


def test_sigma_is_found_on_black_ground() -> None:
    """Half of the noise on black is cut off, and what remains there looks weaker than it is."""
    clean = landscape()
    clean[:, :90] = 0
    noisy = clean + np.random.default_rng(0).normal(0, 20, clean.shape)
    assert estimate_sigma(noisy.clip(0, 255).round().astype(np.uint8)) == pytest.approx(20, rel=0.2)


def test_sigma_of_sixteen_bits_is_on_the_same_scale() -> None:
    noisy = (landscape() + np.random.default_rng(0).normal(0, 15, (128, 128, 1))).clip(0, 255)
    assert estimate_sigma((noisy * 257).astype(np.uint16)) == pytest.approx(15, rel=0.12)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 50, 3), (2, 2, 1)])
def test_sigma_of_next_to_nothing_is_a_number(shape: tuple[int, ...]) -> None:
    assert estimate_sigma(np.full(shape, 7, np.uint8)) == 0


# Windows


@pytest.mark.parametrize("size", [(8, 8), (3, 5), (20, 9), (8, 30)])
def test_any_size_comes_back_in_its_size(model: Model, size: tuple[int, int]) -> None:
    found = one(model, np.full((*size, 1), 90, np.uint8))
    assert found.shape == (*size, 1) and found.dtype == np.float32
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 255


def test_windows_are_put_back_where_they_came_from(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a refiner that returns what it sees, the picture is what it was, however many windows it takes."""
    assert model.flow is not None
    monkeypatch.setattr(type(model.flow), "refine", lambda self, decoded, known, time: known.pixels)
    image = np.random.default_rng(0).integers(0, 256, (31, 22, 1), dtype=np.uint8)
    np.testing.assert_allclose(one(model, image), image, atol=1e-3)
    wide = image.astype(np.uint16) * 257
    np.testing.assert_allclose(one(model, wide), image, atol=1e-3)


# Pictures


def test_it_depends_on_seed_id_and_number_only(model: Model) -> None:
    image = pictures(1)[0]
    three = list(denoise(model, image, sigma=25, image_id="a", samples=3))
    assert np.array_equal(three[0], next(denoise(model, image, sigma=25, image_id="a", samples=1)))
    others = [three[1], three[2], one(model, image, samples=1, seed=1), one(model, image, samples=1, image_id="b")]
    assert not any(np.allclose(three[0], other) for other in others)
    assert np.array_equal(one(model, image), one(model, image))


def test_the_mean_is_steadier_than_a_sample(model: Model) -> None:
    """Over seeds."""
    image = pictures(1)[0]
    means, samples = (np.stack([one(model, image, seed=seed, samples=count) for seed in range(4)]) for count in (0, 1))
    assert means.std(0).mean() < 0.7 * samples.std(0).mean()


def test_all_pixels_are_told_with_their_noise(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Condition] = []
    real = type(model.flow).refine

    def refine(self, decoded, known, time):  # type: ignore[no-untyped-def]
        seen.append(known)
        return real(self, decoded, known, time)

    monkeypatch.setattr(type(model.flow), "refine", refine)
    one(model, pictures(1)[0], sigma=12.5)
    assert all((known.observed == 1).all() and (known.noise_sigma == 12.5).all() for known in seen) and seen


@pytest.mark.parametrize("samples", [0, 2])
def test_a_picture_without_noise_comes_back_as_it_is(model: Model, samples: int) -> None:
    image = np.random.default_rng(0).integers(0, 65536, (20, 9, 1), dtype=np.uint16)
    found = list(denoise(model, image, sigma=0, image_id="a", samples=samples))
    assert len(found) == max(samples, 1)
    for picture in found:
        np.testing.assert_array_equal(np.rint(picture * 257), image)


def test_a_model_without_a_flow_removes_nothing(model: Model) -> None:
    with pytest.raises(ConfigError, match="flow"):
        one(replace(model, flow=None), pictures(1)[0])
