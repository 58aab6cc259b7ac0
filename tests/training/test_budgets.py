"""The plan of a run: one currency for updates and seconds, kept when a run is resumed, and never nothing."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_config, tiny_inputs

from vae_cli.checkpoint import load_resumable
from vae_cli.config import Layer
from vae_cli.errors import ConfigError
from vae_cli.training.events import PhaseDone, StepLogged
from vae_cli.training.flow_phase import unstructured_loss
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.loop import train
from vae_cli.training.run_state import RunState
from vae_cli.training.training_run import TrainingRun, open_run


def with_budget(**budget: float) -> TrainingInputs:
    return tiny_inputs(tiny_config({"training": budget}))


def stopped(folder: Path, inputs: TrainingInputs, after: int) -> None:
    run = open_run(inputs, folder, started=time.monotonic())
    list(train(run, lambda: run.state.step >= after))


def resumed(folder: Path, inputs: TrainingInputs, **settings: bool) -> TrainingRun:
    return open_run(inputs, folder, started=time.monotonic(), resume=load_resumable(folder), **settings)


def steps_of(run: TrainingRun) -> list[tuple[str, int]]:
    return [(event.phase, event.steps) for event in train(run) if isinstance(event, PhaseDone)]


def test_a_plan_is_used_up_by_what_is_taken_from_the_budget() -> None:
    state = RunState()
    state.plan(left=10, planned=4)
    assert state.spent == 0
    state.use(left=7)
    assert (state.used, state.spent) == (3, 0.75)
    state.use(left=5.5)
    assert state.spent == 1


def test_stretching_changes_the_pace_and_not_the_position() -> None:
    state = RunState(left=8, used=1, planned=4)
    state.stretch(left=2)
    assert (state.left, state.used, state.planned, state.spent) == (2, 0.25, 1, 0.25)
    state.stretch(left=-5)
    assert state.spent == 0.25 and 0 < state.planned < state.left * 1.01


def test_a_standstill_before_the_decay_begins_it() -> None:
    state = RunState(left=17, used=3, planned=20)
    assert not state.shorten(decay_share=0.4)
    assert state.planned == pytest.approx(5) and state.spent == pytest.approx(0.6)
    state.use(left=16)
    assert state.shorten(decay_share=0.4) and state.spent == 1


@pytest.mark.parametrize(("after", "phases"), [(2, ["vae", "flow"]), (5, ["flow"])])
def test_a_run_of_updates_goes_on_by_the_clock(tmp_path: Path, after: int, phases: list[str]) -> None:
    """From where it stood, two thirds through a phase; here with a time that is over at once, so one update each."""
    stopped(tmp_path, with_budget(steps=6), after)
    run = resumed(tmp_path, with_budget(time=1e-6), extend=True)
    assert run.state.spent == pytest.approx(2 / 3) and run.state.total is None
    assert steps_of(run) == [(phase, 1) for phase in phases]


def test_a_run_by_the_clock_goes_on_in_updates(tmp_path: Path) -> None:
    stopped(tmp_path, with_budget(time=600.0), 2)
    assert steps_of(resumed(tmp_path, with_budget(steps=6), extend=True)) == [("vae", 1), ("flow", 3)]


def test_a_lower_budget_ends_the_phase_that_has_used_more(tmp_path: Path) -> None:
    stopped(tmp_path, with_budget(steps=20), 5)
    assert steps_of(resumed(tmp_path, with_budget(steps=8), extend=True)) == [("vae", 0), ("flow", 3)]


@pytest.mark.parametrize(("extend", "advice"), [(True, "leave the budget out"), (False, "--steps")])
def test_fewer_updates_than_were_made_are_refused(tmp_path: Path, extend: bool, advice: str) -> None:
    stopped(tmp_path, with_budget(steps=20), 5)
    with pytest.raises(ConfigError, match=rf"training\.steps: 5, but the run has made 5 already; .*{advice}"):
        resumed(tmp_path, with_budget(steps=5), extend=extend)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_nothing(tmp_path: Path, share: float) -> None:
    """All for the flow leaves the VAE one update, which the flow needs to begin with."""
    layer: Layer = {"training": {"steps": 6, "flow_share": share}}
    inputs = replace(with_budget(), config=tiny_config(layer))
    run = open_run(inputs, tmp_path, started=time.monotonic())
    assert (run.flow is None) == (share == 0)
    assert steps_of(run) == ([("vae", 6)] if share == 0 else [("vae", 1), ("flow", 5)])


def test_the_log_tells_how_far_the_whole_run_is_and_how_good(tmp_path: Path) -> None:
    inputs = tiny_inputs(tiny_config({"training": {"steps": 10, "log_every": 1}}))
    logged = [event for event in train(open_run(inputs, tmp_path, started=time.monotonic()))
              if isinstance(event, StepLogged)]  # fmt: skip
    assert [event.run_fraction for event in logged] == pytest.approx([n / 10 for n in range(1, 11)])
    assert logged[0].seconds_left > 0 and logged[-1].seconds_left == 0
    assert all(0 < event.figures["psnr_db"] < 60 for event in logged if event.phase == "vae")
    explained = [event.figures["explained_variance"] for event in logged if "explained_variance" in event.figures]
    assert explained and max(explained) < 0.9


def test_what_is_explained_begins_at_the_best_guess_without_structure() -> None:
    """Of pairs of independent normal numbers the velocity that regression finds leaves just that error."""
    generator = torch.Generator().manual_seed(0)
    u, noise = torch.randn(2, 200_000, generator=generator)
    for time_ in (0.1, 0.5, 0.8):
        seen, velocity = time_ * u + (1 - time_) * noise, u - noise
        slope = (seen * velocity).mean() / seen.square().mean()
        left = (velocity - slope * seen).square().mean().item()
        assert unstructured_loss(torch.tensor([time_])).item() == pytest.approx(left, rel=0.02)
