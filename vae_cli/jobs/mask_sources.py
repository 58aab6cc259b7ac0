"""Which pixels of which image are to be filled: masks given as files, as a colour or as transparency, or found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_cli.dataset.scan import scan
from vae_cli.errors import ConfigError, DataError
from vae_cli.files.mask_pairs import NoMask, pair_masks
from vae_cli.images.image_ref import ImageRef, Skipped
from vae_cli.jobs.events import Remark
from vae_cli.jobs.inputs import Input, require
from vae_cli.printable import printable, shell_quoted

if TYPE_CHECKING:
    import numpy as np

NOTHING_FOUND = "no damage found"
"""Why an image is skipped in which a search finds nothing."""
SUSPICIOUS_COVER = 0.6
"""Share of an image from which on its mask looks inverted."""
MUCH_DAMAGE = 0.15
"""Share of an image from which on what was found is likely a part of it: the joints of a wall, writing, stars."""


@dataclass(frozen=True)
class MaskSource:
    """Where masks come from: one for all or a folder of them, the colour or the transparency of pixels, or a search
    for scratches and dust; and what is done to them."""

    path: Path | None = None
    color: str | None = None
    alpha: bool = False
    auto: bool = False
    invert: bool = False
    dilate_pixels: int = 0

    def check(self) -> None:
        """Raises ConfigError unless there is exactly one source, and it exists."""
        if sum((self.path is not None, self.color is not None, self.alpha, self.auto)) != 1:
            sources = "--mask FILE|DIR, --mask-color '#ff00ff', --mask-alpha or --mask-auto"
            raise ConfigError(f"inpaint: give exactly one of {sources}")
        if self.auto and self.invert:
            raise ConfigError("--mask-invert: what --mask-auto finds is the hole; leave one of them out")
        if self.path is not None:
            require(self.path)
        if self.color is not None:
            from vae_cli.images.colours import parse_color

            parse_color(self.color)

    def options(self) -> str:
        """The options that ask for this."""
        changed = " --mask-invert" * self.invert + f" --mask-dilate {self.dilate_pixels}" * (self.dilate_pixels > 0)
        if self.path is not None:
            return f"--mask {shell_quoted(self.path)}{changed}"
        if self.color is not None:
            return f"--mask-color {shell_quoted(self.color)}{changed}"
        return f"{'--mask-auto' if self.auto else '--mask-alpha'}{changed}"


def pair(items: Sequence[Input], source: MaskSource) -> Iterator[tuple[Input, ImageRef | Skipped | None]]:
    """Each image with its mask, or with why there is none; None where the mask needs no file.

    Images that are the masks of others are left out. Raises DataError when a folder of masks holds no images.
    """
    if source.path is None:
        yield from ((item, None) for item in items)
        return
    files = scan(source.path, labels="none").images if source.path.is_dir() else source.path
    # of several INPUT folders `scans/a.jpg` has the mask `scans/a.png`, or `a.png` if nothing else is called so
    by_place = pair_masks([replace(item.ref, id=str(item.relative)) for item in items], files)
    found = [by_place[str(item.relative)] for item in items]
    by_name = pair_masks([item.ref for item, mask in zip(items, found, strict=True) if isinstance(mask, NoMask)], files)
    found = [
        by_name[item.ref.id] if isinstance(mask, NoMask) else mask for item, mask in zip(items, found, strict=True)
    ]
    in_use = {mask.path.resolve() for mask in found if isinstance(mask, ImageRef)}
    for item, mask in zip(items, found, strict=True):
        if isinstance(mask, ImageRef) or item.ref.path.resolve() not in in_use:
            yield item, mask


def read_hole(item: Input, mask: ImageRef | None, size: tuple[int, int], source: MaskSource) -> "np.ndarray":
    """bool [H, W], True = to fill, for an image of `size` (H, W) as displayed. Raises DataError.

    Empty where no damage was found; masks of other sources are never empty.
    """
    from vae_cli.files import masks
    from vae_cli.files.originals import shown_image

    invert, dilate_pixels = source.invert, source.dilate_pixels
    if source.auto:
        return find_hole(item, dilate_pixels, most=MUCH_DAMAGE)
    if mask is not None:
        return masks.read_hole(mask, size, invert=invert, dilate_pixels=dilate_pixels)
    image = shown_image(item.ref.path)
    if source.color is not None:
        return masks.hole_from_color(image, source.color, invert=invert, dilate_pixels=dilate_pixels)
    return masks.hole_from_alpha(image, invert=invert, dilate_pixels=dilate_pixels)


def find_hole(item: Input, dilate_pixels: int, *, most: float = 1.0) -> "np.ndarray":
    """bool [H, W]: scratches and dust on an image as displayed, at its full depth; empty where there are none.

    Raises DataError, also where they cover more than the share `most` of it.
    """
    from vae_cli.files.masks import dilate
    from vae_cli.files.originals import open_original
    from vae_cli.files.scratches import find_scratches

    hole = find_scratches(open_original(item.ref.path).display_array(3))
    if hole.mean() > most:
        much = f"{hole.mean():.0%} of it looks like damage, so much that it may well be the picture"
        raise DataError(f"{much}; --dry-run writes the mask, to be corrected")
    grown = dilate(hole, dilate_pixels)
    if grown.all():
        raise DataError("the dilated mask covers the whole image; lower --mask-dilate")
    return grown


def warn_if_inverted(covers: Sequence[float], name: str) -> Iterator[Remark]:
    """Warns of the first mask that covers suspiciously much. covers: the shares of all images so far, this the last."""
    if covers[-1] > SUSPICIOUS_COVER and sum(cover > SUSPICIOUS_COVER for cover in covers) == 1:
        yield Remark(f"{printable(name)}: its mask covers {covers[-1]:.0%}; inverted? (--mask-invert)", "warning")


def warn_of_all_inverted(covers: Sequence[float]) -> Iterator[Remark]:
    """Says how many masks cover so much, where that are more than the first."""
    count = sum(cover > SUSPICIOUS_COVER for cover in covers)
    if count > 1:
        yield Remark(f"{count} masks in all cover more than {SUSPICIOUS_COVER:.0%}", "warning")


def dry_run_facts(covers: Sequence[float]) -> dict[str, Any]:
    """What a dry run has to say in its JSON object."""
    return {"dry_run": True, "pairs": len(covers), "mask_cover": (min(covers), max(covers)) if covers else None}
