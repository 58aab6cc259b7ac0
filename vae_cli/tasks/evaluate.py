"""Measure a model on images: the bound, the importance-weighted likelihood, reconstructions, active latents."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_cli.data.pixels import to_unit
from vae_cli.metrics.latents import VarianceMeter
from vae_cli.metrics.likelihood import binarized, bits_per_dim, importance_log_likelihood, importance_weights
from vae_cli.metrics.pictures import psnr_db, ssim
from vae_cli.model.priors import image_generator
from vae_cli.model.vae import Latents, draw_noise
from vae_cli.training.checkpoint import LoadedModel

CHUNK = 64

BINARIZATION_SEED = 777
"""Test pixels are drawn once with NumPy's legacy generator under this seed, as in the published tables
(Norouzi et al. 2020)."""


@torch.inference_mode()
def evaluate(
    model: LoadedModel,
    images: np.ndarray,
    *,
    importance_samples: int = 0,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Figures of `vae evaluate` over images uint8 [N, H, W, C]; means of per-image values.

    The reconstructions behind `psnr_db` and `ssim` decode the posterior means. Noise depends on (seed, position), and
    chunks have one size, so that nothing else can change a figure. Raises ValueError without images.
    """
    if not len(images):
        raise ValueError("no images to measure")
    sums: dict[str, float] = {}
    means, uniform = VarianceMeter(), np.random.RandomState(BINARIZATION_SEED)
    for start in range(0, len(images), CHUNK):
        x = _inputs(model, images[start : start + CHUNK], uniform)
        generator = image_generator(seed, start)
        for name, value in _measure(model, x, means, importance_samples, generator).items():
            sums[name] = sums.get(name, 0.0) + value.cpu().double().sum().item()
        if on_progress is not None:
            on_progress(min(start + CHUNK, len(images)), len(images))
    figures = {name: total / len(images) for name, total in sums.items()}
    nll = figures.get("nll_nats")
    is_density = model.vae.likelihood.is_density
    bound = nll if nll is not None else -figures["elbo_nats"]
    return {
        "images": len(images),
        "elbo_nats": figures["elbo_nats"],
        "nll_nats": nll,
        "importance_samples": importance_samples,
        "bits_per_dim": None if is_density else bits_per_dim(bound, int(np.prod(images.shape[1:]))),
        "rate_nats": figures["rate_nats"],
        "distortion_nats": figures["distortion_nats"],
        "active_units": means.num_active(),
        "latent_units": int(sum(np.prod(shape) for shape in model.vae.latent_shapes)),
        "psnr_db": figures["psnr_db"],
        "ssim": figures["ssim"],
    }


def _inputs(model: LoadedModel, images: np.ndarray, uniform: np.random.RandomState) -> Tensor:
    """[B, C, H, W] on the device; black or white where the model was trained on drawn pixels.

    Chunk after chunk takes its numbers from `uniform`, so that a set is drawn the same way every time.
    """
    x = to_unit(images)
    if model.config.data.binarize == "dynamic":
        x = binarized(x, torch.from_numpy(uniform.rand(*x.shape)))
    return model.runtime.move(x)


def _measure(
    model: LoadedModel, x: Tensor, means: VarianceMeter, importance_samples: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """[B] of every figure; feeds the posterior means to the meter."""
    vae, runtime = model.vae, model.runtime
    with runtime.autocast():
        noise = [runtime.move(layer) for layer in draw_noise(vae.latent_shapes, len(x), generator)]
        terms = vae(x, noise)
        latents = vae.encode(x)
        rebuilt = vae.decode_mean(latents)
        figures = {}
        if importance_samples:
            weights = importance_weights(vae, x, importance_samples, generator)
            figures["nll_nats"] = -importance_log_likelihood(weights)
    means.add(_flat(latents))
    known, shown = _quantised(x), _quantised(rebuilt)
    return figures | {
        "elbo_nats": terms.elbo,
        "rate_nats": terms.kl.sum(1),
        "distortion_nats": -terms.log_likelihood,
        "psnr_db": psnr_db(known, shown),
        "ssim": ssim(known, shown),
    }


def _flat(latents: Latents) -> Tensor:
    """[B, D] of all layers."""
    return torch.cat([noise.flatten(1) for noise in latents.noise], dim=1)


def _quantised(x: Tensor) -> Tensor:
    """[-1, 1] to [0, 1] in steps of a grey level: pictures are compared as they would be written."""
    return ((x.float().cpu() + 1) * 127.5).round().clamp(0, 255) / 255
