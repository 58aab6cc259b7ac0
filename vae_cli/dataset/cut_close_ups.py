"""Close-ups for training: whether there shall be any, of which images, and how many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vae_cli.config import CompleteConfig
from vae_cli.dataset.cache import ImageSet, load_patches
from vae_cli.dataset.close_ups import sources, zoom_of
from vae_cli.dataset.image_statistics import picture_sizes
from vae_cli.errors import DataError
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.recipe import ImageRecipe

AUTO_PATCHES, AUTO_ZOOM = 8000, 1.5
"""So many, where half of the images are at least 2.8 times as large as the model."""
PROBED_IMAGES = 1000
"""Whose sizes are looked at, and from which patches may come."""
WEIGHED_PATCHES = 256
"""Of held-out images, to measure the trust in fills."""

Sizes = list[tuple[int, int] | None]


@dataclass(frozen=True)
class CloseUps:
    """Of training images and of held-out ones, and the configuration with their number settled."""

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
    on_progress: Callable[[int, int], None] | None = None,
) -> CloseUps:
    """What a configuration asks for; both sets come with the files that they were read
    from. `auto` asks for some where images are far larger than the model and there is a flow to be told how close they
    are."""
    size, total = config.data.image_size, config.data.patches
    if total == 0 or (total == "auto" and config.training.flow_share == 0):
        return CloseUps(config.updated({"data": {"patches": 0}}))
    refs, sizes = _looked_at(*train, workers)
    if total == "auto":
        zooms = [zoom_of(1.0, known, size) for known in sizes if known]
        total = AUTO_PATCHES if zooms and float(np.median(zooms)) >= AUTO_ZOOM else 0
        config = config.updated({"data": {"patches": total}})
    if total == 0:
        return CloseUps(config)
    shape = f"{size[0]}×{size[1]}"
    patches = _cut(config, refs, sizes, total, workers, on_progress)
    if patches is None:
        return CloseUps(config, notes=(f"data.patches: no image is much larger than {shape}: there are no close-ups",))
    note = f"images are far larger than {shape}: {len(patches.ids)} close-ups of them are learned, too (data.patches)"
    held_out = _cut(config, *_looked_at(*validation, workers), WEIGHED_PATCHES, workers, None)
    return CloseUps(config, patches, held_out, (note, *patches.notes))


def _looked_at(images: ImageSet, refs: Sequence[ImageRef], workers: int) -> tuple[list[ImageRef], Sizes]:
    """At most PROBED_IMAGES of the files that could be decoded, evenly chosen, and their sizes."""
    readable = set(images.ids)
    chosen = [ref for ref in refs if ref.id in readable]
    chosen = chosen[:: max(1, -(-len(chosen) // PROBED_IMAGES))]
    return chosen, picture_sizes(chosen, workers)


def _cut(
    config: CompleteConfig,
    refs: Sequence[ImageRef],
    sizes: Sizes,
    total: int,
    workers: int,
    on_progress: Callable[[int, int], None] | None,
) -> ImageSet | None:
    """None where no image is large enough, or can be read any more."""
    recipe = ImageRecipe.of(config.data)
    chosen, num = sources(sizes, recipe.size, total)
    if not chosen:
        return None
    try:
        return load_patches(
            [refs[number] for number in chosen],
            [sizes[number] or (0, 0) for number in chosen],
            num,
            recipe,
            workers=workers,
            on_progress=on_progress,
        )
    except DataError:
        return None
