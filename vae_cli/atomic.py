"""Files that are written whole or not at all, and the files that they are made from."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vae_cli.errors import DataError, WriteError

_PARTIAL = ".part"


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A new file, to write and to read back, that takes its name `path` at the end and only if all went well.

    Every OSError inside becomes a WriteError that names `path`: open what is read from before.
    """
    partial = path.parent / f".{secrets.token_hex(8)}{_PARTIAL}"  # short: names may already have the longest length
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteError(f"{path}: cannot be written ({reason}); make room there or choose another --out") from error
    finally:
        with suppress(OSError):  # a name too long for the disk cannot even be asked about
            partial.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Whether this is what a kill in the middle of `writing` has left."""
    return path.name.startswith(".") and path.suffix == _PARTIAL


def opened(path: Path) -> BinaryIO:
    """A file for reading. Raises DataError that names it."""
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all. Raises WriteError when the disk refuses."""
    with writing(path) as file:
        file.write(content)
