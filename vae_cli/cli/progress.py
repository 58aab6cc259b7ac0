"""What the user sees while a command works: progress, notes and warnings, all on stderr."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from vae_cli.jobs.events import Remark
from vae_cli.printable import printable, printable_lines

SECONDS_BETWEEN_LINES = 5.0
"""Pause between two lines of progress where stderr is no terminal."""

Bar = Callable[[int, int], None]
"""Takes how much is done, and of how much."""


class Messages:
    """Notes, warnings and progress of one command. Quiet keeps only warnings."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet, self.verbose = quiet, verbose
        self._status_printed = -SECONDS_BETWEEN_LINES

    def note(self, text: str) -> None:
        if not self.quiet:
            print_line(text)

    def detail(self, text: str) -> None:
        """A note for those who asked for more with --verbose."""
        if self.verbose:
            self.note(text)

    def warn(self, text: str) -> None:
        print_line(f"warning: {text}")

    def remark(self, remark: Remark) -> None:
        {"warning": self.warn, "detail": self.detail, "status": self.status}.get(remark.kind, self.note)(remark.text)

    def error(self, text: str) -> None:
        print_line(f"error: {printable(text)}")

    def status(self, text: str) -> None:
        """Where a long job stands: one line that is written again on a terminal, else a line every few seconds."""
        if self.quiet:
            return
        if _is_terminal():
            _print(f"\r\x1b[K{printable(text)[: shutil.get_terminal_size().columns - 1]}")
            _Cursor.in_line = True
        elif time.monotonic() - self._status_printed >= SECONDS_BETWEEN_LINES:
            self._status_printed = time.monotonic()
            print_line(text)

    def next_step(self, command: str) -> None:
        """Names the command that is useful after this one."""
        self.note(f"next: {command}")

    def progress(self, what: str, total: int, unit: str = "images") -> contextlib.AbstractContextManager[Bar]:
        """A bar on a terminal, else a plain line every few seconds and at the end; nothing when quiet."""
        if self.quiet:
            return contextlib.nullcontext(lambda done, total: None)
        return (_bar if _is_terminal() else _lines)(what, total, unit)


class _Cursor:
    """Whether the terminal's cursor stands behind a status line, which the next line has to leave first."""

    in_line = False


def print_line(text: str) -> None:
    """On stderr."""
    start = "\n" if _Cursor.in_line else ""
    _Cursor.in_line = False
    _print(f"{start}{printable_lines(text)}\n")


def _print(text: str) -> None:
    """That the reader has gone (`2>&1 | head -3`) or the disk of a log is full ends no work."""
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """What is left in its buffer goes nowhere either, instead of failing again when the program ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def _lines(what: str, total: int, unit: str) -> Iterator[Bar]:
    done, started = 0, time.monotonic()
    printed = started

    def print_progress() -> None:
        nonlocal printed
        printed = time.monotonic()
        seconds = max(printed - started, 1e-9)
        times = f"{clock((total - done) * seconds / done)} left" if 0 < done < total else clock(seconds)
        print_line(f"{what}: {done}/{total} {unit}, {_rate(done / seconds, unit)}, {times}")

    def reach(so_far: int, in_all: int) -> None:
        nonlocal done, total
        done, total = so_far, in_all
        if time.monotonic() - printed >= SECONDS_BETWEEN_LINES:
            print_progress()

    yield reach
    print_progress()


@contextlib.contextmanager
def _bar(what: str, total: int, unit: str) -> Iterator[Bar]:
    """With rate and time left; it goes when the work is done."""
    from rich import progress
    from rich.console import Console
    from rich.text import Text

    class RateColumn(progress.ProgressColumn):
        def render(self, task: progress.Task) -> Text:
            return Text(_rate(task.completed / task.elapsed, unit) if task.completed and task.elapsed else "")

    columns = (progress.TextColumn("{task.description}", markup=False), progress.BarColumn(),
               progress.MofNCompleteColumn(), RateColumn(), progress.TimeRemainingColumn())  # fmt: skip
    # what goes to a pipe must not be led to the terminal
    with progress.Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as rich:
        task = rich.add_task(what, total=total)
        yield lambda done, total: rich.update(task, completed=done, total=total)


def _rate(per_second: float, unit: str) -> str:
    return f"{1 / per_second:.1f} s each" if 0 < per_second < 1 else f"{per_second:.1f} {unit}/s"


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
