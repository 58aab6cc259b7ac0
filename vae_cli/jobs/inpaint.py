"""The holes of damaged images, filled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vae_cli.errors import DataError
from vae_cli.files.mask_pairs import NoMask
from vae_cli.files.originals import Original, size_of
from vae_cli.files.write_back import own_colours
from vae_cli.images.image_ref import ImageRef, Skipped
from vae_cli.jobs import mask_sources
from vae_cli.jobs.change_images import Answer, Opened, Part, Planned, Storage, find_unzipped, plan_targets
from vae_cli.jobs.events import FileDone, Finished, JobEvent, Remark, Report
from vae_cli.jobs.inputs import Input
from vae_cli.jobs.mask_sources import MaskSource, pair, read_hole
from vae_cli.jobs.outputs import default_folder
from vae_cli.printable import printable

if TYPE_CHECKING:
    from vae_cli.checkpoint import Model
    from vae_cli.tasks.conditional_draws import Method


@dataclass
class Filling:
    """The change that fills holes. sheet: where a page goes that shows every image before, with its hole, and after."""

    model: "Model"
    masks: MaskSource
    seed: int = 0
    samples: int = 1
    solver_steps: int | None = None
    feather: float = 0.0
    method: "Method" = "auto"
    sheet: Path | None = None
    covers: list[float] = field(default_factory=list)
    """The shares of the images that are hole."""
    name, unit, for_grey = "inpaint", "fills", "so are the fills"

    def open(self, image: Opened) -> Iterator[Part | Opened]:
        planned, size = image.planned, image.original.display_size
        hole = read_hole(planned.item, planned.mask, size, self.masks)
        if hole.any():
            self.covers.append(float(hole.mean()))
            yield from mask_sources.warn_if_inverted(self.covers, image.name)
            yield image._replace(hole=hole)
        else:
            yield FileDone(image.name, "skipped", reason=mask_sources.NOTHING_FOUND)

    def answers(self, images: list[Opened]) -> Iterator[Answer]:
        from vae_cli.tasks.inpaint import Picture
        from vae_cli.tasks.inpaint import inpaint as task

        pictures = (Picture(image.planned.item.ref.id, image.pixels, _hole(image)) for image in images)
        fills = task(self.model, pictures, seed=self.seed, samples=self.samples, solver_steps=self.solver_steps,
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
        yield from mask_sources.warn_of_all_inverted(self.covers)
        if self.sheet is not None:
            from vae_cli.jobs.inpaint_sheet import write_sheet

            write_sheet(self.sheet, images, self.masks, files)
            yield Remark(f"contact sheet: {printable(self.sheet)}")
        yield Finished({"seed": self.seed, "method": self.method, "sheet": self.sheet})


def _hole(image: Opened) -> np.ndarray:
    assert image.hole is not None, "`open` has read it"
    return image.hole


def _filled(image: Opened, pixels: np.ndarray, *, is_opaque: bool) -> Original:
    """The original with the fill in its hole, which keeps its alpha or becomes opaque."""
    if not is_opaque:
        pixels = own_colours(image.original, pixels, _hole(image), image.background)
    return image.original.with_fill(pixels, _hole(image), opaque_hole=is_opaque)


class Plan(NamedTuple):
    """The images that will be filled, and what became of the others."""

    images: list[Planned]
    left_out: list[FileDone]

    @property
    def num_without_mask(self) -> int:
        return sum(event.status == "skipped" for event in self.left_out)


def plan_inpaint(
    inputs: Sequence[Path], masks: MaskSource, storage: Storage, report: Report,
    *, samples: int = 1, skip_missing: bool = False,
) -> Plan:  # fmt: skip
    """Pairs images with masks. Raises ConfigError. skip_missing: images without a mask are no failure."""
    left_out: list[FileDone] = []

    def leave_out(event: JobEvent) -> None:
        report(event)
        if isinstance(event, FileDone):
            left_out.append(event)

    folder = storage.out or default_folder(inputs[0], "inpaint")
    found = find_unzipped(inputs, leave_out, [folder, *([masks.path] if masks.path else [])])
    pairs: list[tuple[Input, ImageRef | None]] = []
    for item, mask in pair(found, masks):
        if isinstance(mask, NoMask):
            leave_out(FileDone(item.name, "skipped", reason=mask.reason, is_lacking=not skip_missing, is_settled=False))
            report(Remark(f"no mask for {printable(item.name)}"))
        elif isinstance(mask, Skipped):
            leave_out(FileDone(item.name, "failed", reason=mask.reason))
        else:
            pairs.append((item, mask))
    planned = plan_targets([item for item, _ in pairs], folder, storage, samples)
    images = [image._replace(mask=mask) for image, (_, mask) in zip(planned, pairs, strict=True)]
    return Plan(images, left_out)


def describe(plan: Plan, masks: MaskSource) -> Iterator[JobEvent]:
    """What `inpaint` would do: a line for each image with its mask and the share of the image that it covers."""
    covers: list[float] = []
    for image in plan.images:
        name = image.item.name
        try:
            hole = read_hole(image.item, image.mask, size_of(image.item.ref.path), masks)
        except DataError as error:
            yield FileDone(name, "failed", reason=str(error))
            continue
        covers.append(float(hole.mean()))
        yield from mask_sources.warn_if_inverted(covers, name)
        yield FileDone(name, "skipped", image.targets[0], "dry run")
        mask = printable(image.mask.path) if image.mask else masks.options()
        yield Remark(f"{printable(name)}  {mask}  {covers[-1]:.1%}", "result")
    yield from mask_sources.warn_of_all_inverted(covers)
    yield Finished(mask_sources.dry_run_facts(covers))
