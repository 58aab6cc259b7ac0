"""Facts about a set of images: from its files before they are decoded, and from its pixels."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vae_cli.dataset.ordered_threads import OnProgress, ordered_map
from vae_cli.dataset.stored_pixels import StoredPixels, is_extreme
from vae_cli.errors import DataError
from vae_cli.images.colours import WHITE, Colour
from vae_cli.images.decode import open_image, probe
from vae_cli.images.image_ref import ImageRef, Skipped
from vae_cli.images.modes import is_grey

_COUNTED_BYTES = 16 << 20  # at once


@dataclass(frozen=True)
class ImageStatistics:
    """How many images there are of each (H, W) as displayed and of each Pillow mode, and whether all are grey.

    common_size is None unless all images share one size; skipped names the files whose header cannot be read.
    """

    sizes: dict[tuple[int, int], int]
    modes: dict[str, int]
    grey: bool
    common_size: tuple[int, int] | None
    skipped: tuple[Skipped, ...]

    def as_text(self) -> str:
        """As JSON, of which `of_text` makes the same again."""
        skipped = [(item.id, item.reason) for item in self.skipped]
        return json.dumps([list(self.sizes.items()), self.modes, self.grey, self.common_size, skipped])

    @staticmethod
    def of_text(text: str) -> "ImageStatistics":
        """Raises ValueError, TypeError or LookupError for another text."""
        sizes, modes, grey, common_size, skipped = json.loads(text)
        return ImageStatistics({(height, width): number for (height, width), number in sizes}, modes, bool(grey),
                               common_size and (common_size[0], common_size[1]),
                               tuple(Skipped(name, reason) for name, reason in skipped))  # fmt: skip


def image_statistics(
    refs: Sequence[ImageRef], *, background: Colour = WHITE, workers: int = 2, on_progress: OnProgress | None = None
) -> ImageStatistics:
    """Sizes and modes from the headers; colour files are decoded only until the first one that shows colour."""
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    skipped: list[Skipped] = []
    maybe_grey: list[ImageRef] = []
    for number, (ref, facts) in enumerate(zip(refs, ordered_map(probe, refs, workers), strict=True), start=1):
        if isinstance(facts, DataError):
            skipped.append(Skipped(ref.id, str(facts)))
        else:
            mode, size = facts
            modes[mode] += 1
            sizes[size] += 1
            if mode not in ("1", "L") and not mode.startswith("I"):
                maybe_grey.append(ref)
        if on_progress is not None:
            on_progress(number, len(refs))
    answers = ordered_map(lambda ref: is_grey(open_image(ref), background), maybe_grey, workers)
    grey = bool(sizes) and all(answer is not False for answer in answers)
    common_size = next(iter(sizes)) if len(sizes) == 1 else None
    return ImageStatistics(dict(sizes), dict(modes), grey, common_size, tuple(skipped))


def picture_sizes(refs: Sequence[ImageRef], workers: int = 2) -> list[tuple[int, int] | None]:
    """(H, W) of each image as displayed, from its header; None where that cannot be read."""
    return [None if isinstance(facts, DataError) else facts[1] for facts in ordered_map(probe, refs, workers)]


def binary_share(pixels: np.ndarray) -> float:
    """Share of the values of a uint8 array that are 0 or 255."""
    if isinstance(pixels, StoredPixels) and pixels.num_extreme is not None:
        return pixels.num_extreme / max(1, pixels.size)
    size = max(1, _COUNTED_BYTES * len(pixels) // max(1, pixels.nbytes))
    chunks = (pixels[start : start + size] for start in range(0, len(pixels), size))
    return sum(np.count_nonzero(is_extreme(chunk)) for chunk in chunks) / max(1, pixels.size)
