"""A folder, or a file that is written, belongs to one process, and to nobody as soon as that process has ended."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vae_cli import locks
from vae_cli.errors import ConfigError

pytestmark = pytest.mark.skipif(locks.fcntl is None, reason="no locks on this system")


@contextmanager
def other_process(code: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process, which has run the code and lives on until the block ends; then it is killed."""
    code = f"import sys\nfrom pathlib import Path\nfrom vae_cli import locks\n{code}\nprint('ready', flush=True)\n"
    command = [sys.executable, "-c", code + "sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def claims_of_their_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    locks.release_claims()
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("claims")))
    monkeypatch.setattr(locks.tempfile, "tempdir", None)
    yield
    locks.release_claims()


def test_the_second_process_is_told_the_first_and_a_kill_frees_the_folder(tmp_path: Path) -> None:
    with other_process(f"lock = locks.locked(Path({str(tmp_path)!r})); lock.__enter__()") as other:
        owner = f"in use by process {other.pid} on {socket.gethostname()}"
        with pytest.raises(ConfigError, match=owner) as caught, locks.locked(tmp_path):
            pytest.fail("both have it")
        assert str(tmp_path) in str(caught.value) and caught.value.exit_code == 2
        with pytest.raises(ConfigError, match=owner):
            locks.require_unlocked(tmp_path)
    assert (tmp_path / locks.NAME).exists(), "a kill removes nothing"
    locks.require_unlocked(tmp_path)
    with locks.locked(tmp_path) as doubt:
        assert doubt is None
        with pytest.raises(ConfigError, match=f"process {os.getpid()} "), locks.locked(tmp_path):
            pytest.fail("this process has it twice")
    assert list(tmp_path.iterdir()) == []
    with locks.locked(tmp_path):
        pass


def test_a_lock_that_is_removed_before_it_is_ours_does_not_count(tmp_path: Path, monkeypatch) -> None:
    """As by an owner that ends just then, after which a third process may make the file anew."""
    honest, path, calls = locks.fcntl.flock, tmp_path / locks.NAME, 0

    def flock(descriptor: int, kind: int) -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            path.unlink()
        if calls == 2:
            path.write_text("another file of that name")
        honest(descriptor, kind)

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with locks.locked(tmp_path):
        assert calls == 3 and path.read_text().startswith(f"process {os.getpid()} ")
        with pytest.raises(ConfigError), locks.locked(tmp_path):
            pytest.fail("the file there is not locked")


@pytest.mark.parametrize("kind", ["link", "broken link", "folder", "fifo"])
def test_only_a_plain_file_is_locked(tmp_path: Path, kind: str) -> None:
    path, precious = tmp_path / locks.NAME, tmp_path / "precious"
    precious.write_text("keep")
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(precious if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="not a file of ours"), locks.locked(tmp_path):
        pytest.fail("locked")
    assert precious.read_text() == "keep" and not (tmp_path / "nowhere").exists() and os.path.lexists(path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_drive_without_locks_is_said(tmp_path: Path, monkeypatch, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with locks.locked(tmp_path) as doubt:
        assert doubt and "this drive has no locks" in doubt and str(tmp_path) in doubt
    monkeypatch.setattr(locks, "fcntl", None)
    with locks.locked(tmp_path) as doubt:
        assert doubt and "this system has no locks" in doubt


@pytest.mark.parametrize(("host", "is_doubted"), [("elsewhere", True), (socket.gethostname(), False)])
def test_what_another_machine_left_may_still_run(tmp_path: Path, host: str, is_doubted: bool) -> None:
    (tmp_path / locks.NAME).write_text(f"process 12 on {host}\n")
    with locks.locked(tmp_path) as doubt:
        assert (doubt is not None and f"process 12 on {host}" in doubt) == is_doubted


@pytest.mark.parametrize("num_others", [1, locks._MOST_FILES + 1])
def test_files_are_claimed_until_their_process_ends(tmp_path: Path, num_others: int) -> None:
    """One by one, so that others may write to the same folder; of very many files the folder is claimed."""
    folder, is_many = tmp_path / "out", num_others > 1
    paths = f"[Path({str(folder)!r}, f'{{n}}.png') for n in range({num_others})]"
    with other_process(f"assert locks.claim({paths}) is None"):
        for _ in range(2):
            assert locks.claim([tmp_path / "free.png", folder / "0.png"]) == (folder if is_many else folder / "0.png")
        assert locks.claim([folder / ".." / "out" / "0.png"]) is not None, "other words for the same file"
        assert locks.claim([folder / "mine.png"]) == (folder if is_many else None)
        assert (locks.claim([folder / f"{n}.png" for n in range(5, 3000)]) is None) == False  # noqa: E712
    assert locks.claim([folder / "0.png"]) is None
    assert locks.claim([folder / "0.png"]) is None, "a process does not stand in its own way"


def test_where_nothing_can_be_locked_nothing_is_claimed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(locks.tempfile, "gettempdir", lambda: str(tmp_path / "nowhere"))
    assert locks.claim([tmp_path / "a.png"]) is None
