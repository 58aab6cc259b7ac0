"""Which mask belongs to which image, by their names; and how to name masks so that this is clear."""

import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from vae_cli.images.image_ref import ImageRef, Skipped
from vae_cli.printable import shell_quoted

PLACEHOLDERS = ("{stem}", "{name}")
_MARKED = re.compile(r"(.+)[ _.-]masks?[ _-]?\d*|masks?[ _.-](.+)", re.IGNORECASE | re.DOTALL)
_MAX_COMPARED = 300  # masks of nobody that an image's name is compared with, for a hint


class NoMask(Skipped):
    """There is none for an image; others are left out because theirs is not clear."""


def pair_masks(
    images: Sequence[ImageRef], masks: Sequence[ImageRef] | Path, pattern: str | None = None
) -> dict[str, ImageRef | Skipped]:
    """For each image's id its mask, or Skipped with the reason. A path is one mask for all.

    The image `a.jpg` has the mask `a.jpg.png`, else `a.png`, with `_mask` behind or `mask_` before it or without, case
    and Unicode form aside where no name is the same. Where images and masks lie in one folder it is `a_mask.png`, as
    `a.png` is another image. pattern: the mask's path as seen from the image's folder, where PLACEHOLDERS stand for
    the image's name with and without suffix; then no other counts.
    """
    if isinstance(masks, Path):
        return {image.id: ImageRef(masks.name, masks) for image in images}
    names: list[Callable[[str], str]] = [str, _stem]
    named = images
    if pattern is not None:  # in one folder it may name the masks themselves
        names = [partial(filled, pattern)]
        named = [image for image in images if _folded(filled(pattern, image.id)) != _folded(image.id)]
    levels = [(form, _grouped(named, [form(name(image.id)) for image in named]))
              for form in (str, _folded) for name in names]  # fmt: skip
    fitting: list[defaultdict[str, list[ImageRef]]] = [defaultdict(list) for _ in levels]
    own_paths, of_nobody, beside = {image.path.resolve() for image in images}, list[ImageRef](), list[ImageRef]()
    for mask in masks:
        is_image, readings = mask.path.resolve() in own_paths, [mask.id, _stem(mask.id)]
        if pattern is None:
            readings = _readings(mask.id)[is_image:]
        places = ((level, form(reading)) for reading in readings for level, (form, _) in enumerate(levels))
        place = next((place for place in places if place[1] in levels[place[0]][1]), None)
        if place is not None:
            fitting[place[0]][place[1]].append(mask)
        else:
            (beside if is_image else of_nobody).append(mask)

    pairs: dict[str, ImageRef | Skipped] = {}
    for (_, by_name), masks_by_name in zip(levels, fitting, strict=True):
        for name, alike in masks_by_name.items():
            unpaired = [image for image in by_name[name] if image.id not in pairs]
            pairs |= {image.id: _choice(image, unpaired, alike, pattern) for image in unpaired}
    namesakes = _grouped(beside, [_folded(_stem(image.id)) for image in beside])
    for image in images:
        if image.id not in pairs:
            others = [other.id for other in namesakes.get(_folded(_stem(image.id)), ()) if other.id != image.id]
            pairs[image.id] = NoMask(image.id, _why_none(image.id, of_nobody, others, pattern))
    return pairs


def mask_names(images: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    """A name for each image's mask by which `pair_masks` takes it for that image's alone."""
    full, stems = {_folded(str(image)) for image in images}, [_folded(_stem(str(image))) for image in images]
    counts = Counter(stems)
    return [image.with_name(f"{image.name}.png") if counts[stem] > 1 or stem in full else image.with_suffix(".png")
            for image, stem in zip(images, stems, strict=True)]  # fmt: skip


def filled(pattern: str, image_id: str) -> str:
    """What the mask of an image is called by a pattern."""
    image = PurePosixPath(image_id)
    name = re.sub("{(stem|name)}", lambda field: str(getattr(image, field[1])), pattern)
    return posixpath.normpath(posixpath.join(image.parent, name))


def _grouped(images: Sequence[ImageRef], names: Sequence[str]) -> dict[str, list[ImageRef]]:
    found: defaultdict[str, list[ImageRef]] = defaultdict(list)
    for image, name in zip(images, names, strict=True):
        found[name].append(image)
    return dict(found)


def _stem(entry_id: str) -> str:
    return str(PurePosixPath(entry_id).with_suffix(""))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _readings(mask_id: str) -> list[str]:
    """What an image may be called of which this is the mask: as the mask itself, and as the rest beside `mask`."""
    folder, slash, name = _stem(mask_id).rpartition("/")
    marked = _MARKED.fullmatch(name)
    return [folder + slash + name, *([folder + slash + (marked[1] or marked[2])] if marked else [])]


def _choice(image: ImageRef, alike: list[ImageRef], masks: list[ImageRef], pattern: str | None) -> ImageRef | Skipped:
    """The mask of an image, where there is only one and nothing else that it fits. alike: the images that masks fit."""
    if len({other.path.resolve() for other in alike}) > 1:  # a file that is given twice may have it twice
        ids = {other.id for other in alike}
        names = ids if len(ids) == len(alike) else {str(other.path) for other in alike}
        hint = f"call its own {image.id}.png" if pattern is None else "use {name} in --mask-pattern"
        why = f"share one stem, so that {masks[0].id} may be the mask of each; {hint}"
        return Skipped(image.id, f"{' and '.join(sorted(names))} {why}")
    if len(masks) > 1:
        return Skipped(
            image.id, f"several masks: {', '.join(mask.id for mask in masks)}; keep one, or tell by --mask-pattern"
        )
    return masks[0]


def _why_none(image_id: str, of_nobody: Sequence[ImageRef], namesakes: Sequence[str], pattern: str | None) -> str:
    """What was looked for, what there is instead, and how that would fit. namesakes: images of the same stem among the
    masks."""
    folder, _, stem = _stem(image_id).rpartition("/")
    text = f"no mask {f'{_stem(image_id)}.* or {stem}_mask.*' if pattern is None else filled(pattern, image_id)}"
    word = re.compile(rf"(?<![^\W_]){re.escape(unicodedata.normalize('NFC', stem))}(?![^\W_])", re.IGNORECASE)
    for mask in of_nobody[:_MAX_COMPARED]:
        place, _, name = unicodedata.normalize("NFC", mask.id).rpartition("/")
        if word.search(name) is not None:
            name = word.sub("{stem}", name, count=1)
            fitting = posixpath.normpath(posixpath.join(posixpath.relpath(place or ".", folder or "."), name))
            return f"{text}; {mask.id} would be one with --mask-pattern {shell_quoted(fitting)}"
    if namesakes:
        fitting = "{stem}" + PurePosixPath(namesakes[0]).suffix
        hint = f"--mask-pattern {shell_quoted(fitting)} makes it the mask"
        return f"{text}; {namesakes[0]} is taken for an image; {hint}"
    seen = ", ".join(mask.id for mask in of_nobody[:3])
    return f"{text}; unused are {seen}{', …' * (len(of_nobody) > 3)}" if seen else text
