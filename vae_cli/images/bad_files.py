"""What a decoder raises or warns about becomes one DataError, or silence: a file is used or it is not."""

import lzma
import struct
import threading
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from PIL import Image, UnidentifiedImageError

from vae_cli.errors import DataError

BAD_BYTES = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, EOFError,
    RuntimeError, BufferError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile,
    Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow's plugins, tifffile, imagecodecs and zipfile raise on damaged files; fuzz tests keep the list honest.
MemoryError and KeyboardInterrupt stay out of it, since they are not the file's fault."""


@contextmanager
def bad_bytes_are_data_errors() -> Iterator[None]:
    """Turns what decoders raise on damaged files, and any OSError, into a DataError without the file's name."""
    with _quiet_decoders:
        try:
            yield
        except BAD_BYTES as error:
            raise DataError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
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
    return f"damaged or unsupported ({text or type(error).__name__})"


class _QuietDecoders:
    """Silences Pillow's warnings while any thread decodes. `warnings.catch_warnings` alone is not safe with threads:
    leaving it in one would restore the filters that another one has just changed."""

    def __init__(self) -> None:
        self._lock, self._num_inside, self._filters = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._num_inside == 0:
                self._filters.enter_context(warnings.catch_warnings(action="ignore"))
            self._num_inside += 1

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._filters.close()


_quiet_decoders = _QuietDecoders()
