"""Fill holes: the latent flow, told what is known, proposes latents; the decoder turns them into pixels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from vae_cli.checkpoint import Model
from vae_cli.randomness import place_of
from vae_cli.tasks.conditional_draws import CHUNK, Method, fill_pictures, noise_chunk, paired_noise
from vae_cli.windows.around_holes import windows
from vae_cli.windows.chunks import whole_chunk
from vae_cli.windows.window_fill import Filling

PIXELS_AT_ONCE = 1 << 24
"""Pictures wait for others until a chunk of windows is whole, but never with more pixels than these among them."""
GRAIN = 1


@dataclass(frozen=True)
class Picture:
    """An image to be filled: uint8 or uint16 [H, W, C], and its hole, bool [H, W], both as displayed."""

    id: str
    image: np.ndarray
    hole: np.ndarray


@dataclass(frozen=True)
class Fill:
    """One way to fill a picture's holes: float32 [H, W, C] in 0..255, meaningful inside the hole."""

    picture: Picture
    number: int
    pixels: np.ndarray
    scale: float
    """How much the model saw the picture reduced where it did so most; 1 = not at all."""


def inpaint(
    model: Model,
    pictures: Iterable[Picture],
    *,
    seed: int = 0,
    samples: int = 1,
    solver_steps: int | None = None,
    feather: float = 0.0,
    method: Method = "auto",
) -> Iterator[Fill]:
    """`samples` different fills of each picture, in order.

    Fill k depends on (seed, id, hole, k) and the model alone. Small pictures are computed together; what is read ahead
    is bounded. Raises ConfigError for a model without a flow, except for the method `classical`.
    """
    jobs = _jobs(pictures, samples, model.image_size, feather, seed)
    for chunk in _chunks(jobs):
        views = [job.filling.view(index) for job, index in chunk]
        noise = [paired_noise(model.vae, job.number, seed, job.place, index) for job, index in chunk]
        x, observed = (whole_chunk(parts, CHUNK) for parts in zip(*views, strict=True))
        zoom = whole_chunk([job.filling.zoom(index) for job, index in chunk], CHUNK)
        answers = fill_pictures(
            model, x, observed, noise_chunk(noise), zoom=zoom, method=method, solver_steps=solver_steps
        )  # fmt: skip
        for (job, index), answer in zip(chunk, answers.split(1), strict=False):  # the chunk may be filled up
            job.filling.answer(index, answer)
            if job.filling.is_complete:
                yield Fill(job.picture, job.number, job.filling.pixels, job.filling.scale)


@dataclass(frozen=True)
class _Job:
    """One fill of one picture."""

    picture: Picture
    number: int
    filling: Filling

    place: int


def _jobs(
    pictures: Iterable[Picture], samples: int, model_size: tuple[int, int], feather: float, seed: int
) -> Iterator[_Job]:
    for picture in pictures:
        places, place = windows(picture.hole, model_size), place_of(picture.id)
        for number in range(samples):
            filling = Filling(
                picture.image,
                picture.hole,
                places,
                model_size,
                feather=feather,
                grain_seed=(seed, place, number, GRAIN),
            )
            yield _Job(picture, number, filling, place)


def _chunks(jobs: Iterable[_Job]) -> Iterator[list[tuple[_Job, int]]]:
    """The windows of all jobs, in order, CHUNK at a time, or fewer where their pictures are large."""
    chunk: list[tuple[_Job, int]] = []
    num_pixels = 0
    for job in jobs:
        if chunk and num_pixels + job.picture.hole.size > PIXELS_AT_ONCE:
            yield chunk
            chunk, num_pixels = [], 0
        num_pixels += job.picture.hole.size
        for index in range(len(job.filling.windows)):
            chunk.append((job, index))
            if len(chunk) == CHUNK:
                yield chunk
                chunk, num_pixels = [], job.picture.hole.size
    if chunk:
        yield chunk
