"""Computing in chunks of one size, so that an answer cannot depend on how many others are computed with it.

Sums over batches of different sizes are rounded differently.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

Row = TypeVar("Row")
Answer = TypeVar("Answer")


def in_chunks(function: Callable[[list[Row]], Iterable[Answer]], rows: Iterable[Row], size: int) -> Iterator[Answer]:
    """The function's answer to each row, in order; it gets `size` rows at a time and returns as many answers.

    The last chunk is filled up with copies of its last row, and the answers to those are dropped. Rows are read, and
    answers computed, only as answers are asked for.
    """
    remaining = iter(rows)
    while chunk := list(islice(remaining, size)):
        answers = iter(function(chunk + chunk[-1:] * (size - len(chunk))))
        yield from islice(answers, len(chunk))
