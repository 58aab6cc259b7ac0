"""Latents of images, images of latents, and latents that come from elsewhere."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.errors import DataError
from vae_cli.images.pixels import to_pixels, to_unit
from vae_cli.model.priors import to_device
from vae_cli.model.vae import Latents
from vae_cli.windows.chunks import whole_chunk

CHUNK = 32
"""Images are computed in chunks of this size whatever the batch size, the last one filled up."""


@dataclass(frozen=True)
class Encoded:
    """The posteriors of all latent layers, coarse to fine, in units in which each layer's prior is N(0, I).

    Arrays are float32, [C, h, w] of one image or [N, C, h, w] of several. `means` decode to the reconstruction.
    """

    means: tuple[np.ndarray, ...]
    stds: tuple[np.ndarray, ...]

    def flat_means(self) -> np.ndarray:
        """float32 [N, D] of several images: the layers one after another, each in C order."""
        return np.concatenate([layer.reshape(len(layer), -1) for layer in self.means], axis=1)


def numbered(name: str, layer: int) -> str:
    """How a layer's array is called in files: `latents`, `latents_2`, `latents_3`, ..."""
    return name if layer == 0 else f"{name}_{layer + 1}"


def encode(model: Model, images: Iterable[np.ndarray]) -> Iterator[Encoded]:
    """The posterior of each image uint8 [H, W, C] at the model's size."""
    remaining = iter(images)
    while chunk := list(islice(remaining, CHUNK)):
        means, stds = _posteriors(model, np.stack(chunk))
        for row in range(len(chunk)):
            yield Encoded(tuple(layer[row] for layer in means), tuple(layer[row] for layer in stds))


def stacked(each: Sequence[Encoded]) -> Encoded:
    """One record of several images from a record an image."""
    means = zip(*(one.means for one in each), strict=True)
    stds = zip(*(one.stds for one in each), strict=True)
    return Encoded(tuple(map(np.stack, means)), tuple(map(np.stack, stds)))


def encode_all(model: Model, images: np.ndarray) -> Encoded:
    """The posteriors of images uint8 [N, H, W, C], N at least 1."""
    return stacked(list(encode(model, images)))


@torch.inference_mode()
def _posteriors(model: Model, images: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Means and standard deviations [B, C, h, w] a layer of at most a chunk of images uint8 [B, H, W, C]."""
    with model.runtime.autocast():
        layers = model.vae.posterior_noise(model.runtime.move(whole_chunk(to_unit(images).split(1), CHUNK)))

    def rows(values: Tensor) -> np.ndarray:
        return values[: len(images)].float().cpu().numpy()

    return [rows(layer.mean) for layer in layers], [rows(layer.log_scale.exp()) for layer in layers]


def decode(model: Model, latents: Latents) -> Iterator[np.ndarray]:
    """The expected image uint8 [H, W, C] of each row. Raises DataError where latents are too large to be decoded."""
    for x in expected_images(model, latents):
        yield from to_pixels(x)


def expected_images(model: Model, latents: Latents) -> Iterator[Tensor]:
    """float32 [B, C, H, W] in [-1, 1] of a chunk of rows after another. Raises DataError as `decode` does."""
    for start in range(0, len(latents), CHUNK):
        chunk = [layer[start : start + CHUNK] for layer in latents.noise]
        x = _expected(model, chunk)
        is_broken = ~x.isfinite().flatten(1).all(1)
        if is_broken.any():
            row = start + int(is_broken.nonzero()[0])
            raise DataError(f"row {row} (the first is 0): too large for a picture; most latents lie between -4 and 4")
        yield x


@torch.inference_mode()
def _expected(model: Model, chunk: list[Tensor]) -> Tensor:
    rows = to_device(Latents(tuple(whole_chunk(layer.split(1), CHUNK) for layer in chunk)), model.runtime.device)
    with model.runtime.autocast():
        return model.vae.decode_mean(rows)[: len(chunk[0])].float()


def latents_from(arrays: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]) -> Latents:
    """Latents for layers of these shapes (C, h, w) from one array a layer, or one that holds all of them flattened.

    An array is [N, C, h, w] or [N, C · h · w], of any type of real numbers. Raises DataError for everything else.
    """
    sizes = [math.prod(shape) for shape in shapes]
    if len(arrays) == 1 and len(shapes) > 1 and arrays[0].ndim == 2 and arrays[0].shape[1] == sum(sizes):
        arrays = np.split(arrays[0], np.cumsum(sizes)[:-1], axis=1)
    fitting = len(arrays) == len(shapes) and all(
        array.shape[1:] in (shape, (size,)) and len(array) == len(arrays[0])
        for array, shape, size in zip(arrays, shapes, sizes, strict=True)
    )
    if not fitting:
        found = ", ".join(_shape_text(array.shape) for array in arrays)
        wanted = ", ".join(_shape_text(("N", *shape)) for shape in shapes)
        raise DataError(f"shape {found}; this model's latents are {wanted}, or [N, {sum(sizes)}] flattened")
    if not len(arrays[0]):
        raise DataError("it holds no rows")
    return Latents(tuple(_numbers(array).reshape(-1, *shape) for array, shape in zip(arrays, shapes, strict=True)))


def _numbers(array: np.ndarray) -> Tensor:
    """float32. Raises DataError for other things than finite real numbers."""
    if array.dtype.kind not in "fiu":
        raise DataError(f"an array of type {array.dtype}; latents are real numbers")
    with np.errstate(over="ignore"):  # what does not fit into 32 bits becomes infinite and is told below
        values = np.ascontiguousarray(array, dtype=np.float32)
    is_broken = ~np.isfinite(values.reshape(len(values), -1)).all(1)
    if is_broken.any():
        row = int(is_broken.argmax())
        raise DataError(f"row {row} (the first is 0): not a number, or infinite; every latent has to be finite")
    return torch.from_numpy(values)


def _shape_text(shape: Sequence[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"
