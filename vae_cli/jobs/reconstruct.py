"""Images encoded and decoded again, as files."""

from collections.abc import Iterator, Mapping
from itertools import tee
from pathlib import Path

from vae_cli.checkpoint import Model
from vae_cli.drawing.grids import grid
from vae_cli.images.recipe import ImageRecipe
from vae_cli.jobs.events import Advanced, FileDone, JobEvent, Report
from vae_cli.jobs.inputs import Input, decoded
from vae_cli.jobs.write_pictures import write_each
from vae_cli.tasks import reconstruct as task


def reconstruct(
    model: Model, paths: Mapping[Input, Path], report: Report,
    *, compare: bool = False, draw: bool = False, seed: int = 0, batch_size: int = 64,
) -> Iterator[JobEvent]:  # fmt: skip
    """Writes the reconstructions at the model's size; what cannot be decoded is reported. Raises WriteError.

    compare: the input beside it. draw: of a sample of the posterior, which depends on the seed, instead of its mean.
    """
    originals, images = tee(decoded(paths, ImageRecipe.of(model.config.data), report, batch_size=batch_size))
    if draw:
        rebuilt = task.reconstruct_draws(model, ((item.ref.id, pixels) for item, pixels in images), seed=seed)
    else:
        rebuilt = task.reconstruct(model, (pixels for _, pixels in images))
    files = ((FileDone(item.name, "ok", paths[item]), grid([pixels, image], num_columns=2) if compare else image)
             for (item, pixels), image in zip(originals, rebuilt, strict=True))  # fmt: skip
    yield from write_each(files, Advanced("reconstruct", 0, len(paths)), seed=seed if draw else None)
