"""Batches that depend on (seed, step) alone, put together by one background thread."""

import functools
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae_cli.dataset.cache import ImageSet

_NUM_AHEAD = 3
PATCH_EVERY = 4  # where there are patches, one image of so many is one


def batch_indices(num_images: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """int64 [batch_size]: positions step * batch_size .. of an endless chain of shuffled epochs."""
    if num_images < 1 or batch_size < 1 or step < 0:
        raise ValueError(f"no batch {step} of {batch_size} from {num_images} images")
    return _shuffled(num_images, seed, np.arange(step * batch_size, (step + 1) * batch_size))


def _shuffled(num_images: int, seed: int, positions: np.ndarray) -> np.ndarray:
    """int64: which image stands at each of some increasing positions of an endless chain of shuffled epochs."""
    if len(positions) == 0:
        return positions
    first, last = int(positions[0]) // num_images, int(positions[-1]) // num_images
    orders = [_epoch_order(num_images, seed, epoch) for epoch in range(first, last + 1)]
    chain = orders[0] if len(orders) == 1 else np.concatenate(orders)
    return chain[positions - first * num_images]


@functools.lru_cache(maxsize=4)
def _epoch_order(num_images: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(num_images)


@dataclass(frozen=True)
class Batch:
    """One rank's part of a global batch: uint8 [b, H, W, C], int64 [b] (-1 = no label), float32 [b] (0 = whole)."""

    step: int
    pixels: Tensor
    labels: Tensor
    zooms: Tensor
    first: int = 0  # where the part begins in the global batch, images

    def micro_batches(self, num: int) -> "list[Batch]":
        """The same images in `num` equal parts."""
        parts = zip(self.pixels.chunk(num), self.labels.chunk(num), self.zooms.chunk(num), strict=True)
        firsts = range(self.first, self.first + len(self.pixels), len(self.pixels) // num)
        return [Batch(self.step, *part, first) for part, first in zip(parts, firsts, strict=True)]


class Batches:
    """Endless iterator over the batches from `start_step` on; each rank gets its contiguous slice of the global one.

    Where there are patches, each PATCH_EVERY-th image of all is one; both sets are shuffled by themselves.
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
        self._is_closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ready = deque(self._thread.submit(self._gather, start_step + ahead) for ahead in range(_NUM_AHEAD))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch; raises what the thread ran into, ValueError after close()."""
        if self._is_closed:
            raise ValueError("the batches are closed")
        start = time.perf_counter()
        try:
            batch = self._ready[0].result()  # stays there when an interrupt ends the wait
        except Exception:
            self.close()
            raise
        self.seconds_waited += time.perf_counter() - start
        self._ready.popleft()
        self._ready.append(self._thread.submit(self._gather, batch.step + _NUM_AHEAD))
        return batch

    def close(self) -> None:
        """End the thread and wait for it. May be called twice."""
        self._is_closed = True
        self._thread.shutdown(cancel_futures=True)

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gather(self, step: int) -> Batch:
        positions = np.arange(step * self._batch_size, (step + 1) * self._batch_size)[self._slice]
        pixels = np.empty((len(positions), *self._images.pixels.shape[1:]), np.uint8)
        labels, zooms = np.empty(len(positions), np.int64), np.zeros(len(positions), np.float32)
        parts = [(self._images, np.arange(len(positions)), positions)]
        if self._patches is not None:
            is_patch, num_before = positions % PATCH_EVERY == PATCH_EVERY - 1, positions // PATCH_EVERY
            whole, close = np.flatnonzero(~is_patch), np.flatnonzero(is_patch)
            parts = [(self._images, whole, (positions - num_before)[whole]), (self._patches, close, num_before[close])]
        for images, rows, own_positions in parts:
            chosen = _shuffled(len(images.pixels), self._seed, own_positions)
            order = np.argsort(chosen, kind="stable")  # read the memory map forwards
            pixels[rows[order]] = images.pixels[chosen[order]]
            labels[rows] = images.labels[chosen]
            if images.zooms is not None:
                zooms[rows] = images.zooms[chosen]
        pixel_rows, label_rows, zoom_rows = map(torch.from_numpy, (pixels, labels, zooms))
        return Batch(step, pixel_rows, label_rows, zoom_rows, first=self._slice.start)
