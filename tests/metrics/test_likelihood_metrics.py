"""Likelihood estimates against a model whose log p(x) is known: x = weight · z + bias + scale · noise."""

import math
from collections.abc import Sequence

import pytest
import torch
from tiny import LADDER, VECTOR, tiny_vae
from torch import Tensor
from torch.distributions import Normal

from vae_cli.config import Layer
from vae_cli.metrics.likelihood import binarized, bits_per_dim, importance_log_likelihood, importance_weights
from vae_cli.model.vae import VAE, ElboTerms

WEIGHT, BIAS, SCALE = 1.5, 0.3, 0.7
VARIANCE = WEIGHT**2 + SCALE**2


class LinearGaussian:
    """The part of a VAE that the estimate needs; its posterior is off by a shift and a factor."""

    latent_shapes = ((1, 1, 1),)

    def __init__(self, shift: float, stretch: float) -> None:
        self.shift, self.stretch = shift, stretch

    def features(self, x: Tensor) -> list[Tensor]:
        return [WEIGHT * (x - BIAS) / VARIANCE]

    def __call__(self, x: Tensor, noise: Sequence[Tensor], *, num_draws: int, features: Sequence[Tensor]) -> ElboTerms:
        x, mean = (each.repeat_interleave(num_draws, dim=0) for each in (x, features[0]))
        scale = self.stretch * SCALE / VARIANCE**0.5
        posterior = Normal(mean + self.shift, scale)
        z = posterior.mean + scale * noise[0]
        kl = posterior.log_prob(z) - Normal(0, 1).log_prob(z)
        mean = WEIGHT * z + BIAS
        return ElboTerms(Normal(mean, SCALE).log_prob(x).flatten(1).sum(1), kl.flatten(1), mean)


X = torch.linspace(-3, 3, 7).view(7, 1, 1, 1)
EXACT = Normal(BIAS, VARIANCE**0.5).log_prob(X).flatten().double()


def weights_of(model: LinearGaussian, num: int, rows: int = 256) -> Tensor:
    return importance_weights(model, X, num, torch.Generator().manual_seed(0), rows=rows)  # type: ignore[arg-type]


def test_the_exact_posterior_gives_the_exact_likelihood_with_one_sample() -> None:
    estimate = importance_log_likelihood(weights_of(LinearGaussian(0, 1), 1))
    torch.testing.assert_close(estimate, EXACT, rtol=0, atol=1e-5)


def test_a_rough_posterior_comes_close_with_many_samples() -> None:
    weights = weights_of(LinearGaussian(0.3, 1.3), 20_000)
    torch.testing.assert_close(importance_log_likelihood(weights), EXACT, rtol=0, atol=0.02)


def test_the_estimate_is_above_the_bound_and_grows() -> None:
    weights = weights_of(LinearGaussian(0.6, 1.5), 4000)
    elbo = weights.double().mean(0)
    some = torch.stack([importance_log_likelihood(part) for part in weights.split(10)]).mean(0)
    many = importance_log_likelihood(weights)
    assert (elbo < some).all() and (some < many).all()
    assert (elbo < EXACT - 0.1).all(), "the posterior is too good to show anything"


@pytest.mark.parametrize(("num", "rows"), [(1, 1), (5, 7), (9, 20), (40, 10_000)])
def test_as_many_samples_as_asked_for(num: int, rows: int) -> None:
    assert weights_of(LinearGaussian(0, 1), num, rows).shape == (num, 7)


def test_rows_belong_to_their_images() -> None:
    """With the exact posterior every weight of an image is log p of that image."""
    weights = weights_of(LinearGaussian(0, 1), 10, rows=21)
    torch.testing.assert_close(weights.double(), EXACT.expand(10, 7), rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 7, 15, 1000])
def test_rows_at_once_change_no_weight(rows: int) -> None:
    """Noise belongs to (generator, image, sample) and not to the size of a computation."""
    model = LinearGaussian(0.5, 1.2)
    torch.testing.assert_close(weights_of(model, 11, rows), weights_of(model, 11, 14), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("latents", [LADDER, VECTOR])
def test_rows_at_once_change_no_weight_of_a_real_model(latents: tuple[Layer, ...]) -> None:
    vae = tiny_vae({"model": {"latents": list(latents)}})
    x = torch.rand(3, 1, 8, 8) * 2 - 1
    few, many = (
        importance_weights(vae, x, 7, torch.Generator().manual_seed(0), rows=rows).detach() for rows in (1, 12)
    )
    torch.testing.assert_close(few, many, rtol=1e-4, atol=1e-3)
    assert (few[0] != few[1]).all(), "samples share their noise"


def test_the_image_is_encoded_once() -> None:
    model, calls = LinearGaussian(0, 1), []
    features = model.features
    model.features = lambda x: calls.append(len(x)) or features(x)  # type: ignore[method-assign,func-returns-value]
    weights_of(model, 50, rows=14)
    assert calls == [7]


def test_far_weights_do_not_overflow() -> None:
    weights = torch.tensor([[-50_000.0, 60_000.0], [-50_001.0, 60_001.0]])
    estimate = importance_log_likelihood(weights)
    expected = math.log1p(math.exp(-1)) - math.log(2)
    assert estimate.tolist() == pytest.approx([-50_000 + expected, 60_001 + expected])


def test_a_real_model_s_estimate_is_above_its_bound() -> None:
    vae: VAE = tiny_vae({"model": {"latents": list(LADDER)}})
    x = torch.rand(3, 1, 8, 8) * 2 - 1
    with torch.inference_mode():
        weights = importance_weights(vae, x, 300, torch.Generator().manual_seed(0), rows=90)
    assert weights.shape == (300, 3)
    assert (importance_log_likelihood(weights) > weights.double().mean(0)).all()


def test_bits_per_dim() -> None:
    """A uniform guess over 256 levels costs eight bits a value."""
    assert bits_per_dim(3 * 4 * 5 * math.log(256), 3 * 4 * 5) == pytest.approx(8)


def test_binarized_is_white_as_often_as_the_grey_value_says() -> None:
    x = torch.tensor([-1.0, -0.5, 0.0, 0.8, 1.0]).view(5, 1).expand(5, 20_000)
    drawn = binarized(x, torch.rand(x.shape, generator=torch.Generator().manual_seed(0)))
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert (drawn[0] == -1).all() and (drawn[4] == 1).all()
    torch.testing.assert_close(drawn.mean(1), x[:, 0], rtol=0, atol=0.02)
