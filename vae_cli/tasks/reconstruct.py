"""Encode images and decode them again."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch

from vae_cli.data.pixels import to_pixels, to_unit
from vae_cli.model.priors import image_generator
from vae_cli.model.vae import draw_noise
from vae_cli.tasks.chunks import whole_chunk
from vae_cli.tasks.encode import CHUNK
from vae_cli.training.checkpoint import LoadedModel


def reconstruct(
    model: LoadedModel, images: Iterable[np.ndarray], *, draw: bool = False, seed: int = 0
) -> Iterator[np.ndarray]:
    """uint8 [H, W, C] for each image of the same form at the model's size.

    Decodes the posterior's mean, or one sample of it (image i's from (seed, i)) with `draw`.
    """
    remaining, start = iter(images), 0
    while chunk := list(islice(remaining, CHUNK)):
        yield from _rebuilt(model, np.stack(chunk), start, seed if draw else None)
        start += len(chunk)


@torch.inference_mode()
def _rebuilt(model: LoadedModel, images: np.ndarray, start: int, seed: int | None) -> np.ndarray:
    """uint8 [B, H, W, C]; `seed` None decodes the mean."""
    x = model.runtime.move(whole_chunk(to_unit(images).split(1), CHUNK))
    noise = None
    if seed is not None:
        each = [draw_noise(model.vae.latent_shapes, 1, image_generator(seed, start + i)) for i in range(CHUNK)]
        noise = [model.runtime.move(torch.cat(layer)) for layer in zip(*each, strict=True)]
    with model.runtime.autocast():
        return to_pixels(model.vae.decode_mean(model.vae.encode(x, noise)))[: len(images)]
