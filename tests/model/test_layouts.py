"""What samples of photographs start from: noised layouts of training images."""

from pathlib import Path

import pytest
import torch
from tiny import tiny_config, tiny_flow, tiny_inputs, tiny_model, weights_of
from torch import Tensor

from vae_cli.checkpoint import load_model, read_facts, write_checkpoint
from vae_cli.config import Layer
from vae_cli.errors import CheckpointError
from vae_cli.model.clusters import LAYOUT_SIDE, LEAST_SHARE, SAMPLED_SHARE, noised
from vae_cli.model.condition import Condition
from vae_cli.model.flow import FILL_TEMPERATURE, MIXED_TEMPERATURE, LatentFlow
from vae_cli.model.priors import clusters_of_images, latents_of_images, starts_of_images
from vae_cli.runtime import Runtime
from vae_cli.training import flow_phase
from vae_cli.training.flow_phase import FlowPhase

CPU = torch.device("cpu")
FINE: Layer = {
    "data": {"image_size": [24, 32]},
    "model": {"latents": [{"stride": 2, "layers": 1, "channels": 2}], "flow": {"clusters": 6}},
}


def with_layouts(num: int = 30) -> tuple[LatentFlow, Tensor, Tensor]:
    """A flow on 2×12×16 latents that knows the layouts of some of these, whose labels are 0, 1 and none in turn."""
    _, flow = tiny_flow(FINE, num_labels=2)
    z, label = torch.randn(num, *flow.shape), torch.arange(num) % 3
    label[label == 2] = -1
    flow.set_clusters(z, label, torch.Generator())
    return flow, z, label


def test_layouts_are_those_of_training_images_spread_over_all() -> None:
    flow, z, label = with_layouts()
    assert flow.follows_layouts and flow.centroids.shape == (6, 2, LAYOUT_SIDE, LAYOUT_SIDE)
    chosen = torch.cdist(flow.centroids.flatten(1), flow.start_of(z, label)[:, :-1].flatten(1)).min(1)
    assert chosen.values.max() < 0.02  # cdist is no more exact
    assert chosen.indices.tolist() == [0, 5, 11, 17, 23, 29]
    assert flow.cluster_counts[-1].tolist() == [1] * 6
    for number in (0, 1):
        assert flow.cluster_counts[number].tolist() == (label[chosen.indices] == number).float().tolist()


def test_with_few_images_the_spare_layouts_are_never_drawn() -> None:
    flow, _, _ = with_layouts(4)
    assert set(clusters_of_images(flow, 0, range(100), [-1] * 100).tolist()) == {0, 1, 2, 3}


def test_each_layout_is_drawn_once_before_any_comes_again() -> None:
    flow, _, _ = with_layouts(60)
    first, again, other = (clusters_of_images(flow, seed, range(start, start + 6), [-1] * 6).tolist()
                           for seed, start in ((0, 0), (0, 6), (1, 0)))  # fmt: skip
    assert sorted(first) == list(range(6)) and first == again != other
    assert clusters_of_images(flow, 0, [4, 1], [-1] * 2).tolist() == [first[4], first[1]]
    of_label = clusters_of_images(flow, 0, range(4), [0] * 4)
    of_own = set(flow.cluster_counts[0].nonzero().flatten().tolist())
    assert set(of_label.tolist()) == of_own and len(of_own) < 4


def test_a_layout_is_the_latents_mean_over_fields() -> None:
    flow, z, label = with_layouts()
    start = flow.start_of(z, label)
    assert (start[:, -1] == 1).all()
    top_left = flow.standardise(z)[:, :, :2, :2]  # of 12×16 positions, fields are 1.5 high and 2 wide
    torch.testing.assert_close(start[:, :-1, 0, 0], top_left.mean((2, 3)))


def test_noise_takes_the_place_of_what_is_left_out_and_none_stays_none() -> None:
    layout, noise = torch.randn(2, 5000, 2, 8, 8)
    share = torch.full((5000,), 0.6)
    start = torch.cat([layout, torch.ones(5000, 1, 8, 8)], dim=1)
    found = noised(start, share, noise)
    assert (found[:, -1] == 0.6).all()
    assert found[:, :-1].var().item() == pytest.approx(1, abs=0.01)
    assert (found[:, :-1] * layout).mean().item() == pytest.approx(0.6, abs=0.01)
    assert (noised(0 * start, share, noise) == 0).all()


def test_samples_of_one_layout_differ_and_depend_on_seed_and_number_alone() -> None:
    flow, _, _ = with_layouts()
    starts = starts_of_images(flow, 7, range(4), torch.tensor([1, 1, 2, -1]))
    assert (starts[:3, -1] == SAMPLED_SHARE).all() and (starts[3] == 0).all()
    assert (starts[0] - starts[1]).abs().max() > 0.1
    assert torch.equal(starts_of_images(flow, 7, [2, 0], torch.tensor([2, 1])), starts[[2, 0]])
    assert not torch.equal(starts_of_images(flow, 8, [0], torch.tensor([1])), starts[:1])


@torch.inference_mode()
def test_sampled_latents_go_through_their_layout() -> None:
    flow, _, _ = with_layouts()
    vae, _ = tiny_flow(FINE)
    before = latents_of_images(vae, flow, 7, [5, 6], device=CPU, steps=2).noise[0]
    flow.centroids.neg_()
    assert not torch.allclose(before, latents_of_images(vae, flow, 7, [5, 6], device=CPU, steps=2).noise[0])


@torch.inference_mode()
def test_layouts_are_seen_at_every_size() -> None:
    flow, _, _ = with_layouts()
    start = flow.start_at(torch.tensor([1]))
    for size in ((24, 32), (48, 40)):
        noise, nothing = torch.randn(1, 2, size[0] // 2, size[1] // 2), Condition.nothing(1, 1, size, CPU)
        other = flow.at(tuple(noise.shape[1:]))  # type: ignore[arg-type]
        assert not torch.allclose(other.solve(noise, nothing, steps=1),
                                  other.solve(noise, nothing.with_start(start), steps=1))  # fmt: skip


def test_training_shows_each_image_its_own_layout_under_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = tiny_inputs(tiny_config(FINE))
    vae, flow = tiny_flow(FINE)
    phase = FlowPhase(inputs, flow, vae)
    views = list[Condition]()
    real = flow.condition
    monkeypatch.setattr(flow, "condition", lambda view: views.append(view) or real(view))
    x = next(inputs.train_chunks(torch.arange(10).numpy()))
    z = vae.first_posterior(x).mean.detach()
    flow.set_statistics(z.mean((0, 2, 3)), z.mean((2, 3)).std(0))
    for seed in range(30):
        phase.score(flow, x, torch.full((10,), -1), torch.Generator().manual_seed(seed))
    starts = torch.cat([view.start for view in views if view.start is not None])
    share = starts[:, -1, 0, 0]
    is_free = torch.cat([view.observed for view in views]).flatten(1).amax(1) == 0
    assert (share[~is_free] == 0).all() and 0.05 < (share[is_free] == 0).float().mean() < 0.2
    told = share[share > 0]
    assert told.min() < LEAST_SHARE + 0.1 and told.min() >= LEAST_SHARE and 0.9 < told.max() <= 1
    own = flow.start_of(z, torch.full((10,), -1))
    nearly = (share > 0.95).nonzero().flatten()
    distance = torch.cdist(starts[nearly].flatten(1), own.flatten(1))
    assert torch.equal(distance.argmin(1), nearly % 10), "each its own"


@pytest.mark.parametrize(("layer", "temperature"), [(FINE, MIXED_TEMPERATURE), ({}, FILL_TEMPERATURE)])
def test_fills_are_weighed_as_they_are_mixed(layer: Layer, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """From little noise, and at once in full, where there are layouts."""
    inputs = tiny_inputs(tiny_config(layer))
    vae, flow = tiny_flow(layer)
    spreads, vary, solve = list[float](), set[bool](), flow.solve

    def solved(noise: Tensor, known: Condition, *, steps: int) -> Tensor:
        spreads.append(noise.std().item())
        return solve(noise, known, steps=steps)

    def fitted(found: Tensor, *, draws_vary: bool) -> Tensor:
        vary.add(draws_vary)
        return flow.fill_weight

    monkeypatch.setattr(flow_phase, "calibrate_noise", lambda *_, **__: None)
    monkeypatch.setattr(flow_phase, "fitted_weight", fitted)
    monkeypatch.setattr(flow, "solve", solved)
    FlowPhase(inputs, flow, vae).calibrate(flow)
    assert sum(spreads) / len(spreads) == pytest.approx(temperature, rel=0.15) and vary == {not flow.follows_layouts}


def test_models_with_layouts_have_a_format_of_their_own(tmp_path: Path) -> None:
    for layers, version in (((FINE,), 6), ((), 5)):
        model = tiny_model(*layers)
        write_checkpoint(tmp_path / str(version), model.facts, weights_of(model.vae, model.flow), None)
        assert f'"format_version": {version}' in model.facts.as_json()
        swapped = model.facts.as_json().replace(f'"format_version": {version}', f'"format_version": {11 - version}')
        with pytest.raises(
            CheckpointError, match=f"format {11 - version}, this version reads 5 and, of photographs, 6"
        ):
            type(model.facts).from_json(swapped[: swapped.rindex('"sha256"') - 3] + "}", tmp_path)
    assert read_facts(tmp_path / "6" / "model.safetensors").config.model.flow.clusters == 6
    loaded = load_model(tmp_path / "6", Runtime(CPU)).flow
    assert loaded is not None and loaded.follows_layouts
