"""Smooth continuations: known pixels stay, slopes go on, and what is hidden has no influence."""

import pytest
import torch
from torch import Tensor

from vae_cli.model import continuation
from vae_cli.model.continuation import membrane, plate

SIZE = 24


def hole(top: int = 8, height: int = 6) -> Tensor:
    """[1, 1, 24, 24]: 1 but for a box."""
    observed = torch.ones(1, 1, SIZE, SIZE)
    observed[..., top : top + height, 7:15] = 0
    return observed


def slope() -> Tensor:
    """[1, 2, 24, 24]: one channel rises downwards, one falls to the right."""
    ramp = torch.linspace(-0.8, 0.8, SIZE)
    return torch.stack([ramp[:, None].expand(SIZE, SIZE), -0.5 * ramp[None].expand(SIZE, SIZE)])[None]


def worst(found: Tensor) -> float:
    return (found - slope()).abs().max().item()


def test_a_plate_continues_slopes_exactly_and_a_membrane_nearly() -> None:
    x, observed = slope(), hole()
    assert worst(plate(x, observed)) < 2e-3
    assert worst(membrane(x, observed)) < 0.2


def test_a_plate_bends_on_where_a_membrane_cuts_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hill whose top is missing, the plate builds a top again; solved to the end, it is a stationary point."""
    rows, columns = torch.meshgrid(torch.arange(SIZE) - 11.5, torch.arange(SIZE) - 11.5, indexing="ij")
    hill = (0.9 - (rows.square() + columns.square()) / 160).clamp(-1, 1)[None, None]
    observed = torch.ones(1, 1, SIZE, SIZE)
    observed[..., 9:15, 9:15] = 0
    monkeypatch.setattr(continuation, "PLATE_STEPS", 300)
    top = plate(hill * observed, observed)[..., 11:13, 11:13].mean()
    assert membrane(hill, observed)[..., 11:13, 11:13].mean() < 0.85 < top


@pytest.mark.parametrize(("height", "width"), [(3, 3), (2, 6), (4, 4)])
def test_as_many_steps_as_unknown_pixels_are_enough(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What conjugate gradients promise, and steps in other directions do not keep."""
    x, observed = torch.rand(1, 1, 8, 8) * 2 - 1, torch.ones(1, 1, 8, 8)  # so small that it has no coarser plate
    observed[..., 2 : 2 + height, 1 : 1 + width] = 0
    monkeypatch.setattr(continuation, "PLATE_STEPS", height * width)
    found = plate(x * observed, observed)
    monkeypatch.setattr(continuation, "PLATE_STEPS", 400)
    torch.testing.assert_close(found, plate(x * observed, observed), atol=2e-5, rtol=0)


def test_wide_holes_are_solved_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a box of 32 pixels, too, where conjugate gradients alone need hundreds of steps."""
    rows, columns = torch.meshgrid(torch.linspace(-3, 3, 64), torch.linspace(-3, 3, 64), indexing="ij")
    x, observed = (0.5 * rows.sin() * columns.cos() + 0.1 * rows)[None, None], torch.ones(1, 1, 64, 64)
    observed[..., 16:48, 16:48] = 0
    found = plate(x * observed, observed)
    monkeypatch.setattr(continuation, "PLATE_STEPS", 1500)
    assert (found - plate(x * observed, observed)).abs().max() < 0.03
    assert (found - membrane(x, observed)).abs().max() > 0.1, "otherwise this shows nothing"


def test_tension_keeps_a_plate_within_bounds_far_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a slope that ends in a half of nothing: a plate without tension goes on rising to the end."""
    x = torch.linspace(-0.9, 1.1, 64).expand(1, 1, 64, 64)
    observed = torch.ones(1, 1, 64, 64)
    observed[..., 32:] = 0
    monkeypatch.setattr(continuation, "PLATE_STEPS", 1500)
    tense = plate(x * observed, observed)
    monkeypatch.setattr(continuation, "_TENSION", 0.0)
    assert tense.max() < 0.3 and plate(x * observed, observed).max() > 0.5


@pytest.mark.parametrize("continued", [membrane, plate])
def test_known_pixels_stay_and_hidden_ones_have_no_influence(continued: object) -> None:
    assert callable(continued)
    x, observed = torch.rand(2, 3, SIZE, SIZE) * 2 - 1, hole().repeat(2, 1, 1, 1)
    observed[1] = (torch.rand(1, SIZE, SIZE) > 0.75).float()
    found = continued(x, observed)
    assert torch.equal(found * observed, x * observed)
    assert found.isfinite().all() and found.abs().max() <= 1 + 1e-6
    other = torch.where(observed > 0, x, torch.rand_like(x))
    assert torch.equal(found, continued(other * observed, observed))


def test_each_picture_of_a_batch_is_continued_by_itself() -> None:
    x, observed = torch.rand(2, 1, SIZE, SIZE), torch.cat([hole(), hole(2, 17)])
    together = plate(x * observed, observed)
    for one in range(2):
        alone = plate((x * observed)[one : one + 1], observed[one : one + 1])
        torch.testing.assert_close(together[one : one + 1], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("known", [0.0, 1.0])
def test_nothing_known_and_everything_known(known: float) -> None:
    x = torch.rand(1, 1, SIZE, SIZE)
    assert torch.equal(plate(known * x, torch.full((1, 1, SIZE, SIZE), known)), known * x)
