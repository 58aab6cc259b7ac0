"""From image to image through the latent flow's noise, so that all that lies between looks as real as samples do."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.model.condition import Condition
from vae_cli.model.flow import LatentFlow
from vae_cli.model.velocity import even_times
from vae_cli.windows.chunks import whole_chunk

CHUNK = 8
"""Rows are computed in chunks of this size; walks are short."""
STEPS = 10
"""Of the solver: the ends are pinned, and what lies between is no better with more."""
_TIMES = even_times(0, 1, STEPS)
_LEAST_SINE = 1e-4
"""Of the angle between directions that (nearly) agree or oppose one another: no arc leads from one to the other."""


@dataclass(frozen=True)
class Ends:
    """One end of each walk, a row a walk."""

    noise: Tensor
    """[B, C, h, w] what flows to the latents, nearly."""
    condition: Tensor
    """[B, width, h, w] what the flow is told: nothing but the latents' cluster."""
    missing: Tensor
    """[B, C, h, w] what the latents, standardised, have beyond those that the noise flows to."""
    cluster: Tensor
    """[B]"""

    @staticmethod
    def of(model: Model, flow: LatentFlow, z: Tensor) -> "Ends":
        """The ends at the first layer's latents z [B, C, h, w]: the flow integrated backwards, and forwards again."""
        cluster = flow.cluster_of(z, torch.full((len(z),), -1, device=z.device))
        nothing = Condition.nothing(CHUNK, model.channels, model.image_size, z.device)

        def found(z: Tensor, cluster: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            u, condition = flow.standardise(z), flow.condition(nothing.with_cluster(cluster)).float()
            noise = flow.carry(u, condition, _TIMES[::-1])
            return noise, condition, u - flow.carry(noise, condition, _TIMES)

        noise, condition, missing = _in_chunks(model, found, z, cluster)
        return Ends(noise, condition, missing, cluster)

    def part(self, start: int, stop: int) -> "Ends":
        """Some of the rows."""
        every = (self.noise, self.condition, self.missing, self.cluster)
        return Ends(*(values[start:stop] for values in every))


@dataclass(frozen=True)
class NoiseWalk:
    """Walks along arcs between the noises of their ends, which for Gaussian noise is noise as likely as they are.

    The flow is told the cluster of the nearer end: told a mixture of unlike clusters, it draws mixtures of unlike
    things. Where the clusters are alike the one goes over into the other. So a walk between things of one kind is
    smooth; between two kinds, it leads to a picture of the first one in which the noise is half the second one's, and
    from there goes on in the second kind.
    """

    model: Model
    flow: LatentFlow
    first: Ends
    last: Ends
    is_smooth: Tensor
    """[B]"""

    @staticmethod
    @torch.inference_mode()
    def between(model: Model, flow: LatentFlow, a: Tensor, b: Tensor) -> "NoiseWalk":
        """The walks from latents a to latents b of the first layer, [B, C, h, w] each."""
        both = Ends.of(model, flow, torch.cat([a, b]))
        first, last = both.part(0, len(a)), both.part(len(a), 2 * len(a))
        return NoiseWalk(model, flow, first, last, flow.are_close(first.cluster, last.cluster))

    @torch.inference_mode()
    def at(self, rows: Tensor, shares: Tensor) -> Tensor:
        """[S, C, h, w] latents at the shares [S] of the ways of these rows [S]; at 0 and 1 the ends, but for rounding.

        What the ends' noise does not flow to is added as far as they are near.
        """

        def points(rows: Tensor, share: Tensor) -> tuple[Tensor]:
            at = share.reshape(-1, 1, 1, 1)
            told = torch.where(self.is_smooth[rows], share, (share >= 0.5).float()).reshape(-1, 1, 1, 1)
            condition = torch.lerp(self.first.condition[rows], self.last.condition[rows], told)
            u = self.flow.carry(slerp(self.first.noise[rows], self.last.noise[rows], at), condition, _TIMES)
            return (self.flow.restore(u + torch.lerp(self.first.missing[rows], self.last.missing[rows], at)),)

        return _in_chunks(self.model, points, rows, shares)[0]


def _in_chunks(model: Model, function: Callable[..., tuple[Tensor, ...]], *rows: Tensor) -> list[Tensor]:
    """What the function returns of all rows, computed in chunks of one size, so that rounding depends on no others."""
    found = []
    for start in range(0, len(rows[0]), CHUNK):
        part = [each[start : start + CHUNK] for each in rows]
        with model.runtime.autocast():
            answers = function(*(whole_chunk(values.split(1), CHUNK) for values in part))
        found.append([values[: len(part[0])] for values in answers])
    return [torch.cat(values) for values in zip(*found, strict=True)]


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
