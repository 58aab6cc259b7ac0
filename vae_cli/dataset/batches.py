"""Batches that depend on (seed, step) alone, gathered by one background thread."""

import functools
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from vae_cli.dataset.cache import ImageSet

_PREFETCH_DEPTH = 2
PATCH_EVERY = 4
"""One image of so many is a patch."""
_POLL_SECONDS = 0.05  # how soon the thread notices close() while the queue is full


def batch_indices(num_images: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """int64 [batch_size]: positions step * batch_size .. of an endless chain of shuffled epochs."""
    if num_images < 1 or batch_size < 1 or step < 0:
        raise ValueError(f"no batch {step} of {batch_size} from {num_images} images")
    return _chain(num_images, seed, step * batch_size, (step + 1) * batch_size)


def _chain(num_images: int, seed: int, position: int, end: int) -> np.ndarray:
    """int64 [end - position]: that part of an endless chain of shuffled epochs."""
    pieces = [np.empty(0, np.int64)]
    while position < end:
        epoch, offset = divmod(position, num_images)
        pieces.append(_epoch_order(num_images, seed, epoch)[offset : offset + end - position])
        position += len(pieces[-1])
    return np.concatenate(pieces)


@functools.lru_cache(maxsize=4)
def _epoch_order(num_images: int, seed: int, epoch: int) -> np.ndarray:
    order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(num_images)
    order.setflags(write=False)
    return order


@dataclass(frozen=True)
class Batch:
    """One rank's part of a global batch: uint8 [b, H, W, C], int64 [b] (-1 = no label), float32 [b] (0 = whole)."""

    step: int
    pixels: Tensor
    labels: Tensor
    zooms: Tensor


class Batches:
    """Endless iterator over the batches from `start_step` on; each rank gets its contiguous slice of the global one.

    Where there are patches, each PATCH_EVERY-th image of all is one; both sets are shuffled for themselves.

    Close it (or use `with`) to end the thread. `seconds_waited` adds up the time that next() had to wait.
    """

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int,
        *,
        patches: ImageSet | None = None,
        seed: int,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.seconds_waited = 0.0
        self._images, self._patches = image_set, patches
        self._batch_size, self._seed = batch_size, seed
        self._slice = slice(batch_size * rank // world_size, batch_size * (rank + 1) // world_size)
        self._ready: queue.Queue[Batch | Exception] = queue.Queue(maxsize=_PREFETCH_DEPTH)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._produce, args=(start_step,), name="batches", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch; raises what the thread ran into, ValueError after close()."""
        if self._closing.is_set():
            raise ValueError("the batches are closed")
        start = time.perf_counter()
        item = self._ready.get()
        self.seconds_waited += time.perf_counter() - start
        if isinstance(item, Exception):
            self.close()
            raise item
        return item

    def close(self) -> None:
        """End the thread and wait for it. May be called twice."""
        self._closing.set()
        self._thread.join()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _produce(self, step: int) -> None:
        while not self._closing.is_set():
            try:
                item: Batch | Exception = self._gather(step)
            except Exception as error:  # handed to the consumer, which raises it
                item = error
            self._put(item)
            if isinstance(item, Exception):
                return
            step += 1

    def _put(self, item: Batch | Exception) -> None:
        while not self._closing.is_set():
            try:
                return self._ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue

    def _gather(self, step: int) -> Batch:
        num = self._slice.stop - self._slice.start
        pixels = np.empty((num, *self._images.pixels.shape[1:]), np.uint8)
        labels, zooms = np.empty(num, np.int64), np.zeros(num, np.float32)
        for images, drawn, rows in self._drawn(step):
            order = np.argsort(drawn, kind="stable")  # read the memory map forwards
            pixels[rows[order]] = images.pixels[drawn[order]]
            labels[rows] = images.labels[drawn]
            if images.zooms is not None:
                zooms[rows] = images.zooms[drawn]
        return Batch(step, torch.from_numpy(pixels), torch.from_numpy(labels), torch.from_numpy(zooms))

    def _drawn(self, step: int) -> Iterator[tuple[ImageSet, np.ndarray, np.ndarray]]:
        """(images, which of them, in which of this rank's rows) for the images and, where there are any, patches."""
        first, end = step * self._batch_size, (step + 1) * self._batch_size
        if self._patches is None:
            drawn = _chain(len(self._images.pixels), self._seed, first, end)[self._slice]
            yield self._images, drawn, np.arange(len(drawn))
            return
        is_patch = np.arange(first, end) % PATCH_EVERY == PATCH_EVERY - 1
        num_before = first // PATCH_EVERY  # patches of earlier batches
        for images, chosen, before in (
            (self._images, ~is_patch, first - num_before),
            (self._patches, is_patch, num_before),
        ):
            drawn = np.zeros(len(chosen), np.int64)
            drawn[chosen] = _chain(len(images.pixels), self._seed, before, before + int(chosen.sum()))
            rows = np.flatnonzero(chosen[self._slice])
            yield images, drawn[self._slice][rows], rows
