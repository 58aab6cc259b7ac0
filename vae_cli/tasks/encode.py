"""Latents of images, images of latents, and latents that come from elsewhere."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vae_cli.checkpoint import Model
from vae_cli.errors import DataError
from vae_cli.images.pixels import to_pixels, to_unit
from vae_cli.model.vae import Latents
from vae_cli.windows.chunks import in_chunks

CHUNK = 32  # images that are computed together
MAX_COMPARED_SIDE = 7


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


def comparable(layers: Sequence[np.ndarray]) -> np.ndarray:
    """float32 [N, D], of which distances say how alike images are, from posterior means [N, C, h, w] of each layer.

    Large grids are averaged over squares: latents of photographs are mostly texture, which hides what there is to see.
    """
    rows = []
    for layer in map(torch.from_numpy, layers):
        factor = 2 ** max(0, math.ceil(math.log2(max(layer.shape[2:]) / MAX_COMPARED_SIDE)))
        height, width = (-(-side // factor) for side in layer.shape[2:])
        rows.append(functional.adaptive_avg_pool2d(layer, (height, width)).flatten(1))
    return torch.cat(rows, dim=1).numpy()


def numbered(name: str, layer: int) -> str:
    """How a layer's array is called in files: `latents`, `latents_2`, `latents_3`, ..."""
    return name if layer == 0 else f"{name}_{layer + 1}"


def encode(model: Model, images: Iterable[np.ndarray]) -> Iterator[Encoded]:
    """The posterior of each image uint8 [H, W, C] at the model's size."""

    @torch.inference_mode()
    def encoded(chunk: Sequence[np.ndarray]) -> Iterator[Encoded]:
        with model.runtime.autocast():
            layers = model.vae.posterior_noise(inputs_of(model, chunk))
        means = zip(*(layer.mean.float().cpu().numpy() for layer in layers), strict=True)
        stds = zip(*(layer.log_scale.exp().float().cpu().numpy() for layer in layers), strict=True)
        return map(Encoded, means, stds)

    return in_chunks(encoded, images, CHUNK)


def inputs_of(model: Model, images: Sequence[np.ndarray]) -> Tensor:
    """float32 [B, C, H, W] in [-1, 1] on the model's device, of images uint8 [H, W, C].

    Grey images count as laid out in either way; cloning settles on one, as the two are rounded differently.
    """
    return model.runtime.move(to_unit(np.stack(images)).clone(memory_format=torch.contiguous_format))


def stacked(each: Sequence[Encoded]) -> Encoded:
    """One record of several images from a record for each."""
    means, stds = zip(*(one.means for one in each), strict=True), zip(*(one.stds for one in each), strict=True)
    return Encoded(tuple(map(np.stack, means)), tuple(map(np.stack, stds)))


def encode_all(model: Model, images: np.ndarray) -> Encoded:
    """The posteriors of images uint8 [N, H, W, C], N at least 1."""
    return stacked(list(encode(model, images)))


def decode(model: Model, latents: Iterable[Latents]) -> Iterator[np.ndarray]:
    """The expected image uint8 [H, W, C] of each row, as a `Latents` or anything else gives them one by one.

    Raises DataError where latents are too large to be decoded.
    """
    return (to_pixels(x[None])[0] for x in expected_images(model, latents))


def expected_images(model: Model, latents: Iterable[Latents]) -> Iterator[Tensor]:
    """float32 [C, H, W] in [-1, 1] on the CPU of each row. Raises DataError as `decode` does."""

    @torch.inference_mode()
    def decoded(chunk: Sequence[tuple[int, Latents]]) -> Tensor:
        numbers, rows = zip(*chunk, strict=True)
        with model.runtime.autocast():
            latents = Latents.joined(rows).map(lambda layer: layer.to(model.runtime.device))
            x = model.vae.decode_mean(latents).float().cpu()
        is_broken = ~x.isfinite().flatten(1).all(1)
        if is_broken.any():
            row = numbers[int(is_broken.nonzero()[0])]
            raise DataError(f"row {row} (the first is 0): too large for a picture; most latents lie between -4 and 4")
        return x

    return in_chunks(decoded, enumerate(latents), CHUNK)


def latents_from(arrays: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]) -> Latents:
    """Latents for layers of these shapes (C, h, w) from one array for each, or one that holds all of them flattened.

    An array is [N, C, h, w] or [N, C · h · w], of any type of finite real numbers. Raises DataError for all else.
    """
    sizes = [math.prod(shape) for shape in shapes]
    if len(arrays) == 1 and len(shapes) > 1 and arrays[0].ndim == 2 and arrays[0].shape[1] == sum(sizes):
        arrays = np.split(arrays[0], np.cumsum(sizes)[:-1], axis=1)
    if len(arrays) != len(shapes) or any(
        array.shape[1:] not in (shape, (size,)) or len(array) != len(arrays[0])
        for array, shape, size in zip(arrays, shapes, sizes, strict=True)
    ):
        found = ", ".join(str(list(array.shape)) for array in arrays)
        wanted = ", ".join(f"[N, {', '.join(map(str, shape))}]" for shape in shapes)
        raise DataError(f"shape {found}; this model's latents are {wanted}, or [N, {sum(sizes)}] flattened")
    if not len(arrays[0]):
        raise DataError("it holds no rows")
    layers = []
    for array, shape in zip(arrays, shapes, strict=True):
        if array.dtype.kind not in "fiu":
            raise DataError(f"an array of type {array.dtype}; latents are real numbers")
        with np.errstate(over="ignore"):  # what does not fit into 32 bits becomes infinite and is refused below
            values = np.array(array, np.float32, order="C")  # a copy, as torch takes no read-only arrays
        is_broken = ~np.isfinite(values.reshape(len(values), -1)).all(1)
        if is_broken.any():
            row = int(is_broken.argmax())
            raise DataError(f"row {row} (the first is 0): not a number, or infinite; every latent has to be finite")
        layers.append(torch.from_numpy(values).reshape(-1, *shape))
    return Latents(tuple(layers))
