"""Fill holes: the latent flow is given what is known and proposes latents; the decoder turns them into pixels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.model.vae import Latents
from vae_cli.randomness import place_of
from vae_cli.tasks.conditional_draws import CHUNK, Method, fill_pictures, paired_noise
from vae_cli.windows.around_holes import windows_around
from vae_cli.windows.chunks import in_chunks
from vae_cli.windows.window_fill import Filling

PIXELS_AT_ONCE = 1 << 24
"""Pictures wait for others until a chunk of windows is whole, but never with more pixels than these among them."""
CLASSICAL_SIDE = 128  # of windows without a model, in pixels; smaller pictures are not enlarged
NOISE = 1  # behind the number of a fill: the noise added to its pixels, not that of its latents


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
    scale: float  # how many of the picture's pixels a model pixel spans in the widest window; 1 = not reduced


class _Window(NamedTuple):
    """One window of a fill, and what the model is given for it."""

    fill: Fill
    filling: Filling  # which puts the answer into the fill's pixels
    number: int
    inputs: tuple[Tensor, Tensor, Tensor]
    noise: Latents  # of no layers without a model
    group: int  # of windows that may be computed together; see PIXELS_AT_ONCE


def inpaint(
    model: Model | None,
    pictures: Iterable[Picture],
    *,
    seed: int = 0,
    samples: int = 1,
    solver_steps: int | None = None,
    feather: float = 0.0,
    method: Method = "auto",
) -> Iterator[Fill]:
    """`samples` different fills of each picture, in order.

    Fill k depends on (seed, id, hole, k) and the model alone. Small pictures are computed together; how many are read
    ahead is bounded. feather: pixels inside a hole's edge that blend into its surroundings. The method `classical`
    needs no model, and looks closer without one; the others raise ConfigError without a model and its flow.
    """

    def answered(chunk: Sequence[_Window]) -> Iterator[tuple[_Window, Tensor]]:
        x, observed, zoom = map(torch.stack, zip(*(window.inputs for window in chunk), strict=True))
        noise = Latents.joined([window.noise for window in chunk])
        answers = fill_pictures(model, x, observed, noise, zoom=zoom, method=method, solver_steps=solver_steps)
        return zip(chunk, answers, strict=True)

    windows = _windows(model, pictures, samples, feather, seed)
    for _, group in groupby(windows, key=lambda window: (window.group, window.filling.model_size)):
        for window, answer in in_chunks(answered, group, CHUNK):
            window.filling.answer(window.number, answer)
            if window.number == len(window.filling.windows) - 1:
                yield window.fill


def _windows(
    model: Model | None, pictures: Iterable[Picture], samples: int, feather: float, seed: int
) -> Iterator[_Window]:
    group, num_pixels = 0, 0
    for picture in pictures:
        height, width = (min(side, CLASSICAL_SIDE) for side in picture.hole.shape)
        size = (height, width) if model is None else model.image_size
        windows, place = windows_around(picture.hole, size), place_of(picture.id)
        for number in range(samples):
            if num_pixels and num_pixels + picture.hole.size > PIXELS_AT_ONCE:
                group, num_pixels = group + 1, 0
            num_pixels += picture.hole.size
            noise_seed = (seed, place, number, NOISE)
            filling = Filling(picture.image, picture.hole, windows, size, feather, noise_seed)
            fill = Fill(picture, number, filling.pixels, filling.scale)
            for index in range(len(windows)):
                noise = paired_noise(model.vae, number, seed, place, index) if model else Latents(())
                yield _Window(fill, filling, index, filling.inputs(index), noise, group)
