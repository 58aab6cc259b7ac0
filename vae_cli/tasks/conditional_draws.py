"""Pictures that may lie behind a damaged view: what `inpaint` and `denoise` have in common."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.errors import ConfigError
from vae_cli.model.blending import blended
from vae_cli.model.condition import Condition
from vae_cli.model.continuation import plate
from vae_cli.model.flow import FILL_STEPS, FILL_TEMPERATURE, REFINEMENT_TIME
from vae_cli.model.priors import through_flow, to_device
from vae_cli.model.vae import VAE, Latents, draw_noise
from vae_cli.randomness import image_generator
from vae_cli.windows.chunks import whole_chunk

Method = Literal["auto", "model", "classical"]
CHUNK = 16
"""Views are computed in chunks of this size."""


@torch.inference_mode()
def posterior_pictures(
    model: Model,
    x: Tensor,
    observed: Tensor,
    noise: Latents,
    *,
    zoom: Tensor | None = None,
    sigma: float = 0.0,
    solver_steps: int | None = None,
    time: float = REFINEMENT_TIME,
) -> Tensor:
    """[B, C, h, w] in [-1, 1]: whole pictures that agree with x [B, C, h, w] where observed [B, 1, h, w] is 1.

    What x holds elsewhere has no influence. zoom: [B] how close each view is (data/patches.py), None = whole pictures;
    sigma: standard deviation of the noise on x, 0-255 scale; time: what the refiner is told, see `LatentFlow.refine`.
    Raises ConfigError for a model without a flow.
    """
    if model.flow is None:
        raise ConfigError(f"{model.path}: this model has no latent flow, which is what finds such pictures")
    device, steps = model.runtime.device, solver_steps or model.config.model.flow.solver_steps
    no_label = torch.full((len(x),), -1, device=device)
    sigmas = torch.full((len(x),), sigma, device=device)
    view = Condition.of(model.runtime.move(x), model.runtime.move(observed), sigmas, no_label)
    view = view if zoom is None else view.with_zoom(model.runtime.move(zoom))
    with model.runtime.autocast():
        latents = through_flow(model.flow, to_device(noise, device), view, steps=steps)
        return model.flow.refine(model.vae.decode_mean(latents), view, time).cpu()


@torch.inference_mode()
def fill_pictures(
    model: Model,
    x: Tensor,
    observed: Tensor,
    noise: Latents,
    *,
    zoom: Tensor | None = None,
    method: Method = "auto",
    solver_steps: int | None = None,
) -> Tensor:
    """[B, C, h, w] in [-1, 1]: x [B, C, h, w] with answers for what is not observed, [B, 1, h, w].

    `model` asks the flow, `classical` continues what is known as a thin plate, `auto` weighs the two by what was
    measured at the end of training. noise: standard normal; fills take FILL_TEMPERATURE of it. zoom: as for
    `posterior_pictures`. Raises ConfigError for a model without a flow, except for `classical`.
    """
    if method == "classical":
        return plate(x * observed, observed)
    steps = solver_steps or min(FILL_STEPS, model.config.model.flow.solver_steps)
    cooler = Latents(tuple(FILL_TEMPERATURE * layer for layer in noise.noise))
    pictures = posterior_pictures(model, x, observed, cooler, zoom=zoom, solver_steps=steps)
    assert model.flow is not None, "else there were no pictures"
    weight = model.flow.trust(torch.zeros(len(x)) if zoom is None else zoom).cpu()
    if method == "auto" and bool((weight < 1).any()):
        pictures = blended(pictures, plate(x * observed, observed), observed, weight)
    # A fill that is enlarged mixes with what is beside it, and there the model may be far from what is known.
    return torch.where(observed > 0, x, pictures)


def paired_noise(vae: VAE, number: int, *place: int) -> Latents:
    """Noise of one picture: draw `number` of those that belong to a place (seed, image, window).

    Each odd draw mirrors the one before it (antithetic variates, Hammersley & Morton 1956): two fills then differ as
    much as they can, and the mean of a few comes nearer to the posterior's.
    """
    noise = draw_noise(vae.latent_shapes, 1, image_generator(*place, number // 2))
    return Latents(tuple(-layer if number % 2 else layer for layer in noise))


def noise_chunk(drawn: Sequence[Latents]) -> Latents:
    """The noise of at most CHUNK pictures as one whole chunk."""
    return Latents(tuple(whole_chunk(layers, CHUNK) for layers in zip(*(each.noise for each in drawn), strict=True)))
