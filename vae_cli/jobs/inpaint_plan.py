"""What `inpaint` fills: images paired with masks, the holes that those mean, and dry runs that only tell of them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_cli.dataset.scan import scan
from vae_cli.errors import ConfigError, DataError, WriteError
from vae_cli.files import masks
from vae_cli.files.mask_pairs import NoMask, mask_names, pair_masks
from vae_cli.files.new_pictures import save_picture
from vae_cli.files.originals import open_original
from vae_cli.files.scratches import find_scratches
from vae_cli.files.write_queue import is_of_name
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.decode import num_pages, open_image, probe
from vae_cli.images.image_ref import ImageRef, Skipped
from vae_cli.jobs.change_images import Planned, Storage, find_unzipped, plan_targets
from vae_cli.jobs.events import Advanced, FileDone, Finished, JobEvent, Remark, Report
from vae_cli.jobs.inputs import Input
from vae_cli.jobs.marks import key_of, read_redo
from vae_cli.jobs.mask_sources import NOTHING_FOUND, MaskSource
from vae_cli.jobs.outputs import default_folder, refuse_existing, result_paths
from vae_cli.printable import printable

SUSPICIOUS_COVER = 0.6
"""Share of an image from which on its mask looks inverted."""
_MOST_PAGES = 65536
MUCH_DAMAGE = 0.15
"""Share of an image from which on what was found is likely a part of it: the joints of a wall, writing, stars."""


def pair(items: Sequence[Input], source: MaskSource) -> Iterator[tuple[Input, ImageRef | Skipped | None]]:
    """Each image with its mask, or with why there is none; None where the mask needs no file.

    Images that are the masks of others are left out. Raises DataError when a folder of masks holds no images.
    """
    if source.path is None:
        yield from ((item, None) for item in items)
        return
    files = scan(source.path, labels="none", splits="none").images if source.has_several else source.path
    # of several INPUT folders `scans/a.jpg` has the mask `scans/a.png`, or `a.png` if nothing else is called so
    by_place = pair_masks([replace(item.ref, id=str(item.relative)) for item in items], files, source.pattern)
    found = [by_place[str(item.relative)] for item in items]
    # by its name alone only where that is less than its place: else the mask of one left out here would fit
    lacking = [item.ref for item, mask in zip(items, found, strict=True)
               if isinstance(mask, NoMask) and item.ref.id != str(item.relative)]  # fmt: skip
    by_name = pair_masks(lacking, files, source.pattern)
    pairs = [(item, by_name.get(item.ref.id, mask) if isinstance(mask, NoMask) else mask)
             for item, mask in zip(items, found, strict=True)]  # fmt: skip
    in_use = {mask.path.resolve() for _, mask in pairs if isinstance(mask, ImageRef)}
    yield from ((item, mask) for item, mask in pairs
                if isinstance(mask, ImageRef) or item.ref.path.resolve() not in in_use)  # fmt: skip


def read_hole(
    item: Input, mask: ImageRef | None, size: tuple[int, int], source: MaskSource, page: int = 0
) -> np.ndarray:
    """bool [H, W], True = to fill, for a page of an image, of `size` (H, W) as displayed. Raises DataError.

    A mask file may have as many pages, or one for all of them. Empty where no damage was found; masks of other sources
    are never empty.
    """
    changes: dict[str, Any] = {"invert": source.invert, "dilate_pixels": source.dilate_pixels}
    if source.auto:
        return find_hole(item, source.dilate_pixels, most=MUCH_DAMAGE, page=page)
    if mask is not None:
        has_page = page > 0 and mask.member is None and page < num_pages(mask)
        own_mask = open_image(mask, page=page) if has_page else mask
        return masks.read_hole(own_mask, size, value=source.value, **changes)
    if source.color is not None:
        return masks.hole_from_color(open_image(item.ref, page=page), source.color, **changes)
    return masks.hole_from_alpha(open_image(item.ref, page=page), **changes)


@bad_bytes_are_data_errors()
def find_hole(item: Input, dilate_pixels: int, *, most: float = 1.0, page: int = 0) -> np.ndarray:
    """bool [H, W]: scratches and dust on a page of an image as displayed, at its full depth; empty where are none.

    Raises DataError, also where they cover more than the share `most` of it.
    """
    hole = find_scratches(open_original(item.ref.path, page).display_array(3))
    if hole.mean() > most:
        much = f"{hole.mean():.0%} of it looks like damage, so much that it may well be the picture"
        raise DataError(f"{much}; --dry-run writes the mask, to be corrected")
    grown = masks.dilate(hole, dilate_pixels)
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


class Plan(NamedTuple):
    """The images that will be filled, and what became of the others."""

    images: list[Planned]
    left_out: list[FileDone]

    @property
    def num_without_mask(self) -> int:
        return sum(event.status == "skipped" for event in self.left_out)


def plan_inpaint(
    inputs: Sequence[Path], source: MaskSource, storage: Storage, report: Report,
    *, samples: int = 1, skip_missing: bool = False, pages: str = "first", only: Path | None = None,
) -> Plan:  # fmt: skip
    """Pairs images with masks. Raises ConfigError.

    skip_missing: images without a mask are no failure. only: of a list of marks; the others are left alone.
    """
    page_numbers(pages)
    left_out: list[FileDone] = []
    redo = None if only is None else read_redo(only)

    def is_wanted(name: str | None) -> bool:
        return redo is None or key_of(str(name)) in redo

    def leave_out(event: JobEvent) -> None:
        if isinstance(event, FileDone):
            if not is_wanted(event.input):
                return
            left_out.append(event)
        report(event)

    folder = storage.out or default_folder(inputs[0], "inpaint")
    found = find_unzipped(inputs, leave_out, [folder, *([source.path] if source.path else [])])
    known = {key_of(str(name)) for name in (*(item.name for item in found), *(event.input for event in left_out))}
    for key, name in (redo or {}).items():
        if key not in known:
            leave_out(FileDone(name, "failed", reason=f"{only} lists it, but it is not among INPUT"))
    pairs: list[tuple[Input, ImageRef | None]] = []
    for item, mask in pair(found, source):
        if isinstance(mask, Skipped) and not is_wanted(item.name):
            continue
        if isinstance(mask, NoMask):
            leave_out(FileDone(item.name, "skipped", reason=mask.reason, is_lacking=not skip_missing, is_settled=False))
            report(Remark(f"{printable(item.name)}: {printable(mask.reason)}"))
        elif isinstance(mask, Skipped):
            leave_out(FileDone(item.name, "failed", reason=mask.reason))
        else:
            pairs.append((item, mask))
    # All images have a say in what the files are called; of those that are left alone nothing is replaced.
    planned = plan_targets([item for item, _ in pairs], folder, replace(storage, overwrite=True), samples)
    images = [
        image._replace(mask=mask, pages=page_numbers(pages, image.item.ref.path))
        for image, (_, mask) in zip(planned, pairs, strict=True) if is_wanted(image.item.name)
    ]  # fmt: skip
    targets = [target for image in images for target in image.targets]
    refuse_existing(targets, overwrite=storage.overwrite or storage.skip_existing)
    return Plan(images, left_out)


def page_numbers(wanted: str, path: Path | None = None) -> tuple[int, ...]:
    """From 0 on, of `first`, `all` those of a file, or a list like `1,3-5` of numbers from 1 on. Raises ConfigError."""
    if wanted in ("first", "all"):
        return tuple(range(num_pages(path) if path and wanted == "all" else 1))
    numbers = set[int]()
    for part in wanted.split(","):
        first, dash, last = part.partition("-")
        is_number = first.isdecimal() and (last.isdecimal() if dash else True) and len(part) < 12
        if not is_number or not 1 <= int(first) <= min(int(last or first), _MOST_PAGES):
            raise ConfigError(f"--pages {wanted}: write first, all, or numbers from 1 to {_MOST_PAGES} like 1,3-5")
        numbers.update(range(int(first) - 1, min(int(last or first), _MOST_PAGES)))
    return tuple(sorted(numbers))


def describe(plan: Plan, source: MaskSource) -> Iterator[JobEvent]:
    """What `inpaint` would do: a line for each image with its mask and the share of the image that it covers."""
    covers: list[float] = []
    for image in plan.images:
        name = image.item.name
        try:
            path = image.item.ref.path
            holes = [read_hole(image.item, image.mask, probe(path, page)[1], source, page) for page in image.pages]
        except DataError as error:
            yield FileDone(name, "failed", reason=str(error))
            continue
        covers.append(float(np.mean([hole.mean() for hole in holes])))
        yield from warn_if_inverted(covers, name)
        yield FileDone(name, "skipped", image.targets[0], "dry run")
        mask = printable(Path(image.mask.path, image.mask.member or "")) if image.mask else source.options()
        yield Remark(f"{printable(name)}  {mask}  {covers[-1]:.1%}", "result")
    yield from warn_of_all_inverted(covers)
    yield Finished(dry_run_facts(covers))


def plan_masks(inputs: Sequence[Path], folder: Path, storage: Storage, report: Report) -> list[Planned]:
    """Each image with the file of its mask, by whose name `pair` finds it again. Raises ConfigError."""
    items = find_unzipped(inputs, report, [folder])
    names = mask_names([item.relative for item in items])
    paths = result_paths(storage.out, folder, names) if names else []
    refuse_existing(paths, overwrite=storage.overwrite or storage.skip_existing)
    return [Planned(item, (path,)) for item, path in zip(items, paths, strict=True)]


def find_masks(images: Sequence[Planned], dilate_pixels: int, *, skip_existing: bool = False) -> Iterator[JobEvent]:
    """Writes the damage that is found, white on black, to the images' targets as masks to be corrected and given back.

    Nothing is written for an image without damage. Raises WriteError.
    """
    covers: list[float] = []
    for number, image in enumerate(images):
        yield Advanced("masks", number, len(images))
        name, (target,) = image.item.name, image.targets
        if skip_existing and os.path.lexists(target):
            yield FileDone(name, "skipped", target, "exists")
            continue
        try:
            hole = find_hole(image.item, dilate_pixels)
        except DataError as error:
            yield FileDone(name, "failed", reason=str(error))
            continue
        if not hole.any():
            yield FileDone(name, "skipped", reason=NOTHING_FOUND)
            continue
        try:
            save_picture(np.where(hole, 255, 0).astype(np.uint8)[..., None], target)
        except WriteError as error:
            if not is_of_name(error):
                raise
            yield FileDone(name, "failed", reason=str(error))
            continue
        covers.append(float(hole.mean()))
        yield FileDone(name, "ok", target)
        yield Remark(f"{printable(name)}: mask covers {covers[-1]:.2%}", "detail")
        if covers[-1] > MUCH_DAMAGE:
            yield Remark(f"{printable(target)}: covers {covers[-1]:.0%}, so look at it before it is used", "warning")
    yield Advanced("masks", len(images), len(images), is_over=True)
    yield Finished(dry_run_facts(covers))
