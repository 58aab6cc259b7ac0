"""Files encoded and written in threads while the next ones are computed."""

import errno
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from vae_cli.errors import DataError, WriteError

_MOST_WAITING_PIXELS = 1 << 22

Key = TypeVar("Key")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Key]):
    """What became of one entry of a queue."""

    key: Key
    remarks: tuple[str, ...] = ()  # what the file's format could not keep
    error: DataError | WriteError | None = None

    @property
    def stops_all(self) -> bool:
        """Whether any other file would meet the error too."""
        return isinstance(self.error, WriteError) and not is_of_name(self.error)


def is_of_name(error: WriteError) -> bool:
    """Whether the file's name is too long, which concerns no other file, as a full disk does."""
    return getattr(error.__cause__, "errno", None) == errno.ENAMETOOLONG


class WriteQueue(Generic[Key]):
    """Runs what writes files in two threads, and hands back what became of each in the order in which it was added.

    Leaving its `with` block waits until everything added is written, also after Ctrl-C or an error; `outcomes` can be
    asked for the rest afterwards.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(2)
        self._waiting: deque[tuple[Key, int, Future[tuple[str, ...]] | None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def add(self, key: Key, num_pixels: int, write: Callable[[], tuple[str, ...]]) -> None:
        """`write` runs in a thread and returns remarks. `key` is handed back with what became of it."""
        self._waiting.append((key, num_pixels, self._pool.submit(write)))

    def prepare(self, compute: Callable[[], Result]) -> Future[Result]:
        """`compute` runs in a thread before what is added later."""
        return self._pool.submit(compute)

    def add_nothing(self, key: Key) -> None:
        """An entry that only waits for its turn, since there is nothing to write for it."""
        self._waiting.append((key, 0, None))

    def outcomes(self, *, wait: bool = False) -> Iterator[Outcome[Key]]:
        """What is finished, up to the first entry that is not, and waits only while too many pixels do; or all of it.

        A DataError or WriteError of `write` comes with its outcome; any other is a bug, and raised here.
        """
        while self._waiting:
            key, _, written = self._waiting[0]
            is_done = wait or written is None or written.done()
            if not is_done and sum(pixels for _, pixels, _ in self._waiting) <= _MOST_WAITING_PIXELS:
                return
            self._waiting.popleft()
            try:
                yield Outcome(key, written.result() if written else ())
            except (DataError, WriteError) as error:
                yield Outcome(key, error=error)
