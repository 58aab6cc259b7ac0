"""Images in a file, of which each is compared with its checksum whenever it is taken out."""

import threading
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np


class StoredPixels(np.memmap):
    """uint8 [N, H, W, C] that can be indexed like any array.

    What is taken out is a copy, read from the file: reading a memory map would end the process without a word where
    another one has cut the file short. Only what takes the array as a whole still goes through the map.
    """

    num_extreme: int | None = None
    """How many values are 0 or 255; None where nobody has counted them."""
    _file: "_CheckedFile | None" = None  # None in views

    @classmethod
    def of(
        cls, path: Path, shape: tuple[int, ...], checksums: np.ndarray, restore: Callable[[int], np.ndarray],
        *, num_extreme: int,
    ) -> Self:  # fmt: skip
        """checksums: uint32 [N], CRC-32 of each image.

        `restore` gives the image of a number that is not in the file as it was written, or raises a DataError.
        Raises OSError, and ValueError for a file of another size.
        """
        pixels = cls(path, np.uint8, "r", shape=shape)
        if path.stat().st_size != pixels.nbytes or len(checksums) != len(pixels):
            raise ValueError(f"{path}: not {shape}")
        pixels._file, pixels.num_extreme = _CheckedFile(path, checksums, restore), num_extreme
        return pixels

    @property
    def checksums(self) -> np.ndarray | None:
        """uint32 [N], CRC-32 of each image as it was written; None in views."""
        return None if self._file is None else self._file.checksums

    def seems_whole(self) -> bool:
        """Whether every image is as it was written; of many, a thousand are looked at, as each is when it is used."""
        image, step = np.empty(self.shape[1:], np.uint8), max(1, len(self) // 1000)
        return self._file is not None and all(self._file.read(number, image) for number in range(0, len(self), step))

    def __getitem__(self, index: Any) -> Any:
        if self._file is None:
            return super().__getitem__(index)
        is_of_images = isinstance(index, slice) or (not isinstance(index, tuple) and np.ndim(index) <= 1)
        numbers = np.arange(len(self))[index if is_of_images else ...]
        images = np.empty((numbers.size, *self.shape[1:]), np.uint8)
        for image, number in zip(images, numbers.flat, strict=True):
            if not self._file.read(int(number), image):
                image[:] = self._file.restore(int(number))
        images = images.reshape(*numbers.shape, *self.shape[1:])
        return images if is_of_images else images[index]


class _CheckedFile:
    """Images of one size after each other."""

    def __init__(self, path: Path, checksums: np.ndarray, restore: Callable[[int], np.ndarray]) -> None:
        self.restore, self.checksums, self._lock = restore, checksums, threading.Lock()
        self._stream = path.open("rb", buffering=0)
        weakref.finalize(self, self._stream.close)

    def read(self, number: int, image: np.ndarray) -> bool:
        """Into `image`; False where it is not as it was written."""
        with self._lock:
            self._stream.seek(number * image.nbytes)
            num_read = self._stream.readinto(image.data.cast("B"))
        return num_read == image.nbytes and zlib.crc32(image.data) == self.checksums[number]


def checksums(pixels: np.ndarray) -> np.ndarray:
    """uint32 [N]: CRC-32 of each image in uint8 [N, H, W, C]."""
    known = pixels.checksums if isinstance(pixels, StoredPixels) else None
    return known if known is not None else np.array([zlib.crc32(image) for image in pixels], np.uint32)


def is_extreme(values: np.ndarray) -> np.ndarray:
    """Whether each of some uint8 values is 0 or 255."""
    return (values == 0) | (values == 255)
