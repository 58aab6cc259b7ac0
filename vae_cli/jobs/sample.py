"""New images as files: one for each, or all of them as a grid."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np

from vae_cli.checkpoint import Model
from vae_cli.drawing.grids import grid
from vae_cli.drawing.label_sheet import folder_names, sheet
from vae_cli.errors import DataError
from vae_cli.files.new_pictures import save_picture
from vae_cli.jobs import latent_files
from vae_cli.jobs.events import Advanced, FileDone, Finished, JobEvent, Remark
from vae_cli.jobs.inputs import batches
from vae_cli.jobs.outputs import NUM_IMAGES, Target
from vae_cli.jobs.write_pictures import write_pictures
from vae_cli.model.vae import Latents
from vae_cli.tasks import encode as encoding
from vae_cli.tasks import sample as task

NUM_OF_EACH = 8
"""Of several labels, unless a number is given."""


@dataclass(frozen=True)
class Request:
    """What is drawn: `num` images of each label, where the label `all` stands for every one.

    save_latents: a file that their latents go to as well, in a form that `decode` turns into the same images.
    """

    num: int | None = None
    labels: tuple[str, ...] = ()
    temperature: float = 1.0
    prior: str = "auto"
    solver_steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    save_latents: Path | None = None

    def has_rows(self, labels: Sequence[str]) -> bool:
        """Whether each of the labels that were meant has a row or a folder of its own."""
        return len(self.labels) > 1 or (self.labels == ("all",) and list(labels) != ["all"])


def sample(model: Model, request: Request, target: Target) -> Iterator[JobEvent]:
    """Draws and writes images. Raises ConfigError for a prior or label that the model lacks, WriteError."""
    seed, prior = request.seed, task.resolve_prior(model, request.prior)
    if prior == "normal" and request.prior == "auto":
        yield Remark("this model has no latent flow: sampling from N(0, I)")
    labels = task.chosen_labels(model, request.labels)
    has_rows = request.has_rows(labels)
    count = request.num or (NUM_OF_EACH if has_rows else NUM_IMAGES)
    folders = dict(zip(model.label_names, folder_names(model.label_names), strict=True))
    paths = target.paths(count, [folders[label] for label in labels] if has_rows else [""])
    flow = model.flow if prior == "flow" else None
    guidance = task.resolve_guidance(flow, request.guidance, is_labelled=bool(labels))
    latents: Iterable[Latents] = task.sample_latents(
        model, count, labels=labels or [None], seed=seed, temperature=request.temperature, prior=prior,
        solver_steps=request.solver_steps, guidance=guidance,
    )  # fmt: skip
    latents, kept = tee(latents) if request.save_latents else (latents, ())  # tee keeps all of them in memory

    def save_all(drawn: list[np.ndarray]) -> None:
        save_picture(sheet(labels, list(batches(drawn, count))) if has_rows else grid(drawn), paths[0], seed=seed)

    def details(number: int) -> dict[str, Any]:
        return {"sample": number % count, "facts": {"label": labels[number // count]} if labels else {}}

    begin = Advanced("sample", 0, count * max(1, len(labels)))
    images = encoding.decode(model, latents)
    yield from write_pictures(images, paths, target, begin, save_all, seed=seed, details=details)
    if request.save_latents:
        rows = Latents.joined(list(kept))
        named = list(map(str, paths * len(rows) if target.is_one_file else paths))
        encoded = encoding.Encoded(tuple(layer.numpy() for layer in rows.noise), ())
        of_rows = [label for label in labels or [""] for _ in range(count)]
        latent_files.write(request.save_latents, request.save_latents.suffix.lower()[1:], encoded, named, of_rows)
        yield FileDone(None, "ok", request.save_latents)
    steps = (request.solver_steps or model.config.model.flow.solver_steps) if flow is not None else None
    facts = ({"labels": labels} if labels else {}) | ({"guidance": guidance} if flow is not None else {})
    yield Finished({"seed": seed, "prior": prior, "temperature": request.temperature, "solver_steps": steps, **facts})


def decode(model: Model, arrays: Sequence[np.ndarray], source: Path, target: Target) -> Iterator[JobEvent]:
    """Writes the images of latents, as `latent_files.read` gives those of the file `source`.

    Raises ConfigError when a result exists, DataError for latents of another model, WriteError.
    """
    try:
        latents = encoding.latents_from(arrays, model.vae.latent_shapes)
        paths = target.paths(len(latents))
        yield from write_pictures(
            encoding.decode(model, latents), paths, target, Advanced("decode", 0, len(latents)),
            lambda images: save_picture(grid(images), paths[0]), details=lambda number: {"sample": number},
        )  # fmt: skip
    except DataError as error:
        raise DataError(f"{source}: {error}") from error
    yield Finished(dict.fromkeys(("seed", "prior", "temperature", "solver_steps")))
