"""The one place where what a decoder or an encoder does with a file is guarded: an odd file fails, and nothing else."""

import ctypes
import functools
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from PIL import Image, UnidentifiedImageError, _imaging

from vae_cli.errors import DataError, VaeError

BAD_BYTES = (Exception,)
"""What Pillow's plugins, tifffile, imagecodecs and zipfile raise on odd files: no list of it was ever complete."""
Source = TypeVar("Source")
Result = TypeVar("Result")
NO_MEMORY = "too large for the memory that is free; make it smaller"
_MAX_SHOWN, _MAX_HEARD = 160, 100  # characters of what a decoder says, and how much it says of one file


@contextmanager
def bad_bytes_are_data_errors(what: str = "damaged or unsupported") -> Iterator[list[str]]:
    """Whatever is raised inside becomes a DataError, without the file's name; errors for the user stay as they are.

    what: to be said of errors of which nothing better is known. Gives the list of what decoders remark meanwhile in
    this thread: warnings, log entries and libtiff's lines.
    """
    with _listener as heard:
        try:
            yield heard
        except VaeError:
            raise
        except BAD_BYTES as error:
            raise DataError(_reason(error) or f"{what} ({_told(error, heard)})") from error


def with_remarks(decode: Callable[[Source], Result]) -> Callable[[Source], tuple[Result, list[str]]]:
    """`decode`, which then also gives what decoders remark meanwhile, each line once."""

    def decoded(source: Source) -> tuple[Result, list[str]]:
        with bad_bytes_are_data_errors() as heard:
            result = decode(source)
        return result, list(dict.fromkeys(heard))

    return decoded


def _told(error: Exception, heard: list[str]) -> str:
    """What the library says, and the last of what it has remarked before."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "; ".join(dict.fromkeys([text, *heard[-1:]]))[:_MAX_SHOWN]


def _reason(error: Exception) -> str | None:
    text = str(error)
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if isinstance(error, UnidentifiedImageError):
        return "no image, or one that is damaged at its beginning"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; make it smaller"
    if isinstance(error, RuntimeError) and "password" in text:
        return "encrypted in its zip; unpack it with its password"
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return "cut off (truncated file)"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return None


class _Listener(logging.Handler):
    """Keeps what decoders would say on the terminal, naming no file, for whoever knows which file it is about.

    `warnings.catch_warnings` alone is not safe with threads: leaving it in one would restore the filters that another
    one has just changed.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._guard, self._num_inside, self._filters = threading.Lock(), 0, ExitStack()
        self._of_thread = threading.local()  # .heard: the lines, .depth: of nested blocks
        for name in ("PIL", "tifffile"):
            logging.getLogger(name).addHandler(self)

    def __enter__(self) -> list[str]:
        with self._guard:
            if self._num_inside == 0:
                self._filters.enter_context(warnings.catch_warnings(action="always"))
                warnings.showwarning = self._warned
                _hear_libtiff()
            self._num_inside += 1
        self._of_thread.depth = depth = getattr(self._of_thread, "depth", 0) + 1
        if depth == 1:
            self._of_thread.heard = []
        return self._of_thread.heard

    def __exit__(self, *exc: object) -> None:
        self._of_thread.depth -= 1
        with self._guard:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._filters.close()

    def hear(self, line: str) -> None:
        if getattr(self._of_thread, "depth", 0) and len(self._of_thread.heard) < _MAX_HEARD:
            self._of_thread.heard.append(" ".join(line.split())[:_MAX_SHOWN])

    def emit(self, record: logging.LogRecord) -> None:
        self.hear(record.getMessage())

    def _warned(self, message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        is_of_file = issubclass(category, UserWarning) and not str(message).startswith("Palette images")
        if is_of_file:  # and not about how Pillow is called, or about size
            self.hear(str(message))


_listener = _Listener()


@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
def _heard_of_libtiff(function: bytes, form: bytes, values: int) -> None:
    line = ctypes.create_string_buffer(_MAX_SHOWN)
    ctypes.CDLL(None).vsnprintf(line, len(line), form, ctypes.c_void_p(values))
    _listener.hear(f"{function.decode('latin-1')}: {line.value.decode('latin-1')}")


@functools.cache
def _hear_libtiff() -> None:
    """Pillow leaves libtiff's errors on the terminal. Where libtiff is out of reach (Windows) they stay there."""
    with suppress(OSError, AttributeError, TypeError):
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [type(_heard_of_libtiff)], ctypes.c_void_p
        set_handler(_heard_of_libtiff)
