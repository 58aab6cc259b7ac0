"""The built-in data set: the first 10,000 training images of Fashion-MNIST (MIT licence, see LICENSE beside this).

One PNG mosaic per class, images in their original order, 32 a row; labels.txt holds the original labels as digits.
"""

from collections.abc import Sequence
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from vae_cli.dataset.cache import ImageSet
from vae_cli.dataset.split import split_images
from vae_cli.images.image_ref import ImageRef

_CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")
_SIDE = 28


def builtin_images() -> tuple[ImageSet, tuple[str, ...]]:
    """All of them, in the order of their ids 'builtin/<class>/<number in Fashion-MNIST>.png', and the labels' names."""
    digits = np.array([int(digit) for digit in _read("labels.txt").decode().replace("\n", "")])
    label_names = tuple(sorted(_CLASSES))
    pixels, labels, ids = [], [], []
    for label, name in enumerate(label_names):
        numbers = np.flatnonzero(digits == _CLASSES.index(name))
        pixels.append(_read_mosaic(name)[: len(numbers)])
        labels.append(np.full(len(numbers), label, np.int64))
        ids += [f"builtin/{name}/{number:05d}.png" for number in numbers]
    return ImageSet(np.concatenate(pixels), tuple(ids), np.concatenate(labels)), label_names


def builtin_split() -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    """The training and the held-out images, by the rule of split_images, and the names of the labels."""
    images, label_names = builtin_images()
    split = split_images([ImageRef(image_id, Path()) for image_id in images.ids])
    positions = {image_id: position for position, image_id in enumerate(images.ids)}

    def image_set(refs: Sequence[ImageRef]) -> ImageSet:
        chosen = [positions[ref.id] for ref in refs]
        return ImageSet(images.pixels[chosen], tuple(ref.id for ref in refs), images.labels[chosen])

    return image_set(split.train), image_set(split.validation), label_names


def _read(name: str) -> bytes:
    return files(__name__).joinpath(name).read_bytes()


def _read_mosaic(name: str) -> np.ndarray:
    """uint8 [n, 28, 28, 1]; black tiles fill up the last row."""
    mosaic = np.asarray(Image.open(BytesIO(_read(f"{name}.png"))))
    tiles = mosaic.reshape(mosaic.shape[0] // _SIDE, _SIDE, -1, _SIDE).swapaxes(1, 2)
    return tiles.reshape(-1, _SIDE, _SIDE, 1)
