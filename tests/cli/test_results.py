"""What a command shows of the events of its job."""

import contextlib
import json
import pty
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from vae_cli.cli import progress
from vae_cli.cli.results import Results
from vae_cli.jobs.events import Advanced, FileDone, Finished, JobEvent, Remark

FAILED = FileDone("b.png", "failed", reason="b.png: no image")
ALLOWED = FileDone("c.png", "skipped", reason="no mask", is_settled=False)
LACKING = FileDone("c.png", "skipped", reason="no mask", is_lacking=True)
PRESENT = FileDone("d.png", "skipped", Path("d.png"), "exists")


def written(name: str, path: str, **facts: object) -> FileDone:
    return FileDone(name, "ok", Path(path), facts=facts)


def exit_code(*events: JobEvent) -> int:
    results = Results("style", as_json=True, quiet=True)
    results.show(events)
    try:
        results.finish()
    except typer.Exit as end:
        return end.exit_code
    return 0


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ((written("a", "a.png"),), 0),
        ((), 0),
        ((written("a", "a.png"), FAILED), 1),
        ((FAILED,), 3),
        ((FAILED, PRESENT), 1),
        ((FAILED, ALLOWED), 3),
        ((ALLOWED,), 0),
        ((LACKING,), 3),
        ((LACKING, PRESENT), 1),
        ((written("a", "a.png"), Finished(is_partial=True)), 1),
    ],
)
def test_exit_codes(events: tuple[JobEvent, ...], code: int) -> None:
    assert exit_code(*events) == code


def test_a_path_is_printed_once_and_a_file_has_one_entry(capsys: pytest.CaptureFixture[str]) -> None:
    results = Results("encode")
    facts = results.show([written("a", "l.npz"), written("b", "l.npz", label="x"), FAILED, Finished({"seed": 3})])
    printed = capsys.readouterr()
    assert printed.out == "l.npz\n" and printed.err == "warning: b.png: no image\n" and facts == {"seed": 3}
    assert [entry["reason"] for entry in results.files] == [None, None, "no image"]
    assert results.files[1]["label"] == "x" and "label" not in results.files[0]


def test_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    results = Results("sample", as_json=True, quiet=True)
    results.finish(**results.show([Remark("a note"), written("a", "a.png"), Finished({"seed": float("nan")})]))
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["schema_version", "command", "status", "seed", "files"] and found["seed"] is None
    assert found["files"] == [{"input": "a", "output": "a.png", "status": "ok", "reason": None, "sample": None}]


def test_parts_end_with_a_line_before_what_is_said_after_them(capsys: pytest.CaptureFixture[str]) -> None:
    part = [Advanced("first", 0, 2), Advanced("first", 1, 2, is_over=True), Remark("one of them")]
    Results("style").show([*part, Advanced("second", 0, 3, "steps"), Advanced("third", 1, 1)])
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["first: 50%", "one of them", "second: 0%", "third: 100%"]
    assert [line.split(", ")[-1] for line in lines[::2]] == ["1/2 images", "0/3 steps"]


@pytest.mark.parametrize("stops_in_job", [True, False])
def test_a_job_that_is_stopped_closes_what_it_has_open(stops_in_job: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    def job() -> Iterator[JobEvent]:
        with contextlib.ExitStack() as stack:
            stack.callback(closed.append, True)
            yield written("a", "a.png")
            if stops_in_job:
                raise KeyboardInterrupt
            yield written("b", "b.png")

    def say(text: str) -> None:
        if text == "b.png":
            raise KeyboardInterrupt

    monkeypatch.setattr("vae_cli.cli.results.say", say)
    results, events = Results("sample", quiet=True), job()
    with pytest.raises(KeyboardInterrupt):
        results.show(events)
    assert closed == [True] and results.files[0]["output"] == Path("a.png")
    assert Results.latest is results, "so that the files can still be listed"


def test_a_stopped_job_still_tells_what_it_had_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def job() -> Iterator[JobEvent]:
        try:
            yield written("a", "a.png")
        except KeyboardInterrupt:
            yield written("b", "b.png")
            raise

    def say(text: str) -> None:
        if text == "a.png":
            raise KeyboardInterrupt

    monkeypatch.setattr("vae_cli.cli.results.say", say)
    results = Results("style", quiet=True)
    with pytest.raises(KeyboardInterrupt):
        results.show(job())
    assert [entry["output"] for entry in results.files] == [Path("a.png"), Path("b.png")]


def test_a_bar_leaves_the_terminal_when_the_job_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, its_end = pty.openpty()
    with open(its_end, "w") as stderr:
        monkeypatch.setattr(progress.sys, "stderr", stderr)
        monkeypatch.setenv("TERM", "xterm")
        results = Results("style")
        results.take(Advanced("look", 0, 5))
        results.close_bar()
    shown = b""
    with open(terminal, "rb", buffering=0) as screen, contextlib.suppress(OSError):  # which ends what was written
        while chunk := screen.read(1 << 16):
            shown += chunk
    assert b"\x1b[?25h" in shown, "the cursor is back"
