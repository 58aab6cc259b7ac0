"""What a command shows of its job: results on stdout, progress and remarks on stderr, and an exit code."""

import contextlib
import errno
import json
import math
import sys
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import typer

from vae_cli.cli.progress import Messages, print_line, silence
from vae_cli.errors import DataError
from vae_cli.jobs.events import Advanced, FileDone, Finished, JobEvent, Remark
from vae_cli.pretrained import is_photo
from vae_cli.printable import printable, printable_lines
from vae_cli.screen import Show, Standings

if TYPE_CHECKING:
    from vae_cli.checkpoint import Model

SCHEMA_VERSION = 1
PARTLY_DONE = 1


def print_json(command: str | None, status: str, **facts: Any) -> None:
    """The one JSON object of a command on stdout; numbers that JSON lacks (NaN, infinity) become null."""
    say(json.dumps(_plain({"schema_version": SCHEMA_VERSION, "command": command, "status": status, **facts})))


def say(text: str) -> None:
    """A line of results on stdout; that its reader or its terminal has gone ends no work."""
    try:
        print(printable_lines(text), flush=True)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        silence(sys.stdout)


def file_entry(event: FileDone) -> dict[str, Any]:
    """One entry of `files`."""
    reason = event.reason
    if event.status == "failed" and reason is not None:
        reason = reason.removeprefix(f"{printable(event.input or '')}: ")  # which stands beside it
    return {"input": event.input, "output": event.output, "status": event.status, "reason": reason,
            "sample": event.sample, **event.facts}  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


class Results:
    """The events of one job: shown as they come, counted, and turned into an exit code at the end."""

    latest: "ClassVar[Results | None]" = None
    """Those of the command that is running, so that one that is cut short can still tell what it wrote."""

    def __init__(self, command: str, device: str = "auto", *, as_json: bool = False, quiet: bool = False,
                 verbose: bool = False) -> None:  # fmt: skip
        self.command, self.device, self.as_json = command, device, as_json
        self.messages = Messages(quiet=quiet, verbose=verbose)
        self.files: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self.num_written = self.num_failed = self.num_lacking = self.num_settled = 0
        self._standings = Standings()
        self._bar: tuple[str, Show] | None = None
        self._open_bar = contextlib.ExitStack()
        Results.latest = self

    def open_model(self, run: Path) -> "Model":
        """The model of RUN, which a note describes. Raises ConfigError, CheckpointError."""
        from vae_cli.jobs.open_model import open_model

        model = open_model(run, self.device)
        for text in model.remarks:
            self.messages.warn(printable_lines(text))
        where = f"{model.runtime.device} ({model.runtime.precision})"
        name = run if is_photo(run) else model.path
        self.messages.note(f"{printable(name)} at step {model.facts.step} on {where}")
        return model

    def show(self, events: Iterable[JobEvent]) -> dict[str, Any]:
        """Takes every event of a job; returns the entries of the JSON object that it finished with."""
        with self._open_bar:
            try:
                for event in events:
                    self.take(event)
            except BaseException as error:  # such as a Ctrl-C while an event is being shown
                if isinstance(events, Generator):  # which still writes what is waiting, and tells of that first
                    with contextlib.suppress(StopIteration):
                        self.take(events.throw(error))
                        for event in events:
                            self.take(event)
                raise
        self._bar = None
        return self.facts

    def take(self, event: JobEvent) -> None:
        """Shows one event: prints what was written, warns of what failed, moves the bar."""
        match event:
            case FileDone():
                self._take_file(event)
            case Remark(text, "result"):
                if not self.as_json:
                    say(text)
            case Remark():
                self.messages.remark(event)
            case Advanced():
                if self._bar is None or self._bar[0] != event.what:
                    self.close_bar()
                    self._bar = event.what, self._open_bar.enter_context(self.messages.progress())
                self._bar[1](self._standings.counted(event))
                if event.is_over:
                    self.close_bar()
            case Finished(facts, is_partial):
                self.facts |= facts
                self.num_lacking += is_partial

    def _take_file(self, event: FileDone) -> None:
        is_news = not self.files or self.files[-1]["output"] != event.output  # several inputs may become one file
        self.files.append(file_entry(event))
        if event.status == "ok":
            self.num_written += 1
            if is_news and not self.as_json:
                say(printable(event.output or ""))
        elif event.status == "failed":
            self.num_failed += 1
            reason = printable(self.files[-1]["reason"])
            self.messages.warn(f"{printable(event.input or '')}: {reason}", reason)
        else:
            self.num_lacking += event.is_lacking
            self.num_settled += event.is_settled and not event.is_lacking

    def close_bar(self, error: BaseException | None = None) -> None:
        """Nothing more of the part that is being shown will come, which an error may be the reason for."""
        self._open_bar.__exit__(type(error) if error else None, error, None)
        self._bar = None

    def finish(self, next_step: str | None = None, **facts: Any) -> None:
        """Prints the JSON object and names the next useful command.

        Leaves with 1 when part of the work is missing and 3 when nothing could be used.
        """
        num_left_out, failure = self.num_failed + self.num_lacking, None
        if num_left_out and not (self.num_written or self.num_settled):
            bad = [entry for entry in self.files if entry["status"] != "ok"]
            failure = f"none of {len(bad)} images could be used; the first: {bad[0]['input']}: {bad[0]['reason']}"
        self.print_facts("partial" if num_left_out else "ok", failure, **facts, files=self.files)
        if next_step:
            self.messages.next_step(next_step)
        if num_left_out:
            raise typer.Exit(PARTLY_DONE)

    def print_facts(self, status: str, failure: str | None, **facts: Any) -> None:
        """Prints the JSON object. Leaves with 3 after saying why nothing could be used, where `failure` tells that."""
        self.messages.count_alike()
        if self.as_json:
            error = {"error": {"code": DataError.exit_code, "message": failure}} if failure else {}
            print_json(self.command, "failed" if failure else status, **error, **facts)
        if failure:
            print_line(f"error: {printable(failure)}")
            raise typer.Exit(DataError.exit_code)
