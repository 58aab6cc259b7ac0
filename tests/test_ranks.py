"""Which rank a process is, and how ranks find one another: said at once, stoppable, and not for ever."""

import itertools
import socket
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from vae_cli import ranks
from vae_cli.errors import ConfigError, RanksError
from vae_cli.ranks import Ranks, meet

FOURTH = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "h", "MASTER_PORT": "1"}
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize(("usable", "local_size", "share"), [(8, 1, 8), (8, 2, 4), (7, 2, 3), (1, 4, 1)])
def test_ranks_of_a_node_share_its_cores(
    monkeypatch: pytest.MonkeyPatch, usable: int, local_size: int, share: int
) -> None:
    monkeypatch.setattr(ranks.os, "sched_getaffinity", lambda process: set(range(usable)), raising=False)
    assert Ranks(local_size=local_size).cores() == share


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Ranks()),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, Ranks()),
        ({"WORLD_SIZE": "1"}, Ranks()),
        (FOURTH, Ranks(3, 4, 1, 4)),
        (FOURTH | {"LOCAL_WORLD_SIZE": "2"}, Ranks(3, 4, 1, 2)),
    ],
)
def test_what_launchers_set(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], expected: Ranks) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    found = Ranks.of_environment()
    assert found == expected
    assert found.address() == (("h", 1) if found.world_size > 1 else ("", 0))


RIGHT = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
WRONG = [*((name, value) for name in VARIABLES for value in ("", " ")),
         *((name, value) for name in VARIABLES if name != "MASTER_ADDR" for value in ("abc", "1.5", "-1", "²")),
         *((name, None) for name in ("RANK", "MASTER_ADDR", "MASTER_PORT")),
         ("RANK", "2"), ("WORLD_SIZE", "0"), ("MASTER_PORT", "0"), ("MASTER_PORT", "65536")]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    for other, right in RIGHT.items():
        monkeypatch.setenv(other, right)
    monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=name) as caught:
        Ranks.of_environment().address()
    assert caught.value.exit_code == 2 and len(str(caught.value).splitlines()) <= 3


@pytest.fixture
def fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is a second later, and nobody really sleeps."""
    seconds = itertools.count()
    clock = SimpleNamespace(monotonic=seconds.__next__, sleep=lambda _: None)
    monkeypatch.setattr(ranks, "time", clock)
    monkeypatch.setattr(ranks, "PATIENCE_MINUTES", 0.2)


@pytest.mark.parametrize(
    ("own", "awaited"), [(Ranks(0, 3), "rank 1, 2"), (Ranks(1, 3), "rank 0"), (Ranks(0, 99), "7, 8 …")]
)
def test_who_is_awaited_where_and_for_how_long(fast_clock: None, own: Ranks, awaited: str) -> None:
    port, said = free_port(), []
    with pytest.raises(RanksError) as caught:
        for text in meet(own, ("localhost", port)):
            said.append(text)
    (text,) = said
    for part in (awaited, f"rank {own.rank} of {own.world_size}", f"localhost:{port}", "0.2 minutes"):
        assert part in text and part in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_port_that_is_taken() -> None:
    with closing(socket.socket()) as listener:
        listener.bind(("", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=f"MASTER_PORT: {port}"):
            list(meet(Ranks(0, 2), ("localhost", port)))


def test_a_single_rank_meets_nobody() -> None:
    assert list(meet(Ranks(), ("", 0))) == []


@pytest.mark.parametrize("first", [0, 1])
def test_two_ranks_meet_whoever_comes_first(first: int) -> None:
    address, stores = ("localhost", free_port()), {}

    def come(rank: int) -> None:
        meeting = meet(Ranks(rank, 2), address)
        while True:
            try:
                next(meeting)
            except StopIteration as end:
                stores[rank] = end.value
                return

    threads = [threading.Thread(target=come, args=(rank,), daemon=True) for rank in (first, 1 - first)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join(60)
    stores[first].set("word", b"hello")
    assert stores[1 - first].get("word") == b"hello"


def test_no_other_command_looks_at_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from vae_cli.cli.app import app

    for name in VARIABLES:
        monkeypatch.setenv(name, "nonsense")
    assert CliRunner().invoke(app, ["info"]).exit_code == 0
    refused = CliRunner().invoke(app, ["train", "--steps", "1", "--json"])
    assert refused.exit_code == 2 and "WORLD_SIZE" in refused.stderr
