"""How a signal ends the program: as a KeyboardInterrupt, of which all but Ctrl-C have a kind of their own."""

import errno
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from vae_cli.cli.progress import silence

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
if hasattr(signal, "SIGHUP"):  # not on Windows
    EXIT_CODES |= {signal.SIGHUP: 129, signal.SIGUSR1: 143}  # a closed terminal; what a scheduler warns with


class Terminated(KeyboardInterrupt):
    """A signal arrived that is not Ctrl-C's."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        self.number = number


def heeded() -> list[signal.Signals]:
    """All of them, but not what the caller wants ignored, as `nohup` does."""
    return [number for number in EXIT_CODES
            if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) != signal.SIG_IGN]  # fmt: skip


def stop(number: int, frame: FrameType | None = None) -> NoReturn:
    """A handler of signals: raises KeyboardInterrupt, or Terminated for all but SIGINT."""
    if number == getattr(signal, "SIGHUP", None):
        signal.signal(number, signal.SIG_IGN)  # shell and kernel both send it when a terminal closes
        for stream in (sys.stdout, sys.stderr):
            try:
                os.get_terminal_size(stream.fileno())
            except OSError as error:
                if error.errno == errno.EIO:  # nobody can see any more that work was stopped
                    silence(stream)
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)
