"""Detail for fills of large holes: from the scale at which a hole is seen whole, tile by tile, to the picture's own.

A coarse fill says what belongs into a hole, blurred by as much as it was enlarged. On overlapping tiles at about half
the scale it is taken for a noisy guess: its latents are mixed with noise and the flow, told what is known around them
and how close it looks, carries them to what such places look like (Meng et al. 2022, "SDEdit"). Of each answer only
what the coarser scale could not show is added, so that tiles meet without seams and the guess is not led astray.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vae_cli.data.patches import zoom_of
from vae_cli.model.vae import Latents
from vae_cli.model.view import View
from vae_cli.tasks.chunks import whole_chunk
from vae_cli.tasks.holes import Filling, to_window
from vae_cli.tasks.posterior import CHUNK, FILL_STEPS, noise_chunk, paired_noise
from vae_cli.tasks.tiles import ramp, starts_of
from vae_cli.tasks.windows import Box
from vae_cli.training.checkpoint import LoadedModel

START = 0.5
"""Of the flow's time: how much of the guess is kept, 1 being all."""
LEAST_RATIO = 1.3
"""Between two scales; where less is to be gained the fill stays as it is."""
MOST_TILES = 512
"""Of a level; finer ones are left out."""


def scales_from(scale: float) -> list[float]:
    """The scales after `scale`, each about half the one before, down to 1, the picture's own."""
    num_levels = max(1, math.ceil(math.log2(scale) - 0.1)) if scale >= LEAST_RATIO else 0
    return [scale ** (1 - level / num_levels) for level in range(1, num_levels + 1)]


def add_detail(model: LoadedModel, filling: Filling, *place: int) -> float:
    """Sharpens the answers of a complete filling in place; returns the scale that its coarsest part has reached.

    place: (seed, picture, number of the fill), on which alone the detail depends, beside filling and model. Models that
    have seen no close-ups have nothing to add.
    """
    if model.flow is None or not model.flow.sees_patches:
        return filling.scale
    reached = [1.0]
    for index, window in enumerate(filling.windows):
        for number, target in enumerate(window.targets):
            scale = window.height / filling.model_size[0]
            for level, finer in enumerate(scales_from(scale)):
                tiles = list(_tiles(target, finer, filling))
                if len(tiles) > MOST_TILES:
                    break
                _sharpen(model, filling, target, tiles, scale / finer, (*place, index, number, level))
                scale = finer
            reached.append(scale)
    return max(reached)


def _tiles(target: Box, scale: float, filling: Filling) -> Iterator[Box]:
    """Boxes of the model's shape at that scale which cover the target, overlapping."""
    sides = [round(scale * side) for side in filling.model_size]
    rows, columns = (
        _starts(start, length, side, limit)
        for start, length, side, limit in zip(
            (target.top, target.left), (target.height, target.width), sides, filling.hole.shape, strict=True
        )
    )
    for top in rows:
        for left in columns:
            yield Box(top, left, *sides)


def _starts(start: int, length: int, side: int, limit: int) -> list[int]:
    """Along one side: around a short target, evenly over a long one, inside the picture where it is large enough."""
    margin = side // 4  # so that tiles see what lies around the hole
    first, last = start - margin, start + length + margin
    if limit <= side:
        return [-((side - limit) // 2)]
    first, last = max(0, first), min(limit, last)
    if last - first <= side:
        return [min(max(0, (first + last - side) // 2), limit - side)]
    return [first + offset for offset in starts_of(last - first, side)]


@dataclass(frozen=True)
class _Guess:
    """The picture around a target with the fill in it: uint8 [H, W, C] and where it lies."""

    pixels: np.ndarray
    place: Box

    @staticmethod
    def of(filling: Filling, tiles: list[Box]) -> "_Guess":
        top, left = min(tile.top for tile in tiles), min(tile.left for tile in tiles)
        bottom = max(tile.top + tile.height for tile in tiles)
        right = max(tile.left + tile.width for tile in tiles)
        place = Box(top, left, bottom - top, right - left).inside(filling.hole.shape)
        known, hole = filling.image[place.slices], filling.hole[place.slices]
        pixels = (known >> 8).astype(np.uint8) if known.dtype == np.uint16 else known.copy()
        pixels[hole] = filling.pixels[place.slices][hole].round()
        return _Guess(pixels, place)

    def seen(self, tile: Box, model_size: tuple[int, int]) -> Tensor:
        """[1, C, h, w] in [-1, 1]."""
        moved = Box(tile.top - self.place.top, tile.left - self.place.left, tile.height, tile.width)
        return to_window(self.pixels, np.zeros(self.pixels.shape[:2], bool), moved, model_size)[0]


def _sharpen(
    model: LoadedModel, filling: Filling, target: Box, tiles: list[Box], ratio: float, place: tuple[int, ...]
) -> None:
    """One level: adds what the tiles' answers show beyond the guess to the hole's pixels in the target."""
    guess, size = _Guess.of(filling, tiles), filling.model_size
    total = np.zeros((target.height, target.width, filling.image.shape[2]), np.float32)
    weights = np.full((target.height, target.width, 1), 1e-6, np.float32)
    for start in range(0, len(tiles), CHUNK):
        part = tiles[start : start + CHUNK]
        before = whole_chunk([guess.seen(tile, size) for tile in part], CHUNK)
        views = [to_window(filling.image, filling.hole, tile, size) for tile in part]
        x, observed = (whole_chunk(parts, CHUNK) for parts in zip(*views, strict=True))
        noise = noise_chunk([paired_noise(model.vae, place[2], *place, start + i) for i in range(len(part))])
        zoom = torch.full((CHUNK,), zoom_of(part[0].height / size[0], filling.hole.shape, size))
        found = _carried(model, before, x, observed, noise, zoom)
        detail = _beyond(found - before, ratio)
        for tile, answer in zip(part, detail.split(1), strict=False):
            _add(total, weights, target, tile, answer)
    chosen = filling.hole[target.slices]
    filled = filling.pixels[target.slices]
    filled[chosen] = (filled + total / weights).clip(0, 255)[chosen]


@torch.inference_mode()
def _carried(model: LoadedModel, before: Tensor, x: Tensor, observed: Tensor, noise: Latents, zoom: Tensor) -> Tensor:
    """[B, C, h, w] in [-1, 1]: what the flow makes of guesses [B, C, h, w] under views of what is known."""
    assert model.flow is not None
    move, flow = model.runtime.move, model.flow
    unlabelled = torch.full((len(x),), -1, device=model.runtime.device)
    view = View.of(move(x), move(observed), torch.zeros(len(x), device=model.runtime.device), unlabelled)
    view = view.with_zoom(move(zoom))
    with model.runtime.autocast():
        u = flow.standardise(model.vae.first_posterior(move(before)).mean.float())
        mixed = (1 - START) * move(noise.noise[0]) + START * u
        first = flow.solve(mixed, view, steps=2 * FILL_STEPS, start=START)
        finer = tuple(move(layer) for layer in noise.noise[1:])
        return flow.refine(model.vae.decode_mean(Latents((first, *finer))), view).cpu()


def _beyond(difference: Tensor, ratio: float) -> Tensor:
    """What a picture [B, C, h, w] holds that one smaller by the ratio could not."""
    height, width = (max(1, round(side / ratio)) for side in difference.shape[2:])
    coarse = F.adaptive_avg_pool2d(difference, (height, width))
    return difference - F.interpolate(coarse, size=difference.shape[2:], mode="bilinear", align_corners=False)


def _add(total: np.ndarray, weights: np.ndarray, target: Box, tile: Box, answer: Tensor) -> None:
    """Adds a tile's answer [1, C, h, w], in [-1, 1], to the sums over the target; the less the nearer to its edge."""
    enlarged = F.interpolate(answer, size=(tile.height, tile.width), mode="bicubic", align_corners=False)
    shared = tile.overlap(target)
    if shared.height == 0 or shared.width == 0:
        return
    inner = Box(shared.top - tile.top, shared.left - tile.left, shared.height, shared.width)
    outer = Box(shared.top - target.top, shared.left - target.left, shared.height, shared.width)
    weight = (ramp(tile.height)[:, None, None] * ramp(tile.width)[None, :, None])[inner.slices]
    total[outer.slices] += weight * 127.5 * enlarged[0].permute(1, 2, 0).numpy()[inner.slices]
    weights[outer.slices] += weight
