"""Which pixels of which image are to be filled: masks given as files, as a colour or as transparency, or found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError, DataError
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.inputs import Input, require
from vae_cli.printable import shell_quoted

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.images.image_ref import ImageRef, Skipped

SUSPICIOUS_COVER = 0.6
"""Share of an image from which on its mask looks inverted."""
MUCH_DAMAGE = 0.15
"""Share of an image from which on what was found is likely a part of it: the joints of a wall, writing, stars."""
NOTHING_FOUND = "no damage found"


@dataclass(frozen=True)
class MaskSource:
    """Where masks come from, and what is done to them."""

    path: Path | None
    """One mask for all, or a folder of them."""
    color: str | None
    """The colour of hole pixels."""
    alpha: bool
    """Transparent pixels are the hole."""
    auto: bool
    """Scratches and dust are searched for."""
    invert: bool
    dilate_pixels: int

    def check(self) -> None:
        """Raises ConfigError unless there is exactly one source, and it exists."""
        given = [self.path is not None, self.color is not None, self.alpha, self.auto]
        if sum(given) != 1:
            sources = "--mask FILE|DIR, --mask-color '#ff00ff', --mask-alpha or --mask-auto"
            raise ConfigError(f"inpaint: give exactly one of {sources}")
        if self.auto and self.invert:
            raise ConfigError("--mask-invert: what --mask-auto finds is the hole; leave one of them out")
        if self.path is not None:
            require(self.path)
        if self.color is not None:
            from vae_cli.images.colours import parse_color

            parse_color(self.color)

    def words(self) -> str:
        """The options that ask for this."""
        changed = " --mask-invert" * self.invert + f" --mask-dilate {self.dilate_pixels}" * (self.dilate_pixels > 0)
        if self.path is not None:
            return f"--mask {shell_quoted(self.path)}{changed}"
        if self.color is not None:
            return f"--mask-color {shell_quoted(self.color)}{changed}"
        return f"{'--mask-auto' if self.auto else '--mask-alpha'}{changed}"


@dataclass(frozen=True)
class Damaged:
    """An image with the mask that belongs to it, or the reason why there is none."""

    item: Input
    mask: "ImageRef | None" = None
    """None where the mask is in the image itself."""
    problem: str | None = None
    is_missing: bool = False
    """The problem is just that there is no mask."""


def pair(items: Sequence[Input], source: MaskSource) -> Iterator[Damaged]:
    """Each input with its mask. Raises DataError when a folder of masks holds no images."""
    if source.path is None:
        yield from map(Damaged, items)
        return
    from vae_cli.dataset.scan import scan
    from vae_cli.files.mask_pairs import NoMask
    from vae_cli.images.image_ref import Skipped

    masks = _masks_of(items, scan(source.path, labels="none").images if source.path.is_dir() else source.path)
    masks_in_use = {mask.path.resolve() for mask in masks if not isinstance(mask, Skipped)}
    for item, mask in zip(items, masks, strict=True):
        if isinstance(mask, Skipped):
            if item.ref.path.resolve() in masks_in_use:
                continue  # it lies beside the image whose mask it is
            yield Damaged(item, None, mask.reason, isinstance(mask, NoMask))
        else:
            yield Damaged(item, mask)


def _masks_of(items: Sequence[Input], masks: "Sequence[ImageRef] | Path") -> "list[ImageRef | Skipped]":
    """Of several INPUT folders `scans/a.jpg` has the mask `scans/a.png`, or `a.png` if nothing else is called so."""
    from vae_cli.files.mask_pairs import NoMask, pair_masks

    placed = [replace(item.ref, id=str(item.relative)) for item in items]
    pairs = pair_masks(placed, masks)
    found = [pairs[ref.id] for ref in placed]
    left = [isinstance(mask, NoMask) for mask in found]
    by_name = pair_masks([item.ref for item, is_left in zip(items, left, strict=True) if is_left], masks)
    return [by_name[item.ref.id] if is_left else mask for item, mask, is_left in zip(items, found, left, strict=True)]


def read_hole_of(damaged: Damaged, size: tuple[int, int], source: MaskSource) -> "np.ndarray":
    """bool [H, W], True = to fill, for an image of `size` (H, W) as displayed. Raises DataError.

    Empty where no damage was found; masks of other sources are never empty.
    """
    from vae_cli.files import masks
    from vae_cli.files.originals import shown_image

    if source.auto:
        return found_hole(damaged.item, dilate_pixels=source.dilate_pixels, most=MUCH_DAMAGE)
    if damaged.mask is not None:
        return masks.read_hole(damaged.mask, size, invert=source.invert, dilate_pixels=source.dilate_pixels)
    image = shown_image(damaged.item.ref.path)
    if source.color is not None:
        return masks.hole_from_color(image, source.color, invert=source.invert, dilate_pixels=source.dilate_pixels)
    return masks.hole_from_alpha(image, invert=source.invert, dilate_pixels=source.dilate_pixels)


def found_hole(item: Input, *, dilate_pixels: int, most: float = 1.0) -> "np.ndarray":
    """bool [H, W]: scratches and dust on an image as displayed, at its full depth; empty where there are none.

    Raises DataError, also where they cover more than this share of it.
    """
    from vae_cli.files.masks import dilate
    from vae_cli.files.originals import open_original
    from vae_cli.files.scratches import find_scratches

    hole = find_scratches(open_original(item.ref.path).display_array(3))
    if hole.mean() > most:
        correct = "--dry-run writes the mask, to be corrected"
        raise DataError(
            f"{hole.mean():.0%} of it looks like damage, so much that it may well be the picture; {correct}"
        )
    grown = dilate(hole, dilate_pixels)
    if grown.all():
        raise DataError("the dilated mask covers the whole image; lower --mask-dilate")
    return grown


def num_undamaged(results: Results) -> int:
    """Images in which nothing was found."""
    return sum(entry["reason"] == NOTHING_FOUND for entry in results.files)


def without_mask(damaged: Damaged, *, is_allowed: bool) -> FileDone:
    """An image left out; unless the user allowed that, the exit code says so."""
    return FileDone(damaged.item.name, "skipped", reason=damaged.problem, is_lacking=not is_allowed, is_settled=False)


def num_without_mask(results: Results) -> int:
    """Images that were left out for want of a mask."""
    return sum(entry["status"] == "skipped" and not entry["output"] and entry["reason"] != NOTHING_FOUND
               for entry in results.files)  # fmt: skip
