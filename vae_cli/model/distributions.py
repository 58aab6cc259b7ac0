"""Diagonal Gaussians over latents: sampling, density, divergence. Everything in float32, nats."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_NARROWING, MAX_WIDENING = 8.0, 1.0
"""A correction changes a log-scale by -8 to +1. No latent needs a wide scale, as the layer that reads it can multiply;
and in a ladder without normalisation, wide scales let a state that is too large grow exponentially from layer to layer.
"""


@dataclass(frozen=True)
class DiagonalGaussian:
    """Independent normals; mean and log_scale have one shape, [B, C, H, W]."""

    mean: Tensor
    log_scale: Tensor

    @staticmethod
    def standard(like: Tensor) -> "DiagonalGaussian":
        """N(0, I) in the shape of `like`, float32."""
        zeros = torch.zeros_like(like, dtype=torch.float32)
        return DiagonalGaussian(zeros, zeros)

    @staticmethod
    def corrected(base: "DiagonalGaussian", correction: Tensor) -> "DiagonalGaussian":
        """`base` moved by a network's output [B, 2 C, H, W]: mean shift in units of base's scale, log-scale change.

        A zero correction is `base` itself, so that a KL starts at zero (Vahdat & Kautz 2020, eq. 10).
        """
        shift, log_ratio = correction.float().chunk(2, dim=1)
        narrower = MAX_NARROWING * torch.tanh(log_ratio / MAX_NARROWING)
        log_ratio = torch.where(log_ratio < 0, narrower, MAX_WIDENING * torch.tanh(log_ratio / MAX_WIDENING))
        return DiagonalGaussian(base.mean + base.log_scale.exp() * shift, base.log_scale + log_ratio)

    def draw(self, noise: Tensor) -> Tensor:
        """The sample that standard-normal `noise` stands for."""
        return self.mean + self.log_scale.exp() * noise

    def widened(self, share: Tensor) -> "DiagonalGaussian":
        """With noise added to the draws of each image, as a share [B] of how far the means of a channel spread.

        The spread keeps its gradient: were it a constant, ever larger latents would be a way out of the noise.
        """
        dims = (0, 2, 3)
        spread = (self.mean - self.mean.mean(dims, keepdim=True)).square().mean(dims, keepdim=True)
        added = share[:, None, None, None].square() * spread
        return DiagonalGaussian(self.mean, 0.5 * ((2 * self.log_scale).exp() + added).log())

    def noise_of(self, z: Tensor) -> Tensor:
        """Inverse of `draw`."""
        return (z - self.mean) * (-self.log_scale).exp()

    def log_prob(self, z: Tensor) -> Tensor:
        """[B] nats, summed over all latents of an image."""
        density = -0.5 * self.noise_of(z).square() - self.log_scale - 0.5 * math.log(2 * math.pi)
        return density.flatten(1).sum(1)

    def kl_from(self, prior: "DiagonalGaussian") -> Tensor:
        """[B] KL(self || prior) in nats, summed over all latents of an image."""
        log_ratio = self.log_scale - prior.log_scale
        shift = (self.mean - prior.mean) * (-prior.log_scale).exp()
        return (0.5 * ((2 * log_ratio).exp() + shift.square() - 1) - log_ratio).flatten(1).sum(1)
