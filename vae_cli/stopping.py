"""Signals that ask a job to stop."""

import signal
from collections.abc import Callable, Iterable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


class StopRequest:
    """While the block lasts, a first signal only asks for a stop; a second one is handled at once.

    numbers: of the signals. at_once: handler of the second, which raises. on_request: called at the first.
    is_urgent: whether there is nothing to wait for, so that the first signal is like a second.
    """

    def __init__(
        self, numbers: Iterable[int], at_once: Handler, on_request: Callable[[], None], is_urgent: Callable[[], bool]
    ) -> None:
        self.numbers, self.at_once, self.on_request, self.is_urgent = numbers, at_once, on_request, is_urgent
        self.number: int | None = None  # of the signal that arrived

    def __enter__(self) -> "StopRequest":
        self._previous = {number: signal.signal(number, self._handle) for number in self.numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_second, self.number = self.number is not None, number
        if is_second or self.is_urgent():
            self.at_once(number, frame)
        self.on_request()
