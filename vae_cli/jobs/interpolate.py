"""A walk between images as a strip, an animation or a folder of frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vae_cli.checkpoint import Model
from vae_cli.drawing.grids import grid
from vae_cli.errors import DataError
from vae_cli.files.new_pictures import save_animation, save_picture
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.recipe import ImageRecipe
from vae_cli.jobs.events import Advanced, Finished, JobEvent
from vae_cli.jobs.outputs import Target
from vae_cli.jobs.write_pictures import write_pictures
from vae_cli.tasks import interpolate as task


@dataclass(frozen=True)
class Walk:
    """Between what, and how.

    ends: image files; where there are none, `numbers` are those of images that `sample` draws with this seed. steps:
    frames from one end to the next, both counted. is_strip: one picture of all frames rather than an animation.
    """

    ends: Sequence[Path]
    numbers: Sequence[int]
    seed: int
    steps: int
    mode: Literal["slerp", "lerp"] = "slerp"
    loop: bool = False
    frames_per_second: float = 15.0
    is_strip: bool = False


def interpolate(model: Model, walk: Walk, paths: Sequence[Path], target: Target) -> Iterator[JobEvent]:
    """Writes the walk to `paths` of the target. Raises DataError when an end cannot be used, WriteError."""
    recipe, pixels = ImageRecipe.of(model.config.data), []
    for path in walk.ends:
        try:
            pixels.append(recipe.decode(ImageRef(path.name, path)))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    if pixels:
        latents, seed = task.ends_of_images(model, np.stack(pixels)), None
    else:
        latents, seed = task.ends_of_samples(model, list(walk.numbers), walk.seed), walk.seed

    def save_all(frames: list[np.ndarray]) -> None:
        if walk.is_strip:
            save_picture(grid(frames, num_columns=len(frames)), paths[0], seed=seed)
        else:
            save_animation(frames, paths[0], frames_per_second=walk.frames_per_second)

    frames = task.interpolate(model, latents, steps=walk.steps, mode=walk.mode, loop=walk.loop)
    num_frames = (len(latents) - 1 + walk.loop) * (walk.steps - 1) + 1
    begin = Advanced("interpolate", 0, num_frames, "frames")
    yield from write_pictures(frames, paths, target, begin, save_all, seed=seed)
    yield Finished({"seed": seed})
