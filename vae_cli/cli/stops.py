"""How a signal ends the program: as a KeyboardInterrupt, of which SIGTERM has a kind of its own."""

import signal
from types import FrameType
from typing import NoReturn

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


def stop(number: int, frame: FrameType | None = None) -> NoReturn:
    """A handler of signals: raises KeyboardInterrupt, or Terminated for SIGTERM."""
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
