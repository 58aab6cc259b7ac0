"""What errors of Python, the system and torch amount to for the user."""

import errno
import os
import sys

from vae_cli.errors import ConfigError, OutOfMemoryError, VaeError, WriteError

_WRITE_ERRORS = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT, errno.ENAMETOOLONG)


def as_vae_error(error: Exception) -> VaeError | None:
    """The error for the user that an exception amounts to; None for a bug of ours."""
    if isinstance(error, VaeError):
        return error
    if isinstance(error, FileNotFoundError) and _is_nowhere():
        return ConfigError("the current folder is gone, removed or with its drive; go to another one")
    if isinstance(error, OSError) and error.errno in _WRITE_ERRORS:
        return WriteError(f"{error.filename or 'output'}: {error.strerror}; free space or choose another --out")
    advice = "close other programs, or try --device cpu or fewer and smaller images"
    if "torch" not in sys.modules:
        is_memory = isinstance(error, MemoryError)
        return OutOfMemoryError(f"this machine ran out of memory; {advice}") if is_memory else None
    from vae_cli.runtime import memory_errors_explained

    try:
        with memory_errors_explained(advice):
            raise error
    except OutOfMemoryError as explained:
        return explained
    except Exception:
        return None


def _is_nowhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False
