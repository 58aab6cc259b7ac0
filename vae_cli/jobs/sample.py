"""New images as files: one for each, or all of them as a grid."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vae_cli.errors import DataError
from vae_cli.jobs.events import Advanced, FileDone, Finished, JobEvent, Remark
from vae_cli.jobs.inputs import batches, computed_ahead
from vae_cli.jobs.outputs import is_picture, refuse_existing, result_paths

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.checkpoint import Model

NUM_IMAGES, NUM_OF_EACH = 64, 8
"""Drawn unless a number is given: in all, and of each of several labels."""
ALL = "all"


@dataclass(frozen=True)
class Target:
    """Where images go."""

    out: Path | None
    """An image file is a grid of all of them, anything else a folder."""
    folder: Path
    """Where they go without `out`."""
    overwrite: bool = False

    @property
    def is_grid(self) -> bool:
        return is_picture(self.out)

    def paths(self, count: int, folders: Sequence[str] = ("",)) -> list[Path]:
        """The path of the grid, else `count` paths in each of the folders. Raises ConfigError when one exists."""
        names = [PurePosixPath(folder, f"{number:06d}.png") for folder, number in product(folders, range(count))]
        paths = result_paths(self.out, self.folder, names[:1] if self.is_grid else names)
        refuse_existing(paths, overwrite=self.overwrite)
        return paths


@dataclass(frozen=True)
class Request:
    """What is drawn."""

    num: int | None = None
    """Of each label; by default NUM_IMAGES, of several labels NUM_OF_EACH."""
    labels: tuple[str, ...] = ()
    """`all` stands for every label."""
    temperature: float = 1.0
    prior: str = "auto"
    solver_steps: int | None = None
    guidance: float | None = None
    """None = what the program draws labels with."""
    seed: int = 0

    def has_rows(self, labels: Sequence[str]) -> bool:
        """Whether each of the labels that were meant has a row or a folder of its own."""
        return len(self.labels) > 1 or (self.labels == (ALL,) and list(labels) != [ALL])

    def check(self, target: Target) -> None:
        """Raises ConfigError where a result exists already, as far as that is known without the model."""
        if len(self.labels) < 2 and self.labels != (ALL,):
            target.paths(self.num or NUM_IMAGES)


def sample(model: "Model", request: Request, target: Target, *, batch_size: int = 64) -> Iterator[JobEvent]:
    """Draws and writes images. Raises ConfigError for a prior or label that the model lacks, WriteError."""
    from vae_cli.drawing.label_sheet import folder_names
    from vae_cli.tasks import sample as task

    prior = task.resolve_prior(model, request.prior)
    if prior == "normal" and request.prior == "auto":
        yield Remark("this model has no latent flow: sampling from N(0, I)")
    labels = task.chosen_labels(model, request.labels)
    has_rows = request.has_rows(labels)
    count = request.num or (NUM_OF_EACH if has_rows else NUM_IMAGES)
    names = dict(zip(model.label_names, folder_names(model.label_names), strict=True))
    paths = target.paths(count, [names[label] for label in labels] if has_rows else [""])
    guidance = task.DEFAULT_GUIDANCE if request.guidance is None else request.guidance
    images = task.sample_labels(
        model, labels or [None], count, seed=request.seed, temperature=request.temperature, prior=prior,
        solver_steps=request.solver_steps, guidance=guidance,
    )  # fmt: skip
    if target.is_grid:
        total = count * max(1, len(labels))
        yield from _write_grid("sample", images, total, paths[0], labels if has_rows else [], request.seed)
    else:
        yield from _write_each("sample", images, paths, labels, request.seed, batch_size)
    steps = (request.solver_steps or model.config.model.flow.solver_steps) if prior == "flow" else None
    facts = {"labels": labels, "guidance": guidance} if labels else {}
    yield Finished({"seed": request.seed, "prior": prior, "temperature": request.temperature, "solver_steps": steps,
                    **facts})  # fmt: skip


def decode(
    model: "Model", arrays: "Sequence[np.ndarray]", source: Path, target: Target, *, batch_size: int = 64
) -> Iterator[JobEvent]:
    """Writes the images of latents, as `latent_files.read` gives those of the file `source`.

    Raises ConfigError when a result exists, DataError for latents of another model, WriteError.
    """
    from vae_cli.tasks import encode as task

    try:
        latents = task.latents_from(arrays, model.vae.latent_shapes)
        paths = target.paths(len(latents))
        images = task.decode(model, latents)
        if target.is_grid:
            yield from _write_grid("decode", images, len(latents), paths[0], [], None)
        else:
            yield from _write_each("decode", images, paths, [], None, batch_size)
    except DataError as error:
        raise DataError(f"{source}: {error}") from error
    yield Finished(dict.fromkeys(("seed", "prior", "temperature", "solver_steps")))


def _write_grid(
    what: str, images: "Iterator[np.ndarray]", total: int, path: Path, names: Sequence[str], seed: int | None
) -> Iterator[JobEvent]:
    """All images as one; a row with its name for each of the names, where there are any."""
    from vae_cli.drawing.grids import grid
    from vae_cli.drawing.label_sheet import sheet
    from vae_cli.files.new_pictures import save_picture

    drawn: list[np.ndarray] = []
    yield Advanced(what, 0, total)
    for image in images:
        drawn.append(image)
        yield Advanced(what, len(drawn), total)
    rows = list(batches(drawn, total // max(1, len(names))))
    save_picture(sheet(names, rows) if names else grid(drawn), path, seed=seed)
    yield FileDone(None, "ok", path)


def _write_each(
    what: str,
    images: "Iterator[np.ndarray]",
    paths: Sequence[Path],
    labels: Sequence[str],
    seed: int | None,
    batch_size: int,
) -> Iterator[JobEvent]:
    """A file for each image, `batch_size` of them computed before they are written."""
    from vae_cli.files.new_pictures import save_picture

    count = len(paths) // max(1, len(labels))
    yield Advanced(what, 0, len(paths))
    for number, (path, image) in enumerate(zip(paths, computed_ahead(images, batch_size), strict=True)):
        save_picture(image, path, seed=seed)
        facts = {"label": labels[number // count]} if labels else {}
        yield FileDone(None, "ok", path, sample=number % count, facts=facts)
        yield Advanced(what, number + 1, len(paths))
