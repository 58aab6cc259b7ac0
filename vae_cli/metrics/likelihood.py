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


def importance_weights(vae: VAE, x: Tensor, num_samples: int, generator: torch.Generator, *, rows: int = 128) -> Tensor:
    """[K, B] nats, log p(x, z_k) - log q(z_k | x).

    Encodes once and decodes about `rows` latents at a time, never fewer than the images. Noise is drawn one sample
    after another, so that `rows` changes none of it.
    """
    at_once = max(1, min(num_samples, rows // len(x)))
    features, targets = _repeated(vae.features(x), at_once), torch.cat([x] * at_once)
    done: list[Tensor] = []
    for start in range(0, num_samples, at_once):
        count = min(at_once, num_samples - start)
        drawn = [draw_noise(vae.latent_shapes, len(x), generator) for _ in range(count)]
        noise = [torch.cat(layer).to(x.device, non_blocking=True) for layer in zip(*drawn, strict=True)]
        seen = [feature[: count * len(x)] for feature in features]
        log_weights = vae.terms(seen, targets[: count * len(x)], noise, kl_at_draw=True).elbo
        done.append(log_weights.unflatten(0, (count, len(x))))
    return torch.cat(done)


def _repeated(features: Sequence[Tensor], times: int) -> list[Tensor]:
    """Each tensor `times` over; layers that look at the same one share its copy, which keeps its memory format."""
    if times == 1:
        return list(features)
    different = {id(feature): feature for feature in features}
    copies = {key: torch.cat([feature] * times) for key, feature in different.items()}
    return [copies[id(feature)] for feature in features]


def bits_per_dim(nll_nats: float, num_dims: int) -> float:
    """Nats per image to bits per value; num_dims = height · width · channels."""
    return nll_nats / (num_dims * math.log(2))
