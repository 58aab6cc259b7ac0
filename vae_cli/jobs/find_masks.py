"""`inpaint --mask-auto --dry-run`: the damage that is found, written as masks to be corrected and given back."""

import os
from collections.abc import Iterator, Sequence

import numpy as np

from vae_cli.errors import DataError
from vae_cli.files.new_pictures import save_picture
from vae_cli.jobs.change_images import Planned
from vae_cli.jobs.events import Advanced, FileDone, Finished, JobEvent, Remark
from vae_cli.jobs.mask_sources import MUCH_DAMAGE, NOTHING_FOUND, dry_run_facts, find_hole
from vae_cli.printable import printable


def find_masks(images: Sequence[Planned], dilate_pixels: int, *, skip_existing: bool = False) -> Iterator[JobEvent]:
    """Writes white holes on black to the images' targets; nothing for an image without damage. Raises WriteError."""
    covers: list[float] = []
    for number, image in enumerate(images):
        yield Advanced("masks", number, len(images))
        name, (target,) = image.item.name, image.targets
        if skip_existing and os.path.exists(target):
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
        save_picture(np.where(hole, 255, 0).astype(np.uint8)[..., None], target)
        covers.append(float(hole.mean()))
        yield FileDone(name, "ok", target)
        yield Remark(f"{printable(name)}: mask covers {covers[-1]:.2%}", "detail")
        if covers[-1] > MUCH_DAMAGE:
            yield Remark(f"{printable(target)}: covers {covers[-1]:.0%}, so look at it before it is used", "warning")
    yield Advanced("masks", len(images), len(images), is_over=True)
    yield Finished(dry_run_facts(covers))
