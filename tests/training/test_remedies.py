"""Illnesses of training, each shown and then cured: a posterior that collapses, updates that blow up."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CPU, LADDER, image_set, tiny_config, tiny_inputs
from torch import Tensor

from vae_cli.checkpoint import load_resumable
from vae_cli.checkpoint_folders import checkpoints_in
from vae_cli.config import Layer
from vae_cli.dataset.batches import Batch
from vae_cli.errors import DivergedError
from vae_cli.model.vae import build_vae
from vae_cli.training import loop, run_folder
from vae_cli.training.events import Event, PhaseDone, Saved, StepLogged
from vae_cli.training.flow_phase import FlowPhase
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.loop import train
from vae_cli.training.optimizer import PhaseOptimizer
from vae_cli.training.training_run import TrainingRun, open_run
from vae_cli.training.vae_phase import VaePhase


def start(folder: Path, inputs: TrainingInputs) -> Iterator[Event]:
    run_folder.create(folder, inputs)
    return train(open_run(inputs, folder, started=time.monotonic()))


# Posterior collapse

COLLAPSING: Layer = {
    "objective": {"kl_weight": 20.0, "kl_warmup_steps": 0},
    "training": {"steps": 50, "flow_share": 0.0, "batch_size": 16, "learning_rate": 5e-3, "log_every": 50},
}


def last_figures(folder: Path, *layers: Layer) -> dict[str, float]:
    inputs = TrainingInputs(tiny_config(COLLAPSING, *layers), image_set(48), image_set(8), (), CPU)
    logged = [event.figures for event in start(folder, inputs) if isinstance(event, StepLogged)]
    return logged[-1]


def test_free_nats_cure_a_collapsed_posterior(tmp_path: Path) -> None:
    """A KL that costs twenty times its worth empties every latent; a free allowance fills them again."""
    ill = last_figures(tmp_path / "ill")
    cured = last_figures(tmp_path / "cured", {"objective": {"free_nats": 4.0}})
    assert ill["latent_units"] == cured["latent_units"] == 2 * 2 * 2
    assert ill["active_units"] == 0 and ill["rate_nats"] < 0.5
    assert cured["active_units"] >= 6 and cured["rate_nats"] > 1


def test_a_warm_up_of_the_kl_cures_it_too(tmp_path: Path) -> None:
    cured = last_figures(tmp_path / "run", {"objective": {"kl_warmup_steps": 2000}})
    assert cured["active_units"] >= 6


def test_active_units_are_counted_over_all_layers() -> None:
    """Means that vary in one channel of one layer, and nowhere else; nothing else moves by the count."""
    inputs = tiny_inputs(tiny_config({"model": {"latents": list(LADDER)}}))
    vae = build_vae(inputs.config)
    phase = VaePhase(inputs, vae)
    assert phase.probe() == {}, "nothing has been seen yet"
    noise = [torch.zeros(4, *shape) for shape in vae.latent_shapes]
    noise[0][:, 1] = torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None, None]
    noise[2][:, 0, 0, 0] = torch.tensor([0.0, 0.05, 0.0, 0.05])  # varies, but too little
    from vae_cli.model.vae import Latents

    vae.encode = lambda x: Latents(tuple(noise))  # type: ignore[method-assign, assignment]
    phase._last_images = [torch.zeros(4, 1, 8, 8)]
    state = torch.get_rng_state()
    found = phase.probe()
    assert (found["active_units"], found["latent_units"]) == (1, 3 + 2 * 8 + 16)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_image_has_no_active_units_to_count() -> None:
    inputs = tiny_inputs(tiny_config({"training": {"batch_size": 1}}))
    phase = VaePhase(inputs, build_vae(inputs.config))
    phase.loss(
        phase.module, Batch(0, torch.zeros(1, 8, 8, 1, dtype=torch.uint8), torch.tensor([-1]), torch.zeros(1)), 0.0
    )
    assert "active_units" not in phase.probe()


# Divergence


def nan_at(monkeypatch: pytest.MonkeyPatch, phase: type[Any], step: int) -> None:
    """One update, and one only, whose loss is no number."""
    honest = phase.loss

    def loss(self: Any, module: Any, batch: Batch, spent: float) -> Any:
        found = honest(self, module, batch, spent)
        return type(found)(found.total * math.nan, found.figures) if batch.step == step else found

    monkeypatch.setattr(phase, "loss", loss)


@pytest.mark.parametrize(("phase", "step"), [(VaePhase, 1), (FlowPhase, 4), (VaePhase, 2)])
def test_a_lone_nan_is_skipped_counted_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: type[Any], step: int
) -> None:
    """In either phase; and in a phase's last update, where the weights before it are what is kept."""
    nan_at(monkeypatch, phase, step)
    events = start(tmp_path / "run", tiny_inputs(tiny_config()))
    done = {event.phase: event.num_refused for event in events if isinstance(event, PhaseDone)}
    assert done == {"vae": int(phase is VaePhase), "flow": int(phase is FlowPhase)}
    saved = load_resumable(tmp_path / "run")
    assert saved.facts.step == 6
    assert all(value.isfinite().all() for value in saved.weights.values())


def blown_up_at(monkeypatch: pytest.MonkeyPatch, step: int, *, averaged: bool) -> None:
    """An accepted update that leaves infinite weights, or only an infinite average of them, behind."""
    honest = loop.update_weights

    def update(run: TrainingRun, optimizer: PhaseOptimizer, *arguments: Any) -> dict[str, Tensor]:
        found = honest(run, optimizer, *arguments)
        if run.state.step == step - 1:
            module = optimizer.average if averaged else optimizer.phase.module
            next(iter(module.parameters())).data.view(-1)[0] = math.inf
        return found

    monkeypatch.setattr(loop, "update_weights", update)


SAVED_OFTEN: Layer = {"training": {"steps": 40, "flow_share": 0.0, "save_every": 4, "validate_every": 4}}


def test_weights_blown_up_on_a_save_step_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No update has been refused yet, so only a look at the weights tells; saving goes on after the retreat."""
    blown_up_at(monkeypatch, 8, averaged=False)
    events = start(tmp_path / "run", tiny_inputs(tiny_config(SAVED_OFTEN)))
    saved = [int(event.path.name[-8:]) for event in events if isinstance(event, Saved)]
    assert saved == [4, *range(32, 41, 4)], "updates 9 to 28 are refused, and 29 is the first one after the retreat"
    assert all(value.isfinite().all() for value in load_resumable(tmp_path / "run").weights.values())


def test_an_average_blown_up_on_a_save_step_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every update is accepted, but what they are averaged into is lost."""
    blown_up_at(monkeypatch, 8, averaged=True)
    events = start(tmp_path / "run", tiny_inputs(tiny_config(SAVED_OFTEN)))
    with pytest.raises(DivergedError, match="learning_rate"):
        list(events)
    assert [path.name for path in checkpoints_in(tmp_path / "run")] == ["step-00000004"]
    assert all(value.isfinite().all() for value in load_resumable(tmp_path / "run").weights.values())


def test_weights_blown_up_in_the_last_update_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the run would finish, and its newest checkpoint hold no model."""
    blown_up_at(monkeypatch, 6, averaged=False)
    events = start(tmp_path / "run", tiny_inputs(tiny_config({"training": {"save_every": 3}})))
    with pytest.raises(DivergedError, match="update 6") as caught:
        list(events)
    assert caught.value.exit_code == 5
    assert [path.name for path in checkpoints_in(tmp_path / "run")] == ["step-00000003"]
