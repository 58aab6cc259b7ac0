"""Signals that ask a job to stop."""

import signal
from collections.abc import Callable, Collection, Iterable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


class StopRequest:
    """While the block lasts, a first signal only asks for a stop; a second one is handled at once.

    numbers: of the signals. at_once: handler of the second, which raises. on_request: called at the first.
    is_urgent: whether there is nothing to wait for, so that the first signal is like a second.
    impatient: which signals count as a first and a second; schedulers and terminals send the others several times.
    """

    def __init__(
        self, numbers: Iterable[int], at_once: Handler, on_request: Callable[[], None], is_urgent: Callable[[], bool],
        impatient: Collection[int] = (signal.SIGINT, signal.SIGTERM),
    ) -> None:  # fmt: skip
        self.numbers, self.at_once, self.on_request, self.is_urgent = numbers, at_once, on_request, is_urgent
        self.impatient = impatient
        self.number: int | None = None  # of the signal that arrived first

    def __enter__(self) -> "StopRequest":
        self._previous = {number: signal.signal(number, self._handle) for number in self.numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.number = self.number, self.number or number
        if self.is_urgent() or {first, number} <= {*self.impatient}:
            self.at_once(number, frame)
        if first is None:
            self.on_request()
