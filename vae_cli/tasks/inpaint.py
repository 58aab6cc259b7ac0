"""Fill holes: the latent flow is given what is known and proposes latents; the decoder turns them into pixels."""

import math
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
from vae_cli.tasks.conditional_draws import CHUNK, SOURCE, Method, deep_trust, fill_pictures, paired_noise
from vae_cli.windows.around_holes import thickness_classes, windows_around
from vae_cli.windows.chunks import in_chunks
from vae_cli.windows.evidence import Choice, Source, Trial, choices
from vae_cli.windows.window_fill import Filling

PIXELS_AT_ONCE = 1 << 24
"""Pictures wait for others until a chunk of windows is whole, but never with more pixels than these among them."""
CLASSICAL_SIDE = 128  # of windows without a model, in pixels; smaller pictures are not enlarged
NOISE = 1  # behind the number of a fill: the noise added to its pixels, not that of its latents
TRIAL = 1  # behind the number of a window: noise of its trial


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
    """One window of a fill, or a trial of one, and what the model is given for it."""

    fill: Fill
    filling: Filling  # which puts the answer into the fill's pixels
    number: int
    inputs: tuple[Tensor, Tensor, Tensor]
    noise: Latents  # of no layers without a model
    group: int  # of windows that may be computed together; see PIXELS_AT_ONCE
    trial: Trial | None  # of a deep hole: it decides how the answer is used
    is_trial: bool = False

    @property
    def needs_unmixed(self) -> bool:
        """Whether the flow's pictures may be wanted as they are, beside mixed ones."""
        if self.trial is None or Choice("model") not in self.trial.choices:
            return False
        is_undecided = len(self.trial.draws) < self.trial.num_draws
        return self.is_trial or is_undecided or self._choice(self.trial).source == "model"

    def _choice(self, trial: Trial) -> Choice:
        return trial.choice if self.fill.number else trial.safe_choice

    def take(self, pictures: dict[Source, Tensor], method: Method) -> None:
        """Put the answer, [C, h, w] by source, where it belongs."""
        if self.trial is None:
            self.filling.answer(self.number, pictures[SOURCE[method]])
        elif self.is_trial:
            self.trial.draws.append(pictures)
        else:
            # Where a picture is enlarged, its finest detail can only be copied.
            scale = self.filling.windows[self.number].height / self.filling.model_size[0]
            choice = self._choice(self.trial)
            halvings = math.ceil(math.log2(scale)) + choice.halvings
            self.filling.answer(self.number, pictures[choice.source], halvings)


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

    Fill k depends on (seed, id, hole, k) and the model alone. The first one is safe; later ones may be farther from the
    truth, but they differ more, and their mean is nearer to it. Small pictures are computed together; how many are read
    ahead is bounded. feather: pixels inside a hole's edge that blend into its surroundings. The method `classical`
    needs no model, and looks closer without one; the others raise ConfigError without a model and its flow.
    """

    def answered(chunk: Sequence[_Window]) -> Iterator[tuple[_Window, dict[Source, Tensor]]]:
        x, observed, zoom = map(torch.stack, zip(*(window.inputs for window in chunk), strict=True))
        noise = Latents.joined([window.noise for window in chunk])
        answers = fill_pictures(model, x, observed, noise, zoom=zoom, method=method, solver_steps=solver_steps,
                                needs_unmixed=any(window.needs_unmixed for window in chunk))  # fmt: skip
        return ((window, {source: pictures[row] for source, pictures in answers.items()})
                for row, window in enumerate(chunk))  # fmt: skip

    windows = _windows(model, pictures, samples, feather, seed, method)
    for _, group in groupby(windows, key=lambda window: (window.group, window.filling.model_size)):
        for window, answer in in_chunks(answered, group, CHUNK):
            window.take(answer, method)
            if window.number == len(window.filling.windows) - 1 and not window.is_trial:
                yield window.fill


def _windows(
    model: Model | None, pictures: Iterable[Picture], samples: int, feather: float, seed: int, method: Method
) -> Iterator[_Window]:
    group, num_pixels = 0, 0
    for picture in pictures:
        height, width = (min(side, CLASSICAL_SIDE) for side in picture.hole.shape)
        size = (height, width) if model is None else model.image_size
        classes = thickness_classes(picture.hole, size)
        place = place_of("" if method == "classical" else picture.id)  # which is the same whatever a file is called
        windows, trials = windows_around(classes, size), dict[int, Trial]()

        def noise(number: int, *window: int, place: int = place) -> Latents:
            return paired_noise(model.vae, number, seed, place, *window) if model else Latents(())

        for number in range(samples):
            if num_pixels and num_pixels + picture.hole.size > PIXELS_AT_ONCE:
                group, num_pixels = group + 1, 0
            num_pixels += picture.hole.size
            filling = Filling(picture.image, classes, windows, size, feather, (seed, place, number, NOISE))
            fill = Fill(picture, number, filling.pixels, filling.scale)
            for index, window in enumerate(windows):
                x, observed, zoom = filling.inputs(index)
                if number == 0 and window.thickness > 1 and method != "model":
                    trust = None if model is None or method == "classical" else deep_trust(model, zoom)
                    trials[index] = trial = Trial(x, observed, choices(trust))
                    for draw in range(trial.num_draws):
                        # noise of two pairs, as that of one is no more than mirrored
                        view, of_trial = (x * trial.observed, trial.observed, zoom), noise(2 * draw, index, TRIAL)
                        yield _Window(fill, filling, index, view, of_trial, group, trial, is_trial=True)
                of_fill = noise(number, index)
                yield _Window(fill, filling, index, (x, observed, zoom), of_fill, group, trials.get(index))
