"""The holes of damaged images, filled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from vae_cli.checkpoint import Model
from vae_cli.files.masks import cuts_blocks
from vae_cli.files.originals import Original
from vae_cli.files.write_back import own_colours
from vae_cli.jobs import inpaint_plan
from vae_cli.jobs.change_images import Answer, Opened, Part, Planned, SharedRemark
from vae_cli.jobs.events import FileDone, Finished, JobEvent, Remark
from vae_cli.jobs.inpaint_sheet import write_sheet
from vae_cli.jobs.mask_sources import NOTHING_FOUND, MaskSource
from vae_cli.printable import printable
from vae_cli.tasks import inpaint as task
from vae_cli.tasks.conditional_draws import Method

TRACES = "a JPEG, in which damage leaves traces up to 8 pixels around it; --mask-dilate 8 takes them into the hole"


@dataclass
class Filling:
    """The change that fills holes. model: as for the task. sheet: where a page goes on which the fills are judged."""

    model: Model | None
    masks: MaskSource
    seed: int = 0
    samples: int = 1
    solver_steps: int | None = None
    feather: float = 0.0
    method: Method = "auto"
    sheet: Path | None = None
    covers: list[float] = field(default_factory=list)
    """The shares of the images that are hole."""
    name, unit, for_grey = "inpaint", "fills", "so are the fills"

    def open(self, image: Opened) -> Iterator[Part | Opened]:
        planned, size = image.planned, image.original.display_size
        hole = inpaint_plan.read_hole(planned.item, planned.mask, size, self.masks, image.page)
        if hole.any():
            self.covers.append(float(hole.mean()))
            yield from inpaint_plan.warn_if_inverted(self.covers, image.name)
            if image.original.format == "JPEG" and not self.masks.dilate_pixels and cuts_blocks(hole):
                yield SharedRemark(image.name, TRACES)
            yield image._replace(hole=hole)
        else:
            yield FileDone(image.name, "skipped", reason=NOTHING_FOUND)

    def answers(self, images: list[Opened]) -> Iterator[Answer]:
        pictures = (task.Picture(_id(image), image.pixels, _hole(image)) for image in images)
        fills = task.inpaint(self.model, pictures, seed=self.seed, samples=self.samples, solver_steps=self.solver_steps,
                     feather=self.feather, method=self.method)  # fmt: skip
        for image in images:
            for fill in islice(fills, self.samples):
                remarks = []
                if fill.scale > 1:
                    where = f"1/{fill.scale:.1f} of its resolution, where the model sees the hole in its surroundings"
                    target = printable(image.planned.targets[fill.number])
                    remarks.append(Remark(f"{target}: filled at {where}", "detail"))
                change = partial(_filled, image, fill.pixels, is_opaque=self.masks.alpha)
                yield Answer(change, fill.number, {"scale": round(fill.scale, 2)}, tuple(remarks))

    def end(self, images: Sequence[Planned], files: Sequence[FileDone]) -> Iterator[JobEvent]:
        yield from inpaint_plan.warn_of_all_inverted(self.covers)
        if self.sheet is not None:
            write_sheet(self.sheet, images, self.masks, files, self.seed)
            yield Remark(f"page to judge the fills on: {printable(self.sheet)}")
        yield Finished({"seed": self.seed, "method": self.method, "sheet": self.sheet})


def _id(image: Opened) -> str:
    """What the fills depend on beside the seed and the hole."""
    return image.planned.item.ref.id + (f"#{image.page + 1}" if image.page else "")


def _hole(image: Opened) -> np.ndarray:
    assert image.hole is not None, "`open` has read it"
    return image.hole


def _filled(image: Opened, pixels: np.ndarray, *, is_opaque: bool) -> Original:
    """The original with the fill in its hole, which keeps its alpha or becomes opaque."""
    if not is_opaque:
        pixels = own_colours(image.original, pixels, _hole(image), image.background)
    return image.original.with_fill(pixels, _hole(image), opaque_hole=is_opaque)
