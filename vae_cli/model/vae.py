"""The variational autoencoder: an encoder, a ladder of latents, a likelihood; its forward pass is the bound."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vae_cli.config import SMALL_SIDE, CompleteConfig, CompleteModel, LatentSpec, LogisticMixtureLikelihood
from vae_cli.model.distributions import DiagonalGaussian
from vae_cli.model.ladder import MAX_GATHERED_SIDE, Encoder, Ladder, LatentLayer, LatentShape, pyramid
from vae_cli.model.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, Likelihood, LogisticMixture


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

    def __iter__(self) -> Iterator["Latents"]:
        """The latents of each image by itself, with a batch of one."""
        return map(Latents, zip(*(noise.split(1) for noise in self.noise), strict=True))

    @staticmethod
    def joined(parts: Sequence["Latents"]) -> "Latents":
        """The rows of several latents one after another."""
        return Latents(tuple(torch.cat(layer) for layer in zip(*(part.noise for part in parts), strict=True)))


Draw = Callable[[int, DiagonalGaussian, DiagonalGaussian], Tensor]
"""(layer number, prior, posterior) -> z: how a pass down the ladder with an image draws each layer."""


class VAE(nn.Module):
    """p(x | z) p(z) with posterior q(z | x). Images are float32 [B, C, H, W] in [-1, 1]."""

    def __init__(
        self,
        image_size: tuple[int, int],
        channels: int,
        widths: Sequence[int],
        latents: Sequence[LatentShape],
        likelihood: Likelihood,
        *,
        blocks: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.image_size, self.channels, self._latents = image_size, channels, tuple(latents)
        self.encoder = Encoder(channels, widths, blocks=blocks, dropout=dropout)
        self.ladder = Ladder(widths, latents, likelihood.num_params, image_size=image_size, blocks=blocks,
                             dropout=dropout)  # fmt: skip
        self.likelihood = likelihood

    @property
    def latent_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(C, H, W) of each latent layer, coarse to fine."""
        return tuple(latent.at(self.image_size) for latent in self._latents)

    def at(self, image_size: tuple[int, int]) -> "VAE":
        """This VAE, its weights shared, for images of another size that the largest stride divides.

        Not with a vector among the latents, which is tied to one size.
        """
        other = copy.copy(self)
        other.image_size = image_size
        return other

    def forward(
        self, x: Tensor, noise: Sequence[Tensor], *, num_draws: int | None = None,
        latent_noise: Tensor | None = None, features: Sequence[Tensor] | None = None,
    ) -> ElboTerms:  # fmt: skip
        """The bound's terms for images x [B, C, H, W]; noise: standard normal for each layer, [B, C, h, w].

        num_draws: of the posterior, each a row of its own, an image's one after another, in the noise as well; `elbo`
        then is the log weight log p(x, z) - log q(z | x) of a draw (Burda et al. 2016, eq. 8).
        latent_noise: [B] size of noise added to each image's latents, as a share of their spread. From it the decoder
        learns to draw what lies beside exact posteriors, as a flow's latents do; else it draws them with a lattice.
        features: of x, where they are known.
        """
        kls: list[Tensor] = []

        def choose(number: int, prior: DiagonalGaussian, posterior: DiagonalGaussian) -> Tensor:
            z = (posterior if latent_noise is None else posterior.widened(latent_noise)).draw(noise[number])
            at_draw = num_draws is not None
            kls.append(posterior.log_prob(z) - prior.log_prob(z) if at_draw else posterior.kl_from(prior))
            return z

        rows = [repeated(each, num_draws or 1) for each in (x, *(features or self.features(x)))]
        params = self._descend(rows[1:], choose)
        log_likelihood = self.likelihood.log_prob(params, rows[0]).flatten(1).sum(1)
        return ElboTerms(log_likelihood, torch.stack(kls, dim=1), params)

    def features(self, x: Tensor) -> list[Tensor]:
        """The features of x for each latent layer's posterior; computed once however many draws follow."""
        found: dict[int | None, Tensor] = {2 ** (level + 1): each for level, each in enumerate(self.encoder(x))}
        if self.ladder.gather is not None:
            found[None] = self.ladder.gather(found[2 ** len(found)])
        return [found[latent.stride] for latent in self._latents]

    def _descend(self, features: Sequence[Tensor], draw: Draw) -> Tensor:
        """Parameters of p(x | z) for the latents that are drawn on the way."""
        return self.ladder(features[0], lambda number, layer, prior, h: draw(
            number, prior, layer.posterior(prior, h, features[number])))  # fmt: skip

    def encode(self, x: Tensor, noise: Sequence[Tensor] | None = None) -> Latents:
        """The latents of x: the posterior's means, or its samples where noise is given."""
        found = self.posterior_noise(x, noise)
        return Latents(tuple(layer.mean if noise is None else layer.draw(noise[number])
                             for number, layer in enumerate(found)))  # fmt: skip

    def posterior_noise(self, x: Tensor, noise: Sequence[Tensor] | None = None) -> list[DiagonalGaussian]:
        """q of each layer's noise [B, C, H, W], whose prior is N(0, I); layers above at their means, or drawn."""
        found: list[DiagonalGaussian] = []

        def choose(number: int, prior: DiagonalGaussian, posterior: DiagonalGaussian) -> Tensor:
            log_scale = posterior.log_scale - prior.log_scale
            found.append(DiagonalGaussian(prior.noise_of(posterior.mean), log_scale))
            return posterior.mean if noise is None else posterior.draw(noise[number])

        self._descend(self.features(x), choose)
        return found

    def first_posterior(self, x: Tensor) -> DiagonalGaussian:
        """q of the first latent layer, whose prior is N(0, I): what the latent flow learns. [B, C, H, W]."""
        layer = next(module for module in self.ladder.modules() if isinstance(module, LatentLayer))
        features = self.features(x)[0]
        return layer.posterior(layer.prior(features), features, features)

    def decode(self, latents: Latents) -> Tensor:
        """Parameters of the likelihood, [B, num_params, H, W]."""
        return self.ladder(latents.noise[0], lambda number, layer, prior, h: prior.draw(latents.noise[number]))

    @property
    def last_weight(self) -> Tensor:
        """The weight of the decoder's last convolution: every term on the picture reaches the model through it."""
        return cast(nn.Conv2d, self.ladder.head[-1]).weight

    def decode_mean(self, latents: Latents) -> Tensor:
        """Expected images [B, C, H, W] in [-1, 1]."""
        return self.likelihood.mean(self.decode(latents)).clamp(-1, 1)


def repeated(rows: Tensor, times: int) -> Tensor:
    """[B, C, H, W] as [B · times, C, H, W], an image's copies one after another, in the same memory format."""
    channels_last = rows.is_contiguous(memory_format=torch.channels_last)
    many = rows.repeat_interleave(times, dim=0) if times > 1 else rows
    return many.contiguous(memory_format=torch.channels_last) if channels_last else many


def draw_noise(shapes: Sequence[tuple[int, ...]], batch: int, generator: torch.Generator) -> list[Tensor]:
    """[batch, *shape] standard normal for each layer, drawn on the CPU so that it is the same for every device."""
    return [torch.randn((batch, *shape), generator=generator) for shape in shapes]


def auto_latents(image_size: tuple[int, int], channels: int) -> tuple[LatentSpec, ...]:
    """The default: one spatial layer, image side ÷ 4."""
    of_colour = 16 if max(image_size) <= SMALL_SIDE else 8
    return (LatentSpec(stride=4, layers=1, channels=4 if channels == 1 else of_colour),)


def coarsest_stride(latents: Sequence[LatentSpec], image_size: tuple[int, int]) -> int:
    """The largest down-sampling of the networks; image sides have to be multiples of it."""
    stride = max((spec.stride for spec in latents if spec.stride != "global"), default=2)
    if any(spec.stride == "global" for spec in latents):
        stride = max(stride, 2 ** math.ceil(math.log2(max(image_size) / MAX_GATHERED_SIDE)))
    return max(stride, 2)


def build_likelihood(config: CompleteModel, channels: int) -> Likelihood:
    """The likelihood that the configuration names."""
    likelihood = config.likelihood
    if isinstance(likelihood, LogisticMixtureLikelihood):
        return LogisticMixture(channels, likelihood.components)
    plain = {"bernoulli": Bernoulli, "gaussian": Gaussian, "discretized_logistic": DiscretizedLogistic}
    return cast(Likelihood, plain[likelihood.kind](channels))


def build_vae(config: CompleteConfig) -> VAE:
    """The VAE of a configuration, its weights drawn from torch's global generator."""
    image_size, channels, model = config.data.image_size, config.data.channels, config.model
    widths = pyramid(model.width, coarsest_stride(model.latents, image_size))
    coarse_to_fine = sorted(model.latents, key=lambda spec: -math.inf if spec.stride == "global" else -spec.stride)
    latents = [LatentShape(None if spec.stride == "global" else spec.stride, spec.channels)
               for spec in coarse_to_fine for _ in range(spec.layers)]  # fmt: skip
    likelihood = build_likelihood(model, channels)
    return VAE(image_size, channels, widths, latents, likelihood, blocks=model.blocks, dropout=model.dropout)
