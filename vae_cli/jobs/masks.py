"""Pages on which masks are drawn and corrected."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from vae_cli.atomic import writing
from vae_cli.drawing.mask_page import MaskPicture, browser_file, browser_kind, mask_page, packed
from vae_cli.errors import DataError
from vae_cli.files.mask_pairs import NoMask, mask_names
from vae_cli.images.decode import probe
from vae_cli.images.image_ref import ImageRef, Skipped
from vae_cli.jobs.change_images import find_unzipped
from vae_cli.jobs.events import Advanced, FileDone, Finished, JobEvent, Remark, Report
from vae_cli.jobs.inpaint_plan import find_hole, pair, read_hole
from vae_cli.jobs.inputs import Input
from vae_cli.jobs.mask_sources import MaskSource
from vae_cli.jobs.outputs import default_folder, refuse_existing, require_page
from vae_cli.printable import printable, shell_quoted

MOST_PIXELS = 1 << 28
"""Of one picture; browsers show no larger ones."""
PAGE_BYTES, PAGE_PICTURES = 64 << 20, 200
"""How much one page holds, about, and how many; what is more goes to further pages."""


@dataclass
class MaskPage:
    """One page to be written: images, the paths of their masks, and of the masks that there are."""

    path: Path
    images: list[tuple[Input, PurePosixPath, ImageRef | Skipped | None]] = field(default_factory=list)
    num_bytes: int = 0


def plan_mask_pages(
    inputs: Sequence[Path], source: MaskSource, out: Path | None, report: Report, *, overwrite: bool = False
) -> list[MaskPage]:
    """The pages, `page.html`, `page-2.html` and so on, none without images. Raises ConfigError, also where one exists
    already; reports what cannot be used."""
    first = out or default_folder(inputs[0], "masks").with_name(f"{default_folder(inputs[0], 'masks').name}.html")
    require_page(first, "--out")
    items = find_unzipped(inputs, report, [default_folder(inputs[0], "masks"), *([source.path] if source.path else [])])
    pairs = list(pair(items, source))
    pages = list[MaskPage]()
    for (item, mask), name in zip(pairs, mask_names([item.relative for item, _ in pairs]), strict=True):
        try:
            height, width = probe(item.ref.path)[1]
            if height * width > MOST_PIXELS:
                much = f"{height * width / 1e6:,.0f} million pixels are more than a browser shows"
                raise DataError(f"{much}; draw its mask in a program for pictures, or cut it into pieces")
        except DataError as error:
            report(FileDone(item.name, "failed", reason=str(error)))
            continue
        num_bytes = os.path.getsize(item.ref.path) if browser_kind(item.ref.path) else height * width
        if not pages or pages[-1].num_bytes + num_bytes > PAGE_BYTES or len(pages[-1].images) == PAGE_PICTURES:
            number = f"-{len(pages) + 1}" if pages else ""
            pages.append(MaskPage(first.with_name(f"{first.stem}{number}{first.suffix}")))
        pages[-1].images.append((item, name, mask))
        pages[-1].num_bytes += num_bytes
    refuse_existing([page.path for page in pages], overwrite=overwrite)
    return pages


def zip_of(inputs: Sequence[Path], number: int = 0) -> Path:
    """Where the masks of a page are best stored: beside the first INPUT."""
    folder = default_folder(inputs[0], "masks")
    return folder.with_name(f"{folder.name}{f'-{number + 1}' if number else ''}.zip")


def write_mask_pages(pages: Sequence[MaskPage], inputs: Sequence[Path], source: MaskSource) -> Iterator[JobEvent]:
    """Writes the pages, one picture in memory at a time. Raises WriteError."""
    total, outcomes, num_masks, num_done = sum(len(page.images) for page in pages), list[JobEvent](), 0, 0
    names = [page.path.name for page in pages]
    for number, page in enumerate(pages):
        masks = zip_of(inputs, number)
        command = f"vae inpaint photo {' '.join(map(shell_quoted, inputs))} --mask {shell_quoted(masks)}"
        others = [(name, quote(name, errors="surrogateescape")) for name in names if name != page.path.name]
        title = f"masks: {printable(' '.join(map(str, inputs)))}{f', page {number + 1}' if len(pages) > 1 else ''}"
        with writing(page.path) as file:
            pictures = _pictures(page, source, outcomes)
            for piece in mask_page(title, pictures, masks.name, command, others):
                file.write(piece.encode("utf-8", "replace"))
                yield Advanced("pages", num_done + sum(isinstance(event, FileDone) for event in outcomes), total)
        yield from outcomes  # now that the page is there
        done = [event for event in outcomes if isinstance(event, FileDone)]
        num_done, num_masks = num_done + len(done), num_masks + sum(bool(each.facts.get("mask_cover")) for each in done)
        outcomes.clear()
    yield Advanced("pages", total, total, is_over=True)
    yield Finished({"pages": [page.path for page in pages], "masks": num_masks})


def _pictures(page: MaskPage, source: MaskSource, outcomes: list[JobEvent]) -> Iterator[MaskPicture]:
    """The usable pictures; what became of each goes to `outcomes`."""
    for item, name, found in page.images:
        mask, note, cover = b"", "", 0.0
        try:
            size, (kind, content) = probe(item.ref.path)[1], browser_file(item.ref.path)
        except DataError as error:
            outcomes.append(FileDone(item.name, "failed", reason=str(error)))
            continue
        try:
            if isinstance(found, Skipped):
                note = "" if isinstance(found, NoMask) else printable(found.reason)
            elif source.is_given:
                hole = find_hole(item, source.dilate_pixels) if source.auto else read_hole(item, found, size, source)
                mask, cover = packed(hole), float(hole.mean())
        except DataError as error:
            note = str(error)
        if note:
            outcomes.append(Remark(f"{printable(item.name)}: begins without a mask: {note}", "warning"))
        outcomes.append(FileDone(item.name, "ok", page.path, facts={"mask_cover": cover}))
        yield MaskPicture(printable(item.name), str(name), size, kind, content, mask, note)
