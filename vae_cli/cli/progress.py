"""What the user sees while a command works: progress, notes and warnings, all on stderr."""

import contextlib
import os
import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from typing import TextIO

from vae_cli.jobs.events import Remark
from vae_cli.printable import printable_lines
from vae_cli.screen import Show, Standing, live

SECONDS_BETWEEN_LINES = 5.0
"""Pause between two lines of progress where stderr is no terminal."""
MAX_ALIKE = 5
"""Warnings of one kind that are shown; more are counted."""


class Messages:
    """Notes, warnings and progress of one command. Quiet keeps only warnings."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet, self.verbose = quiet, verbose
        self._shown, self._hidden = Counter[str](), Counter[str]()  # warnings of each kind

    def note(self, text: str, *, indent: int = 2) -> None:
        """indent: of its further lines where a terminal is too narrow for it."""
        if not self.quiet:
            print_line(text, indent)

    def detail(self, text: str) -> None:
        """A note for those who asked for more with --verbose."""
        if self.verbose:
            self.note(text)

    def warn(self, text: str, kind: str | None = None) -> None:
        """kind: what several warnings have in common, such as a reason; of a text without one the first is shown."""
        counts = self._shown if self._shown[kind or text] < (MAX_ALIKE if kind else 1) else self._hidden
        counts[kind or text] += 1
        if counts is self._shown:
            print_line(f"warning: {text}".replace("\n", "\n  "))

    def count_alike(self) -> None:
        """Says how many warnings were not shown because they were like others."""
        for kind, number in self._hidden.items():
            print_line(f"warning: {number} more like this: {kind}")
        self._hidden.clear()

    def remark(self, remark: Remark) -> None:
        {"warning": self.warn, "detail": self.detail}.get(remark.kind, self.note)(remark.text)

    def next_step(self, command: str) -> None:
        """Names the command that is useful after this one."""
        self.note(f"next: {command}")

    def progress(self) -> contextlib.AbstractContextManager[Show]:
        """Takes where the job stands: drawn in one place on a terminal, else a plain line every few seconds and at the
        end of each part; nothing when quiet."""
        if self.quiet:
            return contextlib.nullcontext(lambda standing: None)
        if not _is_terminal():
            return _lines()
        from rich.console import Console

        return live(Console(stderr=True))


def print_line(text: str, indent: int = 2) -> None:
    """On stderr; on a terminal lines are broken between words, but in no command, which is to be copied."""
    width = shutil.get_terminal_size().columns if _is_terminal() else sys.maxsize
    for line in printable_lines(text).split("\n"):
        words, colon, command = line.partition(": vae ") if len(line) > width else (line, "", "")
        parts = [words + colon[:1]]
        if len(parts[0]) > width:
            parts = textwrap.wrap(parts[0], width, subsequent_indent=" " * indent, break_long_words=False,
                                  break_on_hyphens=False)  # fmt: skip
        try:
            print("\n".join([*parts, *([f"  vae {command}"] if colon else [])]), file=sys.stderr, flush=True)
        except OSError:  # the reader has gone (`2>&1 | head -3`), or the disk of a log is full: that ends no work
            silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """What is left in its buffer goes nowhere either, instead of failing again when the program ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def _lines() -> Iterator[Show]:
    newest: Standing | None = None
    printed, printed_at = ("", 0.0), time.monotonic()

    def put() -> None:
        nonlocal printed, printed_at
        if newest is not None and (newest.what, newest.fraction) != printed:
            print_line(str(newest))
            printed = newest.what, newest.fraction
        printed_at = time.monotonic()

    def show(standing: Standing) -> None:
        nonlocal newest
        if newest is not None and newest.what != standing.what:
            put()
        newest = standing
        if time.monotonic() - printed_at >= SECONDS_BETWEEN_LINES:
            put()

    yield show
    put()
