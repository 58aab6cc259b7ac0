"""Signals to `vae train`, and what a run that goes on will not have changed."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from vae_cli.cli.progress import Messages
from vae_cli.cli.stops import stop
from vae_cli.jobs import train as job
from vae_cli.jobs.summarise_run import is_summarised
from vae_cli.training import loop

SMALL = ("--preset", "tiny", "--image-size", 16, "--device", "cpu", "--set", "training.batch_size=4", "--steps", 6)
CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture(autouse=True)
def sigterm_as_in_the_program() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


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
