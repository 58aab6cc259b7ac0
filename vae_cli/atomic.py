"""Files that are written whole or not at all, and read only as far as they are files."""

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from vae_cli.errors import DataError, WriteError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file to write and read back, which takes its name `path` at the end, and only if all went well.

    OSErrors pass; `writing` is the same with an error for the user.
    """
    partial = path.parent / f".{secrets.token_hex(8)}.part"  # short, as `path` may already have the longest name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        with suppress(OSError):  # not there any more, or a folder that does not answer
            partial.unlink()


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """As `replacing`; every OSError inside becomes a WriteError that names `path`, so open what is read from before."""
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteError(f"{path}: cannot be written ({reason}); make room there or choose another --out") from error


def sync_folder(folder: Path) -> None:
    """What was made, renamed or removed in a folder stays so after a power cut, if its drive can promise that."""
    if os.name != "posix":  # folders cannot be opened, nor need they be
        return
    with suppress(PermissionError):  # it may be written, but not listed
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove a file, a folder or a link, never what a link leads to; what cannot be removed stays."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def is_partial(path: Path) -> bool:
    """Whether a process that was killed while it wrote has left this file."""
    return re.fullmatch(r"\.[0-9a-f]{16}\.part", path.name) is not None


def open_regular(path: Path) -> BufferedReader:
    """A file for reading. Raises OSError, also for what is none: a device or a pipe may wait or go on for ever, and
    opening alone can have an effect."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return path.open("rb")


def opened(path: Path) -> BinaryIO:
    """As `open_regular`. Raises DataError that names the file."""
    try:
        return open_regular(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The content of a file that is meant to be small.

    Raises OSError, also for a larger one, and for what is no regular file: a pipe may never end, a device never does.
    """
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes / 2**20:g} MiB")
    return content


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all. Raises WriteError when the disk refuses."""
    with writing(path) as file:
        file.write(content)
