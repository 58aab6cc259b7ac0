"""Signals to `vae train`, and what a run that goes on will not have changed."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from vae_cli.cli import app as program
from vae_cli.cli import conclusion
from vae_cli.cli.conclusion import is_concluded
from vae_cli.training.loop import Trainer

SMALL = ("--preset", "tiny", "--image-size", 16, "--device", "cpu", "--set", "training.batch_size=4", "--steps", 6)
CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture(autouse=True)
def sigterm_as_in_the_program() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, program._on_sigterm)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_second_signal_ends_at_once(vae, photos: Path, tmp_path: Path, monkeypatch, number, code: int) -> None:
    def signalled(*_: object) -> None:
        signal.raise_signal(number)
        signal.raise_signal(number)
        pytest.fail("it went on")

    monkeypatch.setattr(Trainer, "_update", signalled)
    outcome = vae("train", photos, *SMALL, "--out", tmp_path / "run", "--json")
    assert outcome.code == code and outcome.json["error"]["code"] == code, outcome.stderr
    assert signal.getsignal(signal.SIGTERM) is program._on_sigterm


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_stop_among_the_last_pictures_loses_nothing(
    vae, photos: Path, tmp_path: Path, monkeypatch, number, code: int
) -> None:
    run, draw = tmp_path / "run", conclusion.conclude

    def signalled(*_: object, **__: object) -> None:
        signal.raise_signal(number)
        pytest.fail("it went on")

    monkeypatch.setattr(conclusion, "conclude", signalled)
    outcome = vae("train", photos, *SMALL, "--out", run, "--json")
    assert outcome.code == code, outcome.stderr
    assert (outcome.json["status"], outcome.json["steps"], outcome.json["validation"]) == ("interrupted", 6, None)
    assert "saved at step 6; go on with: vae train --out" in outcome.stderr and not is_concluded(run, 6)
    monkeypatch.setattr(conclusion, "conclude", draw)
    again = vae("train", "--out", run, "--resume", "--device", "cpu", "--json")
    assert again.json["status"] == "nothing_to_do" and is_concluded(run, 6)


def test_what_cannot_change_is_named(vae, run: Path) -> None:
    outcome = vae("train", "--out", run, "--resume", "--set", "model.width=24")
    assert outcome.code == 2 and len(outcome.errors) == 1
    assert outcome.errors[0].startswith("error: model.width: 24 differs from the run's ")
