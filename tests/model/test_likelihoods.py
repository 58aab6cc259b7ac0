"""Every likelihood is a distribution: sums to one, agrees with its own samples, and survives what a net may output."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Normal

from vae_cli.model.likelihoods import (
    Bernoulli,
    DiscretizedLogistic,
    Gaussian,
    Likelihood,
    LogisticMixture,
    logistic_bin_log_prob,
)

LEVELS = torch.arange(256) / 127.5 - 1
"""The 256 grey levels in [-1, 1]."""
MAKERS = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "discretized_logistic": DiscretizedLogistic,
    "logistic_mixture": lambda channels: LogisticMixture(channels, 3),
}


def random_params(likelihood: Likelihood, batch: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    """[batch, num_params, 1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn((batch, likelihood.num_params, 1, 1), generator=generator)


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("kind", ["discretized_logistic", "logistic_mixture"])
def test_grey_levels_sum_to_one(kind: str, scale: float) -> None:
    likelihood = MAKERS[kind](1)
    params = random_params(likelihood, 20, scale).repeat_interleave(256, 0)
    x = LEVELS.repeat(20).view(-1, 1, 1, 1)
    total = likelihood.log_prob(params, x).double().exp().view(20, 256).sum(1)
    torch.testing.assert_close(total, torch.ones(20, dtype=torch.float64), rtol=0, atol=1e-4)


def test_bernoulli_sums_to_one_over_minus_one_and_one() -> None:
    likelihood = Bernoulli(3)
    params = random_params(likelihood, 1, 3).repeat(8, 1, 1, 1)
    x = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3))).view(8, 3, 1, 1)
    assert likelihood.log_prob(params, x).exp().sum().item() == pytest.approx(1, abs=1e-5)
    reference = TorchBernoulli(logits=params).log_prob((x + 1) / 2).sum(1)
    torch.testing.assert_close(likelihood.log_prob(params, x), reference)


def marginal(likelihood: LogisticMixture, params: Tensor, red: Tensor, green: Tensor) -> Tensor:
    """p(red, green) by hand, in float64 and any shape: the mixture without its last channel."""
    logits, means, log_scales, links = (part.double() for part in likelihood._split(params))
    total = torch.zeros_like(red, dtype=torch.float64)
    for k in range(likelihood.num_components):
        mean, log_scale = means[0, k].flatten(), log_scales[0, k].flatten()  # [3]
        first = logistic_bin_log_prob(mean[0].expand_as(red), log_scale[0].expand_as(red), red)
        mean_green = mean[1] + links[0, k, 0].flatten() * red
        second = logistic_bin_log_prob(mean_green.view_as(red), log_scale[1].expand_as(red), green)
        total = total + (logits[0, k].view(()) + first + second).exp()
    return total


@pytest.mark.parametrize("pair", [(60, 200), (0, 255), (128, 127)])
def test_a_colour_mixture_sums_to_one_over_the_last_channel(pair: tuple[int, int]) -> None:
    """Blue summed out leaves p(red, green), which the next test sums out."""
    likelihood = LogisticMixture(3, 2)
    params = random_params(likelihood, 1)
    red, green = LEVELS[pair[0]], LEVELS[pair[1]]
    x = torch.stack([red.expand(256), green.expand(256), LEVELS], 1).view(256, 3, 1, 1)
    summed = likelihood.log_prob(params.expand(256, -1, -1, -1), x).double().exp().sum()
    assert summed.item() == pytest.approx(marginal(likelihood, params, red, green).item(), rel=1e-3)


def test_a_colour_mixture_sums_to_one_over_the_other_channels() -> None:
    """All 256 × 256 values of red and green."""
    likelihood = LogisticMixture(3, 2)
    red, green = torch.meshgrid(LEVELS.double(), LEVELS.double(), indexing="ij")
    total = marginal(likelihood, random_params(likelihood, 1), red, green).sum()
    assert total.item() == pytest.approx(1, abs=1e-6)


def test_gaussian_agrees_with_torch_and_integrates_to_one() -> None:
    likelihood = Gaussian(2)
    with torch.no_grad():
        likelihood.raw_log_scale.copy_(torch.tensor([-0.1, -0.2]).view(1, 2, 1, 1))
    params, x = torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3)
    reference = Normal(params, likelihood.scale.expand_as(params)).log_prob(x).sum(1)
    torch.testing.assert_close(likelihood.log_prob(params, x), reference)
    grey = Gaussian(1)
    grid = torch.linspace(-8, 8, 4001).view(-1, 1, 1, 1)
    density = grey.log_prob(torch.full_like(grid, 0.3), grid).double().exp()
    assert (density.sum() * 16 / 4000).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [0.0, 1e4, -1e4, 1e8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_for_extreme_parameters(kind: str, channels: int, size: float, dtype: torch.dtype) -> None:
    likelihood = MAKERS[kind](channels)
    signs = torch.where(torch.arange(likelihood.num_params) % 2 == 0, 1.0, -1.0).view(1, -1, 1, 1)
    params = (size * signs).expand(3, -1, 2, 2).to(dtype).clone().requires_grad_()
    x = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1).expand(3, channels, 2, 2)
    if kind == "bernoulli":
        x = torch.where(x > 0, 1.0, -1.0)
    log_prob = likelihood.log_prob(params, x.to(dtype))
    assert log_prob.shape == (3, 2, 2) and log_prob.dtype == torch.float32
    assert log_prob.isfinite().all()
    log_prob.sum().backward()
    assert params.grad is not None and params.grad.isfinite().all()
    assert likelihood.mean(params.detach()).isfinite().all()
    assert likelihood.sample(params.detach()).isfinite().all()


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_samples_agree_with_the_mean(kind: str, channels: int) -> None:
    likelihood = MAKERS[kind](channels)
    params = 0.3 * random_params(likelihood, 1).expand(1, -1, 100, 200)
    drawn = likelihood.sample(params, torch.Generator().manual_seed(0))
    mean = likelihood.mean(params)
    assert drawn.shape == mean.shape == (1, channels, 100, 200)
    error = (drawn.mean((0, 2, 3)) - mean[0, :, 0, 0]).abs().max().item()
    assert error < 0.03
    assert drawn.std() > 0.01


@pytest.mark.parametrize("kind", ["discretized_logistic", "logistic_mixture"])
def test_samples_are_as_frequent_as_the_log_probability_says(kind: str) -> None:
    """Rounded to grey levels, in 16 groups of 16 levels."""
    likelihood = MAKERS[kind](1)
    params = random_params(likelihood, 1, 1.0, seed=3)
    drawn = likelihood.sample(params.expand(1, -1, 200, 200), torch.Generator().manual_seed(1))
    levels = ((drawn + 1) * 127.5).round().long().flatten()
    seen = torch.bincount(levels // 16, minlength=16) / levels.numel()
    told = likelihood.log_prob(params.expand(256, -1, -1, -1), LEVELS.view(-1, 1, 1, 1)).exp().view(16, 16).sum(1)
    assert (seen - told).abs().max().item() < 0.01


def test_channels_of_a_mixture_depend_on_one_another() -> None:
    likelihood = LogisticMixture(3, 1)
    params = torch.zeros(1, likelihood.num_params, 100, 100)
    params[:, -3:] = 3.0  # links, through tanh almost one
    drawn = likelihood.sample(params, torch.Generator().manual_seed(0))[0].flatten(1)
    assert torch.corrcoef(drawn)[0, 1] > 0.4


@pytest.mark.parametrize("kind", MAKERS)
def test_the_same_generator_gives_the_same_sample(kind: str) -> None:
    likelihood: nn.Module = MAKERS[kind](1)
    params = torch.zeros(2, likelihood.num_params, 4, 4)
    first, second = (likelihood.sample(params, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)


def test_the_outer_bins_reach_to_infinity() -> None:
    """A mean far outside still gives the nearest level nearly all the probability."""
    mean, log_scale = torch.tensor([5.0, -5.0]), torch.tensor([-3.0, -3.0])
    assert logistic_bin_log_prob(mean, log_scale, torch.tensor([1.0, -1.0])).exp().min() > 0.999
    assert math.isfinite(logistic_bin_log_prob(mean, log_scale, torch.tensor([-1.0, 1.0])).min().item())
