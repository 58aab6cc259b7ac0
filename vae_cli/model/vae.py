"""The variational autoencoder: an encoder, a ladder of latents, a likelihood; its forward pass is the bound."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vae_cli.config import CompleteConfig, CompleteModel, LatentSpec
from vae_cli.model.distributions import DiagonalGaussian
from vae_cli.model.ladder import MAX_GATHERED_SIDE, Encoder, Ladder, LatentLayer, LatentShape, Level, pyramid
from vae_cli.model.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, Likelihood, LogisticMixture

AUTO_WIDTH = 32
"""Channels at half resolution that keep an update affordable on a CPU."""


@dataclass(frozen=True)
class ElboTerms:
    """The terms of the evidence lower bound of each image, nats."""

    log_likelihood: Tensor
    """[B] log p(x | z), summed over pixels."""
    kl: Tensor
    """[B, L] KL(q || p) of each latent layer; or log q(z | x) - log p(z) at the drawn z, whose expectation it is."""
    params: Tensor
    """[B, num_params, H, W] of p(x | z), for terms of the loss that need the picture itself."""

    @property
    def elbo(self) -> Tensor:
        """[B] the bound itself: log-likelihood minus all KLs, weight one."""
        return self.log_likelihood - self.kl.sum(1)


@dataclass(frozen=True)
class Latents:
    """Images as noise: one tensor [B, C, H, W] for each layer, all N(0, I) under the VAE's own prior.

    z_l = mean_p(h) + scale_p(h) · noise_l; the first layer's prior is N(0, I), so its noise is z itself.
    """

    noise: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.noise[0])

    def with_first(self, first: Tensor) -> "Latents":
        """The same latents with another first layer."""
        return Latents((first, *self.noise[1:]))

    def map(self, function: Callable[[Tensor], Tensor]) -> "Latents":
        """The function applied to each layer."""
        return Latents(tuple(map(function, self.noise)))

    def rows(self) -> list["Latents"]:
        """The latents of each image by itself, with a batch of one."""
        return [Latents(layers) for layers in zip(*(noise.split(1) for noise in self.noise), strict=True)]

    @staticmethod
    def joined(parts: Sequence["Latents"]) -> "Latents":
        """The rows of several latents one after another."""
        return Latents(tuple(torch.cat(layer) for layer in zip(*(part.noise for part in parts), strict=True)))


Draw = Callable[[DiagonalGaussian, DiagonalGaussian, Tensor], Tensor]
"""(prior, posterior, noise) -> z: how a pass down the ladder with an image draws each layer."""


class VAE(nn.Module):
    """p(x | z) p(z) with posterior q(z | x). Images are float32 [B, C, H, W] in [-1, 1]."""

    def __init__(
        self,
        image_size: tuple[int, int],
        channels: int,
        levels: Sequence[Level],
        latents: Sequence[LatentShape],
        likelihood: Likelihood,
        *,
        blocks: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.image_size, self.channels = image_size, channels
        self.encoder = Encoder(channels, levels, blocks=blocks, dropout=dropout)
        self.ladder = Ladder(levels, latents, likelihood.num_params, blocks=blocks, dropout=dropout)
        self.likelihood = likelihood
        self.latent_shapes = tuple(
            (latent.channels, *(levels[latent.level].size if latent.level is not None else (1, 1)))
            for latent in latents
        )
        """(C, H, W) of each latent layer, coarse to fine."""

    def forward(self, x: Tensor, noise: Sequence[Tensor], *, num_draws: int = 1) -> ElboTerms:
        """The bound's terms; noise: [B · num_draws, C, H, W] standard normal for each layer.

        With several draws of the posterior an image has as many rows, one after another; `elbo` then is the log weight
        of each, log p(x, z) - log q(z | x) (Burda et al. 2016, eq. 8).
        """
        features = repeated(self.features(x), num_draws)
        return self.terms(features, repeated([x], num_draws)[0], noise, kl_at_draw=num_draws > 1)

    def features(self, x: Tensor) -> list[Tensor]:
        """The features of x for each latent layer's posterior; computed once however many draws follow."""
        return self.ladder.features_of_layers(self.encoder(x))

    def _descend(self, features: Sequence[Tensor], noise: Sequence[Tensor], choose: Draw) -> Tensor:
        """Parameters of p(x | z), where each layer's z is choose(prior, posterior, noise)."""

        def at_layer(number: int, layer: LatentLayer, prior: DiagonalGaussian, h: Tensor) -> Tensor:
            return choose(prior, layer.posterior(prior, h, features[number]), noise[number])

        return self.ladder(features[0].shape[0], at_layer)  # not len(), which an exporter cannot follow

    def terms(
        self, features: Sequence[Tensor], x: Tensor, noise: Sequence[Tensor], *, kl_at_draw: bool = False
    ) -> ElboTerms:
        """As `forward`, for images x [B, C, H, W] whose features are known, one row each."""
        kls: list[Tensor] = []

        def choose(prior: DiagonalGaussian, posterior: DiagonalGaussian, layer_noise: Tensor) -> Tensor:
            z = posterior.draw(layer_noise)
            if kl_at_draw:
                kls.append(posterior.log_prob(z) - prior.log_prob(z))
            else:
                kls.append(posterior.kl_from(prior).flatten(1).sum(1))
            return z

        params = self._descend(features, noise, choose)
        return ElboTerms(self.likelihood.log_prob(params, x).flatten(1).sum(1), torch.stack(kls, dim=1), params)

    def encode(self, x: Tensor, noise: Sequence[Tensor] | None = None) -> Latents:
        """The latents of x: the posterior's means, or its samples where noise is given."""
        if noise is None:
            return Latents(tuple(layer.mean for layer in self.posterior_noise(x)))
        found: list[Tensor] = []

        def choose(prior: DiagonalGaussian, posterior: DiagonalGaussian, layer_noise: Tensor) -> Tensor:
            z = posterior.draw(layer_noise)
            found.append(prior.noise_of(z))
            return z

        self._descend(self.features(x), noise, choose)
        return Latents(tuple(found))

    def posterior_noise(self, x: Tensor) -> list[DiagonalGaussian]:
        """q of each layer's noise, [B, C, H, W], the layers above at their means; its prior is N(0, I)."""
        found: list[DiagonalGaussian] = []

        def choose(prior: DiagonalGaussian, posterior: DiagonalGaussian, layer_noise: Tensor) -> Tensor:
            log_scale = posterior.log_scale - prior.log_scale
            found.append(DiagonalGaussian(prior.noise_of(posterior.mean), log_scale))
            return posterior.mean

        self._descend(self.features(x), [x] * len(self.latent_shapes), choose)
        return found

    def first_posterior(self, x: Tensor) -> DiagonalGaussian:
        """q of the first latent layer, whose prior is N(0, I): what the latent flow learns. [B, C, H, W]."""
        layer = next(module for module in self.ladder.modules() if isinstance(module, LatentLayer))
        features = self.features(x)[0]
        prior = layer.prior(features)
        return layer.posterior(prior, features, features)

    def decode(self, latents: Latents) -> Tensor:
        """Parameters of the likelihood, [B, num_params, H, W]."""

        def choose(number: int, layer: LatentLayer, prior: DiagonalGaussian, h: Tensor) -> Tensor:
            return prior.draw(latents.noise[number])

        return self.ladder(latents.noise[0].shape[0], choose)

    @property
    def last_weight(self) -> Tensor:
        """The weight of the decoder's last convolution: every term on the picture reaches the model through it."""
        return cast(nn.Conv2d, self.ladder.head[-1]).weight

    def decode_mean(self, latents: Latents) -> Tensor:
        """Expected images [B, C, H, W] in [-1, 1]."""
        return self.likelihood.mean(self.decode(latents)).clamp(-1, 1)


def repeated(tensors: Sequence[Tensor], times: int) -> list[Tensor]:
    """Each [B, C, H, W] as [B · times, C, H, W], an image's copies one after another, in the same memory format.

    Layers that share a tensor share its copy.
    """
    if times == 1:
        return list(tensors)

    def copies(rows: Tensor) -> Tensor:
        channels_last = rows.is_contiguous(memory_format=torch.channels_last)
        many = rows.repeat_interleave(times, dim=0)
        return many.contiguous(memory_format=torch.channels_last) if channels_last else many

    different = {id(tensor): copies(tensor) for tensor in {id(tensor): tensor for tensor in tensors}.values()}
    return [different[id(tensor)] for tensor in tensors]


def draw_noise(shapes: Sequence[tuple[int, ...]], batch: int, generator: torch.Generator) -> list[Tensor]:
    """[batch, *shape] standard normal for each layer, drawn on the CPU so that it is the same for every device."""
    return [torch.randn((batch, *shape), generator=generator) for shape in shapes]


def auto_latents(image_size: tuple[int, int], channels: int) -> tuple[LatentSpec, ...]:
    """The default: one spatial layer, image side ÷ 4 up to 32 px and ÷ 8 above."""
    stride = 4 if max(image_size) <= 32 else 8
    return (LatentSpec(stride=stride, layers=1, channels=4 if channels == 1 else 16),)


def coarsest_stride(latents: Sequence[LatentSpec], image_size: tuple[int, int]) -> int:
    """The largest down-sampling of the networks; image sides have to be multiples of it."""
    stride = max((spec.stride for spec in latents if spec.stride != "global"), default=2)
    if any(spec.stride == "global" for spec in latents):
        stride = max(stride, 2 ** math.ceil(math.log2(max(image_size) / MAX_GATHERED_SIDE)))
    return max(stride, 2)


def build_likelihood(config: CompleteModel, channels: int) -> Likelihood:
    """The likelihood that the configuration names."""
    match config.likelihood.kind:
        case "bernoulli":
            return Bernoulli(channels)
        case "gaussian":
            return Gaussian(channels)
        case "discretized_logistic":
            return DiscretizedLogistic(channels)
        case "logistic_mixture":
            return LogisticMixture(channels, config.likelihood.components)


def build_vae(config: CompleteConfig) -> VAE:
    """The VAE of a configuration, its weights drawn from torch's global generator."""
    image_size, channels, model = config.data.image_size, config.data.channels, config.model
    levels = pyramid(image_size, model.width, coarsest_stride(model.latents, image_size))
    numbers = {level.stride: number for number, level in enumerate(levels)}
    latents = [
        LatentShape(None if spec.stride == "global" else numbers[spec.stride], spec.channels)
        for spec in sorted(model.latents, key=_coarseness)
        for _ in range(spec.layers)
    ]
    likelihood = build_likelihood(model, channels)
    return VAE(image_size, channels, levels, latents, likelihood, blocks=model.blocks, dropout=model.dropout)


def _coarseness(spec: LatentSpec) -> float:
    """Sorts latent layers from coarse to fine; a vector comes first."""
    return -math.inf if spec.stride == "global" else -spec.stride
