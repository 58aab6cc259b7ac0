"""Cut holes into known images, fill them, and measure how near the fills come to what was there."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, tee

import numpy as np
import torch

from vae_cli.checkpoint import Model
from vae_cli.dataset.random_masks import draw_observed
from vae_cli.metrics.pictures import hole_psnr_db, ssim
from vae_cli.randomness import image_generator
from vae_cli.tasks.conditional_draws import Method
from vae_cli.tasks.inpaint import Picture, inpaint
from vae_cli.windows.window_fill import hole_of

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
    """Each image, uint8 [H, W, C] of any size, with `fills` fills of its hole, bool [H, W], as by `inpaint`.

    Fill k of the i-th image depends on (seed, i, k), its known pixels and the model alone. Holds a chunk at a time.
    Raises ConfigError for a model without a flow.
    """
    for_fills, for_results = tee(zip(images, holes, strict=True))
    pictures = (Picture(str(number), image, hole) for number, (image, hole) in enumerate(for_fills))
    drawn = inpaint(model, pictures, seed=seed, samples=fills, solver_steps=solver_steps, method=method)
    for image, hole in for_results:
        found = np.stack([fill.pixels for fill in islice(drawn, fills)])
        yield Filled(image, hole, np.where(hole[:, :, None], np.rint(found).astype(np.uint8), image))


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
