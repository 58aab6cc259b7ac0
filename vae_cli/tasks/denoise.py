"""Remove noise: the flow, told all pixels and how noisy they are, says what the picture may have been.

The model sees windows of its own size at the picture's resolution; they overlap, and fade into one another.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.dataset.close_ups import zoom_of
from vae_cli.model.flow import REFINEMENT_TIME
from vae_cli.model.vae import Latents
from vae_cli.randomness import place_of
from vae_cli.tasks.conditional_draws import CHUNK, noise_chunk, paired_noise, posterior_pictures
from vae_cli.windows.chunks import filled_up
from vae_cli.windows.tiles import Tiles

MEAN_OF, MEAN_STEPS, MEAN_TIME = 8, 2, 0.05
"""The mean is estimated by the average of so many pictures, each of so few solver steps that it is nearly the mean
itself, refined as if the latents told nothing: on clothes, 8 of 2 steps are 0.1 dB better than 8 of 10, single ones by
1 dB."""


def denoise(
    model: Model,
    image: np.ndarray,
    *,
    sigma: float,
    image_id: str,
    seed: int = 0,
    samples: int = 0,
    solver_steps: int | None = None,
) -> Iterator[np.ndarray]:
    """float32 [H, W, C] in 0..255: what the picture, uint8 or uint16 [H, W, C], may look like without its noise.

    sigma: standard deviation of the noise, 0-255 scale; at 0 the picture comes back as it is. Yields an estimate of the
    posterior's mean or, with `samples`, that many different pictures drawn from the posterior. Each depends on (seed,
    image_id, number) and the model alone.

    Raises ConfigError for a model without a flow.
    """
    place = place_of(image_id)
    if sigma == 0:  # there is nothing to remove, and models have seen no such view
        for _ in range(samples or 1):
            yield image.astype(np.float32) * (255 / np.iinfo(image.dtype).max)
    elif samples:
        sampling = _Sampling(model, sigma, solver_steps or model.config.model.flow.solver_steps, REFINEMENT_TIME)
        for number in range(samples):
            yield _mean(image, sampling, (seed, place), range(number, number + 1))
    else:
        yield _mean(image, _Sampling(model, sigma, MEAN_STEPS, MEAN_TIME), (seed, place), range(MEAN_OF))


@dataclass(frozen=True)
class _Sampling:
    """How a window's picture is drawn."""

    model: Model
    sigma: float
    steps: int
    time: float
    """The flow's time that the refiner is told."""

    def pictures(self, x: Tensor, noise: Latents, zoom: float) -> np.ndarray:
        """float32 [B, h, w, C] in -1..1 for noisy windows x [B, C, h, w] in the same range."""
        drawn = posterior_pictures(
            self.model, x, torch.ones_like(x[:, :1]), noise, zoom=torch.full((len(x),), zoom), sigma=self.sigma,
            solver_steps=self.steps, time=self.time,
        )  # fmt: skip
        return drawn.float().permute(0, 2, 3, 1).numpy()


def _mean(image: np.ndarray, sampling: _Sampling, place: tuple[int, int], numbers: range) -> np.ndarray:
    """float32 [H, W, C] in 0..255: the mean of the pictures of these numbers, put together from windows."""
    tiles = Tiles.of(image, sampling.model.image_size)
    zoom = zoom_of(1.0, image.shape[:2], sampling.model.image_size)
    drawn = [(window, number) for window in range(len(tiles.corners)) for number in numbers]

    def pictures() -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, len(drawn), CHUNK):
            chunk = drawn[start : start + CHUNK]
            windows = tiles.cut(filled_up([window for window, _ in chunk], CHUNK)).astype(np.float32)
            x = torch.from_numpy(windows).permute(0, 3, 1, 2) * (2 / np.iinfo(image.dtype).max) - 1
            noise = [paired_noise(sampling.model.vae, number, *place, window) for window, number in chunk]
            answers = sampling.pictures(x, noise_chunk(noise), zoom)
            yield from zip((window for window, _ in chunk), answers, strict=False)  # the chunk may be filled up

    return ((tiles.join(pictures()) + 1) * 127.5).clip(0, 255)
