"""What pictures have in common: statistics of their latents, and moving one picture's latents towards others'."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.model.vae import Latents
from vae_cli.windows.tiles import Tiles

CHUNK = 16
MAX_WINDOWS = 256
"""Windows of one picture that its statistics are taken from, spread evenly."""
LEAST_SCALE, MAX_RATIO = 1e-3, 3.0
"""A channel that varies less has no scale to speak of; and none is stretched or pressed further than this, as what
hardly varies is mostly noise."""
FEW_PICTURES = 16
"""Of so many pictures, the mean at one place counts half, that of the whole channel half."""


@dataclass(frozen=True)
class Look:
    """Statistics of every latent layer over pictures, each of which counts alike."""

    places: tuple[Tensor, ...]
    """[1, C, h, w] a layer: the mean at each place, drawn towards the channel's where pictures are few."""
    means: tuple[Tensor, ...]
    """[1, C, 1, 1] a layer."""
    scales: tuple[Tensor, ...]
    """[1, C, 1, 1] a layer: the standard deviation over places and pictures."""


def stacked(looks: Sequence[Look]) -> Look:
    """One look a row: [B, C, h, w] where each of them has [1, C, h, w]."""

    def rows(name: str) -> tuple[Tensor, ...]:
        return tuple(torch.cat(layer) for layer in zip(*(getattr(look, name) for look in looks), strict=True))

    return Look(rows("places"), rows("means"), rows("scales"))


@dataclass
class _Sums:
    """Of one layer, over pictures."""

    first: Tensor
    second: Tensor

    def add(self, first: Tensor, second: Tensor) -> None:
        self.first, self.second = self.first + first, self.second + second


def look_of(model: Model, pictures: Iterable[Tiles]) -> Look:
    """The look of pictures, given as windows of the model's size with values in -1..1.

    Raises ValueError where there is none.
    """
    sums = [_Sums(torch.zeros(1, *shape), torch.zeros(1, *shape)) for shape in model.vae.latent_shapes]
    count = 0
    for tiles in pictures:
        count += 1
        for layer, found in zip(sums, _moments(model, tiles), strict=True):
            layer.add(*found)
    if not count:
        raise ValueError("no picture to look at")
    places, means, scales = [], [], []
    for layer in sums:
        place, square = layer.first / count, layer.second / count
        mean = place.mean((2, 3), keepdim=True)
        trust = count / (count + FEW_PICTURES)
        places.append(mean + trust * (place - mean))
        means.append(mean)
        scales.append((square.mean((2, 3), keepdim=True) - mean.square()).clamp(min=0).sqrt())
    return Look(tuple(places), tuple(means), tuple(scales))


@torch.inference_mode()
def _moments(model: Model, tiles: Tiles) -> list[tuple[Tensor, Tensor]]:
    """[1, C, h, w] mean and mean square of each layer's latents over the windows of one picture."""
    num_windows = len(tiles.corners)
    count = min(num_windows, MAX_WINDOWS)
    chosen = np.arange(count) * num_windows // count
    found: list[list[Tensor]] = [[] for _ in model.vae.latent_shapes]
    for start in range(0, count, CHUNK):
        x = torch.from_numpy(tiles.cut(chosen[start : start + CHUNK].tolist())).permute(0, 3, 1, 2)
        with model.runtime.autocast():
            latents = model.vae.encode(model.runtime.move(x))
        for layer, noise in zip(found, latents.noise, strict=True):
            layer.append(noise.float().cpu())
    whole = [torch.cat(layer) for layer in found]
    return [(z.mean(0, keepdim=True), z.square().mean(0, keepdim=True)) for z in whole]


def moved(latents: Latents, source: Look, target: Look, strength: float, *, by_place: bool) -> Latents:
    """Latents whose look changes from `source` to `target`, or part of the way there (strength 0..1).

    Channels are shifted and scaled (Huang & Belongie 2017, eq. 8); with `by_place` the shift is that of each place.
    """
    layers = []
    for number, z in enumerate(latents.noise):
        was, wanted = (look.places if by_place else look.means for look in (source, target))
        ratio = _ratio(source.scales[number], target.scales[number])
        goal = (z - was[number].to(z)) * ratio.to(z) + wanted[number].to(z)
        layers.append(torch.lerp(z, goal, strength))
    return Latents(tuple(layers))


def towards(latents: Latents, others: Latents, shares: Tensor) -> Latents:
    """Each row's latents with the look of the other's, or the shares [B] of the way there; above 1 beyond it.

    Layers are [B, C, h, w], `others` has as many rows. Channels are shifted and scaled, each picture's by statistics of
    its own (Huang & Belongie 2017, eq. 8; here scales go along a geometric line, so that beyond the other's look no
    channel turns upside down). Layers of one place hold content alone, and stay.
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


def _ratio(was: Tensor, wanted: Tensor) -> Tensor:
    """As their arguments, [1 or B, C, 1, 1]; 1 where either side does not vary, as a single vector does not."""
    varies = (was > LEAST_SCALE) & (wanted > LEAST_SCALE)
    ratio = wanted / was.clamp(min=LEAST_SCALE)
    return torch.where(varies, ratio.clamp(1 / MAX_RATIO, MAX_RATIO), 1.0)
