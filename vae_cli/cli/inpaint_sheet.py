"""`vae inpaint --sheet FILE.html`: every image before, with its hole, and after, on one page."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from vae_cli.cli.holes import Damaged, MaskSource, num_without_mask, read_hole_of
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError, DataError
from vae_cli.jobs import outputs
from vae_cli.printable import printable

if TYPE_CHECKING:
    from vae_cli.drawing.contact_sheet import Figure, Row


_TITLE, _HEAD_BYTES = "vae inpaint", 4096


def check_sheet(path: Path | None, *, overwrite: bool, goes_on: bool) -> None:
    """Raises ConfigError for a name that is no page's, and for a file that is there already.

    goes_on: whether the job goes on after a stop; its page is then written anew.
    """
    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--sheet {path}: the sheet is a web page; give it a name such as {path.stem}.html")
    if not (goes_on and path.is_file() and f"<title>{_TITLE}".encode() in path.read_bytes()[:_HEAD_BYTES]):
        outputs.refuse_existing([path], overwrite=overwrite)


def write_sheet(
    path: Path, jobs: Sequence[tuple[Damaged, tuple[Path, ...]]], masks: MaskSource, results: Results
) -> None:
    """The page of a finished job; every picture is read again, one at a time. Raises WriteError."""
    from vae_cli.atomic import writing
    from vae_cli.drawing.contact_sheet import contact_sheet

    counts = (
        f"{results.num_written} fills written, {results.num_failed} failed, {num_without_mask(results)} without a mask"
    )
    with writing(path) as file:
        for piece in contact_sheet(f"{_TITLE}: {counts}", _rows(path, jobs, masks, results)):
            file.write(piece.encode("utf-8", "replace"))
    results.messages.note(f"contact sheet: {printable(path)}")


def _rows(
    page: Path, jobs: Sequence[tuple[Damaged, tuple[Path, ...]]], masks: MaskSource, results: Results
) -> "Iterator[Row]":
    from vae_cli.drawing.contact_sheet import Row

    by_name: dict[str, list[dict[str, object]]] = {}
    for entry in results.files:
        by_name.setdefault(str(entry["input"]), []).append(entry)
    filled = {damaged.item.name: (damaged, targets) for damaged, targets in jobs}
    for name, entries in by_name.items():
        reasons = sorted({str(entry["reason"]) for entry in entries if entry["reason"] not in (None, "exists")})
        statuses = {str(entry["status"]) for entry in entries}
        status = "failed" if "failed" in statuses else "ok" if "ok" in statuses else "skipped"
        try:
            pictures = tuple(_pictures(page, *filled[name], masks)) if name in filled and status != "failed" else ()
        except DataError as error:
            pictures, reasons = (), [*reasons, str(error)]
        yield Row(printable(name), status, printable("; ".join(reasons) or status), pictures)


def _pictures(page: Path, damaged: Damaged, targets: tuple[Path, ...], masks: MaskSource) -> "Iterator[Figure]":
    from vae_cli.drawing.contact_sheet import Figure, thumbnail, with_hole
    from vae_cli.files.originals import open_original

    white = (255, 255, 255)
    original = open_original(damaged.item.ref.path)
    before = thumbnail(original.display_array(3, white))
    yield Figure("before", before, _link(page, damaged.item.ref.path))
    yield Figure("hole", with_hole(before, read_hole_of(damaged, original.display_size, masks)))
    for number, target in enumerate(targets, start=1):
        if outputs.is_there(target):
            after = thumbnail(open_original(target).display_array(3, white))
            yield Figure("after" if len(targets) == 1 else f"fill {number}", after, _link(page, target))


def _link(page: Path, path: Path) -> str:
    """The address of a file as seen from the page."""
    try:
        relative = os.path.relpath(path.absolute(), page.absolute().parent)
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return quote(Path(relative).as_posix(), errors="surrogateescape")
