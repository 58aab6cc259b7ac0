"""How much memory an image may take: no more than its file can account for, and no more than is free."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from vae_cli.errors import DataError

BYTES_A_PIXEL = 16
"""Of memory while an image is decoded and converted: four copies of the four bytes in which Pillow keeps a pixel."""
MOST_TIMES, MOST_TIMES_DEFLATE, MOST_TIMES_LZW = 1 << 16, 1032, 2730
"""How many times as long as its file a picture can be: of PNG's deflate and GIF's codes of 12 bits, each of
which stands for at most 4,095 pixels, it is never more; the others stay far below."""
_NEARLY_FREE = ("WEBP", "AVIF", "HEIF", "JPEG2000")
"""Formats that store one colour for a whole picture in a few bytes."""
_FREE_BYTES, _FREE_CANVAS = 64 << 20, 32 << 20  # the latter of GIFs, around their frames
_SMALL_BYTES = 64 << 20  # for so much nobody has to wait or to ask


def refuse_hollow(image: Image.Image, head: bytes, num_bytes: int) -> None:
    """Raises DataError where an opened image claims more than a file of so many bytes can hold.

    To be asked before its pixels are loaded, as memory is taken for all of them first. head: 26 bytes of it or more.
    """
    free = _FREE_CANVAS if image.format == "GIF" else _FREE_BYTES * (image.format in _NEARLY_FREE)
    most = num_bytes * (MOST_TIMES_LZW if image.format == "GIF" else MOST_TIMES) + free
    bits = 1 if image.mode == "1" else 8 * len(image.getbands()) * (2 if image.mode.startswith("I;16") else 1)
    if image.format == "PNG":
        bits, most = head[24] * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(head[25], 1), num_bytes * MOST_TIMES_DEFLATE
    refuse_claim(image.width * image.height * bits // 8, most)


def refuse_claim(claimed_bytes: int, most_bytes: int) -> None:
    """Raises DataError where a file's header speaks of more bytes than the file can hold."""
    if claimed_bytes > most_bytes:
        raise DataError(f"cut off (truncated file), or damaged: its header claims {claimed_bytes / 1e6:,.0f} MB")


def require_memory(num_bytes: int) -> None:
    """Raises DataError where so much memory is not free: the system would end this process, not refuse it."""
    free = free_memory() if num_bytes > _SMALL_BYTES else None
    if free is not None and num_bytes > free:
        need = f"needs about {num_bytes / 1e9:.1f} GB of memory, and {free / 1e9:.1f} are free"
        raise DataError(f"{need}; make it smaller")


def free_memory() -> int | None:
    """Bytes that this process can still take, as Linux and its control group say; None elsewhere."""
    try:
        facts = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, LookupError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        most = int((group / "memory.max").read_text())  # "max" where there is no limit
        taken = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        free = min(free, most - int(taken["anon"]))  # the rest is given back when it is needed
    except (OSError, ValueError, LookupError):
        pass
    return max(free, 0)


class _Budget:
    """Memory that threads share: one waits while the others leave too little, and the largest image goes alone."""

    def __init__(self) -> None:
        self._changed, self._num_taken, self._most = threading.Condition(), 0, 0

    @contextmanager
    def taken(self, num_bytes: int) -> Iterator[None]:
        """Raises DataError where there is too little memory even for this image alone."""
        with self._changed:
            self._most = self._most or (free_memory() or 4 << 30) // 2
            self._changed.wait_for(lambda: not self._num_taken or self._num_taken + num_bytes <= self._most)
            self._num_taken += num_bytes
        try:
            require_memory(num_bytes)
            yield
        finally:
            with self._changed:
                self._num_taken -= num_bytes
                self._changed.notify_all()


decoding, unpacking = _Budget(), _Budget()
"""Of pixels, and of members of zips. They are two, as what waits for the first may hold some of the second."""
