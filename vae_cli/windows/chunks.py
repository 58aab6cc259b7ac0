"""Chunks of one size: whatever is computed together has the same shape, so that rounding cannot depend on how much of
it there is."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

Row = TypeVar("Row")


def filled_up(rows: Sequence[Row], size: int) -> list[Row]:
    """`size` rows: those given, one at least, and the last of them again; what comes of the repetitions is left out."""
    return [*rows, *[rows[-1]] * (size - len(rows))]


def whole_chunk(rows: Sequence[Tensor], size: int) -> Tensor:
    """[size, ...] of tensors [1, ...], filled up; in one memory layout whatever theirs: layouts round differently."""
    return torch.cat(filled_up(rows, size), out=rows[0].new_empty(size, *rows[0].shape[1:]))
