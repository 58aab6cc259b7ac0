"""Remove noise: the flow is given all pixels and how noisy they are, and draws what the picture may have been.

The model sees windows of its own size at the picture's resolution; they overlap, and fade into one another.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from vae_cli.checkpoint import Model
from vae_cli.dataset.close_ups import zoom_of
from vae_cli.images.pixels import grey_levels, to_unit
from vae_cli.model.flow import REFINEMENT_TIME
from vae_cli.model.vae import Latents
from vae_cli.randomness import place_of
from vae_cli.tasks.conditional_draws import CHUNK, draw_pictures, known_pixels, paired_noise
from vae_cli.windows.chunks import in_chunks
from vae_cli.windows.tiles import Tiles

MEAN_OF, MEAN_STEPS, MEAN_TIME = 8, 2, 0.05
"""The posterior's mean is estimated by the mean of so many pictures. Each takes so few solver steps that it is nearly a
mean itself, and is refined as if its latents said nothing."""


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
    if sigma == 0:  # there is nothing to remove, and models have not learned from such pictures
        for _ in range(samples or 1):
            yield grey_levels(image)
        return
    steps, time = MEAN_STEPS, MEAN_TIME
    if samples:
        steps, time = solver_steps or model.config.model.flow.solver_steps, REFINEMENT_TIME
    place, tiles = place_of(image_id), Tiles.of(image, model.image_size)
    zoom = zoom_of(1.0, image.shape[:2], model.image_size)

    def drawn(chunk: Sequence[tuple[int, int]]) -> Iterator[tuple[int, np.ndarray]]:
        """Of (window, draw) numbers: the window's number and float32 [h, w, C] in -1..1."""
        numbers = [window for window, _ in chunk]
        x = to_unit(tiles.cut(numbers))
        noise = Latents.joined([paired_noise(model.vae, number, seed, place, window) for window, number in chunk])
        known = known_pixels(model, x, torch.ones_like(x[:, :1]), torch.full((len(x),), zoom), sigma=sigma)
        pictures = draw_pictures(model, known, noise, steps=steps, time=time)
        return zip(numbers, pictures.float().permute(0, 2, 3, 1).numpy(), strict=True)

    for draws in [range(number, number + 1) for number in range(samples)] or [range(MEAN_OF)]:
        rows = ((window, number) for window in range(len(tiles.corners)) for number in draws)
        yield ((tiles.join(in_chunks(drawn, rows, CHUNK)) + 1) * 127.5).clip(0, 255)
