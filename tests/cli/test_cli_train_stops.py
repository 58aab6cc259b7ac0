"""Signals to `vae train`, and what a run that goes on will not have changed."""

import itertools
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tiny import same_tensors

from vae_cli.checkpoint import load_resumable
from vae_cli.cli.progress import Messages
from vae_cli.cli.stops import stop
from vae_cli.jobs import train as job
from vae_cli.jobs.summarise_run import is_summarised
from vae_cli.locks import locked
from vae_cli.training import loop

SMALL = ("--preset", "tiny", "--image-size", 16, "--device", "cpu", "--set", "training.batch_size=4", "--steps", 6)
CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture(autouse=True)
def signals_as_in_the_program() -> Iterator[None]:
    """Also where the tests run under `nohup`."""
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_second_signal_ends_at_once(vae, photos: Path, tmp_path: Path, monkeypatch, number, code: int) -> None:
    def signalled(*_: object) -> None:
        signal.raise_signal(number)
        signal.raise_signal(number)
        pytest.fail("it went on")

    monkeypatch.setattr(loop, "update_weights", signalled)
    outcome = vae("train", photos, *SMALL, "--out", tmp_path / "run", "--json")
    assert outcome.code == code and outcome.json["error"]["code"] == code, outcome.stderr
    assert signal.getsignal(signal.SIGTERM) is stop


def signalled_at(monkeypatch: pytest.MonkeyPatch, step: int, *numbers: int) -> None:
    """The signals arrive during an update, one right after the other."""
    update, steps = loop.update_weights, itertools.count(1)

    def signalled(*arguments: Any) -> Any:
        if next(steps) == step:
            for number in numbers:
                signal.raise_signal(number)
        return update(*arguments)

    monkeypatch.setattr(loop, "update_weights", signalled)


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([signal.SIGHUP], 129),
        ([signal.SIGHUP, signal.SIGHUP], 129),  # shell and kernel each send one
        ([signal.SIGUSR1], 143),
        ([signal.SIGUSR1, signal.SIGTERM], 143),  # a scheduler's warning, and its end
    ],
)
def test_what_a_closed_terminal_and_a_scheduler_send_saves(
    vae, photos: Path, tmp_path: Path, monkeypatch, numbers: list[int], code: int
) -> None:
    signalled_at(monkeypatch, 2, *numbers)
    outcome = vae("train", photos, *SMALL, "--set", "training.save_every=100", "--out", tmp_path / "run", "--json")
    assert outcome.code == code, outcome.stderr
    assert (outcome.json["status"], outcome.json["steps"]) == ("interrupted", 2)
    assert load_resumable(tmp_path / "run").facts.step == 2
    assert signal.getsignal(signal.SIGUSR1) is stop


def test_nohup_is_heeded(vae, photos: Path, tmp_path: Path, monkeypatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        signalled_at(monkeypatch, 2, signal.SIGHUP)
        outcome = vae("train", photos, *SMALL, "--out", tmp_path / "run", "--json")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert outcome.code == 0 and outcome.json["status"] == "finished"


@pytest.mark.parametrize("words", [("--resume",), ("DATA", "--overwrite"), ("DATA", "--overwrite", "--dry-run")])
def test_a_run_in_use_is_left_alone(vae, run: Path, photos: Path, words: tuple[str, ...]) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    given = [photos if word == "DATA" else word for word in words]
    with locked(run):
        outcome = vae("train", *given, "--out", run, "--device", "cpu", "--steps", 40)
        assert outcome.code == (0 if "--dry-run" in words else 2), outcome.stderr
        if outcome.code:
            assert f"in use by process {os.getpid()} on {socket.gethostname()}" in outcome.errors[0]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_lost_best_and_changed_files_are_said(vae, run: Path, photos: Path, tmp_path: Path) -> None:
    copy, data = shutil.copytree(run, tmp_path / "run"), shutil.copytree(photos, tmp_path / "photos")
    weights = copy / "checkpoints" / "best" / "model.safetensors"
    content = load_file(weights)
    shutil.rmtree(weights.parent)
    (copy / "config.yaml").unlink()
    (copy / "checkpoints" / ".step-00000001.tmp").mkdir()
    shutil.copy(data / "cat" / "01.png", data / "cat" / "03.png")
    (data / "dog" / "00.png").unlink()
    looked = vae("sample", copy, "-n", 1, "--out", tmp_path / "a.png", "--device", "cpu")
    assert looked.code == 0 and "best: is missing" in looked.stderr and "that scored best" in looked.stderr
    outcome = vae("train", data, "--out", copy, "--resume", "--device", "cpu", "--json")
    assert outcome.code == 0 and outcome.json["status"] == "nothing_to_do", outcome.stderr
    assert "config.yaml: damaged" in outcome.stderr and "best/config.json: damaged" in outcome.stderr
    assert "1 removed (dog/00.png), 1 replaced (cat/03.png)" in outcome.stderr
    assert same_tensors(load_file(weights), content) and list((copy / "checkpoints").glob(".*")) == []


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_stop_among_the_last_pictures_loses_nothing(
    vae, photos: Path, tmp_path: Path, monkeypatch, number, code: int
) -> None:
    run, draw = tmp_path / "run", job.summarise_run

    def signalled(*_: object, **__: object) -> None:
        signal.raise_signal(number)
        pytest.fail("it went on")

    monkeypatch.setattr(job, "summarise_run", signalled)
    outcome = vae("train", photos, *SMALL, "--out", run, "--json")
    assert outcome.code == code, outcome.stderr
    assert (outcome.json["status"], outcome.json["steps"], outcome.json["validation"]) == ("interrupted", 6, None)
    assert "saved at step 6; go on with: vae train --out" in outcome.stderr and not is_summarised(run, 6)
    monkeypatch.setattr(job, "summarise_run", draw)
    again = vae("train", "--out", run, "--resume", "--device", "cpu", "--json")
    assert again.json["status"] == "nothing_to_do" and is_summarised(run, 6)


def test_a_signal_after_the_last_picture_comes_too_late(vae, photos: Path, tmp_path: Path, monkeypatch) -> None:
    next_step = Messages.next_step

    def signalled(self: Messages, command: str) -> None:
        signal.raise_signal(signal.SIGINT)
        next_step(self, command)

    monkeypatch.setattr(Messages, "next_step", signalled)
    outcome = vae("train", photos, *SMALL, "--out", tmp_path / "run", "--json")
    assert outcome.code == 0 and outcome.json["status"] == "finished" and outcome.json["validation"]


@pytest.mark.parametrize(("key", "value"), [("model.width", 24), ("model.likelihood.kind", "logistic_mixture")])
def test_what_cannot_change_is_named(vae, run: Path, key: str, value: object) -> None:
    outcome = vae("train", "--out", run, "--resume", "--set", f"{key}={value}")
    assert outcome.code == 2 and len(outcome.errors) == 1
    assert outcome.errors[0].startswith(f"error: {key}: {value} differs from the run's ")
