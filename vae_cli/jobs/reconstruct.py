"""Images encoded and decoded again, as files."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING

from vae_cli.jobs.events import Advanced, FileDone, JobEvent, Report
from vae_cli.jobs.inputs import Input, decoded, find_inputs
from vae_cli.jobs.outputs import default_folder, picture_names, refuse_existing, result_paths

if TYPE_CHECKING:
    from vae_cli.checkpoint import Model


def plan_reconstruct(
    inputs: Sequence[Path], report: Report, *, out: Path | None = None, overwrite: bool = False
) -> dict[Input, Path]:
    """Where the reconstruction of each image of INPUT goes. Raises ConfigError."""
    folder = out or default_folder(inputs[0], "reconstruct")
    items = find_inputs(inputs, report, exclude=[folder])
    paths = result_paths(out, folder, picture_names([item.relative for item in items]))
    refuse_existing(paths, overwrite=overwrite)
    return dict(zip(items, paths, strict=True))


def reconstruct(
    model: "Model",
    paths: Mapping[Input, Path],
    report: Report,
    *,
    compare: bool = False,
    draw: bool = False,
    seed: int = 0,
    batch_size: int = 64,
) -> Iterator[JobEvent]:
    """Writes the reconstructions at the model's size; what cannot be decoded is reported. Raises WriteError.

    compare: the input beside it. draw: of a sample of the posterior, which depends on the seed, instead of its mean.
    """
    from vae_cli.drawing.grids import grid
    from vae_cli.files.new_pictures import save_picture
    from vae_cli.images.recipe import ImageRecipe
    from vae_cli.tasks import reconstruct as task

    images = decoded(paths, ImageRecipe.of(model.config.data), report, batch_size=batch_size)
    originals, for_task = tee(images)
    if draw:
        rebuilt = task.reconstruct_draws(model, ((item.ref.id, pixels) for item, pixels in for_task), seed=seed)
    else:
        rebuilt = task.reconstruct(model, (pixels for _, pixels in for_task))
    yield Advanced("reconstruct", 0, len(paths))
    for number, ((item, pixels), image) in enumerate(zip(originals, rebuilt, strict=True), start=1):
        picture = grid([pixels, image], num_columns=2) if compare else image
        save_picture(picture, paths[item], seed=seed if draw else None)
        yield FileDone(item.name, "ok", paths[item])
        yield Advanced("reconstruct", number, len(paths))
