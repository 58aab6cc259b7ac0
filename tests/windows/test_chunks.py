"""Chunks have one size, answers come in order, and nothing is read before it is needed."""

from collections.abc import Iterator

import pytest
import torch

from vae_cli.windows.chunks import in_chunks


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_each_row_has_its_answer_and_every_chunk_one_size(count: int) -> None:
    given: list[list[int]] = []

    def doubled(chunk: list[int]) -> list[int]:
        given.append(chunk)
        return [2 * row for row in chunk]

    assert list(in_chunks(doubled, range(count), 4)) == [2 * row for row in range(count)]
    assert all(len(chunk) == 4 for chunk in given) and len(given) == -(-count // 4)
    if count == 9:
        assert given[-1] == [8, 8, 8, 8]


def test_a_chunk_is_read_when_its_first_answer_is_asked_for() -> None:
    read: list[int] = []

    def rows() -> Iterator[int]:
        for number in range(10):
            read.append(number)
            yield number

    answers = in_chunks(lambda chunk: chunk, rows(), 3)
    assert read == []
    assert [next(answers) for _ in range(3)] == [0, 1, 2] == read
    assert next(answers) == 3 and read == list(range(6))


@pytest.mark.parametrize("room", [1, 2, 3, 5, 8])
def test_a_chunk_that_a_device_cannot_hold_is_halved_from_there_on(room: int) -> None:
    given: list[int] = []

    def doubled(chunk: list[int]) -> list[int]:
        given.append(len(chunk))
        if len(chunk) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [2 * row for row in chunk]

    assert list(in_chunks(doubled, range(11), 8)) == [2 * row for row in range(11)]
    assert sum(size > room for size in given) == {1: 3, 2: 2, 3: 2, 5: 1, 8: 0}[room], "each size is tried once"


def test_one_row_that_a_device_cannot_hold_and_other_errors_are_raised() -> None:
    def exhausted(chunk: list[int]) -> list[int]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def of_the_host(chunk: list[int]) -> list[int]:
        given.append(len(chunk))
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(torch.OutOfMemoryError):
        list(in_chunks(exhausted, range(3), 4))
    given: list[int] = []
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        list(in_chunks(of_the_host, range(3), 4))
    assert given == [4], "on a CPU the size of chunks decides about the last bits"
