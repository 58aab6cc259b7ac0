"""Holes cut into known images: where they are, who fills them, and what is measured."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from tiny import pictures, tiny_model
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.cli.evaluate import Family
from vae_cli.dataset.random_masks import FAMILIES
from vae_cli.errors import ConfigError
from vae_cli.images.pixels import to_unit
from vae_cli.metrics.pictures import MAX_HOLE_PSNR_DB
from vae_cli.tasks import inpaint as module
from vae_cli.tasks.conditional_draws import CHUNK
from vae_cli.tasks.evaluate_holes import Filled, draw_holes, figures_of, fill_holes

Fake = Callable[..., Tensor]


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


def figures(model: Model, images: np.ndarray, family: str = "half", **settings: int) -> dict[str, float]:
    found = [
        figures_of(each) for each in fill_holes(model, images, draw_holes(family, len(images), (8, 8)), **settings)
    ]
    return {name: sum(each[name] for each in found) / len(found) for name in found[0]}


def answers_with(answer: Callable[[Tensor], Tensor]) -> Fake:
    """Stands for fill_pictures: `answer` gets one number for each picture that is wanted, its noise's first."""
    return lambda model, x, observed, noise, **_: {"mixed": answer(noise.noise[0].flatten(1)[:, 0])}


# Holes


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hole_depends_on_seed_and_number(family: str) -> None:
    many, few = (np.stack(list(draw_holes(family, num, (9, 13), seed=3))) for num in (20, 7))
    assert many.shape == (20, 9, 13) and many.dtype == bool
    np.testing.assert_array_equal(many[:7], few)
    assert many.any((1, 2)).all() and not many.all((1, 2)).any()
    other = np.stack(list(draw_holes(family, 20, (9, 13), seed=4)))
    assert (family == "center") == np.array_equal(many, other)


def test_the_command_line_offers_every_family() -> None:
    assert get_args(Family) == FAMILIES


# Fills


def test_known_pixels_are_left_alone(model: Model) -> None:
    images = pictures(5)
    for number, filled in enumerate(fill_holes(model, images, draw_holes("brush", 5, (8, 8)), fills=3)):
        np.testing.assert_array_equal(filled.image, images[number])
        assert filled.fills.shape == (3, 8, 8, 1) and filled.fills.dtype == np.uint8
        assert (filled.fills[:, ~filled.hole] == images[number][~filled.hole]).all()
        inside = filled.fills[:, filled.hole]
        assert (inside[0] != inside[1]).any() and (inside[1] != inside[2]).any()


def test_a_fill_depends_on_seed_and_numbers_only(model: Model) -> None:
    """Not on how many images are measured (30 images of 3 fills make two chunks), nor on the number of fills."""
    images, holes = pictures(30), list(draw_holes("center", 30, (8, 8)))
    many = list(fill_holes(model, images, holes, fills=3, seed=1))
    assert len(many) == 30 and CHUNK < 30 * 3
    few = list(fill_holes(model, images[:4], holes[:4], fills=3, seed=1))
    for one, other in zip(many, few, strict=False):
        np.testing.assert_array_equal(one.fills, other.fills)
    single = list(fill_holes(model, images[:4], holes[:4], fills=1, seed=1))
    for one, other in zip(many, single, strict=False):
        np.testing.assert_allclose(one.fills[:1].astype(int), other.fills, atol=1)
    for changed in ({"seed": 2}, {"seed": 1, "solver_steps": 9}):
        other = next(fill_holes(model, images, holes, fills=3, **changed))
        assert not np.array_equal(many[0].fills, other.fills), changed


def test_what_was_in_the_hole_is_not_told(model: Model) -> None:
    images, hole = pictures(1), next(draw_holes("half", 1, (8, 8)))
    other = np.where(hole[:, :, None], 255 - images[0], images[0])
    one, two = (next(fill_holes(model, [image], [hole], fills=2)) for image in (images[0], other))
    np.testing.assert_array_equal(one.fills[:, hole], two.fills[:, hole])


def test_memory_is_a_chunk(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are asked for as they are needed, and every chunk has one size."""
    sizes, asked = [], 0
    monkeypatch.setattr(module, "fill_pictures", lambda model, x, *_, **__: sizes.append(len(x)) or {"mixed": x})

    def images():  # type: ignore[no-untyped-def]
        nonlocal asked
        for image in pictures(50):
            asked += 1
            yield image

    found = fill_holes(model, images(), draw_holes("center", 50, (8, 8)), fills=10)
    next(found)
    assert asked <= CHUNK // 10 + 1
    assert len(list(found)) == 49 and set(sizes) == {CHUNK} and len(sizes) == math.ceil(500 / CHUNK)


def test_without_a_flow_nothing_is_filled(model: Model) -> None:
    with pytest.raises(ConfigError, match="flow"):
        next(fill_holes(replace(model, flow=None), pictures(1), draw_holes("half", 1, (8, 8))))


# Figures


def test_the_truth_is_as_good_as_it_gets(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = to_unit(pictures(1))
    monkeypatch.setattr(module, "fill_pictures", answers_with(lambda noise: truth.expand(len(noise), -1, -1, -1)))
    found = figures(model, pictures(1))
    assert found == {"psnr_hole_db": MAX_HOLE_PSNR_DB, "psnr_hole_mean_fill_db": MAX_HOLE_PSNR_DB,
                     "ssim": pytest.approx(1)}  # fmt: skip


def test_one_fill_and_the_mean_of_all(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fills of 0 or 255 on grey 51: each misses by 1/5 or 4/5, their mean by what their shares say."""
    plain = np.full((4, 8, 8, 1), 51, np.uint8)
    monkeypatch.setattr(
        module, "fill_pictures", answers_with(lambda noise: noise.sign()[:, None, None, None].expand(-1, 1, 8, 8))
    )
    drawn = list(fill_holes(model, plain, draw_holes("center", 4, (8, 8)), fills=10))
    assert all(set(np.unique(filled.fills[:, filled.hole])) == {0, 255} for filled in drawn)
    ones = [-20 * math.log10(abs(filled.fills[0][filled.hole].mean() / 255 - 0.2)) for filled in drawn]
    means = [-20 * math.log10(abs(filled.fills[:, filled.hole].mean() / 255 - 0.2)) for filled in drawn
             if abs(filled.fills[:, filled.hole].mean() / 255 - 0.2) > 1e-3]  # fmt: skip
    best = [MAX_HOLE_PSNR_DB] * (4 - len(means))
    found = figures(model, plain, "center", fills=10)
    assert found["psnr_hole_db"] == pytest.approx(np.mean(ones), abs=1e-3)
    assert found["psnr_hole_mean_fill_db"] == pytest.approx(np.mean([*means, *best]), abs=1e-3)


def test_ssim_is_that_of_the_first_fill_and_sees_known_pixels() -> None:
    truth = pictures(1, (24, 24))[0]
    hole = np.zeros((24, 24), bool)
    hole[:, :2] = True
    wrong = np.where(hole[:, :, None], 255 - truth, truth)

    def of(*fills: np.ndarray) -> float:
        return figures_of(Filled(truth, hole, np.stack(fills)))["ssim"]

    assert of(truth, wrong) == pytest.approx(1)
    assert 0.5 < of(wrong, truth) < 1 and of(255 - truth) < 0
