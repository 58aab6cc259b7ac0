"""The latents of images as one file, and pictures of what they mean."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING

from vae_cli.errors import ConfigError
from vae_cli.jobs.events import Advanced, FileDone, JobEvent, Report
from vae_cli.jobs.inputs import Input, decoded, drained, find_inputs
from vae_cli.jobs.latent_files import WRITTEN_SUFFIXES
from vae_cli.jobs.outputs import default_folder, refuse_existing

if TYPE_CHECKING:
    from vae_cli.checkpoint import Model


@dataclass(frozen=True)
class Plan:
    """What is encoded, and where the latents and their pictures go."""

    items: list[Input]
    path: Path
    pictures: Path | None
    """A folder; None = no pictures."""
    overwrite: bool


def plan_encode(
    inputs: Sequence[Path], report: Report, *, out: Path | None = None, pictures: Path | None = None,
    overwrite: bool = False,
) -> Plan:  # fmt: skip
    """Raises ConfigError where the latents cannot go."""
    path = out
    if path is None:
        folder = default_folder(inputs[0], "encode")
        path = folder.with_name(f"{folder.name}.npz")
    if path.suffix.lower() not in WRITTEN_SUFFIXES:
        raise ConfigError(f"--out {path}: give a file that ends in {' or '.join(WRITTEN_SUFFIXES)}")
    items = find_inputs(inputs, report, exclude=[pictures] if pictures else [], labels="auto")
    refuse_existing([path], overwrite=overwrite)
    return Plan(items, path, pictures, overwrite)


def encode(model: "Model", plan: Plan, *, batch_size: int = 64) -> Iterator[JobEvent]:
    """Writes the latents of every image that can be used. Raises ConfigError when a picture exists, WriteError."""
    from vae_cli.drawing import previews
    from vae_cli.files.new_pictures import save_picture
    from vae_cli.images.recipe import ImageRecipe
    from vae_cli.jobs import latent_files
    from vae_cli.tasks import encode as task

    names = previews.names_of_latents(model) if plan.pictures else []
    drawn = [plan.pictures / f"{name}.png" for name in names if plan.pictures]
    refuse_existing(drawn, overwrite=plan.overwrite)
    failed, found = list[JobEvent](), list[tuple[Input, task.Encoded]]()
    images = decoded(plan.items, ImageRecipe.of(model.config.data), failed.append, batch_size=batch_size)
    items, for_task = tee(images)
    posteriors = task.encode(model, (pixels for _, pixels in for_task))
    yield Advanced("encode", 0, len(plan.items))
    for (item, _), posterior in zip(items, posteriors, strict=True):
        yield from drained(failed)
        found.append((item, posterior))
        yield Advanced("encode", len(found), len(plan.items))
    yield from failed
    if not found:
        return
    encoded, labels = task.stacked([posterior for _, posterior in found]), [item.ref.label or "" for item, _ in found]
    latent_files.write(plan.path, encoded, [item.name for item, _ in found], labels)
    for item, _ in found:
        yield FileDone(item.name, "ok", plan.path)
    if drawn:
        pictures = previews.latents(model, encoded, labels)
        for path in drawn:
            save_picture(pictures[path.stem], path)
            yield FileDone(None, "ok", path)
