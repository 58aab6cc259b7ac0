"""Cut holes into known images, fill them, and measure how near the fills come to what was there."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee

import numpy as np
import torch

from vae_cli.checkpoint import Model
from vae_cli.dataset.random_masks import draw_observed
from vae_cli.images.pixels import to_pixels, to_unit
from vae_cli.metrics.pictures import hole_psnr_db, ssim
from vae_cli.model.vae import Latents
from vae_cli.randomness import image_generator
from vae_cli.tasks.conditional_draws import CHUNK, Method, fill_pictures, paired_noise
from vae_cli.windows.chunks import in_chunks
from vae_cli.windows.window_fill import hole_of, observed_of

NUM_FILLS = 10  # fills of a hole; their mean is measured beside a single one


@dataclass(frozen=True)
class Filled:
    """An image and fills of its hole, each the whole picture as it would be written."""

    image: np.ndarray  # uint8 [H, W, C]
    hole: np.ndarray  # bool [H, W], True = filled
    fills: np.ndarray  # uint8 [K, H, W, C]; outside the hole they are the image


def draw_holes(family: str, num: int, size: tuple[int, int], seed: int = 0) -> Iterator[np.ndarray]:
    """bool [H, W] for each of `num` images of (H, W), True = to fill; hole i depends on (seed, i) alone.

    family: one of vae_cli.dataset.random_masks.FAMILIES, else ValueError.
    """
    for number in range(num):
        yield hole_of(draw_observed(family, 1, *size, image_generator(seed, number)))


def fill_holes(
    model: Model,
    images: Iterable[np.ndarray],
    holes: Iterable[np.ndarray],
    *,
    fills: int = NUM_FILLS,
    seed: int = 0,
    solver_steps: int | None = None,
    method: Method = "auto",
) -> Iterator[Filled]:
    """Each image, uint8 [H, W, C] at the model's size, with `fills` fills of its hole, bool [H, W], as by `inpaint`.

    Fill k of the i-th image depends on (seed, i, k), its known pixels and the model alone. Holds a chunk at a time.
    Raises ConfigError for a model without a flow.
    """

    def filled(chunk: Sequence[tuple[np.ndarray, np.ndarray, int, int]]) -> np.ndarray:
        x = torch.cat([to_unit(image[None]) for image, *_ in chunk])
        observed = torch.cat([observed_of(hole) for _, hole, *_ in chunk])
        noise = Latents.joined([paired_noise(model.vae, fill, seed, number) for *_, number, fill in chunk])
        return to_pixels(fill_pictures(model, x, observed, noise, method=method, solver_steps=solver_steps))

    for_fills, for_results = tee(zip(images, holes, strict=True))
    rows = ((image, hole, number, fill) for number, (image, hole) in enumerate(for_fills) for fill in range(fills))
    answers = in_chunks(filled, rows, CHUNK)
    for image, hole in for_results:
        yield Filled(image, hole, np.stack([np.where(hole[:, :, None], next(answers), image) for _ in range(fills)]))


def figures_of(filled: Filled) -> dict[str, float]:
    """PSNR in the hole of the first fill and of the unrounded mean of all; SSIM of the first fill's whole picture."""
    pictures = (filled.image, filled.fills[0], filled.fills.mean(0))
    truth, one, mean = (torch.from_numpy(picture / 255).permute(2, 0, 1)[None] for picture in pictures)
    hole = torch.from_numpy(filled.hole)[None, None]
    return {
        "psnr_hole_db": hole_psnr_db(truth, one, hole).item(),
        "psnr_hole_mean_fill_db": hole_psnr_db(truth, mean, hole).item(),
        "ssim": ssim(truth, one).item(),
    }
