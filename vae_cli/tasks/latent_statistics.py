"""Statistics of pictures' latents, and moving one picture's latents towards those of others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.model.vae import Latents
from vae_cli.windows.tiles import Tiles

CHUNK = 16
MAX_WINDOWS = 256  # windows of one picture that its statistics are taken from, evenly spread
LEAST_SCALE = 1e-3  # a channel that varies less has no scale worth matching
MAX_RATIO = 3.0  # no channel is stretched or pressed by more, as what hardly varies is mostly noise
FEW_PICTURES = 16  # with so many pictures, the mean at one place counts half and that of the whole channel half


@dataclass(frozen=True)
class LatentStatistics:
    """Statistics of every latent layer over pictures, each of which counts alike."""

    places: tuple[Tensor, ...]
    """[1, C, h, w] for each layer: the mean at each place, drawn towards the channel's where pictures are few."""
    means: tuple[Tensor, ...]  # [1, C, 1, 1] for each layer
    scales: tuple[Tensor, ...]  # [1, C, 1, 1] for each layer: the standard deviation over places and pictures

    @staticmethod
    def of(model: Model, pictures: Iterable[Tiles]) -> "LatentStatistics":
        """Those of pictures, as windows of the model's size with values in -1..1. Raises ValueError for no picture."""
        totals, count = [torch.zeros(2, *shape) for shape in model.vae.latent_shapes], 0
        for tiles in pictures:
            totals = [total + found for total, found in zip(totals, _moments(model, tiles), strict=True)]
            count += 1
        if not count:
            raise ValueError("no picture to look at")
        layers = []
        for total in totals:
            place, square = (total / count).split(1)
            mean = place.mean((2, 3), keepdim=True)
            shrunk = mean + count / (count + FEW_PICTURES) * (place - mean)
            scale = (square.mean((2, 3), keepdim=True) - mean.square()).clamp(min=0).sqrt()
            layers.append((shrunk, mean, scale))
        return LatentStatistics(*zip(*layers, strict=True))

    @staticmethod
    def joined(each: Sequence["LatentStatistics"]) -> "LatentStatistics":
        """Those of several sets, a row for each: [B, C, h, w] where each of them has [1, C, h, w]."""
        return LatentStatistics(*(
            tuple(torch.cat(layer) for layer in zip(*rows, strict=True))
            for rows in zip(*((one.places, one.means, one.scales) for one in each), strict=True)
        ))  # fmt: skip


@torch.inference_mode()
def _moments(model: Model, tiles: Tiles) -> list[Tensor]:
    """[2, C, h, w] mean and mean square of each layer's latents over the windows of one picture."""
    count = min(len(tiles.corners), MAX_WINDOWS)
    chosen = (np.arange(count) * len(tiles.corners) // count).tolist()
    found = []
    for start in range(0, count, CHUNK):
        x = torch.from_numpy(tiles.cut(chosen[start : start + CHUNK])).permute(0, 3, 1, 2)
        with model.runtime.autocast():
            found.append(model.vae.encode(model.runtime.move(x)).map(lambda layer: layer.float().cpu()))
    return [torch.stack([z.mean(0), z.square().mean(0)]) for z in Latents.joined(found).noise]


def with_statistics(
    latents: Latents, source: LatentStatistics, target: LatentStatistics, strength: float, *, by_place: bool
) -> Latents:
    """Latents whose statistics change from `source` to `target`, or part of the way there (strength 0..1).

    Channels are shifted and scaled (Huang & Belongie 2017, eq. 8); with `by_place` each place has its own shift.
    """
    layers = []
    for number, z in enumerate(latents.noise):
        before, after = (each.places if by_place else each.means for each in (source, target))
        ratio = _ratio(source.scales[number], target.scales[number])
        goal = (z - before[number].to(z)) * ratio.to(z) + after[number].to(z)
        layers.append(torch.lerp(z, goal, strength))
    return Latents(tuple(layers))


def towards_statistics(latents: Latents, others: Latents, shares: Tensor) -> Latents:
    """Each row's latents with the statistics of the other's, or shares [B] of the way there; above 1 beyond it.

    Layers are [B, C, h, w], `others` has as many rows. Channels are shifted and scaled by each picture's own statistics
    (Huang & Belongie 2017, eq. 8). Scales go along a geometric line, so that beyond the other's statistics no channel
    is turned upside down. Layers of one place have no statistics, and stay.
    """
    shares = shares.reshape(-1, 1, 1, 1)
    layers = []
    for z, other in zip(latents.noise, others.noise, strict=True):
        means = z.mean((2, 3), keepdim=True), other.mean((2, 3), keepdim=True)
        ratio = _ratio(*(each.std((2, 3), correction=0, keepdim=True) for each in (z, other)))
        scale = (ratio**shares).clamp(1 / MAX_RATIO, MAX_RATIO)
        changed = torch.lerp(*means, shares) + scale * (z - means[0])
        layers.append(changed if z[0, 0].numel() > 1 else z)
    return Latents(tuple(layers))


def _ratio(before: Tensor, after: Tensor) -> Tensor:
    """Of scales [1 or B, C, 1, 1]; 1 where either side does not vary, as a single vector does not."""
    varies = (before > LEAST_SCALE) & (after > LEAST_SCALE)
    ratio = after / before.clamp(min=LEAST_SCALE)
    return torch.where(varies, ratio.clamp(1 / MAX_RATIO, MAX_RATIO), 1.0)
