"""From image to image through the latent flow's noise, so that all that lies between looks as real as samples do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.model.condition import Condition
from vae_cli.model.flow import LatentFlow
from vae_cli.model.velocity import even_times
from vae_cli.windows.chunks import in_chunks

CHUNK = 8  # rows that are computed together; walks are short
_TIMES = even_times(0, 1, 10)
"""Ten solver steps: the ends of a walk are corrected to be exact, and what lies between gains nothing from more."""
_LEAST_SINE = 1e-4
"""Directions at an angle of a smaller sine (nearly) agree or oppose one another: no arc leads from one to the other."""


class Ends(NamedTuple):
    """One end of each walk, a row for each walk."""

    noise: Tensor  # [B, C, h, w] the noise that nearly flows to the latents
    condition: Tensor  # [B, width, h, w] the flow's condition: nothing but the latents' cluster
    missing: Tensor  # [B, C, h, w] the standardised latents less those that the noise flows to
    cluster: Tensor  # [B]


@dataclass(frozen=True)
class NoiseWalk:
    """Walks along arcs between the noises of their ends; points on an arc are as likely as its ends.

    The flow is given the cluster of the nearer end, because for a mixture of unlike clusters it draws mixtures of
    unlike things. Where the clusters are alike the condition changes gradually. So a walk between things of one kind is
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
        nothing = Condition.nothing(CHUNK, model.channels, model.image_size, a.device)

        def ends(z: Tensor, cluster: Tensor) -> Ends:
            """The flow integrated backwards, and forwards again."""
            u, condition = flow.standardise(z), flow.condition(nothing.with_cluster(cluster)).float()
            noise = flow.carry(u, condition, _TIMES[::-1])
            return Ends(noise, condition, u - flow.carry(noise, condition, _TIMES), cluster)

        z = torch.cat([a, b])
        both = _computed(model, ends, z, flow.cluster_of(z, torch.full((len(z),), -1, device=z.device)))
        first, last = map(Ends._make, zip(*(values.split(len(a)) for values in both), strict=True))
        return NoiseWalk(model, flow, first, last, flow.are_close(first.cluster, last.cluster))

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

    return [torch.stack(found) for found in zip(*in_chunks(of_chunk, zip(*rows, strict=True), CHUNK), strict=True)]


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
