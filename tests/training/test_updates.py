"""Updates ask the device one question, draw for their own rows only, and compute nothing twice that stays the same."""

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import same_tensors, tiny_config, tiny_flow, tiny_inputs
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vae_cli.checkpoint import load_model, load_resumable
from vae_cli.config import Layer
from vae_cli.model.condition import Condition
from vae_cli.runtime import Runtime
from vae_cli.training import flow_phase
from vae_cli.training.events import StepLogged
from vae_cli.training.flow_phase import FlowPhase
from vae_cli.training.loop import train
from vae_cli.training.muon import Muon
from vae_cli.training.phase import Phase
from vae_cli.training.training_run import TrainingRun, open_run
from vae_cli.training.vae_phase import VaePhase

CPU = torch.device("cpu")
WIDE: Layer = {"model": {"width": 64, "flow": {"width": 64}}}  # Muon's


class Questions(TorchDispatchMode):
    """Collects the operators whose answer a program waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        name = str(function)
        is_by_mask = "index" in name and any(
            isinstance(each, Tensor) and each.dtype == torch.bool
            for given in arguments if isinstance(given, list | tuple) for each in given
        )  # fmt: skip
        if is_by_mask or any(part in name for part in ("_local_scalar_dense", "nonzero", "masked_select", "unique")):
            self.asked.append(name)
        return function(*arguments, **(keywords or {}))


def asked(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the updates between the first and the last of a phase ask the device, besides the one list of the guard."""
    questions, steps, step = Questions(), 0, Muon.step

    def counted(optimizer: Muon) -> None:
        with torch.utils._python_dispatch._disable_current_modes():
            step(optimizer)

    monkeypatch.setattr(Muon, "step", counted)  # it counts on the CPU

    def stop() -> bool:
        nonlocal steps
        steps += 1
        if steps == 2:
            questions.__enter__()
        if steps == 5:
            questions.__exit__(None, None, None)
        return steps == 5

    list(train(run, stop))
    return questions.asked


@pytest.mark.parametrize("phase", ["vae", "flow"])
def test_an_update_asks_the_device_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    inputs = tiny_inputs(tiny_config(WIDE, {"training": {"steps": 40, "log_every": 100}}), num_labels=2)
    run = open_run(inputs, tmp_path, started=time.monotonic())
    run.state.phase = phase
    assert asked(run, monkeypatch) == []


def test_a_question_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = VaePhase.loss

    def loss(self: VaePhase, module: Any, batch: Any, spent: float) -> Any:
        found = honest(self, module, batch, spent)
        assert math.isfinite(found.total.item())
        return found

    monkeypatch.setattr(VaePhase, "loss", loss)
    inputs = tiny_inputs(tiny_config({"training": {"steps": 40, "log_every": 100}}))
    assert asked(open_run(inputs, tmp_path, started=time.monotonic()), monkeypatch)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [24, 48])
def test_what_is_drawn_does_not_depend_on_the_ranks(world_size: int, size: int) -> None:
    """Of a part of a block and of one and a half; the rows are those of the whole batch, in order."""
    layer: Layer = {
        "data": {"binarize": "dynamic"}, "model": {"likelihood": {"kind": "bernoulli"}},
        "objective": {"latent_noise": 0.5}, "training": {"batch_size": size},
    }  # fmt: skip
    vae, flow = tiny_flow(layer)

    def phases(runtime: Runtime) -> list[Phase]:
        inputs = tiny_inputs(tiny_config(layer), runtime=runtime)
        return [VaePhase(inputs, vae), FlowPhase(inputs, flow, vae)]

    ranks = [phases(Runtime(CPU, rank=rank, world_size=world_size)) for rank in range(world_size)]
    for whole, *parts in zip(phases(Runtime(CPU)), *ranks, strict=True):
        for step in (3, 7):
            drawn = [part.draws_of(step) for part in (whole, *parts)]
            assert drawn[0].keys() >= {"uniform"} and all(len(value) == size for value in drawn[0].values())
            assert same_tensors(drawn[0], {name: torch.cat([part[name] for part in drawn[1:]]) for name in drawn[0]})


def test_rows_of_a_block_differ_and_so_do_blocks_and_steps() -> None:
    vae, flow = tiny_flow({"training": {"batch_size": 64}})
    phase = FlowPhase(tiny_inputs(tiny_config({"training": {"batch_size": 64}})), flow, vae)
    noise = torch.cat([phase.draws_of(step)["noise"] for step in (0, 1)])
    assert len({tuple(row.flatten().tolist()) for row in noise}) == 128


def test_views_of_which_nothing_is_known_are_encoded_once() -> None:
    """The features are those of every image by itself, and so are the gradients."""
    vae, flow = tiny_flow()
    x = torch.rand(5, 1, 8, 8)
    observed = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0]).view(5, 1, 1, 1).expand(5, 1, 8, 8)
    view = Condition.of(x, observed, torch.zeros(5), torch.full((5,), -1))
    draws = {"observed": observed, "refined": 2 * torch.eye(5)[1], "has_cluster": torch.ones(5) > 0}
    found = FlowPhase(tiny_inputs(tiny_config()), flow, vae).completed(draws, torch.tensor([0.0, 0, 1, 0, 0]))
    assert found["seen_rows"].tolist() == [1, 3, 0] and found["place"].tolist() == [2, 0, 2, 1, 2]
    assert found["refined_rows"].tolist() == [1] and found["free_rows"].tolist() == [0, 4]
    assert found["has_cluster"].nonzero().flatten().tolist() == [0, 4]
    weight = next(flow.condition_encoder.parameters())
    features = [flow.condition(view, each) for each in (None, (found["seen_rows"], found["place"]))]
    torch.testing.assert_close(*features)
    torch.testing.assert_close(*(torch.autograd.grad(each.square().sum(), weight)[0] for each in features))


def test_images_are_encoded_once_and_resume_alike(tmp_path: Path) -> None:
    inputs = tiny_inputs(tiny_config({"training": {"steps": 12, "save_every": 1}}))  # the flow sees ten images often
    list(train(open_run(inputs, tmp_path / "whole", started=time.monotonic())))
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 11

    list(train(open_run(inputs, tmp_path / "cut", started=time.monotonic()), stop))
    list(train(open_run(inputs, tmp_path / "cut", started=time.monotonic(), resume=load_resumable(tmp_path / "cut"))))
    whole, cut = (load_model(tmp_path / name, Runtime(CPU)).flow for name in ("whole", "cut"))
    assert whole is not None and cut is not None and same_tensors(whole.state_dict(), cut.state_dict())


def test_what_is_kept_of_images_changes_the_loss_by_its_rounding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    vae, flow = tiny_flow()
    losses = []
    for most in (0, flow_phase.MOST_KEPT_BYTES):
        monkeypatch.setattr(flow_phase, "MOST_KEPT_BYTES", most)
        phase = FlowPhase(tiny_inputs(tiny_config()), flow, vae)
        with phase.batches() as batches:
            batch = next(batches)
        losses.append(phase.loss(flow, batch, 0.5).total.item())
    vae.encoder.requires_grad_(False).apply(lambda layer: [each.fill_(math.nan) for each in layer.parameters()])
    assert phase.loss(flow, batch, 0.5).total.item() == losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert losses[1] != losses[0]


def test_binarised_images_are_encoded_at_every_visit() -> None:
    layer: Layer = {"data": {"binarize": "dynamic"}, "model": {"likelihood": {"kind": "bernoulli"}}}
    vae, flow = tiny_flow(layer)
    phase = FlowPhase(tiny_inputs(tiny_config(layer)), flow, vae)
    assert phase._kept is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_cuda(tmp_path: Path) -> None:
    """Both phases."""
    runtime = Runtime(torch.device("cuda:0"), channels_last=True)
    inputs = tiny_inputs(tiny_config(WIDE, {"training": {"steps": 12, "log_every": 6}}), runtime=runtime)
    run = open_run(inputs, tmp_path, started=time.monotonic())
    assert sum(isinstance(event, StepLogged) for event in train(run)) == 2
    assert all(value.isfinite().all() for value in load_resumable(tmp_path).weights.values())
