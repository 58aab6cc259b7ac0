"""How probable images are under a VAE: the bound, the importance-weighted estimate, and their unit."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vae_cli.model.vae import VAE, draw_noise


def binarized(x: Tensor, uniform: Tensor) -> Tensor:
    """Black or white (-1 or 1) pixels, each white with its grey value's probability.

    x in [-1, 1]; uniform: random numbers in [0, 1), in the shape of x.
    """
    return torch.where(uniform < (x + 1) / 2, 1.0, -1.0)


def importance_log_likelihood(log_weights: Tensor) -> Tensor:
    """log p(x) from importance samples (Burda et al. 2016, eq. 8).

    log_weights: [K, B] nats. Returns [B] nats; below log p(x) on average, closer as K grows; K = 1 is the bound.
    """
    return torch.logsumexp(log_weights.cpu().double(), dim=0) - math.log(len(log_weights))


def importance_weights(
    vae: VAE, x: Tensor, num_samples: int, generator: torch.Generator, *, rows: int = 256
) -> Tensor:
    """[K, B] nats, log p(x, z_k) - log q(z_k | x). Encodes once, decodes `rows` latents at a time."""
    features = vae.features(x)
    num_images = len(x)
    repeat = max(1, rows // num_images)
    done: list[Tensor] = []
    while sum(map(len, done)) < num_samples:
        repeats = min(repeat, num_samples - sum(map(len, done)))
        noise = [layer.to(x.device) for layer in draw_noise(vae.latent_shapes, repeats * num_images, generator)]
        weights = vae.log_weight(_repeated(features, repeats), _repeat(x, repeats), noise)
        done.append(weights.unflatten(0, (repeats, num_images)))
    return torch.cat(done)


def _repeated(features: Sequence[Tensor], times: int) -> list[Tensor]:
    return [_repeat(feature, times) for feature in features]


def _repeat(x: Tensor, times: int) -> Tensor:
    return x.repeat(times, *[1] * (x.ndim - 1))


def bits_per_dim(nll_nats: float, num_dims: int) -> float:
    """Nats per image to bits per value; num_dims = height · width · channels."""
    return nll_nats / (num_dims * math.log(2))
