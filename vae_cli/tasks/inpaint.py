"""Fill holes: the latent flow, told what is known, proposes latents; the decoder turns them into pixels."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae_cli.errors import ConfigError
from vae_cli.model.flow import View
from vae_cli.model.priors import image_generator, through_flow, to_device
from vae_cli.model.vae import Latents, draw_noise
from vae_cli.tasks.holes import fill_picture
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
    place = int.from_bytes(hashlib.blake2b(image_id.encode("utf-8", "surrogatepass"), digest_size=7).digest())
    for number in range(samples):

        def fill_window(x: Tensor, observed: Tensor, window: int, number: int = number) -> Tensor:
            noise = draw_noise(model.vae.latent_shapes, 1, image_generator(seed, place, window, number))
            return fill_batch(model, x, observed, Latents(tuple(noise)), solver_steps=solver_steps)

        yield Fill(fill_picture(image, hole, model.image_size, fill_window, feather=feather), number)


@torch.inference_mode()
def fill_batch(
    model: LoadedModel, x: Tensor, observed: Tensor, noise: Latents, *, solver_steps: int | None = None
) -> Tensor:
    """[B, C, h, w] in [-1, 1]: whole pictures that agree with x [B, C, h, w] where observed [B, 1, h, w] is 1.

    What x holds elsewhere has no influence. Raises ConfigError for a model without a flow.
    """
    if model.flow is None:
        raise ConfigError(f"{model.path}: this model has no latent flow, and that is what fills holes")
    device, steps = model.runtime.device, solver_steps or model.config.model.flow.solver_steps
    nothing = torch.full((len(x),), -1, device=device)
    view = View.of(model.runtime.move(x), model.runtime.move(observed), torch.zeros(len(x), device=device), nothing)
    with model.runtime.autocast():
        latents = through_flow(model.flow, to_device(noise, device), view, steps=steps)
        return model.flow.refine(model.vae.decode_mean(latents), view).cpu()
