"""Encode images and decode them again."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from vae_cli.checkpoint import Model
from vae_cli.images.pixels import to_pixels
from vae_cli.model.vae import draw_noise
from vae_cli.randomness import image_generator, place_of
from vae_cli.tasks.encode import CHUNK, inputs_of
from vae_cli.windows.chunks import in_chunks


@torch.inference_mode()
def _rebuilt(model: Model, images: Sequence[np.ndarray], noise: Sequence[torch.Tensor] | None = None) -> np.ndarray:
    """uint8 [B, H, W, C]; noise: of the posterior's samples, None = take the means."""
    with model.runtime.autocast():
        return to_pixels(model.vae.decode_mean(model.vae.encode(inputs_of(model, images), noise)))


def reconstruct(model: Model, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """uint8 [H, W, C] for each image of the same form at the model's size: the posterior's mean, decoded."""
    return in_chunks(lambda chunk: _rebuilt(model, chunk), images, CHUNK)


def reconstruct_draws(
    model: Model, pictures: Iterable[tuple[str, np.ndarray]], *, seed: int = 0
) -> Iterator[np.ndarray]:
    """The same for pairs of id and image, from one sample of the posterior, which depends on (seed, id)."""

    def rebuilt(chunk: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
        ids, images = zip(*chunk, strict=True)
        drawn = (draw_noise(model.vae.latent_shapes, 1, image_generator(seed, place_of(name))) for name in ids)
        return _rebuilt(model, images, [model.runtime.move(torch.cat(layer)) for layer in zip(*drawn, strict=True)])

    return in_chunks(rebuilt, pictures, CHUNK)
