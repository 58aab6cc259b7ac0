"""Walk between images through the latents."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.model.condition import Condition
from vae_cli.model.flow import LatentFlow
from vae_cli.model.vae import Latents
from vae_cli.model.velocity import even_times
from vae_cli.tasks.encode import decode, encode_all, expected_images, latents_from
from vae_cli.tasks.sample import drawn_latents
from vae_cli.windows.chunks import in_chunks

FINENESS = 2  # how many times finer than its own steps a walk is measured in order to make them even
MAX_STEP = 3.0
"""Measured steps count as this many times their median at most: a sudden change of kind, which no step can make smooth,
gets no frames of its own."""
WALK_CHUNK = 8  # points of walks through the flow's noise that are computed together; walks are short
_TIMES = even_times(0, 1, 10)
"""Ten solver steps: the ends of a walk are corrected to be exact, and what lies between gains nothing from more."""
_LEAST_SINE = 1e-4
"""Directions at an angle of a smaller sine (nearly) agree or oppose one another: no arc leads from one to the other."""

Way = Callable[[Tensor, Tensor], Latents]
"""(rows [S], shares [S]) -> the points at these shares of the ways of these rows."""


def ends_of_images(model: Model, images: np.ndarray) -> Latents:
    """The latents of images uint8 [M, H, W, C]: decoded again they are the reconstructions."""
    latents = latents_from(encode_all(model, images).means, model.vae.latent_shapes)
    return latents.map(lambda layer: layer.to(model.runtime.device))


def ends_of_samples(model: Model, numbers: list[int], seed: int) -> Latents:
    """The latents of the images that `sample` draws under these numbers and this seed."""
    drawn = Latents.joined(list(drawn_latents(model, [(-1, number) for number in numbers], seed=seed)))
    return drawn.map(lambda layer: layer.to(model.runtime.device))


def interpolate(
    model: Model, ends: Latents, *, steps: int, mode: str = "slerp", loop: bool = False
) -> Iterator[np.ndarray]:
    """uint8 [H, W, C] frames from each end to the next, `steps` for each pair with both ends counted, shared ends once.

    `slerp` and `lerp` are the ways of `way_between`; frames lie so that each differs from the one before by as much.
    `loop` returns to the first.
    """
    rows = list(ends)
    for number, (first, last) in enumerate(pairwise([*rows, *rows[: 1 if loop else 0]])):
        way = way_between(model, first, last, mode)
        only_row = torch.zeros(steps, dtype=torch.long, device=model.runtime.device)
        frames = list(decode(model, way(only_row, even_shares(model, way, steps))))
        yield from frames if number == 0 else frames[1:]


def way_between(model: Model, a: Latents, b: Latents, mode: str) -> Way:
    """The ways from each row of a to the same row of b; at 0 and 1 they are at these rows themselves, bit for bit.

    `lerp`: lines. `slerp`: arcs between what is N(0, I) under the model, so that the points between are as likely as
    the ends: the flow's noise for the first layer where there is a flow (see `NoiseWalk`), else each layer's own.
    """
    curve, walk = torch.lerp if mode == "lerp" else slerp, None
    if mode == "slerp" and model.flow is not None:
        walk = NoiseWalk.between(model, model.flow, a.noise[0], b.noise[0])

    def way(rows: Tensor, shares: Tensor) -> Latents:
        at = shares.reshape(-1, 1, 1, 1)
        layers = []
        for number, (first, last) in enumerate(zip(a.noise, b.noise, strict=True)):
            first, last = first[rows], last[rows]
            point = curve(first, last, at) if walk is None or number else walk.at(rows, shares)
            layers.append(torch.where(at == 0, first, torch.where(at == 1, last, point)))
        return Latents(tuple(layers))

    return way


def even_shares(model: Model, way: Way, num: int) -> Tensor:
    """[num] shares of the way of row 0, the outer ones 0 and 1, at which pictures are equally far apart.

    Distance along the way is the root mean square difference of pixels, summed over small steps.
    """
    device = model.runtime.device
    tried = torch.linspace(0, 1, FINENESS * (num - 1) + 1)
    latents = way(torch.zeros(len(tried), dtype=torch.long, device=device), tried.to(device))
    pictures = torch.stack(list(expected_images(model, latents))).double()
    lengths = pictures.diff(dim=0).square().mean((1, 2, 3)).sqrt()
    lengths = lengths.clamp(max=MAX_STEP * lengths.median().item())
    distances = np.concatenate([[0.0], lengths.cumsum(0).numpy()])
    if distances[-1] == 0:  # every picture is the same
        return torch.linspace(0, 1, num, device=device)
    shares = np.interp(np.linspace(0, distances[-1], num), distances, tried.numpy())
    shares[[0, -1]] = 0, 1
    return torch.from_numpy(shares).float().to(device)


# ---- through the latent flow's noise, so that all that lies between looks as real as samples do


class Ends(NamedTuple):
    """One end of each walk, a row for each walk."""

    noise: Tensor  # [B, C, h, w] the noise that nearly flows to the latents
    condition: Tensor  # [B, width, h, w] the flow's condition: nothing but what samples like them start from
    missing: Tensor  # [B, C, h, w] the standardised latents less those that the noise flows to
    start: Tensor  # [B, C + 1, rows, columns]


@dataclass(frozen=True)
class NoiseWalk:
    """Walks along arcs between the noises of their ends; points on an arc are as likely as its ends.

    The flow is given the start of the nearer end, because for a mixture of unlike starts it draws mixtures of unlike
    things. Where the starts are alike the condition changes gradually. So a walk between things of one kind is
    smooth; between two kinds, it leads to a picture of the first kind in which half the noise is the second end's, and
    goes on from there in the second kind.
    """

    model: Model
    flow: LatentFlow
    first: Ends
    last: Ends
    is_smooth: Tensor  # [B]

    @staticmethod
    @torch.inference_mode()
    def between(model: Model, flow: LatentFlow, a: Tensor, b: Tensor) -> "NoiseWalk":
        """The walks from latents a to latents b of the first layer, [B, C, h, w] each."""

        def ends(z: Tensor, start: Tensor) -> Ends:
            """The flow integrated backwards, and forwards again."""
            nothing = Condition.nothing(len(z), model.channels, model.image_size, z.device)
            u, condition = flow.standardise(z), flow.condition(nothing.with_start(start)).float()
            noise = flow.carry(u, condition, _TIMES[::-1])
            return Ends(noise, condition, u - flow.carry(noise, condition, _TIMES), start)

        z = torch.cat([a, b])
        both = _computed(model, ends, z, flow.start_of(z, torch.full((len(z),), -1, device=z.device)))
        first, last = map(Ends._make, zip(*(values.split(len(a)) for values in both), strict=True))
        return NoiseWalk(model, flow, first, last, flow.are_close(first.start, last.start))

    @torch.inference_mode()
    def at(self, rows: Tensor, shares: Tensor) -> Tensor:
        """[S, C, h, w] latents at shares [S] of the walks of rows [S]; at 0 and 1 the ends, up to rounding.

        What the ends' noise does not flow to is added in proportion to how near they are.
        """

        def points(rows: Tensor, share: Tensor) -> tuple[Tensor, ...]:
            at = share.reshape(-1, 1, 1, 1)
            kind = torch.where(self.is_smooth[rows], share, (share >= 0.5).float()).reshape(-1, 1, 1, 1)
            condition = torch.lerp(self.first.condition[rows], self.last.condition[rows], kind)
            u = self.flow.carry(slerp(self.first.noise[rows], self.last.noise[rows], at), condition, _TIMES)
            return (self.flow.restore(u + torch.lerp(self.first.missing[rows], self.last.missing[rows], at)),)

        return _computed(self.model, points, rows, shares)[0]


def _computed(model: Model, function: Callable[..., tuple[Tensor, ...]], *rows: Tensor) -> list[Tensor]:
    """The tensors that the function returns for tensors of rows, computed in chunks."""

    def of_chunk(chunk: Sequence[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
        with model.runtime.autocast():
            return zip(*function(*map(torch.stack, zip(*chunk, strict=True))), strict=True)

    return [torch.stack(found) for found in zip(*in_chunks(of_chunk, zip(*rows, strict=True), WALK_CHUNK), strict=True)]


def slerp(a: Tensor, b: Tensor, at: Tensor) -> Tensor:
    """Directions along the great circle, lengths along a line (Shoemake 1985; White 2016); a line where the directions
    (nearly) agree or oppose.

    a, b: [B, C, H, W]; at [B, 1, 1, 1]: 0 at a, 1 at b, and below 0 beyond a.
    """
    length_a, length_b = (end.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) for end in (a, b))
    unit_a, unit_b = a / length_a.clamp(min=1e-12), b / length_b.clamp(min=1e-12)
    angle = (unit_a * unit_b).flatten(1).sum(1).clamp(-1, 1).acos().reshape(-1, 1, 1, 1)
    has_arc = (angle.sin() >= _LEAST_SINE) & (length_a > 0) & (length_b > 0)
    sine = torch.where(has_arc, angle.sin(), 1.0)
    direction = (((1 - at) * angle).sin() * unit_a + (at * angle).sin() * unit_b) / sine
    return torch.where(has_arc, direction * torch.lerp(length_a, length_b, at), torch.lerp(a, b, at))
