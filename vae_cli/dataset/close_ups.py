"""Close-ups of images that are larger than the model: patches at several scales, beside the images seen whole.

A model that has only seen whole pictures knows nothing of the local structure that it meets when it mends a scratch in
a large scan. Learning from patches at continuous scales, with the scale as a condition, is due to Chai et al. (2022,
"Any-resolution training for high-resolution image synthesis").

The zoom of a view is the binary logarithm of how much closer it is than the whole picture: 0 shows all of it, 1 half of
its height and width.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from vae_cli.images.decode import open_image
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.modes import to_array
from vae_cli.images.recipe import ImageRecipe, resized

LEAST_ZOOM = 0.5
"""Less is nearly the whole picture."""
_OF_ONE_IMAGE, _MOST_OF_ONE_IMAGE = 16, 64
_PIXELS_A_PATCH = 250_000
"""Decoded for each patch at most: 8,000 of them take a CPU about a minute, however large the images are."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the displayed image."""


def zoom_of(scale: float, picture_size: tuple[int, int], model_size: tuple[int, int]) -> float:
    """Of a view that shows `scale` pixels of the picture a model pixel, of a picture of (H, W); never below 0."""
    whole = min(side / model for side, model in zip(picture_size, model_size, strict=True))
    return max(0.0, math.log2(whole / scale))


def sources(sizes: Sequence[tuple[int, int] | None], model_size: tuple[int, int], total: int) -> tuple[list[int], int]:
    """Which images `total` patches are cut from, evenly chosen among those far larger than the model, and how many of
    each: from few images, as decoding one takes far longer than cutting.

    sizes: (H, W) of each image, None = unknown. Large images are fewer, so that decoding them stays bearable.
    """
    large = [number for number, size in enumerate(sizes) if size and zoom_of(1.0, size, model_size) >= LEAST_ZOOM]
    if not large:
        return [], 0
    mean_pixels = float(np.mean([math.prod(size) for size in sizes if size]))
    num_sources = min(len(large), total / _OF_ONE_IMAGE, total * _PIXELS_A_PATCH / mean_pixels)
    chosen = np.unique(np.linspace(0, len(large) - 1, max(1, int(num_sources))).round().astype(int))
    return [large[index] for index in chosen], min(_MOST_OF_ONE_IMAGE, -(-total // len(chosen)))


def patch_boxes(
    image_id: str, picture_size: tuple[int, int], model_size: tuple[int, int], num: int
) -> tuple[list[Box], list[float]]:
    """Where the patches of an image lie, and their zooms, evenly spread from LEAST_ZOOM to the picture's own pixels.

    A function of the arguments alone. A picture that is hardly larger than the model gives its middle at zoom 0.
    """
    height, width = picture_size
    most = zoom_of(1.0, picture_size, model_size)
    boxes, zooms = [], []
    for number in range(num):
        uniform = _uniform(image_id, number)
        zoom = LEAST_ZOOM + (most - LEAST_ZOOM) * (number + next(uniform)) / num if most > LEAST_ZOOM else 0.0
        scale = 2 ** (most - zoom) if most > 0 else min(height / model_size[0], width / model_size[1])
        rows, columns = min(height, scale * model_size[0]), min(width, scale * model_size[1])
        down, right = (next(uniform), next(uniform)) if zoom > 0 else (0.5, 0.5)
        top, left = down * (height - rows), right * (width - columns)
        boxes.append((left, top, left + columns, top + rows))
        zooms.append(zoom)
    return boxes, zooms


def decode_patches(ref: ImageRef, recipe: ImageRecipe, num: int) -> np.ndarray:
    """uint8 [num, H, W, C]: the patches of `patch_boxes` at the recipe's size. Raises DataError."""
    pixels = to_array(open_image(ref), channels=recipe.channels, background=recipe.background)
    boxes, _ = patch_boxes(ref.id, pixels.shape[:2], recipe.size, num)
    picture = Image.fromarray(pixels[..., 0] if recipe.channels == 1 else pixels)
    return np.stack([resized(picture, recipe.size, box) for box in boxes])


def _uniform(image_id: str, number: int) -> Iterator[float]:
    """Numbers in [0, 1) that follow from the image's id."""
    digest = hashlib.blake2b(f"{number} {image_id}".encode("utf-8", "surrogatepass"), digest_size=24).digest()
    return (value / 2**64 for value in np.frombuffer(digest, "<u8").tolist())
