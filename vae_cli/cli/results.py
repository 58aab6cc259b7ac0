"""What a command reports: one entry a file, one JSON object, one exit code."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import typer

from vae_cli.cli.progress import Messages, silence
from vae_cli.errors import DataError
from vae_cli.printable import printable

SCHEMA_VERSION = 1
PARTLY_DONE = 1


def print_json(command: str | None, status: str, **facts: Any) -> None:
    """The one JSON object of a command on stdout; numbers that JSON lacks (NaN, infinity) become null."""
    say(json.dumps(_plain({"schema_version": SCHEMA_VERSION, "command": command, "status": status, **facts})))


def say(text: str) -> None:
    """A line of results on stdout; that its reader has gone (`| head -1`) ends no work."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        silence(sys.stdout)


def file_entry(
    source: str | None,
    status: str,
    *,
    output: Path | None = None,
    reason: str | None = None,
    sample: int | None = None,
) -> dict[str, Any]:
    """One entry of `files`."""
    return {"input": source, "output": output, "status": status, "reason": reason, "sample": sample}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


class Results:
    """The files of one command: printed as they are written, counted, and turned into an exit code at the end."""

    latest: "ClassVar[Results | None]" = None
    """Those of the command that is running, so that one that is cut short can still tell what it wrote."""

    def __init__(self, command: str, messages: Messages, *, as_json: bool) -> None:
        self.command, self.messages, self.as_json = command, messages, as_json
        self.files: list[dict[str, Any]] = []
        self.num_written = self.num_present = self.num_failed = 0
        self.num_without_mask = self.num_missing = 0
        Results.latest = self

    def written(self, source: str | None, output: Path, sample: int | None = None, **facts: Any) -> None:
        """A result; the facts go into its entry."""
        self.num_written += 1
        self._add(source, output, "ok", None, sample)
        self.files[-1] |= facts
        if not self.as_json:
            say(printable(output))

    def gathered(self, sources: Sequence[str], output: Path) -> None:
        """Several inputs became one file; it is printed once."""
        self.num_written += len(sources)
        for source in sources:
            self._add(source, output, "ok", None, None)
        if not self.as_json:
            say(printable(output))

    def failed(self, source: str | None, reason: str) -> None:
        """A file that could not be used; the command goes on and ends with exit code 1."""
        self.num_failed += 1
        reason = reason.removeprefix(f"{source}: ")  # told beside it
        self._add(source, None, "failed", reason, None)
        self.messages.warn(f"{printable(source or '')}: {printable(reason)}")

    def without_mask(self, source: str, reason: str, *, is_allowed: bool) -> None:
        """An image left out; unless the user allowed that, the exit code says so."""
        self.num_without_mask += 1
        self.num_missing += not is_allowed
        self._add(source, None, "skipped", reason, None)

    def planned(self, source: str, output: Path) -> None:
        """What a dry run would write."""
        self.num_present += 1
        self._add(source, output, "skipped", "dry run", None)

    def present(self, source: str, output: Path) -> None:
        """A result that was there already and was to be left alone."""
        self.num_present += 1
        self._add(source, output, "skipped", "exists", None)

    def unneeded(self, source: str, reason: str) -> None:
        """An image that is well as it is: nothing is written for it, and nothing is missing."""
        self.num_present += 1
        self._add(source, None, "skipped", reason, None)

    def finish(self, next_step: str | None = None, **facts: Any) -> None:
        """Prints the JSON object and names the next useful command.

        Leaves with 1 when part of the work is missing and 3 when nothing could be used.
        """
        num_left_out = self.num_failed + self.num_missing
        failure = self._nothing_done() if num_left_out and not (self.num_written or self.num_present) else None
        if self.as_json:
            status = "failed" if failure else "partial" if num_left_out else "ok"
            error = {"error": {"code": DataError.exit_code, "message": failure}} if failure else {}
            print_json(self.command, status, **error, **facts, files=self.files)
        if failure:
            self.messages.error(failure)
            raise typer.Exit(DataError.exit_code)
        if next_step:
            self.messages.next_step(next_step)
        if num_left_out:
            raise typer.Exit(PARTLY_DONE)

    def _nothing_done(self) -> str:
        bad = [entry for entry in self.files if entry["status"] != "ok"]
        return f"none of {len(bad)} images could be used; the first: {bad[0]['input']}: {bad[0]['reason']}"

    def _add(
        self, source: str | None, output: Path | None, status: str, reason: str | None, sample: int | None
    ) -> None:
        self.files.append(file_entry(source, status, output=output, reason=reason, sample=sample))
