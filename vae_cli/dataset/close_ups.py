"""Close-ups of images that are larger than the model: patches at several scales, learned beside the whole images.

A model that has only seen whole pictures knows nothing of the local structure that it meets when it mends a scratch in
a large scan. Learning from patches at continuous scales, with the scale as a condition, is due to Chai et al. (2022,
"Any-resolution training for high-resolution image synthesis").

The zoom of a view is the binary logarithm of how much closer it is than the whole picture: 0 shows all of it, 1 half of
its height and width.
"""

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vae_cli.company import Company
from vae_cli.config import CompleteConfig
from vae_cli.dataset.cache import ImageSet, load_decoded
from vae_cli.dataset.decoding import Request
from vae_cli.dataset.image_statistics import picture_sizes
from vae_cli.dataset.ordered_threads import OnProgress
from vae_cli.errors import DataError
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.decode import open_image
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.modes import to_array
from vae_cli.images.recipe import ImageRecipe, resized

LEAST_ZOOM = 0.5  # a view with a smaller one shows nearly the whole picture
AUTO_PATCHES, AUTO_ZOOM = 8000, 1.5
"""`auto` asks for so many patches, where half of the images are 2 ** AUTO_ZOOM times as large as the model or more."""
HELD_OUT_PATCHES = 256  # to measure how far fills can be trusted
PROBED_IMAGES = 1000  # whose sizes are read, and from which patches may come
_PATCHES_AN_IMAGE, _MOST_PATCHES_AN_IMAGE = 16, 64
_PIXELS_A_PATCH = 250_000
"""Decoded for each patch at most, so that 8,000 patches take a CPU about a minute however large the images are."""

Probed = list[tuple[ImageRef, tuple[int, int] | None]]  # with (H, W), None = unknown
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the displayed image


# ---- what training asks for


@dataclass(frozen=True)
class CloseUps:
    """Patches of training and of held-out images, and the configuration with the number of patches settled."""

    config: CompleteConfig
    train: ImageSet | None = None
    validation: ImageSet | None = None
    notes: tuple[str, ...] = ()


def cut_close_ups(
    config: CompleteConfig,
    train: tuple[ImageSet, Sequence[ImageRef]],
    validation: tuple[ImageSet, Sequence[ImageRef]],
    *,
    workers: int = 2,
    on_progress: OnProgress | None = None,
    company: Company | None = None,
) -> CloseUps:
    """The close-ups that a configuration asks for; both sets come with the files that they were read from.

    `auto` asks for some where images are far larger than the model and there is a flow, which can be told the zoom.
    """
    recipe, total = ImageRecipe.of(config.data), config.data.patches
    is_wanted = total != 0 and (total != "auto" or config.training.flow_share != 0)
    probed = _probe(*train, workers) if is_wanted else []
    if total == "auto":
        zooms = [zoom_of(1.0, size, recipe.size) for _, size in probed if size]
        total = AUTO_PATCHES if zooms and float(np.median(zooms)) >= AUTO_ZOOM else 0
        config = config.updated({"data": {"patches": total}})
    if total == 0:
        return CloseUps(config)
    shape = f"{recipe.size[0]}×{recipe.size[1]}"
    patches = _cut(probed, total, recipe, workers, on_progress, company)
    if patches is None:
        return CloseUps(config, notes=(f"data.patches: no image is much larger than {shape}: there are no close-ups",))
    note = f"images are far larger than {shape}: {len(patches.ids)} close-ups of them are learned, too (data.patches)"
    held_out = _cut(_probe(*validation, workers), HELD_OUT_PATCHES, recipe, workers, None, company)
    return CloseUps(config, patches, held_out, (note, *patches.notes))


def _probe(images: ImageSet, refs: Sequence[ImageRef], workers: int) -> Probed:
    """At most PROBED_IMAGES of the files that could be decoded, evenly chosen."""
    readable = set(images.ids)
    chosen = [ref for ref in refs if ref.id in readable]
    chosen = chosen[:: max(1, -(-len(chosen) // PROBED_IMAGES))]
    return list(zip(chosen, picture_sizes(chosen, workers), strict=True))


def _cut(
    probed: Probed, total: int, recipe: ImageRecipe, workers: int, on_progress: OnProgress | None,
    company: Company | None,
) -> ImageSet | None:  # fmt: skip
    """None where no image is large enough, or can be read any more."""
    chosen, num = sources([size for _, size in probed], recipe.size, total)
    if not chosen:
        return None
    refs, sizes = zip(*(probed[number] for number in chosen), strict=True)
    try:
        return load_patches(refs, sizes, num, recipe, workers=workers, on_progress=on_progress,
                            company=company)  # fmt: skip
    except DataError:
        return None


def load_patches(
    refs: Sequence[ImageRef],
    sizes: Sequence[tuple[int, int]],
    num_patches: int,
    recipe: ImageRecipe,
    *,
    workers: int = 2,
    on_progress: OnProgress | None = None,
    company: Company | None = None,
) -> ImageSet:
    """`num_patches` of every image that can be decoded, without labels; otherwise as `load_images`.

    sizes: (H, W) of each image, as of `picture_sizes`.
    """
    shape = (num_patches, *recipe.size, recipe.channels)
    settings = repr((recipe, num_patches, [ref.id for ref in refs]))  # ids decide where patches are cut
    decode = functools.partial(decode_patches, recipe=recipe, num=num_patches)
    pixels, kept, _, notes = load_decoded(
        Request(refs, decode, shape, settings, workers, on_progress, company or Company())
    )
    zooms = [patch_boxes(refs[position].id, sizes[position], recipe.size, num_patches)[1] for position in kept]
    ids = tuple(refs[position].id for position in kept for _ in range(num_patches))
    labels, flat_zooms = np.full(len(ids), -1, np.int64), np.array(zooms, np.float32).reshape(-1)
    return ImageSet(pixels, ids, labels, (), notes, flat_zooms)


# ---- which images, and where in them


def zoom_of(scale: float, picture_size: tuple[int, int], model_size: tuple[int, int]) -> float:
    """Of a view that shows `scale` pixels of the picture a model pixel, of a picture of (H, W); never below 0."""
    whole = min(side / model for side, model in zip(picture_size, model_size, strict=True))
    return max(0.0, math.log2(whole / scale))


def sources(sizes: Sequence[tuple[int, int] | None], model_size: tuple[int, int], total: int) -> tuple[list[int], int]:
    """Which images of (H, W), None = unknown, `total` patches are cut from, and how many from each.

    The images are evenly chosen among those far larger than the model. They are few, and fewer where they are large,
    since decoding an image takes far longer than cutting patches from it.
    """
    large = [number for number, size in enumerate(sizes) if size and zoom_of(1.0, size, model_size) >= LEAST_ZOOM]
    if not large:
        return [], 0
    mean_pixels = float(np.mean([math.prod(size) for size in sizes if size]))
    num_sources = min(len(large), total / _PATCHES_AN_IMAGE, total * _PIXELS_A_PATCH / mean_pixels)
    chosen = np.unique(np.linspace(0, len(large) - 1, max(1, int(num_sources))).round().astype(int))
    return [large[index] for index in chosen], min(_MOST_PATCHES_AN_IMAGE, -(-total // len(chosen)))


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
        zoom, down, right = 0.0, 0.5, 0.5
        if most > LEAST_ZOOM:
            offset, down, right = _three_uniform(image_id, number)
            zoom = LEAST_ZOOM + (most - LEAST_ZOOM) * (number + offset) / num
        scale = 2 ** (most - zoom) if most > 0 else min(height / model_size[0], width / model_size[1])
        rows, columns = min(height, scale * model_size[0]), min(width, scale * model_size[1])
        top, left = down * (height - rows), right * (width - columns)
        boxes.append((left, top, left + columns, top + rows))
        zooms.append(zoom)
    return boxes, zooms


def _three_uniform(image_id: str, number: int) -> list[float]:
    """Numbers in [0, 1) that follow from the image's id."""
    digest = hashlib.blake2b(f"{number} {image_id}".encode("utf-8", "surrogatepass"), digest_size=24).digest()
    return [value / 2**64 for value in np.frombuffer(digest, "<u8").tolist()]


@bad_bytes_are_data_errors()
def decode_patches(ref: ImageRef, recipe: ImageRecipe, num: int) -> np.ndarray:
    """uint8 [num, H, W, C]: the patches of `patch_boxes` at the recipe's size. Raises DataError."""
    pixels = to_array(open_image(ref), channels=recipe.channels, background=recipe.background)
    boxes, _ = patch_boxes(ref.id, pixels.shape[:2], recipe.size, num)
    picture = Image.fromarray(pixels[..., 0] if recipe.channels == 1 else pixels)
    return np.stack([resized(picture, recipe.size, box) for box in boxes])
