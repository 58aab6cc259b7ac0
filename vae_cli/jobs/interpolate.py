"""A walk between images as a strip, an animation or a folder of frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from vae_cli.errors import ConfigError, DataError
from vae_cli.images.image_ref import ImageRef
from vae_cli.jobs.events import Advanced, Finished, JobEvent
from vae_cli.jobs.inputs import require
from vae_cli.jobs.outputs import default_folder, is_picture, refuse_existing, result_paths

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.checkpoint import Model

Mode = Literal["slerp", "lerp"]

STRIP_FRAMES, ANIMATION_FRAMES = 9, 30
"""From one end to the next, unless a number is given."""
ANIMATION_SUFFIXES = (".gif", ".webp")


@dataclass(frozen=True)
class Walk:
    """Between what, and how."""

    ends: Sequence[Path]
    """Image files; where there are none, the numbers of images that `sample` draws with this seed."""
    numbers: Sequence[int] = ()
    seed: int = 0
    steps: int | None = None
    """Frames from one end to the next, both counted."""
    mode: Mode = "slerp"
    loop: bool = False
    frames_per_second: float = 15.0
    out: Path | None = None

    @property
    def form(self) -> Literal["strip", "animation", "frames"]:
        if self.out is None or not is_picture(self.out):
            return "frames"
        return "animation" if self.out.suffix.lower() in ANIMATION_SUFFIXES else "strip"

    @property
    def frames_each(self) -> int:
        """From one end to the next, both counted."""
        return self.steps or (STRIP_FRAMES if self.form == "strip" else ANIMATION_FRAMES)

    @property
    def num_frames(self) -> int:
        return (len(self.ends or self.numbers) - 1 + self.loop) * (self.frames_each - 1) + 1

    def paths(self, folder_of_samples: Path, *, overwrite: bool) -> list[Path]:
        """Of the frames, or of the one file. Raises ConfigError when an end is missing or a result exists."""
        for path in self.ends:
            require(path, "no such file")
            if path.is_dir():
                raise ConfigError(f"{path}: is a folder; name image files to walk between")
        count = self.num_frames if self.form == "frames" else 1
        folder = default_folder(self.ends[0], "interpolate") if self.ends else folder_of_samples
        paths = result_paths(self.out, folder, [PurePosixPath(f"{number:06d}.png") for number in range(count)])
        refuse_existing(paths, overwrite=overwrite)
        return paths


def interpolate(model: "Model", walk: Walk, paths: Sequence[Path], *, batch_size: int = 64) -> Iterator[JobEvent]:
    """Writes the walk to its paths. Raises DataError when an end cannot be used, WriteError."""
    from vae_cli.drawing.grids import grid
    from vae_cli.files.new_pictures import save_animation, save_picture
    from vae_cli.jobs.write_pictures import write_pictures
    from vae_cli.tasks import interpolate as task

    if walk.ends:
        latents, seed = task.ends_of_images(model, _decoded(walk.ends, model)), None
    else:
        latents, seed = task.ends_of_samples(model, list(walk.numbers), walk.seed), walk.seed

    def save_all(frames: "list[np.ndarray]") -> None:
        if walk.form == "animation":
            save_animation(frames, paths[0], frames_per_second=walk.frames_per_second)
        else:
            save_picture(grid(frames, num_columns=len(frames)), paths[0], seed=seed)

    yield from write_pictures(
        task.interpolate(model, latents, steps=walk.frames_each, mode=walk.mode, loop=walk.loop), paths,
        Advanced("interpolate", 0, walk.num_frames, "frames"), seed=seed, batch_size=batch_size,
        save_all=None if walk.form == "frames" else save_all,
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
