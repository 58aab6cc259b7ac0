"""Contact sheets as files: pages of small pictures, each a link to its file."""

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from vae_cli.drawing.contact_sheet import Row, contact_sheet
from vae_cli.drawing.page import write_pieces
from vae_cli.images.image_ref import ImageRef


def write_contact_sheet(path: Path, title: str, rows: Iterable[Row]) -> None:
    """Writes the sheet as its rows come. Raises WriteError."""
    write_pieces(path, contact_sheet(title, rows))


def link(page: Path, path: Path) -> str:
    """The address of a file as seen from the page."""
    try:
        relative = os.path.relpath(path.absolute(), page.absolute().parent)
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return quote(Path(relative).as_posix(), errors="surrogateescape")


def link_of_image(page: Path, ref: ImageRef) -> str | None:
    """The address of an image as seen from the page; none inside a zip."""
    return link(page, ref.path) if ref.member is None else None
