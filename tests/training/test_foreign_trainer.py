"""A `trainer.pt` of another run, or by a stranger, is refused in words."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_config, tiny_inputs

from vae_cli.checkpoint import load_resumable
from vae_cli.errors import CheckpointError
from vae_cli.training import run_folder
from vae_cli.training.loop import train
from vae_cli.training.training_run import open_run

State = dict[str, Any]


def with_flat_tensors(state: State) -> State:
    """The optimiser's tensors of the right size in another shape."""
    adam = state["optimizers"][0]
    flat = {number: {name: value.reshape(-1, 1) if value.ndim else value for name, value in own.items()}
            for number, own in adam["state"].items()}  # fmt: skip
    return state | {"optimizers": [adam | {"state": flat}, *state["optimizers"][1:]]}


FOREIGN: dict[str, Callable[[State], Any]] = {
    "a list": lambda state: [1],
    "nothing": lambda state: {},
    "no optimisers": lambda state: {name: value for name, value in state.items() if name != "optimizers"},
    "fewer optimisers": lambda state: state | {"optimizers": state["optimizers"][:0]},
    "optimisers of other weights": lambda state: state | {"optimizers": [{"state": {}, "param_groups": []}]},
    "tensors of another shape": with_flat_tensors,
    "weights of another model": lambda state: state | {"module": {"x": torch.zeros(1)}},
    "best weights of another model": lambda state: state | {"best": {"x": torch.zeros(1)}},
    "a step that is a word": lambda state: state | {"step": "6"},
    "an unknown phase": lambda state: state | {"phase": "third"},
    "no guard": lambda state: state | {"guard": None},
    "a guard of another kind": lambda state: state | {"guard": {"height": 3}},
    "a plan of nothing": lambda state: state | {"planned": 0.0},
    "averages that are none": lambda state: state | {"ema_updates": [1]},
}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    """A run that was stopped, and its state."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    inputs = tiny_inputs(tiny_config({"training": {"validate_every": 1}}))
    run_folder.create(folder, inputs)
    run = open_run(inputs, folder, started=time.monotonic())
    list(train(run, lambda: run.state.step >= 2))
    (trainer,) = folder.rglob("trainer.pt")
    return trainer, torch.load(trainer, weights_only=True)


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_state_is_refused(state: tuple[Path, State], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, sound = state
    monkeypatch.setattr(torch, "load", lambda *_, **__: FOREIGN[kind](dict(sound)))
    inputs, folder = tiny_inputs(tiny_config()), trainer.parents[2]
    with pytest.raises(CheckpointError, match=r"trainer\.pt|cannot be resumed"):
        list(train(open_run(inputs, folder, started=time.monotonic(), resume=load_resumable(folder))))
