"""Writing beside computing: nothing is lost, and everything comes back in its order."""

import errno
import threading
from functools import partial

import pytest

from vae_cli.errors import DataError, WriteError
from vae_cli.files.write_queue import Outcome, WriteQueue


def write(gate: threading.Event | None = None, error: Exception | None = None, remark: str = "") -> tuple[str, ...]:
    if gate is not None:
        gate.wait(10)
    if error is not None:
        raise error
    return (remark,) if remark else ()


def keys(outcomes: list[Outcome[int]]) -> list[int]:
    return [outcome.key for outcome in outcomes]


def test_the_order_is_that_of_adding() -> None:
    """Whatever there is to write, and however long it takes."""
    gate = threading.Event()
    with WriteQueue[int]() as queue:
        queue.add_nothing(0)
        assert keys([*queue.outcomes()]) == [0], "there was nothing to wait for"
        queue.add(1, 1, partial(write, gate, remark="re-encoded"))
        queue.add_nothing(2)
        queue.add(3, 1, write)
        assert [*queue.outcomes()] == []
        gate.set()
        assert [*queue.outcomes(wait=True)] == [Outcome(1, ("re-encoded",)), Outcome(2), Outcome(3)]


def test_errors_come_back_with_their_file_and_hide_no_other() -> None:
    with WriteQueue[int]() as queue:
        for number, error in enumerate((None, DataError("no such mode"), WriteError("disk full"), None)):
            queue.add(number, 1, partial(write, error=error))
    outcomes = [*queue.outcomes(wait=True)]
    assert [str(outcome.error or "") for outcome in outcomes] == ["", "no such mode", "disk full", ""]
    assert [outcome.stops_all for outcome in outcomes] == [False, False, True, False]


def test_a_name_that_is_too_long_stops_no_other() -> None:
    error = WriteError("File name too long")
    error.__cause__ = OSError(errno.ENAMETOOLONG, "File name too long")
    assert not Outcome(0, error=error).stops_all


def test_few_pixels_wait() -> None:
    gate = threading.Event()
    with WriteQueue[int]() as queue:
        for number in range(3):
            queue.add(number, 1, partial(write, gate))
        assert [*queue.outcomes()] == []
        gate.set()
        queue.add(3, 1 << 30, partial(write, gate))
        assert keys([*queue.outcomes()]) == [0, 1, 2, 3], "too many pixels to go on with"


def test_ctrl_c_leaves_nothing_half_done() -> None:
    gate = threading.Event()
    with pytest.raises(KeyboardInterrupt), WriteQueue[int]() as queue:
        for number in range(4):
            queue.add(number, 1, partial(write, gate))
        threading.Timer(0.1, gate.set).start()
        raise KeyboardInterrupt
    assert keys([*queue.outcomes()]) == [0, 1, 2, 3], "all written, without waiting any more"


def test_a_bug_is_raised_and_the_rest_can_still_be_had() -> None:
    with WriteQueue[int]() as queue:
        queue.add(0, 1, partial(write, error=KeyError("bug")))
        queue.add(1, 1, write)
        with pytest.raises(KeyError):
            next(queue.outcomes(wait=True))
        assert keys([*queue.outcomes(wait=True)]) == [1]
