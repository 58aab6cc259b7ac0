"""Pictures that agree with what is known of them: what `inpaint` and `denoise` have in common."""

import functools
from typing import Literal

import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.errors import ConfigError
from vae_cli.model.blending import blended
from vae_cli.model.condition import Condition
from vae_cli.model.continuation import plate
from vae_cli.model.flow import FILL_STEPS, FILL_TEMPERATURE, REFINEMENT_TIME, LatentFlow
from vae_cli.model.vae import VAE, Latents, draw_noise
from vae_cli.randomness import image_generator
from vae_cli.windows.evidence import Source

Method = Literal["auto", "model", "classical"]
SOURCE: dict[Method, Source] = {"auto": "mixed", "model": "model", "classical": "smooth"}
"""Of fills where the hole is thin."""
CHUNK = 16  # pictures that are computed together


def known_pixels(model: Model, x: Tensor, observed: Tensor, zoom: Tensor, *, sigma: float = 0.0) -> Condition:
    """What is known of pictures: x [B, C, h, w] in [-1, 1] where observed [B, 1, h, w] is 1; on the model's device.

    zoom: [B] how close each picture is (see dataset.close_ups), 0 = a whole picture; sigma: standard deviation of the
    noise that x has, 0-255 scale.
    """
    device, move = model.runtime.device, model.runtime.move
    sigmas, no_label = torch.full((len(x),), sigma, device=device), torch.full((len(x),), -1, device=device)
    return Condition.of(move(x), move(observed), sigmas, no_label).with_zoom(move(zoom))


def flow_of(model: Model) -> LatentFlow:
    """The model's flow. Raises ConfigError for one without."""
    if model.flow is None:
        raise ConfigError(f"{model.path}: this model has no latent flow, which is what finds such pictures")
    return model.flow


@torch.inference_mode()
def draw_pictures(
    model: Model, known: Condition, noise: Latents, *, steps: int, time: float = REFINEMENT_TIME
) -> Tensor:
    """[B, C, h, w] in [-1, 1] on the CPU: whole pictures that agree with what is known.

    noise: standard normal; steps: of the solver; time: see `LatentFlow.refine`. Raises ConfigError for a model without
    a flow.
    """
    flow, latents = flow_of(model), noise.map(lambda layer: layer.to(model.runtime.device))
    with model.runtime.autocast():
        latents = latents.with_first(flow.solve(latents.noise[0], known, steps=steps))
        return flow.refine(model.vae.decode_mean(latents), known, time).cpu()


@torch.inference_mode()
def fill_pictures(
    model: Model | None,
    x: Tensor,
    observed: Tensor,
    noise: Latents,
    *,
    zoom: Tensor | None = None,
    method: Method = "auto",
    solver_steps: int | None = None,
    needs_unmixed: bool = True,
) -> dict[Source, Tensor]:
    """Pictures [B, C, h, w] in [-1, 1] by source: x [B, C, h, w] where observed [B, 1, h, w] is 1, a fill elsewhere.

    `model` asks the flow, `classical` continues what is known as a thin plate, `auto` does both and blends them by the
    weights measured at the end of training. noise: standard normal, of which fills take FILL_TEMPERATURE and what is
    mixed `LatentFlow.mixed_temperature`; zoom: as in `known_pixels`, None = whole pictures; needs_unmixed: whether
    `auto` needs the flow's pictures as they are, too. Raises ConfigError without a model and its flow, except for
    `classical`.
    """
    found: dict[Source, Tensor] = {}
    if method != "model":
        found["smooth"] = plate(x * observed, observed)
    if method != "classical":
        if model is None:
            raise ConfigError(f"{method} fills need a model; `classical` ones do without")
        steps = solver_steps or min(FILL_STEPS, model.config.model.flow.solver_steps)
        zoom = torch.zeros(len(x)) if zoom is None else zoom
        known = known_pixels(model, x, observed, zoom)

        @functools.cache
        def drawn(temperature: float) -> Tensor:
            return draw_pictures(model, known, noise.map(lambda layer: temperature * layer), steps=steps)

        if method == "model" or needs_unmixed:
            found["model"] = drawn(FILL_TEMPERATURE)
        if method == "auto":
            flow = flow_of(model)
            fill = drawn(flow.mixed_temperature)
            found["mixed"] = blended(fill, found["smooth"], observed, flow.trust(zoom).cpu())
    # Known pixels are put back because an enlarged fill mixes with those beside it.
    return {source: torch.where(observed > 0, x, pictures) for source, pictures in found.items()}


def deep_trust(model: Model, zoom: Tensor) -> float:
    """How far fills of a view at this zoom [] are trusted deep inside a hole, 0 to 1; 0 without a flow."""
    return 0.0 if model.flow is None else float(model.flow.trust(zoom[None].to(model.runtime.device))[..., -1].mean())


def paired_noise(vae: VAE, number: int, *place: int) -> Latents:
    """Noise of one picture: number `number` of those drawn for a place (seed, image, window).

    Each odd one mirrors the one before it (antithetic variates, Hammersley & Morton 1956): two fills then differ as
    much as they can, and the mean of a few comes nearer to the posterior's mean.
    """
    noise = Latents(tuple(draw_noise(vae.latent_shapes, 1, image_generator(*place, number // 2))))
    return noise.map(torch.neg) if number % 2 else noise
