"""Images without their noise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from vae_cli.checkpoint import Model
from vae_cli.dataset.random_masks import DENOISING_SIGMA
from vae_cli.files.write_back import with_changes
from vae_cli.jobs.change_images import Answer, Opened, Part, Planned
from vae_cli.jobs.events import FileDone, Finished, JobEvent, Remark
from vae_cli.printable import printable
from vae_cli.tasks.denoise import denoise as task
from vae_cli.windows.picture_noise import estimate_sigma


@dataclass
class Denoising:
    """The change that removes noise.

    sigma: standard deviation of the noise, 0-255 scale; None = estimated for each image. samples: so many pictures that
    may lie under the noise instead of their mean.
    """

    model: Model
    seed: int = 0
    sigma: float | None = None
    samples: int | None = None
    solver_steps: int | None = None
    sigmas: dict[str, float] = field(default_factory=dict)
    """Of every usable image, by its name."""
    name, unit, for_grey = "denoise", "images", "colours keep their noise"

    def open(self, image: Opened) -> Iterator[Part | Opened]:
        name = printable(image.name)
        sigma = self.sigmas[image.name] = estimate_sigma(image.pixels) if self.sigma is None else self.sigma
        yield Remark(f"{name}: sigma {sigma:.1f}", "detail")
        if sigma > DENOISING_SIGMA[1]:  # it is still removed, less well
            yield Remark(f"{name}: noise of sigma {sigma:.0f}, more than models are trained on", "warning")
        yield image

    def answers(self, images: list[Opened]) -> Iterator[Answer]:
        for image in images:
            pictures = task(self.model, image.pixels, sigma=self.sigmas[image.name],
                            image_id=image.planned.item.ref.id, seed=self.seed, samples=self.samples or 0,
                            solver_steps=self.solver_steps)  # fmt: skip
            for number, picture in enumerate(pictures):
                change = partial(with_changes, image.original, image.pixels, picture, image.background)
                yield Answer(change, number if self.samples else None)

    def end(self, images: Sequence[Planned], files: Sequence[FileDone]) -> Iterator[JobEvent]:
        yield Finished({"seed": self.seed, "sigma": self.sigmas})
