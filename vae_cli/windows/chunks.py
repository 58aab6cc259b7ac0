"""Computing in chunks of one size, so that an answer cannot depend on how many others are computed with it.

Sums over batches of different sizes are rounded differently. Only where a device's memory does not hold a chunk is it
halved, as that comes before the last bits: what is drawn stays the same, since noise belongs to rows, not to chunks.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import torch

Row = TypeVar("Row")
Answer = TypeVar("Answer")


def in_chunks(function: Callable[[list[Row]], Iterable[Answer]], rows: Iterable[Row], size: int) -> Iterator[Answer]:
    """The function's answer to each row, in order; it gets `size` rows at a time and returns as many answers.

    The last chunk is filled up with copies of its last row, and the answers to those are dropped. Rows are read, and
    answers computed, only as answers are asked for. Where the function meets a torch.OutOfMemoryError, which only
    devices with a memory of their own raise, it gets half as many rows from there on, down to one.
    """
    remaining, most = iter(rows), size
    while chunk := list(islice(remaining, size)):
        whole, answers = chunk + chunk[-1:] * (size - len(chunk)), list[Answer]()
        while len(answers) < len(chunk):
            try:
                answers += list(function(whole[len(answers) : len(answers) + most]))
            except torch.OutOfMemoryError:
                if most == 1:
                    raise
                most = -(-most // 2)
        yield from answers[: len(chunk)]
