"""Encode images and decode them again."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.images.pixels import to_pixels, to_unit
from vae_cli.model.vae import draw_noise
from vae_cli.randomness import image_generator, place_of
from vae_cli.tasks.encode import CHUNK
from vae_cli.windows.chunks import whole_chunk


def reconstruct(model: Model, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """uint8 [H, W, C] for each image of the same form at the model's size: the posterior's mean, decoded."""
    remaining = iter(images)
    while chunk := list(islice(remaining, CHUNK)):
        yield from _rebuilt(model, chunk, None)


def reconstruct_draws(
    model: Model, pictures: Iterable[tuple[str, np.ndarray]], *, seed: int = 0
) -> Iterator[np.ndarray]:
    """The same for pairs of id and image, of one sample of the posterior, which depends on (seed, id)."""
    remaining = iter(pictures)
    while chunk := list(islice(remaining, CHUNK)):
        shapes = model.vae.latent_shapes
        each = [draw_noise(shapes, 1, image_generator(seed, place_of(image_id))) for image_id, _ in chunk]
        noise = [model.runtime.move(whole_chunk(layer, CHUNK)) for layer in zip(*each, strict=True)]
        yield from _rebuilt(model, [image for _, image in chunk], noise)


@torch.inference_mode()
def _rebuilt(model: Model, images: list[np.ndarray], noise: list[Tensor] | None) -> np.ndarray:
    """uint8 [B, H, W, C] of at most CHUNK images; noise: of each latent layer [CHUNK, C, h, w], None = the mean."""
    x = model.runtime.move(whole_chunk(to_unit(np.stack(images)).split(1), CHUNK))
    with model.runtime.autocast():
        return to_pixels(model.vae.decode_mean(model.vae.encode(x, noise)))[: len(images)]
