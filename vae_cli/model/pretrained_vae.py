"""Autoencoders that were made elsewhere as VAEs of ours: those of Stable Diffusion, SDXL and Flux."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from vae_cli.config import CompleteConfig
from vae_cli.config_autoencoder import AutoencoderKL
from vae_cli.errors import ConfigError
from vae_cli.model.distributions import DiagonalGaussian
from vae_cli.model.ladder import LatentShape
from vae_cli.model.likelihoods import Gaussian
from vae_cli.model.vae import VAE, Draw, Latents

TILE = 512
"""Pixels of a side that are computed at once, and of so many in a square of several pictures. Larger pictures are cut
into tiles that overlap by a quarter and are blended, which changes them a little, so that memory stays bounded."""


class PretrainedVAE(VAE):
    """A VAE with the networks of an AutoencoderKL (Rombach et al. 2022), as the package diffusers builds them.

    It has one latent layer, (posterior - shift) · scale, in the units of flows that were made for that autoencoder.
    """

    def __init__(self, net: Any, spec: AutoencoderKL, image_size: tuple[int, int]) -> None:
        nn.Module.__init__(self)  # without the networks of our own
        self.net, self.image_size, self.channels = net, image_size, spec.in_channels
        self.shift, self.scale = spec.shift_factor or 0.0, spec.scaling_factor
        self._latents = (LatentShape(spec.stride, spec.latent_channels),)
        self.likelihood = Gaussian(spec.in_channels)
        net.enable_tiling()
        net.tile_sample_min_size, net.tile_latent_min_size = TILE, TILE // spec.stride

    def features(self, x: Tensor) -> list[Tensor]:
        return [torch.cat([self.net.encode(part).latent_dist.parameters for part in self._parts(x)])]

    def _descend(self, features: Sequence[Tensor], draw: Draw) -> Tensor:
        posterior = self._posterior(features[0])
        return self.decode(Latents((draw(0, DiagonalGaussian.standard(posterior.mean), posterior),)))

    def first_posterior(self, x: Tensor) -> DiagonalGaussian:
        return self._posterior(self.features(x)[0])

    def _posterior(self, parameters: Tensor) -> DiagonalGaussian:
        mean, log_variance = parameters.float().chunk(2, dim=1)
        log_scale = log_variance.clamp(-30, 20) / 2 + math.log(self.scale)
        return DiagonalGaussian((mean - self.shift) * self.scale, log_scale)

    def decode(self, latents: Latents) -> Tensor:
        z = latents.noise[0] / self.scale + self.shift
        return torch.cat([self.net.decode(part).sample for part in self._parts(z)])

    def _parts(self, rows: Tensor) -> Iterable[Tensor]:
        """Rows that are computed together; all of them while an exporter looks on, which could not follow."""
        num_at_once = max(1, TILE**2 // (self.image_size[0] * self.image_size[1]))
        return [rows] if torch.compiler.is_compiling() else rows.split(num_at_once)

    @property
    def last_weight(self) -> Tensor:
        weight: Tensor = self.net.decoder.conv_out.weight
        return weight

    @torch.no_grad()
    def fit_likelihood(self, pictures: Iterable[Tensor]) -> None:
        """Set the likelihood's scale from how well pictures [B, C, H, W] are rebuilt: nothing else of it is trained."""
        errors = torch.cat([(self.decode_mean(self.encode(x)) - x).square().mean((2, 3)) for x in pictures])
        scale = errors.mean(0).sqrt().clamp(min=2 * Gaussian.MIN_SCALE) - Gaussian.MIN_SCALE
        cast(Gaussian, self.likelihood).raw_log_scale.copy_((scale.log() / Gaussian.GAIN)[None, :, None, None])


def build_net(spec: AutoencoderKL) -> nn.Module:
    """The networks, with random weights. Raises ConfigError without the package, ValueError for what does not fit."""
    try:
        import diffusers
    except ImportError as error:
        hint = "install it with: pip install diffusers"
        raise ConfigError(
            f"this VAE has networks of diffusers, and there is no package {error.name}; {hint}"
        ) from error
    net: nn.Module = diffusers.AutoencoderKL(**spec.model_dump(exclude={"kind"}))
    return net


def build_pretrained_vae(config: CompleteConfig) -> PretrainedVAE:
    """The VAE of a configuration whose `model.nets` are an AutoencoderKL's. Raises as `build_net`."""
    spec = config.model.nets
    assert isinstance(spec, AutoencoderKL)
    return PretrainedVAE(build_net(spec), spec, config.data.image_size)
