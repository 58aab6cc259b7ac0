"""Draw new images from a trained model."""

import difflib
from collections.abc import Iterator

import numpy as np
import torch

from vae_cli.data.pixels import to_pixels
from vae_cli.errors import ConfigError
from vae_cli.model.priors import latents_of_images
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


def label_number(model: LoadedModel, name: str, *, option: str = "--label") -> int:
    """The class number of a label. Raises ConfigError with the nearest known name."""
    if name in model.label_names:
        return model.label_names.index(name)
    if not model.label_names:
        raise ConfigError(f"{option} {name}: this model was trained without labels")
    close = difflib.get_close_matches(name, model.label_names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(model.label_names[:12])}"
    raise ConfigError(f"{option} {name}: no such label; {hint}")


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
    steps = solver_steps or model.config.model.flow.solver_steps
    for start in range(0, count, CHUNK):
        with torch.inference_mode(), model.runtime.autocast():
            latents = latents_of_images(
                model.vae, model.flow if chosen == "flow" else None, seed, list(range(start, start + CHUNK)),
                device=model.runtime.device, steps=steps, temperature=temperature, label=number, guidance=guidance,
            )  # fmt: skip
            x = model.vae.decode_mean(latents)
        yield from to_pixels(x)[: count - start]
