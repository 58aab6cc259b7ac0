"""The latents of images as one file, and pictures of what they mean."""

from collections.abc import Iterator, Sequence
from itertools import tee
from pathlib import Path

from vae_cli.checkpoint import Model
from vae_cli.drawing import previews
from vae_cli.files.new_pictures import save_picture
from vae_cli.images.recipe import ImageRecipe
from vae_cli.jobs import latent_files
from vae_cli.jobs.events import Advanced, FileDone, JobEvent, Report
from vae_cli.jobs.inputs import Input, decoded
from vae_cli.jobs.outputs import refuse_existing
from vae_cli.tasks import encode as task


def encode(
    model: Model, items: Sequence[Input], path: Path, kind: str, report: Report,
    *, pictures: Path | None = None, overwrite: bool = False, batch_size: int = 64,
) -> Iterator[JobEvent]:  # fmt: skip
    """Writes the latents of every image that can be decoded, and draws what they mean; the others are reported.

    kind: of the file, as for `latent_files.write`. Raises ConfigError when a picture exists or a package is missing,
    WriteError.
    """
    latent_files.require_format(kind)
    drawn = [pictures / f"{name}.png" for name in previews.names_of_latents(model)] if pictures else []
    refuse_existing(drawn, overwrite=overwrite)
    images, for_task = tee(decoded(items, ImageRecipe.of(model.config.data), report, batch_size=batch_size))
    posteriors = task.encode(model, (pixels for _, pixels in for_task))
    used, found = list[Input](), list[task.Encoded]()
    yield Advanced("encode", 0, len(items))
    for (item, _), posterior in zip(images, posteriors, strict=True):
        used.append(item)
        found.append(posterior)
        yield Advanced("encode", len(found), len(items))
    if not found:
        return
    encoded, labels = task.stacked(found), [item.ref.label or "" for item in used]
    latent_files.write(path, kind, encoded, [item.name for item in used], labels)
    yield from (FileDone(item.name, "ok", path) for item in used)
    if drawn:
        made = previews.latents(model, encoded, labels)
        for target in drawn:
            save_picture(made[target.stem], target)
            yield FileDone(None, "ok", target)
