"""What a trained flow is calibrated by: the spread of its samples, and how far its fills are to be trusted."""

from collections.abc import Iterator

import pytest
import torch
from tiny import GRID, tiny_config
from torch import Tensor

from vae_cli.model.blending import MAX_DEPTH, NUM_KINDS, blended, kinds_of
from vae_cli.model.calibration import MAX_NOISE_SCALE, calibrate_noise, evidence, fitted_weight
from vae_cli.model.condition import Condition
from vae_cli.model.flow import LatentFlow, build_flow


def untrained_flow() -> LatentFlow:
    return build_flow(tiny_config({"model": {"latents": list(GRID)}}), (2, 2, 2), 0)


def box(side: int = 40, top: int = 10, size: int = 9) -> Tensor:
    """[1, 1, side, side]: 1 but for a square."""
    observed = torch.ones(1, 1, side, side)
    observed[..., top : top + size, top : top + size] = 0
    return observed


# The noise that samples start from


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def as_it_is(z: torch.Tensor) -> torch.Tensor:
    return z


def no_start(flow: LatentFlow) -> torch.Tensor:
    return flow.start_at(torch.full((200,), -1))


@pytest.mark.parametrize(("spread", "expected"), [(1.05, 1.05), (3.0, MAX_NOISE_SCALE), (0.7, 1.0)])
def test_the_noise_is_widened_until_samples_spread_like_data(spread: float, expected: float) -> None:
    """An untrained flow gives its noise back, standardised latents that is."""
    flow = untrained_flow()
    flow.set_statistics(torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0]))
    noise = torch.randn(200, *flow.shape)
    nothing = Condition.nothing(200, 1, (8, 8), torch.device("cpu"))
    calibrate_noise(flow, flow.restore(spread * noise), no_start(flow), noise, nothing, steps=40, reencoded=as_it_is)
    assert flow.noise_scale.item() == pytest.approx(expected, abs=0.01)


def test_spread_is_measured_about_the_clusters_own_centroid() -> None:
    """Noise r + 5, which an untrained flow gives back, and data 1.05 r + 5, with r of mean 0 and variance 1.

    At scale 1.1 the samples' mean square is 0.5² + 1.1² about the centroid 5, and 5.5² + 1.1² about 0.
    """
    flow = untrained_flow()
    flow.centroids[0] = 5.0
    r = torch.randn(100, *flow.shape)
    r = (r - r.mean()) / r.std(correction=0)
    nothing = Condition.nothing(100, 1, (8, 8), torch.device("cpu"))
    missing = 1.05**2 - 1
    for cluster, at_most in ((0, 0.5**2 + 1.1**2 - 1), (-1, 5.5**2 - 5**2 + 1.1**2 - 1)):
        start = flow.start_at(torch.full((100,), cluster))
        calibrate_noise(flow, flow.restore(5 + 1.05 * r), start, 5 + r, nothing, steps=100, reencoded=as_it_is)
        assert flow.noise_scale.item() == pytest.approx(1 + 0.1 * missing / at_most, rel=1e-3)


def test_spread_that_does_not_show_in_the_picture_does_not_count() -> None:
    """One channel of the data is 1.05 times as wide as the noise, the other three times, but the decoder ignores it."""
    flow = untrained_flow()
    noise = torch.randn(200, *flow.shape)
    nothing = Condition.nothing(200, 1, (8, 8), torch.device("cpu"))
    data = torch.stack([1.05 * noise[:, 0], 3 * noise[:, 1]], dim=1)
    shown = torch.tensor([1.0, 0.0])[:, None, None]
    calibrate_noise(flow, data, no_start(flow), noise, nothing, steps=40, reencoded=lambda z: shown * z)
    assert flow.noise_scale.item() == pytest.approx(1.05, abs=0.01)


# The trust in its fills


def test_the_weights_that_made_a_picture_are_found_again() -> None:
    observed = torch.cat([(torch.rand(1, 1, 40, 40) > 0.7).float(), box().repeat(19, 1, 1, 1)])
    made = torch.linspace(0.5, 0.9, NUM_KINDS * MAX_DEPTH).unflatten(0, (NUM_KINDS, MAX_DEPTH))
    fill, smooth = torch.rand(20, 3, 40, 40), torch.rand(20, 3, 40, 40)
    truth = blended(fill, smooth, observed, made.expand(20, -1, -1))
    parts = [slice(0, 7), slice(7, 20)]
    found = fitted_weight(
        torch.cat([evidence(fill[p], smooth[p], truth[p], observed[p]) for p in parts]), draws_vary=True
    )
    kind, depth = kinds_of(observed)
    cells = torch.zeros(NUM_KINDS, MAX_DEPTH + 1)
    cells.index_put_((kind.flatten(), depth.flatten()), torch.ones(kind.numel()), accumulate=True)
    is_common = cells[:, 1:] > 0.08 * cells[:, 1:].sum()  # where there is much to go by
    assert is_common[0].any() and is_common[1].any()
    torch.testing.assert_close(found[is_common], made[is_common], atol=0.03, rtol=0)


LEAST = [0, 0.005, 0.01, 0.015] + [0.02] * (MAX_DEPTH - 4)


def test_a_model_that_is_wrong_is_trusted_so_little_that_only_its_fills_differ() -> None:
    observed, truth = box().repeat(2, 1, 1, 1), torch.rand(2, 1, 40, 40)
    wrong = fitted_weight(evidence(1 - truth, truth, truth, observed), draws_vary=True)
    for weights in wrong:
        assert weights.tolist() == pytest.approx(LEAST, abs=1e-4)


def test_without_evidence_about_a_kind_the_model_is_trusted() -> None:
    observed, truth = box().repeat(2, 1, 1, 1), torch.rand(2, 1, 40, 40)
    right = fitted_weight(evidence(truth, 1 - truth, truth, observed), draws_vary=True)
    assert right[0].tolist() == [1] * MAX_DEPTH, "no pixel lies among few known ones"


def test_of_draws_that_vary_a_small_gain_convinces_in_part_a_larger_one_fully() -> None:
    """Weight w of a fill that is right in w of its difference gains -10 log10(1 - w²) dB if the rest is unrelated."""
    observed, generator = box().repeat(300, 1, 1, 1), torch.Generator().manual_seed(0)
    smooth, fill, other = (torch.randn(300, 3, 40, 40, generator=generator) for _ in range(3))

    def weight(share: float, *, draws_vary: bool = True) -> float:
        truth = smooth + share * (fill - smooth) + (1 - share**2) ** 0.5 * 2**0.5 * other
        return fitted_weight(evidence(fill, smooth, truth, observed), draws_vary=draws_vary)[1, 2].item()

    assert weight(0.2) == pytest.approx(0.2 * 0.177, rel=0.2), "0.18 of 1 dB"
    assert weight(0.5) == pytest.approx(0.5, rel=0.1), "1.25 dB"
    assert weight(0.2, draws_vary=False) == pytest.approx(0.2, rel=0.1)


def test_what_holds_less_deep_is_taken_where_there_is_nothing_to_go_by() -> None:
    observed, fill, smooth = box().repeat(8, 1, 1, 1), torch.rand(8, 3, 40, 40), torch.rand(8, 3, 40, 40)
    made = torch.full((8, NUM_KINDS, MAX_DEPTH), 0.7)
    found = fitted_weight(evidence(fill, smooth, blended(fill, smooth, observed, made), observed), draws_vary=True)
    assert found[1].tolist() == pytest.approx([0.7] * MAX_DEPTH, abs=0.02), "of depths up to 5 only is anything known"


def test_a_smooth_picture_counts_as_much_as_a_lively_one() -> None:
    """The plate is right about the smooth one to a grey level, the fill a little less wrong about the lively one."""
    observed, truth = box().repeat(2, 1, 1, 1), torch.zeros(2, 1, 40, 40)
    smooth = torch.cat([torch.full((1, 1, 40, 40), 0.004), torch.full((1, 1, 40, 40), 1.0)])
    fill = torch.cat([torch.full((1, 1, 40, 40), 0.5), torch.full((1, 1, 40, 40), 0.6)])
    both = fitted_weight(evidence(fill, smooth, truth, observed), draws_vary=True)[1, 2]
    lively = fitted_weight(evidence(fill[1:], smooth[1:], truth[1:], observed[1:]), draws_vary=True)[1, 2]
    assert lively > 0.9 and both < 0.1
