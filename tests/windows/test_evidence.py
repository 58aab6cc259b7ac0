"""Evidence beside a deep hole: what is hidden is known and alike, and the score asks for plausible fills, not means."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from vae_cli.model.continuation import plate
from vae_cli.windows.evidence import Choice, Trial, choices, energy_score, hidden_beside

SIDE = 64


def noise(seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn((3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))


def box(top: int, left: int, height: int, width: int) -> np.ndarray:
    hole = np.zeros((SIDE, SIDE), bool)
    hole[top : top + height, left : left + width] = True
    return hole


@settings(max_examples=40)
@given(st.integers(0, 63), st.integers(0, 63), st.integers(1, 64), st.integers(1, 64))
def test_what_is_hidden_is_known_and_apart_from_the_hole(top: int, left: int, height: int, width: int) -> None:
    hole = box(top, left, height, width)
    hidden = hidden_beside(hole)
    assert not (hidden & ndimage.maximum_filter(hole, 5)).any()
    assert not hidden.all()


def test_it_has_the_holes_shape_and_size_where_there_is_room() -> None:
    hole = box(20, 20, 10, 12)
    hole[20:25, 20:26] = False
    labels, count = ndimage.label(hidden_beside(hole))
    assert count == 4
    for rows, columns in ndimage.find_objects(labels):
        assert np.array_equal(hidden_beside(hole)[rows, columns], hole[20:30, 20:32])


@pytest.mark.parametrize(
    "hole", [box(16, 16, 32, 32), box(0, 0, 64, 32), box(0, 0, 40, 40)], ids=["box", "half", "corner"]
)
def test_for_a_hole_too_large_its_shape_is_shrunk(hole: np.ndarray) -> None:
    hidden = hidden_beside(hole)
    assert 0 < hidden.sum() < hole.sum()


@pytest.mark.parametrize("hole", [np.zeros((SIDE, SIDE), bool), np.ones((SIDE, SIDE), bool), box(1, 1, 62, 62)])
def test_without_room_nothing_is_hidden(hole: np.ndarray) -> None:
    assert not hidden_beside(hole).any()


def test_draws_from_where_the_truth_comes_from_beat_their_mean_and_any_other() -> None:
    hidden, truth = torch.from_numpy(box(10, 10, 40, 40)), noise(0)
    mean, wrong = torch.zeros_like(truth), 1.0
    score = energy_score(noise(1), noise(2), truth, hidden)
    assert score < energy_score(mean, mean, truth, hidden) < energy_score(mean + wrong, mean + wrong, truth, hidden)
    assert score < energy_score(noise(1), noise(1), truth, hidden), "one picture twice is no draw"
    assert score < energy_score(noise(1, 3.0), noise(2, 3.0), truth, hidden), "nor is too much of it"
    assert energy_score(truth, truth, truth, hidden) == 0
    elsewhere = torch.where(hidden, truth, 9.0)
    assert energy_score(elsewhere, elsewhere, truth, hidden) == 0


def trial_on(truth: Tensor, ways: list[Choice], **draws: list[Tensor]) -> Trial:
    observed = torch.from_numpy(~box(24, 24, 16, 16))[None].float()
    trial = Trial(truth * observed, observed, ways)
    smooth = plate((truth * trial.observed)[None], trial.observed[None])[0]
    for number in range(2):
        trial.draws.append({"smooth": smooth, **{source: pictures[number] for source, pictures in draws.items()}})
    return trial


def test_a_pattern_is_copied_and_a_slope_is_continued() -> None:
    places = torch.arange(SIDE).float()
    stripes = (0.6 * torch.sin(places[:, None] + places)).expand(3, SIDE, SIDE)
    assert trial_on(stripes, choices(None)).choice == choices(None)[1]
    bend = ((places / SIDE) ** 2 - 0.5).expand(3, SIDE, SIDE)
    assert trial_on(bend, choices(None)).choice == Choice("smooth")


def test_a_model_that_knows_is_chosen_and_one_that_does_not_is_not() -> None:
    truth = noise(0, 0.3)
    ways = [Choice("mixed"), Choice("model"), Choice("smooth")]
    known, fog, bad = [truth + 0.1 * noise(1), truth + 0.1 * noise(2)], [0 * truth] * 2, [truth + 1, truth + 1]
    assert trial_on(truth, ways, model=known, mixed=fog).choice == Choice("model")
    assert trial_on(truth, ways, model=bad, mixed=known).choice == Choice("mixed")


def test_a_model_is_taken_as_it_is_only_where_it_is_trusted() -> None:
    assert {choice.source for choice in choices(None)} == {"smooth"}
    assert {choice.source for choice in choices(0.04)} == {"mixed"}
    assert {choice.source for choice in choices(0.9)} == {"mixed", "model"}
    assert all(choice.halvings <= 1 for choice in choices(0.9) if choice.source == "model"), "its shapes stay"


def test_the_safe_choice_is_the_model_only_where_that_is_no_farther_from_the_truth_than_a_smooth_fill() -> None:
    """Draws that differ as the truth does foresee it better than its mean does, though each is farther from it."""
    truth, ways = noise(0, 0.3), [Choice("mixed"), Choice("model")]
    draws, fog = [noise(1, 0.3), noise(2, 0.3)], [0 * truth] * 2
    close = [truth + 0.1 * noise(1), truth + 0.1 * noise(2)]
    far, near = (trial_on(truth, ways, model=pictures, mixed=fog, smooth=fog) for pictures in (draws, close))
    assert (far.choice, far.safe_choice) == (Choice("model"), Choice("mixed"))
    assert (near.choice, near.safe_choice) == (Choice("model"), Choice("model"))


def test_without_evidence_the_first_way_is_taken() -> None:
    trial = Trial(noise(0), torch.zeros(1, SIDE, SIDE), choices(0.9))
    assert not trial.hidden.any() and trial.choice == choices(0.9)[0]
