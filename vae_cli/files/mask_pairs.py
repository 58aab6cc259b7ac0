"""Which mask belongs to which image, by their names."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from vae_cli.images.image_ref import ImageRef, Skipped


class NoMask(Skipped):
    """There is none for an image; others are left out because theirs is not clear."""


def pair_masks(images: Sequence[ImageRef], masks: Sequence[ImageRef] | Path) -> dict[str, ImageRef | Skipped]:
    """For each image's id its mask, or Skipped with the reason. A path is one mask for all.

    Pairs by the id without extension, `_mask`, `-mask`, `.mask` dropped from the masks' side. Where images and masks
    lie in one folder, no image is its own mask, and `a_mask.png` is that of `a.png`.
    """
    if isinstance(masks, Path):
        return {image.id: ImageRef(masks.name, masks) for image in images}
    inputs: defaultdict[str, list[ImageRef]] = defaultdict(list)
    for image in images:
        inputs[_stem(image.id)].append(image)
    own_paths = {image.path.resolve() for image in images}
    candidates: defaultdict[str, list[ImageRef]] = defaultdict(list)
    for mask in masks:
        stem = _stem(mask.id)
        without = next((stem.removesuffix(end) for end in ("_mask", "-mask", ".mask") if stem.endswith(end)), stem)
        if without.endswith("/") or not without:  # a file that is called just so
            without = stem
        if mask.path.resolve() not in own_paths:
            candidates[stem if stem in inputs else without].append(mask)
        elif without != stem:
            candidates[without].append(mask)
    return {image.id: _pair(image.id, stem, same, candidates[stem]) for stem, same in inputs.items() for image in same}


def _stem(entry_id: str) -> str:
    return str(PurePosixPath(entry_id).with_suffix(""))


def _pair(image_id: str, stem: str, same_stem: list[ImageRef], masks: list[ImageRef]) -> ImageRef | Skipped:
    if not masks:
        return NoMask(image_id, f"no mask {stem}.* or {stem}_mask.*")
    if len({image.path.resolve() for image in same_stem}) > 1:  # a file that is given twice may have it twice
        names = {image.id for image in same_stem}
        names = names if len(names) == len(same_stem) else {str(image.path) for image in same_stem}
        return Skipped(image_id, f"{' and '.join(sorted(names))} share one stem, so that no mask is theirs alone")
    if len(masks) > 1:
        return Skipped(image_id, f"several masks: {', '.join(mask.id for mask in masks)}; keep one")
    return masks[0]
