"""Work on many images by a few threads, which run only a little ahead of what is used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vae_cli.errors import DataError
from vae_cli.images.image_ref import ImageRef

_IN_FLIGHT_PER_WORKER = 4

Result = TypeVar("Result")
OnProgress = Callable[[int, int], None]
"""(done, total)."""


def ordered_map(
    job: Callable[[ImageRef], Result], refs: Iterable[ImageRef], workers: int
) -> Iterator[Result | DataError]:
    """job(ref) for each ref, in the order of the refs; the DataError where it raises one. Other errors are raised."""

    def outcome(ref: ImageRef) -> Result | DataError:
        try:
            return job(ref)
        except DataError as error:
            return error

    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode")
    pending: deque[Future[Result | DataError]] = deque()
    try:
        for ref in refs:
            pending.append(pool.submit(outcome, ref))
            if len(pending) >= max(1, workers) * _IN_FLIGHT_PER_WORKER:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
