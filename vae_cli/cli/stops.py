"""How a signal ends the program: as a KeyboardInterrupt, of which SIGTERM has a kind of its own."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from vae_cli.cli.progress import Messages

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


def stop(number: int, frame: FrameType | None = None) -> NoReturn:
    """A handler of signals: raises KeyboardInterrupt, or Terminated for SIGTERM."""
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


class StopRequest:
    """While the block lasts, a first signal only asks for a stop; a second one ends the program at once."""

    def __init__(self, messages: Messages, is_urgent: Callable[[], bool]) -> None:
        """is_urgent: whether there is nothing to wait for, so that the first signal is like a second."""
        self.messages, self.is_urgent = messages, is_urgent
        self.number: int | None = None  # of the signal that arrived
        self.after = "this update"  # what the user is told to wait for

    def is_made(self) -> bool:
        return self.number is not None

    def __enter__(self) -> "StopRequest":
        self._previous = {number: signal.signal(number, self._handle) for number in EXIT_CODES}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_second, self.number = self.is_made(), number
        if is_second or self.is_urgent():
            stop(number)
        self.messages.note(f"stopping after {self.after}; Ctrl-C again stops at once …")
