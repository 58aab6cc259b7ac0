"""Walks through the flow's noise: pinned to their ends, along arcs, smooth where the ends are alike."""

from dataclasses import replace

import pytest
import torch
from tiny import LADDER, tiny_model

from vae_cli.checkpoint import Model
from vae_cli.config import Layer
from vae_cli.model.flow import LatentFlow
from vae_cli.tasks.interpolate import WALK_CHUNK, NoiseWalk, slerp


def clustered(*layers: Layer) -> tuple[Model, LatentFlow]:
    """A model whose flow knows four clusters: two alike, two far from these and from one another."""
    model = tiny_model(*layers)
    flow = model.flow
    assert flow is not None
    middle = torch.zeros_like(flow.centroids)
    for number, (channel, value) in enumerate(((0, 3.0), (0, 3.5), (1, 9.0), (1, -9.0))):
        middle[number, channel] = value
    flow.centroids.copy_(middle)
    flow.cluster_counts[-1, :4] = 20
    with torch.no_grad():
        flow.centroid_in.weight.mul_(20)  # what the flow is told shall matter
    return model, flow


def at_centroids(flow: LatentFlow, *numbers: int) -> torch.Tensor:
    """Latents that belong to these clusters, no two alike."""
    random = torch.randn(len(numbers), *flow.shape, generator=torch.Generator().manual_seed(0))
    return flow.restore(flow.centroids[list(numbers)] + 0.05 * random)


def test_ends_are_pinned_and_nothing_depends_on_the_other_walks() -> None:
    model, flow = clustered()
    a, b = at_centroids(flow, 0, 2, 0, 1), at_centroids(flow, 1, 3, 2, 1)
    walk = NoiseWalk.between(model, flow, a, b)
    every = torch.arange(4)
    torch.testing.assert_close(walk.at(every, torch.zeros(4)), a, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(walk.at(every, torch.ones(4)), b, rtol=1e-4, atol=1e-4)
    shares = torch.linspace(0.1, 0.9, WALK_CHUNK + 3)
    long = walk.at(torch.full((WALK_CHUNK + 3,), 2), shares)
    alone = NoiseWalk.between(model, flow, a[2:3], b[2:3])
    assert torch.equal(alone.at(torch.zeros(1, dtype=torch.long), shares[-1:])[0], long[-1])


def test_the_noise_flows_to_the_ends() -> None:
    """And the condition is the cluster's: with another one, other latents come out."""
    model, flow = clustered()
    a, b = at_centroids(flow, 0), at_centroids(flow, 2)
    walk = NoiseWalk.between(model, flow, a, b)
    assert torch.equal(walk.first.start, flow.start_at(torch.tensor([0])))
    assert torch.equal(walk.last.start, flow.start_at(torch.tensor([2])))
    times = torch.linspace(0, 1, 41).tolist()
    back = flow.carry(flow.standardise(a), walk.first.condition, times[::-1])
    torch.testing.assert_close(flow.restore(flow.carry(back, walk.first.condition, times)), a, rtol=0.05, atol=0.05)
    torch.testing.assert_close(walk.first.noise, back, rtol=0.2, atol=0.2)
    other = flow.carry(back, walk.last.condition, times)
    assert (other - flow.standardise(a)).abs().max() > 0.05


def jump_share(walk: NoiseWalk) -> float:
    """How large the largest of 128 steps is against the largest of 64: a half on a smooth way, more with a jump."""
    shares = torch.linspace(0.02, 0.98, 129)
    points = walk.at(torch.zeros(129, dtype=torch.long), shares)
    fine, coarse = (part.diff(dim=0).flatten(1).norm(dim=1).max() for part in (points, points[::2]))
    return (fine / coarse).item()


def test_walks_are_smooth_between_alike_clusters_and_change_kind_between_others() -> None:
    model, flow = clustered()
    alike = NoiseWalk.between(model, flow, at_centroids(flow, 0), at_centroids(flow, 1))
    unlike = NoiseWalk.between(model, flow, at_centroids(flow, 0), at_centroids(flow, 3))
    assert alike.is_smooth.tolist() == [True] and unlike.is_smooth.tolist() == [False]
    assert jump_share(alike) < 0.55 and jump_share(unlike) > 0.6
    assert jump_share(replace(unlike, is_smooth=torch.tensor([True]))) < 0.55


@pytest.mark.parametrize("layers", [(), ({"model": {"latents": list(LADDER)}},)])
def test_flows_without_clusters_walk_smoothly(layers: tuple[Layer, ...]) -> None:
    model = tiny_model(*layers)
    assert model.flow is not None
    with torch.no_grad():
        model.flow.velocity_net.body.out.weight.mul_(0.2)  # random flows may be steep enough to look like a jump
    first, last = torch.randn(2, 1, *model.vae.latent_shapes[0], generator=torch.Generator().manual_seed(0))
    walk = NoiseWalk.between(model, model.flow, first, last)
    assert walk.is_smooth.tolist() == [True] and jump_share(walk) < 0.6


def test_slerp_keeps_the_length_and_survives_equal_or_opposite_ends() -> None:
    a, b = torch.randn(3, 50, 1, 1), torch.randn(3, 50, 1, 1)
    b = b * a.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) / b.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    at = torch.tensor([0.0, 0.3, 1.0]).reshape(-1, 1, 1, 1)
    found = slerp(a, b, at)
    torch.testing.assert_close(found.flatten(1).norm(dim=1), a.flatten(1).norm(dim=1))
    torch.testing.assert_close(found[0], a[0])
    torch.testing.assert_close(found[2], b[2])
    torch.testing.assert_close(slerp(a, a, at), a)
    assert slerp(a, -a, at).isfinite().all() and slerp(a, torch.zeros_like(a), at).isfinite().all()
