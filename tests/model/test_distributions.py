"""Diagonal Gaussians against torch.distributions, and the noise they are drawn with."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vae_cli.model.distributions import MAX_NARROWING, MAX_WIDENING, DiagonalGaussian

SHAPE = (3, 2, 4, 5)


def random_gaussian(seed: int) -> DiagonalGaussian:
    generator = torch.Generator().manual_seed(seed)
    return DiagonalGaussian(2 * torch.randn(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator))


def as_normal(gaussian: DiagonalGaussian) -> Normal:
    return Normal(gaussian.mean, gaussian.log_scale.exp())


def test_kl_agrees_with_torch() -> None:
    p, q = random_gaussian(0), random_gaussian(1)
    torch.testing.assert_close(q.kl_from(p), kl_divergence(as_normal(q), as_normal(p)).sum((1, 2, 3)))
    assert torch.equal(p.kl_from(p), torch.zeros(SHAPE[0]))


def test_log_prob_agrees_with_torch_and_is_summed_per_image() -> None:
    p, z = random_gaussian(0), torch.randn(SHAPE)
    torch.testing.assert_close(p.log_prob(z), as_normal(p).log_prob(z).flatten(1).sum(1))
    standard = DiagonalGaussian.standard(z)
    torch.testing.assert_close(standard.log_prob(z), Normal(0.0, 1.0).log_prob(z).flatten(1).sum(1))


def test_noise_of_inverts_draw() -> None:
    p, noise = random_gaussian(0), torch.randn(SHAPE)
    torch.testing.assert_close(p.noise_of(p.draw(noise)), noise, rtol=1e-4, atol=1e-5)


def test_draws_have_the_stated_moments() -> None:
    p = DiagonalGaussian(torch.full((20_000, 1, 1, 1), 3.0), torch.full((20_000, 1, 1, 1), -1.0))
    drawn = p.draw(torch.randn(20_000, 1, 1, 1))
    assert drawn.mean().item() == pytest.approx(3, abs=0.02)
    assert drawn.std().log().item() == pytest.approx(-1, abs=0.03)


def test_no_correction_is_the_base_itself() -> None:
    base = random_gaussian(0)
    same = DiagonalGaussian.corrected(base, torch.zeros(3, 4, 4, 5))
    assert torch.equal(same.mean, base.mean) and torch.equal(same.log_scale, base.log_scale)


def test_a_correction_shifts_in_units_of_the_base() -> None:
    base = DiagonalGaussian(torch.full((1, 1, 1, 1), 5.0), torch.full((1, 1, 1, 1), 2.0).log())
    for change in (0.1, -0.5):
        moved = DiagonalGaussian.corrected(base, torch.tensor([3.0, change]).view(1, 2, 1, 1))
        assert moved.mean.item() == pytest.approx(11)
        assert moved.log_scale.item() == pytest.approx(math.log(2) + change, abs=1e-2)


def test_corrections_of_corrections_cannot_widen_without_end() -> None:
    """A prior and a posterior that both ask for exp(5): such states grew from layer to layer and ended a long run.

    What they cost stays within what a step can walk back from.
    """
    q = DiagonalGaussian.standard(torch.zeros(1, 1, 1, 1))
    for _ in range(2):  # a prior corrects N(0, I), and a posterior corrects the prior
        q = DiagonalGaussian.corrected(q, torch.tensor([0.0, 5.0]).view(1, 2, 1, 1))
    assert q.log_scale.item() <= 2
    assert q.kl_from(DiagonalGaussian.standard(q.mean)).item() < 30


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_corrections_stay_finite(size: float, dtype: torch.dtype) -> None:
    base = DiagonalGaussian.standard(torch.zeros(1, 2, 1, 1, dtype=dtype))
    raw = torch.full((1, 4, 1, 1), size, dtype=dtype, requires_grad=True)
    q = DiagonalGaussian.corrected(base, raw)
    assert q.mean.dtype == q.log_scale.dtype == torch.float32
    assert q.log_scale.min() >= -MAX_NARROWING and q.log_scale.max() <= MAX_WIDENING
    total: Tensor = q.kl_from(base).sum()
    total.backward()
    assert total.isfinite() and raw.grad is not None and raw.grad.isfinite().all()


def test_widening_adds_a_share_of_the_spread_of_each_channel() -> None:
    spread = torch.tensor([1.0, 5.0]).view(1, 2, 1, 1)
    posterior = DiagonalGaussian(spread * torch.randn(64, 2, 8, 8), torch.full((64, 2, 8, 8), -4.0))
    share = torch.zeros(64)
    share[1] = 0.5
    added = posterior.widened(share).draw(torch.randn(64, 2, 8, 8)) - posterior.mean
    assert added[0].std() < 0.03
    torch.testing.assert_close(added[1].std((1, 2)), torch.tensor([0.5, 2.5]), rtol=0.3, atol=0)


def test_larger_latents_are_no_way_out_of_the_noise() -> None:
    """Noise and latents grow alike, so that their scale changes nothing of what the decoder can tell apart."""
    scale = torch.ones((), requires_grad=True)
    mean = scale * random_gaussian(0).mean
    widened = DiagonalGaussian(mean, torch.full(SHAPE, -20.0)).widened(torch.full((3,), 0.3))
    (widened.log_scale - scale.log()).sum().backward()
    assert abs(scale.grad.item()) < 1e-3 * widened.log_scale.numel()  # type: ignore[union-attr]
