"""The built-in data set: the first 10,000 training images of Fashion-MNIST (MIT licence, see LICENSE beside this).

One PNG mosaic per class, images in their original order, 32 a row; labels.txt holds the original labels as digits.
"""

from collections.abc import Sequence
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vae_cli.dataset.cache import ImageSet
from vae_cli.dataset.split import split_images
from vae_cli.images.image_ref import ImageRef

_CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")
_SIDE = 28


class Builtin(NamedTuple):
    """uint8 [10000, 28, 28, 1], int64 [10000] positions in label_names, sorted names, ids; everything in id order."""

    pixels: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...]
    ids: tuple[str, ...]


def builtin_scan() -> Builtin:
    """Images, labels and ids 'builtin/<class>/<number in Fashion-MNIST>.png', as a scan of class folders gives them."""
    digits = np.array([int(digit) for digit in _read("labels.txt").decode().replace("\n", "")])
    label_names = tuple(sorted(_CLASSES))
    pixels, labels, ids = [], [], []
    for label, name in enumerate(label_names):
        numbers = np.flatnonzero(digits == _CLASSES.index(name))
        pixels.append(_read_mosaic(name)[: len(numbers)])
        labels.append(np.full(len(numbers), label, np.int64))
        ids += [f"builtin/{name}/{number:05d}.png" for number in numbers]
    return Builtin(np.concatenate(pixels), np.concatenate(labels), label_names, tuple(ids))


def builtin_split() -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    """The training and the held-out images, by the rule of split_images, and the names of the labels."""
    data = builtin_scan()
    split = split_images([ImageRef(image_id, Path()) for image_id in data.ids])
    positions = {image_id: position for position, image_id in enumerate(data.ids)}

    def image_set(refs: Sequence[ImageRef]) -> ImageSet:
        chosen = [positions[ref.id] for ref in refs]
        return ImageSet(data.pixels[chosen], tuple(ref.id for ref in refs), data.labels[chosen])

    return image_set(split.train), image_set(split.validation), data.label_names


def _read(name: str) -> bytes:
    return files(__name__).joinpath(name).read_bytes()


def _read_mosaic(name: str) -> np.ndarray:
    """uint8 [n, 28, 28, 1]; black tiles fill up the last row."""
    mosaic = np.asarray(Image.open(BytesIO(_read(f"{name}.png"))))
    tiles = mosaic.reshape(mosaic.shape[0] // _SIDE, _SIDE, -1, _SIDE).swapaxes(1, 2)
    return tiles.reshape(-1, _SIDE, _SIDE, 1)
