"""Errors meant for the user: one to three lines saying where, what and what to do, and the exit code that belongs.

Everything else that is raised is a bug and keeps its traceback (exit code 70, see `cli.app`).
"""

from vae_cli.printable import printable

MAX_LINE = 500
"""Characters: messages repeat what they were given, which may be of any length."""


class VaeError(Exception):
    """Base of the errors that are shown without a traceback; each child fixes its exit code.

    Each argument is a line, which stays one whatever names of strangers it repeats. The middle of a very long one is
    left out.
    """

    exit_code = 70

    def __init__(self, *lines: str) -> None:
        half = MAX_LINE // 2
        super().__init__(*(f"{line[:half]} … {line[-half:]}" if len(line) > MAX_LINE else line
                           for line in map(printable, lines)))  # fmt: skip

    def __str__(self) -> str:
        return "\n".join(self.args)


def first_line(error: Exception) -> str:
    """What an error says, as far as one line goes; what it is called where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


class ConfigError(VaeError):
    """A wrong option or setting, a path that does not exist, an output that exists."""

    exit_code = 2


class RanksError(ConfigError):
    """Another process of the same training has not come, or is gone."""


class DataError(VaeError):
    """An image, mask or data set that cannot be used."""

    exit_code = 3


class CheckpointError(VaeError):
    """A run or weights file that is missing, damaged, foreign or incompatible."""

    exit_code = 4


class DivergedError(VaeError):
    """Training left the finite numbers and did not come back."""

    exit_code = 5


class OutOfMemoryError(VaeError):
    """The device ran out of memory."""

    exit_code = 6


class WriteError(VaeError):
    """A file cannot be written: disk full, no permission."""

    exit_code = 7
