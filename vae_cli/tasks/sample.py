"""Draw new images from a trained model."""

import difflib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vae_cli.data.pixels import to_pixels
from vae_cli.errors import ConfigError
from vae_cli.model.flow import View
from vae_cli.model.priors import noise_of_images, through_flow, to_device
from vae_cli.model.vae import Latents
from vae_cli.training.checkpoint import LoadedModel

CHUNK = 64
"""Images are computed in chunks of this size whatever the batch size, so that rounding cannot depend on it."""


def resolve_prior(model: LoadedModel, prior: str) -> str:
    """`flow` or `normal` for `auto`. Raises ConfigError for a flow that the model does not hold."""
    if prior == "flow" and model.flow is None:
        raise ConfigError(f"--prior flow: {model.path} has no flow yet; use --prior normal or train it (--resume)")
    if prior not in ("auto", "flow", "normal"):
        raise ConfigError(f"--prior {prior}: choose auto, flow or normal")
    return ("normal" if model.flow is None else "flow") if prior == "auto" else prior


def label_number(model: LoadedModel, name: str) -> int:
    """The class number of a label. Raises ConfigError with the nearest known name."""
    if name in model.label_names:
        return model.label_names.index(name)
    if not model.label_names:
        raise ConfigError(f"--label {name}: this model was trained without labels")
    close = difflib.get_close_matches(name, model.label_names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(model.label_names[:12])}"
    raise ConfigError(f"--label {name}: no such label; {hint}")


def sample(
    model: LoadedModel,
    count: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    prior: str = "auto",
    solver_steps: int | None = None,
    label: str | None = None,
    guidance: float = 1.0,
) -> Iterator[np.ndarray]:
    """uint8 [H, W, C] images; image i depends on (seed, i) and the model alone.

    Raises ConfigError for an unknown label or a prior that the model does not hold.
    """
    chosen = resolve_prior(model, prior)
    number = label_number(model, label) if label is not None else -1
    if number >= 0 and chosen != "flow":
        raise ConfigError("--label needs the flow: this model's own prior knows no labels")
    for start in range(0, count, CHUNK):
        latents = noise_of_images(model.vae, seed, list(range(start, start + CHUNK)), temperature)
        x = decode_noise(
            model, latents, prior=chosen, solver_steps=solver_steps, label=number, guidance=guidance
        )
        yield from to_pixels(x)[: count - start]


@torch.inference_mode()
def decode_noise(
    model: LoadedModel,
    latents: Latents,
    *,
    prior: str,
    solver_steps: int | None = None,
    label: int = -1,
    guidance: float = 1.0,
) -> Tensor:
    """[B, C, H, W] in [-1, 1]: the images that noise stands for under `prior` (`flow` or `normal`)."""
    device = model.runtime.device
    latents = to_device(latents, device)
    with model.runtime.autocast():
        if prior == "flow":
            assert model.flow is not None
            labels = torch.full((len(latents),), label, device=device)
            view = View.nothing(len(latents), model.channels, model.image_size, device).with_label(labels)
            steps = solver_steps or model.config.model.flow.solver_steps
            latents = through_flow(model.flow, latents, view, steps=steps, guidance=guidance)
        return model.vae.decode_mean(latents)
