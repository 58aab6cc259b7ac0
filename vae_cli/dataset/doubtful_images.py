"""Images that can be read and may still do harm: near-copies of others, blurred and dark ones, odd sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from PIL import Image

from vae_cli.images.modes import to_array

THUMBNAIL_SIDE, COARSE_CELLS, FINE_CELLS = 32, 8, 16
COARSE_CUTS, FINE_CUTS = (0, 0.1), (0, 0.025, 0.05, 0.075, 0.1)
"""What may be cut off a copy at each edge, as a share of the side."""
COPY_DISTANCE, COARSE_DISTANCE, SAME_DISTANCE = 0.22, 0.5, 0.05
"""Of pictures with mean 0 and length 1: that of a copy at most, before its cut is known exactly, and one that is no
accident even among look-alikes."""
CROWD, CROWDED = 10, 0.5
"""A copy is nearer than this share of the distance to the tenth nearest picture: shirts are all alike."""
MEASURED_SIDE = 512  # pixels of the longer side at which sharpness is measured
LEAST_SHARPNESS = 0.6
DARK_SHARE, DARK_LEVEL = 0.95, 64
FAR_SIZE, FAR_ASPECT = 4.0, 2.0  # times the median
_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class Look:
    """What is kept of a picture: a grey thumbnail uint8 [32, 32], its size (H, W), and two verdicts."""

    thumbnail: np.ndarray
    size: tuple[int, int]
    is_blurred: bool
    is_dark: bool


def look_at(image: Image.Image) -> Look:
    """Raises DataError as `to_array` does."""
    grey = Image.fromarray(to_array(image, channels=1)[:, :, 0])
    thumbnail = np.asarray(grey.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX, reducing_gap=3.0))
    is_dark = float(np.mean(np.asarray(grey) < DARK_LEVEL)) >= DARK_SHARE
    small = grey.copy()
    small.thumbnail((MEASURED_SIDE, MEASURED_SIDE), Image.Resampling.BOX)
    return Look(thumbnail, (image.height, image.width), sharpness(np.asarray(small)) < LEAST_SHARPNESS, is_dark)


def sharpness(pixels: np.ndarray) -> float:
    """How much two neighbours in uint8 [H, W] differ, as a share of what they do at half the resolution.

    1/2 where the finest details are missing, as in what was enlarged; about 1 at hard edges, which fourth powers make
    outweigh plain parts, and 1 for pictures of one colour, of which nothing can be said.
    """
    fine = pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2].astype(np.float32)
    coarse = (fine[::2, ::2] + fine[1::2, ::2] + fine[::2, 1::2] + fine[1::2, 1::2]) / 4
    if min(coarse.shape) < 2:
        return 1.0
    powers = [(np.diff(each, axis=0) ** 4).mean() + (np.diff(each, axis=1) ** 4).mean() for each in (fine, coarse)]
    return float((powers[0] / powers[1]) ** 0.25) if powers[1] > 0 else 1.0


def odd_sizes(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """The numbers of images (H, W) far smaller, larger or narrower than the median one."""
    if not sizes:
        return []
    sides = np.sort(np.array(sizes, float), axis=1)
    short, aspect = sides[:, 0], sides[:, 1] / sides[:, 0]
    far = np.abs(np.log(short / np.median(short))) > np.log(FAR_SIZE)
    return np.flatnonzero(far | (aspect > FAR_ASPECT * np.median(aspect))).tolist()


def near_copies(thumbnails: Sequence[np.ndarray]) -> list[list[int]]:
    """Groups of the numbers of images that show the same: re-encoded, resized, mirrored, brighter, or up to a tenth cut
    off at any edge. thumbnails: uint8 [32, 32] each."""
    pairs = [pair for pair in _candidates(thumbnails) if _distance(*(thumbnails[n] for n in pair)) <= COPY_DISTANCE]
    group_of, members = np.arange(len(thumbnails)), dict[int, list[int]]()
    for one, other in pairs:
        group_of[group_of == group_of[other]] = group_of[one]
    for number, group in enumerate(group_of.tolist()):
        members.setdefault(group, []).append(number)
    return [numbers for numbers in members.values() if len(numbers) > 1]


def _candidates(thumbnails: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Pairs that look alike at few pixels, and more so than look-alikes do."""
    num, found = len(thumbnails), set[tuple[int, int]]()
    if num < 2:
        return []
    parts = np.concatenate([_parts(thumbnail, COARSE_CELLS, COARSE_CUTS) for thumbnail in thumbnails], axis=1)
    size, nth = max(1, _BLOCK_BYTES // (4 * num)), min(CROWD, num - 1)
    for start in range(0, num, size):
        rows = parts[0, start : start + size]
        alike = np.full((len(rows), num), -1, np.float32)
        for part, turned in product(parts, (rows, rows[:, :, ::-1])):
            np.maximum(alike, turned.reshape(len(rows), -1) @ part.reshape(num, -1).T, out=alike)
        alike[np.arange(len(rows)), start + np.arange(len(rows))] = -1
        distance = np.sqrt(np.maximum(2 - 2 * alike, 0))
        crowd = np.partition(distance, nth - 1, axis=1)[:, nth - 1, None] if num > CROWD else np.inf
        close = distance <= np.clip(CROWDED * crowd, SAME_DISTANCE, COARSE_DISTANCE)
        found |= {(min(pair), max(pair)) for pair in np.add(np.argwhere(close), (start, 0)).tolist()}
    return sorted(found)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Between a picture uint8 [32, 32] and the nearest part of another, or the other way round; one may be mirrored."""
    parts = [_parts(picture, FINE_CELLS, FINE_CUTS)[:, 0] for picture in (one, other)]
    alike = max(float((turned * part).sum((1, 2)).max()) for whole, part in (parts, parts[::-1])
                for turned in (whole[0], whole[0, :, ::-1]))  # fmt: skip
    return max(2 - 2 * alike, 0) ** 0.5


def _parts(picture: np.ndarray, cells: int, cuts: Sequence[float]) -> np.ndarray:
    """float32 [P, 1, cells, cells] of mean 0 and length 1: a picture uint8 [32, 32], and what is left of it after a cut
    of any of these widths at each edge. Pictures of one colour are all alike, and like no other."""
    averaging = np.stack([_averaging(first, 1 - last, cells) for first, last in product(cuts, repeat=2)])
    small = np.einsum("arh,hw,bcw->abrc", averaging, picture.astype(np.float32), averaging, optimize=True)
    small = small.reshape(-1, 1, cells, cells)
    small -= small.mean((2, 3), keepdims=True)
    length = np.sqrt(np.square(small).sum((2, 3), keepdims=True))
    return np.where(length > 1, small / np.maximum(length, 1), np.float32(1 / cells))


@cache
def _averaging(first: float, last: float, cells: int) -> np.ndarray:
    """float32 [cells, 32]: means of equal parts of the way from `first` to `last`, of 32 pixels between 0 and 1."""
    edges = np.linspace(first, last, cells + 1) * THUMBNAIL_SIDE
    pixels = np.arange(THUMBNAIL_SIDE)
    share = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (share.clip(0) / np.diff(edges)[:, None]).astype(np.float32)
