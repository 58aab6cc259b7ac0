"""What ranks tell one another in their store: who lives, who prepares, who was stopped."""

import threading
import time

import pytest
import torch
from ranks import together

from vae_cli import company as module
from vae_cli.company import Company
from vae_cli.errors import RanksError

NODES = ("a", "a", "b", "b", "a")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.005)
    monkeypatch.setattr(
        module, "node_name", lambda: dict(zip("01234", NODES, strict=True)).get(threading.current_thread().name, "")
    )


def test_each_node_does_a_thing_once() -> None:
    made: list[int] = []

    def job(rank: int, store: "torch.distributed.HashStore") -> object:
        with Company(store, rank, len(NODES)) as company:
            found = []
            for _ in range(2):
                company.begin()
                found.append(company.once_a_node("facts", lambda: made.append(rank) or f"by {rank}"))
            return company.position, company.size, *found

    assert together(job, len(NODES)) == [(0, 3, "by 0", "by 0"), (1, 3, "by 0", "by 0"), (0, 2, "by 2", "by 2"),
                             (1, 2, "by 2", "by 2"), (2, 3, "by 0", "by 0")]  # fmt: skip
    assert sorted(made) == [0, 0, 2, 2]


def test_a_single_rank_is_a_node_of_its_own() -> None:
    with Company() as company:
        company.say("nothing")
        assert (company.position, company.size, company.once_a_node("x", lambda: "made")) == (0, 1, "made")


def test_who_fails_is_told_to_those_that_wait() -> None:
    def job(rank: int, store: "torch.distributed.HashStore") -> object:
        with Company(store, rank, len(NODES)) as company:
            if rank == 0:
                raise ValueError("no images")
            return company.hear("facts")

    (first, *others) = together(job, len(NODES))
    assert isinstance(first, ValueError)
    for other in others:
        assert isinstance(other, RanksError) and other.exit_code == 2 and "rank 0 on a has ended" in str(other)


@pytest.mark.parametrize("lost", [0, 2])
def test_a_rank_without_a_sign_of_life_ends_all(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    """Also those that hear nothing, as they are in a collective; and one that has left in peace is not missed."""
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.01)
    everyone_is_there, told = threading.Barrier(4), list[str]()

    def job(rank: int, store: "torch.distributed.HashStore") -> object:
        is_over = threading.Event()
        company = Company(store, rank, 4, on_loss=lambda what: (told.append(what), is_over.set()))
        everyone_is_there.wait()
        if rank == lost:
            return None  # as a process that hangs
        with company:
            return None if rank == 3 else is_over.wait(30)

    results = together(job, 4)
    assert [result for rank, result in enumerate(results) if rank not in (lost, 3)] == [True, True]
    # what watches rank 0 is every other one, and rank 0 watches all
    assert set(told) == {f"rank {lost} has given no sign of life for 0 s"}


def test_work_may_take_longer_than_silence_may_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.01)

    def job(rank: int, store: "torch.distributed.HashStore") -> object:
        with Company(store, rank, 2, on_loss=lambda what: pytest.fail(what)) as company:
            return company.once_a_node("facts", lambda: time.sleep(1) or "made")

    assert together(job, 2) == ["made", "made"]


def test_a_stop_reaches_rank_0_once() -> None:
    asked, calls = threading.Event(), list[str]()

    def job(rank: int, store: "torch.distributed.HashStore") -> object:
        with Company(store, rank, 2, on_stop=lambda: (calls.append("stop"), asked.set())) as company:
            if rank:
                return company.await_end(lambda: True)
            assert asked.wait(30)
            time.sleep(0.1)
            return company.finished()

    assert together(job, 2) == [None, None] and calls == ["stop"]
