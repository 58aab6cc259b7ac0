import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vae_cli.dataset.random_masks import FAMILIES, draw_observed, training_damage


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("family", FAMILIES)
@given(height=st.integers(2, 40), width=st.integers(2, 40), seed=st.integers(0, 1000))
def test_families_are_binary_and_miss_something(family: str, height: int, width: int, seed: int) -> None:
    observed = draw_observed(family, 3, height, width, generator(seed))
    assert observed.shape == (3, 1, height, width) and observed.dtype == torch.float32
    assert ((observed == 0) | (observed == 1)).all()
    if family != "scattered":  # whose few pixels may all fall alike in a tiny image
        assert (observed.flatten(1) == 0).any(1).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_same_state_same_masks(family: str) -> None:
    a, b = (draw_observed(family, 16, 28, 20, generator(1)) for _ in range(2))
    assert torch.equal(a, b)
    if family != "center":
        assert not torch.equal(a, draw_observed(family, 16, 28, 20, generator(2)))


@pytest.mark.parametrize(
    ("family", "low", "high"),
    [("center", 0.25, 0.25), ("half", 0.5, 0.5), ("random", 0.1, 0.7), ("scattered", 0.72, 0.78), ("brush", 0.01, 0.6)],
)
def test_share_that_is_missing(family: str, low: float, high: float) -> None:
    for side in (32, 64, 160):
        missing = 1 - draw_observed(family, 200, side, side, generator()).mean((1, 2, 3))
        assert missing.min() >= low - 0.05 and missing.max() <= high + 0.05


def test_center_is_centred_and_halves_are_the_four() -> None:
    center = draw_observed("center", 1, 8, 8, generator())[0, 0]
    assert (center[2:6, 2:6] == 0).all() and center.sum() == 48
    halves = draw_observed("half", 100, 4, 4, generator()).flatten(1)
    assert len({tuple(row.tolist()) for row in halves}) == 4


def test_unknown_family() -> None:
    with pytest.raises(ValueError, match="center"):
        draw_observed("nose", 1, 8, 8, generator())


def test_training_mix() -> None:
    damage = training_damage(6000, 16, 16, generator())
    shares = damage.observed.mean((1, 2, 3))
    nothing, everything = shares == 0, shares == 1
    partial = ~nothing & ~everything
    assert nothing.float().mean() == pytest.approx(0.30, abs=0.02)
    assert everything.float().mean() == pytest.approx(0.10, abs=0.02)
    assert (damage.noise_sigma[nothing] == 0).all()
    assert damage.noise_sigma[everything].min() >= 5 and 50 < damage.noise_sigma[everything].max() <= 60
    assert (damage.noise_sigma[partial] > 0).float().mean() == pytest.approx(0.25, abs=0.03)
    assert damage.noise_sigma[partial].max() <= 15


def test_training_damage_is_a_function_of_the_state() -> None:
    a, b = training_damage(64, 28, 28, generator(5)), training_damage(64, 28, 28, generator(5))
    assert torch.equal(a.observed, b.observed) and torch.equal(a.noise_sigma, b.noise_sigma)
    assert training_damage(1, 1, 1, generator()).observed.shape == (1, 1, 1, 1)
