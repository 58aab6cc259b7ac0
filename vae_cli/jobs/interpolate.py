"""A walk between images as a strip, an animation or a folder of frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vae_cli.errors import ConfigError, DataError
from vae_cli.images.image_ref import ImageRef
from vae_cli.jobs.events import Advanced, Finished, JobEvent
from vae_cli.jobs.inputs import require
from vae_cli.jobs.outputs import Target

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.checkpoint import Model

Mode = Literal["slerp", "lerp"]

STRIP_STEPS, ANIMATION_STEPS = 9, 30
ANIMATION_SUFFIXES = (".gif", ".webp")


@dataclass(frozen=True)
class Walk:
    """Between what, how, and where it goes."""

    ends: Sequence[Path]
    """Image files; where there are none, the numbers of images that `sample` draws with this seed."""
    numbers: Sequence[int]
    target: Target
    seed: int = 0
    steps: int = ANIMATION_STEPS
    """Frames from one end to the next, both counted."""
    mode: Mode = "slerp"
    loop: bool = False
    frames_per_second: float = 15.0

    @property
    def num_frames(self) -> int:
        return (len(self.ends or self.numbers) - 1 + self.loop) * (self.steps - 1) + 1

    def paths(self) -> list[Path]:
        """Of the frames, or of the one file. Raises ConfigError when an end is missing or a result exists."""
        for path in self.ends:
            require(path, "no such file")
            if path.is_dir():
                raise ConfigError(f"{path}: is a folder; name image files to walk between")
        return self.target.paths(self.num_frames)


def is_strip(target: Target) -> bool:
    """Whether frames stand side by side in one picture; otherwise each has its time, or a file of its own."""
    return target.is_one_file and target.out is not None and target.out.suffix.lower() not in ANIMATION_SUFFIXES


def interpolate(model: "Model", walk: Walk) -> Iterator[JobEvent]:
    """Writes the walk. Raises ConfigError when a result exists, DataError when an end cannot be used, WriteError."""
    from vae_cli.drawing.grids import grid
    from vae_cli.files.new_pictures import save_animation, save_picture
    from vae_cli.jobs.write_pictures import write_pictures
    from vae_cli.tasks import interpolate as task

    target, paths = walk.target, walk.paths()
    if walk.ends:
        latents, seed = task.ends_of_images(model, _decoded(walk.ends, model)), None
    else:
        latents, seed = task.ends_of_samples(model, list(walk.numbers), walk.seed), walk.seed

    def save_all(frames: "list[np.ndarray]") -> None:
        if is_strip(target):
            save_picture(grid(frames, num_columns=len(frames)), paths[0], seed=seed)
        else:
            save_animation(frames, paths[0], frames_per_second=walk.frames_per_second)

    yield from write_pictures(
        task.interpolate(model, latents, steps=walk.steps, mode=walk.mode, loop=walk.loop), paths,
        Advanced("interpolate", 0, walk.num_frames, "frames"), seed=seed, batch_size=target.batch_size,
        save_all=save_all if target.is_one_file else None,
    )  # fmt: skip
    yield Finished({"seed": seed})


def _decoded(ends: Sequence[Path], model: "Model") -> "np.ndarray":
    """uint8 [M, H, W, C]; one end that cannot be used stops the walk."""
    import numpy as np

    from vae_cli.images.recipe import ImageRecipe

    recipe, pixels = ImageRecipe.of(model.config.data), []
    for path in ends:
        try:
            pixels.append(recipe.decode(ImageRef(path.name, path)))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    return np.stack(pixels)
