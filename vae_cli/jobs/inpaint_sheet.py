"""One page to judge a job of `inpaint` on: every image before and after, and the places that tell most."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vae_cli.drawing.judging_page import Judged, View, at_full_size, hole_overlay, judging_page, reduced
from vae_cli.drawing.page import write_pieces
from vae_cli.errors import DataError
from vae_cli.files.originals import open_original
from vae_cli.images.decode import probe
from vae_cli.images.modes import eight_bits
from vae_cli.jobs import outputs
from vae_cli.jobs.change_images import Planned, Storage
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.inpaint_plan import read_hole
from vae_cli.jobs.mask_sources import MaskSource
from vae_cli.jobs.sheets import link
from vae_cli.metrics.seams import Seam, seams
from vae_cli.printable import printable

MOST_BYTES = 48 << 20
"""Of all pictures on a page; where there are many, they are smaller, and at last left out."""
_VIEW_SIDE, _PLACE_SIDE = 640, 256  # pixels, where there are few
_BYTES_A_FILL = 120_000  # of the views of that size, about
_LEAST_SCALE = 0.3
_MOST_FILLS = 8  # of one image
_LEAST_STEP = 1.0  # levels of 255; below it an edge is no step
_TITLE, _HEAD_BYTES = "vae inpaint", 4096


def check_sheet(path: Path, storage: Storage) -> None:
    """Raises ConfigError for a name that is no page's, and for a file that is there already.

    A page of an earlier run is replaced where its job goes on: it shows what was there before, too.
    """
    outputs.require_page(path, "--sheet")
    goes_on = storage.skip_existing and path.is_file()
    if not (goes_on and f"<title>{_TITLE}".encode() in path.read_bytes()[:_HEAD_BYTES]):
        outputs.refuse_existing([path], overwrite=storage.overwrite)


def write_sheet(path: Path, images: Sequence[Planned], masks: MaskSource, files: Sequence[FileDone], seed: int) -> None:
    """files: what became of every file; seed: of the fills. The pictures are read again, one at a time.

    Raises WriteError.
    """
    counts = [sum(event.status == status for event in files) for status in ("ok", "failed")]
    without_mask = sum(event.status == "skipped" and not event.is_settled for event in files)
    title = f"{_TITLE}: {counts[0]} fills written, {counts[1]} failed, {without_mask} without a mask"
    rows = _rows(path, images, masks, files)
    write_pieces(path, judging_page(title, rows, f"{path.stem}-marks.json", seed + 1))


def _rows(page: Path, images: Sequence[Planned], masks: MaskSource, files: Sequence[FileDone]) -> Iterator[Judged]:
    by_name: dict[str, list[FileDone]] = {}
    for event in files:
        by_name.setdefault(str(event.input), []).append(event)
    planned, left = {image.item.name: image for image in images}, MOST_BYTES
    num_pictures = sum(1 + min(_MOST_FILLS, len(image.targets)) for image in images)
    scale = max(_LEAST_SCALE, min(1.0, math.sqrt(MOST_BYTES / (_BYTES_A_FILL * max(1, num_pictures)))))
    for name, events in by_name.items():
        beside = f"{printable(name)}: "
        reasons = sorted({(event.reason or "").removeprefix(beside) for event in events} - {"", "exists"})
        statuses = {event.status for event in events}
        status = next(status for status in ("failed", "ok", "skipped") if status in statuses)
        source, results, views = "", list[tuple[str, str]](), tuple[View, ...]()
        if name in planned and status != "failed":
            image = planned[name]
            source = link(page, image.item.ref.path)
            targets = [target for target in image.targets if os.path.exists(target)][:_MOST_FILLS]
            results = [(printable(target), link(page, target)) for target in targets]
            if targets and left <= 0:
                reasons.append(f"not shown: a page holds {MOST_BYTES >> 20} MiB of pictures")
            elif targets:
                try:
                    views = tuple(_views(image, targets, masks, scale))
                except DataError as error:
                    reasons.append(str(error))
        left -= sum(view.num_bytes for view in views)
        note = printable("; ".join(reasons) or status)
        yield Judged(printable(name), status, note, source, tuple(results), views)


def _views(image: Planned, targets: Sequence[Path], masks: MaskSource, scale: float) -> Iterator[View]:
    """The whole image, and where that is reduced, at full size, the largest part of its hole and the one whose edge
    shows most. The files are opened one after the other."""
    path, side = image.item.ref.path, round(scale * _VIEW_SIDE)
    hole = read_hole(image.item, image.mask, probe(path)[1], masks)
    places, parts = list[tuple[str, tuple[slice, slice]]](), list[list[bytes]]()
    for source in (*targets, path):
        pixels = eight_bits(open_original(source).display_array(3))
        if not parts and max(hole.shape) > side:
            places = _places(pixels, hole, round(scale * _PLACE_SIDE))
        parts.append([reduced(pixels, side), *(at_full_size(pixels[box]) for _, box in places)])
    *afters, befores = parts
    zoom = min(1.0, side / max(hole.shape)) * max(1, _PLACE_SIDE // max(hole.shape))
    ratio = f"{zoom:.0f}:1" if zoom >= 1 else f"1:{1 / zoom:.1f}"
    every = (slice(hole.shape[0]), slice(hole.shape[1]))
    for number, (caption, box) in enumerate([(f"{ratio}, the whole picture", every), *places]):
        of_hole = hole[box]
        height, width = (max(1, round(length * (1 if number else zoom))) for length in of_hole.shape)
        own = befores[number], tuple(after[number] for after in afters)
        yield View(caption, (width, height), *own, hole_overlay(of_hole, (width, height)), zoom > 1)


def _places(filled: np.ndarray, hole: np.ndarray, side: int) -> list[tuple[str, tuple[slice, slice]]]:
    """Captions, rows and columns of the largest part of a hole and the one with the largest step across its edge."""
    found = seams(filled, hole)
    if not found:
        return []
    largest, worst = found[0], max(found, key=lambda seam: seam.step)
    if worst is largest or worst.step < _LEAST_STEP:
        edge = f"whose edge shows most: {worst.step:.0f} levels" if worst.step >= _LEAST_STEP else "and no edge shows"
        return [(f"1:1, the largest hole, {edge}", _around(largest, hole.shape, side))]
    edge = f"1:1, the hole whose edge shows most: {worst.step:.0f} levels"
    return [("1:1, the largest hole", _around(largest, hole.shape, side)), (edge, _around(worst, hole.shape, side))]


def _around(seam: Seam, size: tuple[int, ...], side: int) -> tuple[slice, slice]:
    """A square inside the picture around a part of a hole, or around the worst place of its edge if that is larger."""
    top, left, bottom, right = seam.box
    fits = max(bottom - top, right - left) <= side
    centre = ((top + bottom) // 2, (left + right) // 2) if fits else seam.worst
    starts = [max(0, min(middle - side // 2, length - side)) for middle, length in zip(centre, size, strict=True)]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)
