"""Draw new images from a trained model."""

import difflib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from vae_cli.checkpoint import Model
from vae_cli.errors import ConfigError
from vae_cli.model.flow import LatentFlow
from vae_cli.model.priors import latents_of_images
from vae_cli.model.vae import Latents
from vae_cli.tasks.encode import decode
from vae_cli.windows.chunks import in_chunks

CHUNK = 64  # images that are computed together
ALL = "all"
NUM_LISTED = 12  # labels that a message names at most


def resolve_prior(model: Model, prior: str) -> str:
    """`flow` or `normal` for `auto`. Raises ConfigError for a flow that the model does not hold."""
    if prior == "flow" and model.flow is None:
        raise ConfigError(f"--prior flow: {model.path} has no flow yet; use --prior normal or train it (--resume)")
    if prior not in ("auto", "flow", "normal"):
        raise ConfigError(f"--prior {prior}: choose auto, flow or normal")
    return ("normal" if model.flow is None else "flow") if prior == "auto" else prior


def resolve_guidance(flow: LatentFlow | None, guidance: float | None, *, is_labelled: bool) -> float:
    """The guidance that was asked for, else the flow's own; 1, which is none, without a flow.

    Raises ConfigError for one that would change nothing.
    """
    if guidance is None:
        return 1.0 if flow is None else flow.guidance_of(is_labelled=is_labelled)
    if guidance != 1 and not is_labelled and (flow is None or not flow.follows_starts):
        raise ConfigError("--guidance: works only with --label, or without one on models of photographs; leave it out")
    return guidance


def label_number(model: Model, name: str, *, option: str = "--label") -> int:
    """The class number of a label. Raises ConfigError, with the nearest known name, for one that cannot be drawn."""
    names = model.label_names
    if not names:
        raise ConfigError(f"{option} {name}: this model was trained without labels")
    # The same text may be stored in another form: macOS decomposes é in names of folders.
    wanted, *composed = (unicodedata.normalize("NFC", text) for text in (name, *names))
    if name not in names and composed.count(wanted) != 1:
        alike = [known for known in names if known.casefold() == name.casefold()]
        close = alike or difflib.get_close_matches(name, names, n=1)
        listed = ", ".join(names[:NUM_LISTED]) + (", …" if len(names) > NUM_LISTED else "")
        hint = f"did you mean {close[0]}?" if close else f"known: {listed}"
        raise ConfigError(f"{option} {name}: no such label; {hint}")
    number = names.index(name) if name in names else composed.index(wanted)
    if not is_learned(model, number):
        raise ConfigError(f"{option} {name}: no training image had this label, so it cannot be drawn")
    return number


def chosen_labels(model: Model, asked: Sequence[str]) -> list[str]:
    """Labels as the model writes them, each once. `all` stands for every one that training images had, unless a class
    has that name. Raises ConfigError as `label_number` does."""
    found: list[str] = []
    for name in asked:
        if name == ALL and model.label_names and ALL not in model.label_names:
            found += learned_labels(model)
        else:
            found.append(model.label_names[label_number(model, name)])
    if asked and not found:
        raise ConfigError(f"--label {ALL}: no training image had a label; leave --label out")
    return list(dict.fromkeys(found))


def learned_labels(model: Model) -> list[str]:
    """The labels that can be drawn."""
    return [name for number, name in enumerate(model.label_names) if is_learned(model, number)]


def is_learned(model: Model, number: int) -> bool:
    """Whether training images had this label."""
    return model.facts.label_images[number] > 0


def sample(
    model: Model, count: int, *, labels: Sequence[str | None] = (None,), prior: str = "auto", **options: Any
) -> Iterator[np.ndarray]:
    """uint8 [H, W, C] images: those of `sample_latents`, which takes the same arguments."""
    return decode(model, sample_latents(model, count, labels=labels, prior=prior, **options))


def sample_latents(
    model: Model, count: int, *, labels: Sequence[str | None] = (None,), prior: str = "auto", **options: Any
) -> Iterator[Latents]:
    """Latents of new images, `count` of each label in turn; None = of any label. options: of `drawn_latents`.

    Image i of a label depends on (seed, i), the label and the model alone, and on the same noise for every label.
    Raises ConfigError for an unknown label or a prior that the model does not hold.
    """
    numbers = [-1 if label is None else label_number(model, label) for label in labels]
    if max(numbers, default=-1) >= 0 and resolve_prior(model, prior) != "flow":
        raise ConfigError("--label needs the flow: this model's own prior knows no labels")
    return drawn_latents(model, product(numbers, range(count)), prior=prior, **options)


def drawn_latents(
    model: Model,
    images: Iterable[tuple[int, int]],
    *,
    guidance: float | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    prior: str = "auto",
    solver_steps: int | None = None,
) -> Iterator[Latents]:
    """A row of latents on the CPU for each pair of a class number, -1 = any, and the image's own number.

    guidance: None = `LatentFlow.guidance_of`; more makes images clearer and less varied, 1 leaves it out.
    Raises ConfigError for a prior that the model does not hold.
    """
    flow = model.flow if resolve_prior(model, prior) == "flow" else None

    @torch.inference_mode()
    def drawn(chunk: Sequence[tuple[int, int]]) -> Latents:
        labels, indices = zip(*chunk, strict=True)
        with model.runtime.autocast():
            latents = latents_of_images(
                model.vae, flow, seed, indices, device=model.runtime.device, temperature=temperature, labels=labels,
                steps=solver_steps or model.config.model.flow.solver_steps,
                guidance=resolve_guidance(flow, guidance, is_labelled=max(labels) >= 0),
            )  # fmt: skip
        return latents.map(lambda layer: layer.float().cpu().contiguous())

    return in_chunks(drawn, images, CHUNK)
