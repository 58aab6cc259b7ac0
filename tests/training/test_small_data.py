"""A score that stands still: the phase goes over to its falling rate from the best weights, then ends; resumably."""

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import same_tensors, tiny_config, tiny_inputs
from torch import nn

from vae_cli.checkpoint import load_resumable
from vae_cli.checkpoint_folders import checkpoints_in
from vae_cli.config import Layer
from vae_cli.training import run_folder
from vae_cli.training.events import Event, PhaseDone, Shortened, StepLogged, Validated
from vae_cli.training.flow_phase import FlowPhase
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.loop import train
from vae_cli.training.run_state import RunState
from vae_cli.training.training_run import TrainingRun, open_run
from vae_cli.training.vae_phase import VaePhase

IMPATIENT: Layer = {
    "training": {"steps": 40, "validate_every": 1, "patience": 3, "save_every": 1, "decay_share": 0.4},
}


def setting_of(*layers: Layer) -> TrainingInputs:
    return tiny_inputs(tiny_config(IMPATIENT, *layers))


def begin(folder: Path, inputs: TrainingInputs) -> TrainingRun:
    run_folder.create(folder, inputs)
    return open_run(inputs, folder, started=time.monotonic())


def go_on(folder: Path, inputs: TrainingInputs, *, extend: bool = False) -> TrainingRun:
    return open_run(inputs, folder, started=time.monotonic(), resume=load_resumable(folder), extend=extend)


def scored(monkeypatch: pytest.MonkeyPatch, phase: type, scores: Iterable[float]) -> None:
    given = iter(scores)
    monkeypatch.setattr(phase, "validate", lambda self, module: next(given))


def worsening(monkeypatch: pytest.MonkeyPatch, phase: type) -> None:
    """A score of the weights alone, so that a resumed run finds the same ones: how far they have come from zero."""

    def validate(self: object, module: nn.Module) -> float:
        return sum(value.double().square().sum().item() for value in module.parameters())

    monkeypatch.setattr(phase, "validate", validate)


def of_kind(events: list[Event], kind: type) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_a_standstill_starts_the_decay_and_a_second_one_ends_the_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20 updates the best is 2, then three worse: cut to 5 / 0.6 = 8.3 at 5. Three more: the end at 8."""
    scored(monkeypatch, VaePhase, [5.0, 3.0, 4.0, 3.0, 9.0, *[3.5] * 99])
    scored(monkeypatch, FlowPhase, (1 / number for number in range(1, 99)))
    events = list(train(begin(tmp_path / "run", setting_of())))
    assert of_kind(events, Shortened) == [Shortened("vae", 5, 2, False), Shortened("vae", 8, 2, True)]
    assert [(event.phase, event.steps) for event in of_kind(events, PhaseDone)] == [("vae", 8), ("flow", 32)]


def test_a_better_score_inside_the_decay_uses_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut to 8.3 updates at 5; the score then improves, and the ninth is the last."""
    scored(monkeypatch, VaePhase, [5.0, 3.0, 4.0, 4.0, 4.0, 2.0, 1.9, 1.8, 1.7, 1.6])
    scored(monkeypatch, FlowPhase, (1 / number for number in range(1, 99)))
    events = list(train(begin(tmp_path / "run", setting_of())))
    assert of_kind(events, Shortened) == [Shortened("vae", 5, 2, False)]
    assert of_kind(events, PhaseDone)[0].steps == 9
    shares = [event.fraction for event in of_kind(events, StepLogged) if event.phase == "vae"]
    assert shares[3:9] == pytest.approx([0.2, 0.25, 0.72, 0.84, 0.96, 1.0]), "0.6 at update 5, where the log line was"


def test_it_goes_back_to_the_best_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(monkeypatch, VaePhase, [5.0, 3.0, *[4.0] * 99])
    run = begin(tmp_path / "run", setting_of())
    for event in train(run):
        if isinstance(event, Shortened):
            assert run.state.best_step == 2
            assert same_tensors(run.state.best, run.vae.state_dict())
            break
        if isinstance(event, Validated) and event.step > 2:
            assert not same_tensors(run.state.best, run.vae.state_dict())


def test_the_flow_ends_the_run_and_nothing_is_left_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same budget has nothing to add; a larger one goes on from there, at its own pace."""
    scored(monkeypatch, VaePhase, (1 / number for number in range(1, 99)))
    scored(monkeypatch, FlowPhase, [1.0] * 99)
    inputs = setting_of()
    events = list(train(begin(tmp_path / "run", inputs)))
    assert [(event.phase, event.steps) for event in of_kind(events, PhaseDone)] == [("vae", 20), ("flow", 7)]
    assert checkpoints_in(tmp_path / "run")[-1].name == "step-00000027"
    assert go_on(tmp_path / "run", inputs).is_done and go_on(tmp_path / "run", inputs, extend=True).is_done

    more = replace(inputs, config=inputs.config.updated({"training": {"steps": 60, "patience": 0}}))
    again = go_on(tmp_path / "run", more, extend=True)
    assert not again.is_done
    assert of_kind(list(train(again)), PhaseDone)[0].steps == 33
    assert checkpoints_in(tmp_path / "run")[-1].name == "step-00000060"


def test_patience_zero_never_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for phase in (VaePhase, FlowPhase):
        scored(monkeypatch, phase, [1.0, *[2.0] * 99])
    events = list(train(begin(tmp_path / "run", setting_of({"training": {"patience": 0, "save_every": 100}}))))
    assert not of_kind(events, Shortened)
    assert [event.steps for event in of_kind(events, PhaseDone)] == [20, 20]


@pytest.mark.parametrize("killed_after", [3, 5, 6, 8, 9, 13])
def test_killed_anywhere_it_ends_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int) -> None:
    """Before, at and after each change; the VAE's first standstill is at 4, its end at 7, the flow's at 11 and 14."""
    worsening(monkeypatch, VaePhase)
    worsening(monkeypatch, FlowPhase)
    # Without decay of the weights and from small ones, every update leads away from zero.
    inputs = setting_of({"training": {"weight_decay": 0.0, "ema_decay": 0.0}})
    events = list(train(begin(tmp_path / "whole", inputs)))
    assert len(of_kind(events, Shortened)) >= 2
    for event in train(begin(tmp_path / "killed", inputs)):
        if isinstance(event, StepLogged) and event.step == killed_after:
            break
    resumed = list(train(go_on(tmp_path / "killed", inputs)))
    expected = [event for event in of_kind(events, Shortened) if event.step >= killed_after]
    assert of_kind(resumed, Shortened) == expected
    newest = [checkpoints_in(tmp_path / name)[-1] for name in ("whole", "killed")]
    assert newest[0].name == newest[1].name
    trainers = [torch.load(path / "trainer.pt", weights_only=True) for path in newest]
    assert same_tensors(trainers[0]["module"], trainers[1]["module"])
    assert same_tensors(trainers[0]["best"], trainers[1]["best"])


def test_time_that_the_vae_leaves_goes_to_the_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its share is remembered across an interruption."""
    scored(monkeypatch, VaePhase, [1.0] * 9999)
    inputs = setting_of({"training": {"time": 30.0, "flow_share": 0.5}})
    run = begin(tmp_path / "run", inputs)
    list(train(run, lambda: run.state.phase == "flow" and run.state.step > run.state.first_step))
    state = load_resumable(tmp_path / "run").trainer
    # Standstills at the updates 4 and 7; a slow update may use up what the first one leaves before the second is seen.
    assert state["phase"] == "flow" and 4 < state["first_step"] <= 7
    assert 0 < state["used"] < state["planned"] == pytest.approx(state["used"] + state["left"])
    resumed = go_on(tmp_path / "run", inputs)
    assert resumed.budget.seconds == state["left"]
    assert resumed.budget.seconds > 15.5, "more than the flow's own half"


def test_without_decay_the_first_standstill_ends_the_phase() -> None:
    for decay_share in (0.0, 1.0):
        state = RunState(used=3, planned=10)
        assert state.shorten(decay_share) and state.spent == 1


def test_a_score_that_is_no_number_is_never_best() -> None:
    state = RunState()
    assert not state.record(float("nan"), {}) and not state.record(float("nan"), {}, keeps_newest=True)
    assert state.record(3.0, {}) and state.num_stale == 0
    assert not state.record(4.0, {}) and state.num_stale == 1
    assert state.record(4.0, {}, keeps_newest=True) and state.best_score == 4.0 and state.num_stale == 0
