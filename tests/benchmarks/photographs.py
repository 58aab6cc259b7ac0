"""Crops of the colour photographs that scikit-image ships, split by picture: for sizes.py and fills.py.

Learned from: astronaut, hubble_deep_field, immunohistochemistry, retina and the left half of stereo_motorcycle.
Validated on, to choose the best weights and the trust in fills: chelsea; with crops of pictures that are learned from a
model would seem to know what it has not seen. Held out: coffee and rocket. All are files of scikit-image's wheel:
nothing is fetched.
"""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data as pictures

LEARNED_FROM = ("astronaut", "hubble_deep_field", "immunohistochemistry", "retina", "stereo_motorcycle")
VALIDATED_ON = ("chelsea",)
HELD_OUT = ("coffee", "rocket")


def picture(name: str) -> np.ndarray:
    """uint8 [H, W, 3]; of a pair of pictures the first."""
    found = getattr(pictures, name)()
    pixels: np.ndarray = found[0] if isinstance(found, tuple) else found
    return pixels[:, :, :3]


def crop(pixels: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A random window of the size's proportions, between the size and the largest that fits, at that size."""
    height, width = size
    largest = min(pixels.shape[0] / height, pixels.shape[1] / width)
    scale = rng.uniform(1, largest)
    rows, columns = int(height * scale), int(width * scale)
    top = rng.integers(pixels.shape[0] - rows + 1)
    left = rng.integers(pixels.shape[1] - columns + 1)
    window = Image.fromarray(pixels[top : top + rows, left : left + columns])
    return window.resize((width, height), Image.Resampling.LANCZOS)


def crops(names: tuple[str, ...], num: int, size: tuple[int, int], seed: int) -> list[Image.Image]:
    """`num` crops, picture by picture in turn."""
    sources, rng = [picture(name) for name in names], np.random.default_rng(seed)
    return [crop(sources[index % len(sources)], size, rng) for index in range(num)]


def crop_folder(folder: Path, names: tuple[str, ...], num: int, size: tuple[int, int], seed: int) -> Path:
    """A folder of `num` crops as PNGs; left as it is where it is complete."""
    if len(list(folder.glob("*.png"))) != num:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for index, made in enumerate(crops(names, num, size, seed)):
            made.save(folder / f"{index:05d}.png")
    return folder
