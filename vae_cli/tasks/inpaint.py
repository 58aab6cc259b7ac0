"""Fill holes: the latent flow, told what is known, proposes latents; the decoder turns them into pixels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vae_cli.model.priors import image_generator, place_of
from vae_cli.model.vae import Latents, draw_noise
from vae_cli.tasks.holes import fill_picture
from vae_cli.tasks.posterior import posterior_pictures
from vae_cli.training.checkpoint import LoadedModel


@dataclass(frozen=True)
class Fill:
    """One way to fill an image's holes: float32 [H, W, C] in 0..255 as displayed, meaningful inside the hole."""

    pixels: np.ndarray
    number: int


def inpaint(
    model: LoadedModel,
    image: np.ndarray,
    hole: np.ndarray,
    *,
    image_id: str,
    seed: int = 0,
    samples: int = 1,
    solver_steps: int | None = None,
    feather: float = 0.0,
) -> Iterator[Fill]:
    """`samples` different fills of an image, uint8 or uint16 [H, W, C], where `hole`, bool [H, W], is set.

    Fill k depends on (seed, image_id, hole, k) and the model alone: each is computed by itself, so that no batch can
    change its rounding. Raises ConfigError for a model without a flow.
    """
    place = place_of(image_id)
    for number in range(samples):

        def fill_window(x: Tensor, observed: Tensor, window: int, number: int = number) -> Tensor:
            noise = draw_noise(model.vae.latent_shapes, 1, image_generator(seed, place, window, number))
            return posterior_pictures(model, x, observed, Latents(tuple(noise)), solver_steps=solver_steps)

        yield Fill(fill_picture(image, hole, model.image_size, fill_window, feather=feather), number)
