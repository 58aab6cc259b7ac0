"""Muon's steps are orthogonal, of a fixed size, and lead somewhere in directions that gradients hardly show."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from tiny import tiny_config, tiny_inputs
from torch import Tensor, nn

from vae_cli.config import Layer
from vae_cli.model.flow import build_flow
from vae_cli.model.vae import build_vae
from vae_cli.training.flow_phase import FlowPhase
from vae_cli.training.muon import LEAST_ROWS, RENEWED_EVERY, STEP_SIZE, Muon, inverse_root, suited
from vae_cli.training.optimizer import PhaseOptimizer
from vae_cli.training.vae_phase import VaePhase

WITHOUT: Layer = {"training": {"flow_optimizer": "adamw"}}


def weight(scale: float = 1.0, *, rows: int = 8, columns: int = 16, seed: int = 0) -> nn.Parameter:
    return nn.Parameter(scale * torch.randn(rows, columns, 3, 3, generator=torch.Generator().manual_seed(seed)))


def steps(parameter: nn.Parameter, gradients: list[Tensor], *, rate: float = 1.0, decay: float = 0.0) -> Muon:
    optimizer = Muon([{"params": [parameter]}], lr=rate, weight_decay=decay)
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.step()
    return optimizer


def test_singular_values_over_two_decades_become_alike() -> None:
    u, _, v = torch.linalg.svd(torch.randn(24, 90, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    values = torch.logspace(0, -1.7, 24)
    matrix = u @ torch.diag(values) @ v
    made = inverse_root(matrix @ matrix.T) @ matrix
    rotated = u.T @ made @ v.T
    assert ((rotated.diagonal() > 0.6) & (rotated.diagonal() < 1.3)).all(), "made alike …"
    torch.testing.assert_close(rotated, torch.diag(rotated.diagonal()), atol=1e-2, rtol=0)  # … and nothing is turned


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e8])
def test_a_step_is_as_long_whatever_the_gradients_size(size: float) -> None:
    parameter = weight()
    before = parameter.detach().clone()
    gradient = weight(seed=1).detach()
    steps(parameter, [size * gradient], rate=0.5)
    step = before - parameter.detach()
    assert step.square().mean().sqrt().item() == pytest.approx(0.5 * STEP_SIZE, rel=1e-4)
    assert (step * gradient).sum() > 0, "downhill"


def test_a_step_in_bfloat16_is_nearly_the_same() -> None:
    exact, rough = weight(), weight()
    exact.grad = rough.grad = weight(seed=1).detach()
    for parameter, dtype in ((exact, torch.float32), (rough, torch.bfloat16)):
        Muon([{"params": [parameter]}], lr=1.0, weight_decay=0.0, dtype=dtype).step()
    difference = (exact - rough).detach().square().mean().sqrt().item()
    assert 0 < difference < 0.01 * STEP_SIZE and rough.dtype == torch.float32


def test_a_tall_matrix_and_a_wide_one_take_the_same_step() -> None:
    values = torch.randn(24, 8, generator=torch.Generator().manual_seed(0))
    tall, wide = nn.Parameter(torch.zeros(24, 8)), nn.Parameter(torch.zeros(8, 24))
    state = steps(tall, [values]).state[tall]
    steps(wide, [values.T])
    torch.testing.assert_close(tall.T, wide)
    assert state["whitening"].shape == (8, 8), "the smaller side is whitened"


def test_nothing_to_learn_is_no_step() -> None:
    parameter = weight()
    before = parameter.detach().clone()
    steps(parameter, [torch.zeros_like(parameter)] * 3)
    torch.testing.assert_close(parameter.detach(), before, atol=0, rtol=0)


def test_weights_decay_like_adamws() -> None:
    parameter = weight()
    before = parameter.detach().clone()
    steps(parameter, [torch.zeros_like(parameter)], rate=0.1, decay=0.5)
    torch.testing.assert_close(parameter.detach(), 0.95 * before)


def test_it_learns_directions_that_gradients_hardly_show() -> None:
    """Least squares whose gradients are a thousand times as small in one half of the outputs as in the other."""
    generator = torch.Generator().manual_seed(0)
    strength = torch.tensor([1.0] * 4 + [0.03] * 4)[:, None]
    inputs, wanted = (torch.randn(size, 144, generator=generator) for size in (512, 8))
    parameter = nn.Parameter(torch.zeros(8, 16, 3, 3))
    optimizer = Muon([{"params": [parameter]}], lr=1.0, weight_decay=0.0)
    for number in range(200):
        parameter.grad = None
        optimizer.param_groups[0]["lr"] = 0.5 * (1 - number / 200)
        (strength * (parameter.flatten(1) - wanted) @ inputs.T).square().mean().backward()
        optimizer.step()
    off = (parameter.detach().flatten(1) - wanted).square().mean(1)
    assert off.max() < 0.05, "of 1 at the start, in every output"


def test_what_makes_a_step_orthogonal_is_kept_for_some_updates_and_with_the_state() -> None:
    parameter = weight()
    gradients = [weight(seed=number).detach() for number in range(RENEWED_EVERY + 1)]
    optimizer = steps(parameter, gradients[:1])
    first = optimizer.state[parameter]["whitening"].clone()
    resumed = nn.Parameter(parameter.detach().clone())
    other = Muon([{"params": [resumed]}], lr=1.0, weight_decay=0.0)
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    for number, gradient in enumerate(gradients[1:], start=1):
        for each, its in ((parameter, optimizer), (resumed, other)):
            each.grad = gradient
            its.step()
        assert torch.equal(optimizer.state[parameter]["whitening"], first) == (number < RENEWED_EVERY)
    assert torch.equal(parameter, resumed)


def test_the_flow_learns_its_large_convolutions_with_it_and_nothing_else() -> None:
    config = tiny_config({"model": {"flow": {"width": LEAST_ROWS, "refiner_width": LEAST_ROWS}}})
    setting = tiny_inputs(config)
    vae = build_vae(config)
    phase = FlowPhase(setting, build_flow(config, vae.latent_shapes[0], 0), vae)
    adam, muon = PhaseOptimizer(phase).optimizers
    flow, of_muon = phase.module, {id(value) for group in muon.param_groups for value in group["params"]}
    of_adam = {id(value) for group in adam.param_groups for value in group["params"]}
    assert of_muon | of_adam == {id(value) for value in flow.parameters()} and not of_muon & of_adam
    assert {id(block.into.weight) for block in flow.velocity_net.body.blocks} <= of_muon, "matrices, too"
    assert of_muon == {id(value) for value in suited(flow.velocity_net)} != set()
    without = FlowPhase(replace(setting, config=setting.config.updated(WITHOUT)), flow, vae)
    assert len(PhaseOptimizer(without).optimizers) == 1
    assert suited(flow.refiner), "else the next line says nothing"
    assert not of_muon & {id(value) for value in flow.refiner.parameters()}


@pytest.mark.parametrize(("name", "num_optimizers"), [("muon", 2), ("adamw", 1)])
def test_the_vae_learns_its_large_convolutions_with_it_where_asked(name: str, num_optimizers: int) -> None:
    config = tiny_config({"model": {"width": LEAST_ROWS}, "training": {"vae_optimizer": name}})
    phase = VaePhase(tiny_inputs(config), build_vae(config))
    optimizers = PhaseOptimizer(phase).optimizers
    assert len(optimizers) == num_optimizers
    values = [id(value) for each in optimizers for group in each.param_groups for value in group["params"]]
    assert sorted(values) == sorted(id(value) for value in phase.module.parameters())
