"""What a terminal shows while a job goes on, from 60 columns on, and what a log shows instead."""

import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from vae_cli.cli import progress
from vae_cli.cli.progress import Messages
from vae_cli.jobs.events import Advanced
from vae_cli.screen import Standing, Standings
from vae_cli.training.events import StepLogged

FIGURES = ("reconstructions 24.3 dB", "structure of samples 41%")
TRAINING = Standing("flow", 0.43, 84.0, 112.0, "412 images/s", FIGURES)


def drawn(standing: Standing, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=True)
    with console.capture() as capture:
        console.print(standing)
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "num_lines"), [(60, 2), (80, 2), (140, 1)])
def test_per_cent_time_left_and_rate_are_there_at_every_width(width: int, num_lines: int) -> None:
    lines = drawn(replace(TRAINING, at=time.monotonic()), width)
    assert len(lines) == num_lines and max(map(len, lines)) <= width
    assert lines[0].startswith("flow  ━━━━━━━━") and "43%  1:52 left  412 images/s" in lines[0]
    assert "   ".join(FIGURES) in lines[-1], "the figures come after them"


def test_long_names_give_way_to_numbers() -> None:
    part = Standing("decoding close-ups of all training images", 0.5, 100.0, 3700.0, "1.2 s each", ("5/10 images",))
    line, figures = drawn(part, 60)
    assert "…" in line and "━" in line and line.rstrip().endswith("50%  1:01:40 left  1.2 s each")
    assert len(line) <= 60 and figures == "5/10 images"


def test_time_left_goes_down_between_two_events() -> None:
    assert replace(TRAINING, at=time.monotonic() - 50).numbers() == ["43%", "1:02 left", "412 images/s"]
    assert replace(TRAINING, at=time.monotonic() - 500).numbers()[1] == "0:00 left"
    assert replace(TRAINING, fraction=1.0).numbers()[1] == "1:24", "at the end what it has taken"


def test_a_training_shows_two_figures_and_keeps_those_of_the_first_phase() -> None:
    standings = Standings()
    first = standings.trained(StepLogged("vae", 50, 0.5, 0.2, 60.0, 99.6, {"psnr_db": 24.32, "elbo_nats": -3.0}))
    assert first is not None and first.figures == ("reconstructions 24.3 dB", "samples come after the VAE")
    assert (first.what, first.fraction, first.seconds_left, first.rate) == ("VAE", 0.2, 60.0, "100 images/s")
    second = standings.trained(StepLogged("flow", 99, 0.5, 0.7, 30.0, 10.0, {"explained_variance": 0.412}))
    assert second is not None and second.figures == FIGURES
    part = standings.trained(Advanced("decode", 3, 4))
    assert part is not None and part.figures == ("3/4 images",)


def test_a_log_has_each_line_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    standings = Standings()
    with Messages().progress() as show:
        for done in (0, 1, 2, 2):
            show(standings.counted(Advanced("look", done, 2)))
        show(replace(TRAINING, at=time.monotonic()))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["look: 0%", "look: 50%", "look: 100%", "flow: 43%"]
    assert lines[-1] == "flow: 43%, 1:52 left, 412 images/s, reconstructions 24.3 dB, structure of samples 41%"


def test_notes_break_between_words_and_commands_stay_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(progress, "_is_terminal", lambda: True)
    command = "vae train --out 'runs/of a long name, which takes more than one line' --resume"
    progress.print_line(f"saved at step 12, and nothing that was learned until then is lost; go on with: {command}")
    first, second, third = capsys.readouterr().err.splitlines()
    assert (
        f"{first} {second.strip()}".endswith("is lost; go on with:") and len(first) <= 60 and third.strip() == command
    )


def test_alike_warnings_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    messages = Messages()
    for number in range(9):
        messages.warn(f"{number}.png: no image", "no image")
        messages.warn("the disk is slow")
    messages.count_alike()
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "png" in line] == [f"warning: {number}.png: no image" for number in range(5)]
    assert lines.count("warning: the disk is slow") == 1
    assert lines[-2:] == ["warning: 8 more like this: the disk is slow", "warning: 4 more like this: no image"]
