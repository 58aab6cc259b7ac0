"""How probable images are under a VAE: the bound, the importance-weighted estimate, and their unit."""

import math

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


def importance_weights(vae: VAE, x: Tensor, num_samples: int, generator: torch.Generator, *, rows: int = 128) -> Tensor:
    """[K, B] nats, log p(x, z_k) - log q(z_k | x).

    Encodes once and decodes about `rows` latents at a time, but at least one for each image. Noise is drawn one sample
    after another, so it does not depend on `rows`.
    """
    at_once = max(1, min(num_samples, rows // len(x)))
    features, found = vae.features(x), []
    for start in range(0, num_samples, at_once):
        count = min(at_once, num_samples - start)
        drawn = [draw_noise(vae.latent_shapes, len(x), generator) for _ in range(count)]
        noise = [torch.stack(layer, 1).flatten(0, 1).to(x.device) for layer in zip(*drawn, strict=True)]
        terms = vae(x, noise, num_draws=count, features=features)
        found.append(terms.elbo.unflatten(0, (len(x), count)).T)
    return torch.cat(found)


def bits_per_dim(nll_nats: float, num_dims: int) -> float:
    """Nats per image to bits per value; num_dims = height · width · channels."""
    return nll_nats / (num_dims * math.log(2))
