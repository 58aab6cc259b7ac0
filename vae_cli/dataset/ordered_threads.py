"""Work on many images by a few threads, which run only a little ahead of what is used."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from vae_cli.errors import DataError
from vae_cli.images.image_ref import ImageRef

_IN_FLIGHT_PER_WORKER = 4

Result = TypeVar("Result")
OnProgress = Callable[[int, int], None]
"""(done, total)."""


def ordered_map(
    job: Callable[[ImageRef], Result], refs: Iterable[ImageRef], workers: int, *, ahead: int | None = None
) -> Generator[Result | DataError, None, None]:
    """job(ref) for each ref, in the order of the refs; the DataError where it raises one. Other errors are raised.

    ahead: most refs that are worked on before their turn; None = a few for each worker.
    """

    def outcome(ref: ImageRef) -> Result | DataError:
        try:
            return job(ref)
        except DataError as error:
            return error

    workers = max(1, workers)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        submitted = (pool.submit(outcome, ref) for ref in refs)
        pending = deque(islice(submitted, ahead or workers * _IN_FLIGHT_PER_WORKER))
        while pending:
            yield pending.popleft().result()
            pending.extend(islice(submitted, 1))
    finally:
        pool.shutdown(cancel_futures=True)
