"""Trust in fills: depths are distances, weights are found again, and nothing known is touched."""

import pytest
import torch
from torch import Tensor

from vae_cli.model.blending import MAX_DEPTH, NUM_KINDS, blended, evidence, fitted_weight, kinds_of


def box(side: int = 40, top: int = 10, size: int = 9) -> Tensor:
    """[1, 1, side, side]: 1 but for a square."""
    observed = torch.ones(1, 1, side, side)
    observed[..., top : top + size, top : top + size] = 0
    return observed


def test_depth_is_the_distance_to_the_nearest_known_pixel() -> None:
    _, depth = kinds_of(box())
    assert depth[0, 0, 10, 10:19].tolist() == [1] * 9
    assert depth[0, 0, 14, 9:20].tolist() == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0]
    assert kinds_of(torch.zeros(1, 1, 8, 8))[1].unique().tolist() == [MAX_DEPTH]


def test_surroundings_tell_a_scratch_from_scattered_pixels() -> None:
    scratch = torch.ones(1, 1, 40, 40)
    scratch[..., 20] = 0
    scattered = (torch.rand(1, 1, 40, 40) > 0.8).float()
    assert kinds_of(scratch)[0].unique().tolist() == [1]
    assert kinds_of(scattered)[0].float().mean() < 0.01


def test_the_weights_that_made_a_picture_are_found_again() -> None:
    observed = torch.cat([(torch.rand(1, 1, 40, 40) > 0.7).float(), box().repeat(19, 1, 1, 1)])
    made = torch.linspace(0.5, 0.9, NUM_KINDS * MAX_DEPTH).unflatten(0, (NUM_KINDS, MAX_DEPTH))
    fill, smooth = torch.rand(20, 3, 40, 40), torch.rand(20, 3, 40, 40)
    truth = blended(fill, smooth, observed, made.expand(20, -1, -1))
    parts = [slice(0, 7), slice(7, 20)]
    found = fitted_weight(torch.cat([evidence(fill[p], smooth[p], truth[p], observed[p]) for p in parts]))
    kind, depth = kinds_of(observed)
    cells = torch.zeros(NUM_KINDS, MAX_DEPTH + 1)
    cells.index_put_((kind.flatten(), depth.flatten()), torch.ones(kind.numel()), accumulate=True)
    is_common = cells[:, 1:] > 0.08 * cells[:, 1:].sum()  # where there is much to go by
    assert is_common[0].any() and is_common[1].any()
    torch.testing.assert_close(found[is_common], made[is_common], atol=0.03, rtol=0)


LEAST = [0, 0.005, 0.01, 0.015] + [0.02] * (MAX_DEPTH - 4)


def test_a_model_that_is_wrong_is_trusted_so_little_that_only_its_fills_differ() -> None:
    observed, truth = box().repeat(2, 1, 1, 1), torch.rand(2, 1, 40, 40)
    wrong = fitted_weight(evidence(1 - truth, truth, truth, observed))
    for weights in wrong:
        assert weights.tolist() == pytest.approx(LEAST, abs=1e-4)


def test_without_evidence_about_a_kind_the_model_is_trusted() -> None:
    observed, truth = box().repeat(2, 1, 1, 1), torch.rand(2, 1, 40, 40)
    right = fitted_weight(evidence(truth, 1 - truth, truth, observed))
    assert right[0].tolist() == [1] * MAX_DEPTH, "no pixel lies among few known ones"


def test_a_small_gain_convinces_in_part_a_larger_one_fully() -> None:
    """Weight w of a fill that is right in w of its difference gains -10 log10(1 - w²) dB if the rest is unrelated."""
    observed, generator = box().repeat(300, 1, 1, 1), torch.Generator().manual_seed(0)
    smooth, fill, other = (torch.randn(300, 3, 40, 40, generator=generator) for _ in range(3))

    def weight(share: float) -> float:
        truth = smooth + share * (fill - smooth) + (1 - share**2) ** 0.5 * 2**0.5 * other
        return fitted_weight(evidence(fill, smooth, truth, observed))[1, 2].item()

    assert weight(0.2) == pytest.approx(0.2 * 0.177, rel=0.2), "0.18 of 1 dB"
    assert weight(0.5) == pytest.approx(0.5, rel=0.1), "1.25 dB"


def test_what_holds_less_deep_is_taken_where_there_is_nothing_to_go_by() -> None:
    observed, fill, smooth = box().repeat(8, 1, 1, 1), torch.rand(8, 3, 40, 40), torch.rand(8, 3, 40, 40)
    made = torch.full((8, NUM_KINDS, MAX_DEPTH), 0.7)
    found = fitted_weight(evidence(fill, smooth, blended(fill, smooth, observed, made), observed))
    assert found[1].tolist() == pytest.approx([0.7] * MAX_DEPTH, abs=0.02), "of depths up to 5 only is anything known"


def test_known_pixels_are_the_fills() -> None:
    observed, fill = box(), torch.rand(1, 3, 40, 40)
    found = blended(fill, torch.zeros(1, 3, 40, 40), observed, torch.zeros(1, NUM_KINDS, MAX_DEPTH))
    assert torch.equal(found, fill * observed)


def test_each_picture_has_weights_of_its_own() -> None:
    observed, fill = box().repeat(2, 1, 1, 1), torch.rand(2, 3, 40, 40)
    weight = torch.stack([torch.zeros(NUM_KINDS, MAX_DEPTH), torch.ones(NUM_KINDS, MAX_DEPTH)])
    found = blended(fill, torch.zeros_like(fill), observed, weight)
    assert torch.equal(found[0], fill[0] * observed[0]) and torch.equal(found[1], fill[1])


def test_a_smooth_picture_counts_as_much_as_a_lively_one() -> None:
    """The plate is right about the smooth one to a grey level, the fill a little less wrong about the lively one."""
    observed, truth = box().repeat(2, 1, 1, 1), torch.zeros(2, 1, 40, 40)
    smooth = torch.cat([torch.full((1, 1, 40, 40), 0.004), torch.full((1, 1, 40, 40), 1.0)])
    fill = torch.cat([torch.full((1, 1, 40, 40), 0.5), torch.full((1, 1, 40, 40), 0.6)])
    both = fitted_weight(evidence(fill, smooth, truth, observed))[1, 2]
    lively = fitted_weight(evidence(fill[1:], smooth[1:], truth[1:], observed[1:]))[1, 2]
    assert lively > 0.9 and both < 0.1
