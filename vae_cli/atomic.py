"""Files that are written whole or not at all, and read only where they are files."""

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def is_partial(path: Path) -> bool:
    """Whether a process that was killed while it wrote has left this file."""
    return re.fullmatch(r"\.[0-9a-f]{16}\.part", path.name) is not None


def open_regular(path: Path) -> BinaryIO:
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


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all. Raises WriteError when the disk refuses."""
    with writing(path) as file:
        file.write(content)
