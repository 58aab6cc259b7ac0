"""One page about a job of `inpaint`: every image before, with its hole, and after."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from vae_cli.drawing.contact_sheet import Figure, Row, thumbnail, with_hole
from vae_cli.errors import ConfigError, DataError
from vae_cli.files.originals import open_original
from vae_cli.jobs import outputs
from vae_cli.jobs.change_images import Planned, Storage
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.inpaint_plan import read_hole
from vae_cli.jobs.mask_sources import MaskSource
from vae_cli.jobs.sheets import link, write_page
from vae_cli.printable import printable

_TITLE, _HEAD_BYTES = "vae inpaint", 4096


def check_sheet(path: Path, storage: Storage) -> None:
    """Raises ConfigError for a name that is no page's, and for a file that is there already.

    A page of an earlier run is replaced where its job goes on: it shows what was there before, too.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--sheet {path}: the sheet is a web page; give it a name such as {path.stem}.html")
    goes_on = storage.skip_existing and path.is_file()
    if not (goes_on and f"<title>{_TITLE}".encode() in path.read_bytes()[:_HEAD_BYTES]):
        outputs.refuse_existing([path], overwrite=storage.overwrite)


def write_sheet(path: Path, images: Sequence[Planned], masks: MaskSource, files: Sequence[FileDone]) -> None:
    """files: what became of every file. The pictures are read again, one at a time. Raises WriteError."""
    counts = [sum(event.status == status for event in files) for status in ("ok", "failed")]
    without_mask = sum(event.status == "skipped" and not event.is_settled for event in files)
    title = f"{_TITLE}: {counts[0]} fills written, {counts[1]} failed, {without_mask} without a mask"
    write_page(path, title, _rows(path, images, masks, files))


def _rows(page: Path, images: Sequence[Planned], masks: MaskSource, files: Sequence[FileDone]) -> Iterator[Row]:
    by_name: dict[str, list[FileDone]] = {}
    for event in files:
        by_name.setdefault(str(event.input), []).append(event)
    planned = {image.item.name: image for image in images}
    for name, events in by_name.items():
        reasons = sorted({(event.reason or "").removeprefix(f"{name}: ") for event in events} - {"", "exists"})
        statuses = {event.status for event in events}
        status = next(status for status in ("failed", "ok", "skipped") if status in statuses)
        pictures: tuple[Figure, ...] = ()
        if name in planned and status != "failed":
            try:
                pictures = tuple(_pictures(page, planned[name], masks))
            except DataError as error:
                reasons.append(str(error))
        yield Row(printable(name), status, printable("; ".join(reasons) or status), pictures)


def _pictures(page: Path, image: Planned, masks: MaskSource) -> Iterator[Figure]:
    source = image.item.ref.path
    original = open_original(source)
    before = thumbnail(original.display_array(3))
    yield Figure("before", before, link(page, source))
    yield Figure("hole", with_hole(before, read_hole(image.item, image.mask, original.display_size, masks)))
    for number, target in enumerate(image.targets, start=1):
        if os.path.exists(target):
            after = thumbnail(open_original(target).display_array(3))
            yield Figure("after" if len(image.targets) == 1 else f"fill {number}", after, link(page, target))
