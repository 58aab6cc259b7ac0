"""Locks between processes. The system releases them when their owner ends, however it ends."""

import errno
import hashlib
import os
import socket
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vae_cli.errors import ConfigError
from vae_cli.printable import printable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = "training.lock"
"""Of the file in a folder that belongs to one process."""
_HELD = (errno.EAGAIN, errno.EACCES)
_MOST_FILES = 1000
"""Of one folder that are claimed one by one; the kernel goes through all claims at each new one."""


@contextmanager
def locked(folder: Path) -> Iterator[str | None]:
    """The folder belongs to this process as long as the block lasts.

    Yields what to warn of where that cannot be relied on. Raises ConfigError naming the process that has the folder;
    OSErrors of the disk pass.
    """
    path, host = folder / NAME, socket.gethostname()
    descriptor, doubt = _open_locked(path)
    try:
        former = _owner(path)
        with suppress(OSError):  # on a full disk the owner has no name
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {host}\n".encode())
        if doubt is None and former and not former.endswith(f" on {host}"):
            doubt = (
                f"{path}: left by {former}; if that still runs, this drive keeps no locks between machines: stop one"
            )
        yield doubt
    finally:
        with suppress(OSError):
            path.unlink()  # before it is released: see `_open_locked`
        os.close(descriptor)


def require_unlocked(folder: Path) -> None:
    """Raises ConfigError naming the process that has the folder, which stays as free as it was."""
    path = folder / NAME
    if path.is_file():
        with suppress(OSError), path.open("rb") as file:
            _lock(file.fileno(), path)


def _open_locked(path: Path) -> tuple[int, str | None]:
    """A locked file, and why it is not really locked where the system cannot do that."""
    while True:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ConfigError(f"{path}: not a file of ours; remove it")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            doubt = _lock(descriptor, path)
            if doubt or os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor, doubt
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its owner removed it before it was ours, and the next one will make another file


def _lock(descriptor: int, path: Path) -> str | None:
    if fcntl is None:
        return f"{path.parent}: this system has no locks that end with a process; train here in one process only"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _HELD:
            return f"{path.parent}: this drive has no locks ({error.strerror}); train here in one process only"
        owner = _owner(path) or "another process"
        raise ConfigError(f"{path.parent}: in use by {owner}; wait until it ends, or choose another --out") from error
    return None


def _owner(path: Path) -> str:
    with suppress(OSError), path.open("rb") as file:
        return printable(file.read(200).decode("utf-8", "replace").strip())
    return ""


class _Claims:
    """The file whose bytes stand for all paths there are, and are locked for those that are claimed."""

    descriptor: int | None = None

    @classmethod
    def take(cls, name: str, *, alone: bool = True) -> bool:
        """Whether nobody else has claimed the name; where there are no locks, nobody ever has."""
        if fcntl is None:
            return True
        try:
            if cls.descriptor is None:
                file = Path(tempfile.gettempdir()) / f"vae-{os.getuid()}.claims"
                cls.descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            place = int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=7).digest())
            kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
            fcntl.lockf(cls.descriptor, kind | fcntl.LOCK_NB, 1, place)
        except OSError as error:
            return error.errno not in _HELD or cls.descriptor is None
        return True


def claim(paths: Iterable[Path]) -> Path | None:
    """Claims files for this process until it ends; returns one that another process on this machine has claimed.

    Where there are many, their whole folder is claimed.
    """
    files = [(os.path.realpath(path.parent), path.name) for path in paths]
    counts = Counter(folder for folder, _ in files)
    for folder, count in counts.items():
        if not _Claims.take(folder, alone=count > _MOST_FILES):
            return Path(folder)
    taken = ((folder, name) for folder, name in files if counts[folder] <= _MOST_FILES)
    return next((Path(folder, name) for folder, name in taken if not _Claims.take(f"{folder}/{name}")), None)


def release_claims() -> None:
    if _Claims.descriptor is not None:
        os.close(_Claims.descriptor)
        _Claims.descriptor = None
