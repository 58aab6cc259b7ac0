"""A page of small pictures, one row a file: what a job over a folder of images has done."""

import html
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vae_cli.drawing.page import img, page

THUMBNAIL_SIDE = 176
"""Pixels of a small picture's longer side."""
_JPEG_QUALITY = 85
_STYLE = """
table { border-collapse: collapse; width: 100%; }
td, th { padding: .5rem; text-align: left; vertical-align: top; border-top: 1px solid #8884; }
td.name { overflow-wrap: anywhere; width: 16rem; }
.failed .note { color: #c33; }
"""


@dataclass(frozen=True)
class Shown:
    """A picture and what is written below it; `link` is a relative address, None = nothing to click on."""

    caption: str
    thumbnail: Image.Image
    link: str | None = None


@dataclass(frozen=True)
class Row:
    """A file's name, what became of it (`ok`, `failed`, `skipped`), why, and its pictures."""

    name: str
    status: str
    note: str
    pictures: tuple[Shown, ...] = ()


def thumbnail(pixels: np.ndarray) -> Image.Image:
    """Of uint8 or uint16 [H, W, C] with one or three channels; never enlarged."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return image


def with_hole(image: Image.Image, hole: np.ndarray) -> Image.Image:
    """The thumbnail with the hole, bool [H, W] of the large picture, in red; the thinnest scratch shows."""
    share = np.asarray(Image.fromarray(hole.astype(np.uint8) * 255).resize(image.size, Image.Resampling.BOX)) / 255
    opacity = np.minimum(1.0, 4 * share)[..., None]
    mixed = np.asarray(image.convert("RGB")) * (1 - opacity) + np.array([235.0, 40.0, 60.0]) * opacity
    return Image.fromarray(mixed.round().astype(np.uint8))


def contact_sheet(title: str, rows: Iterable[Row]) -> Iterator[str]:
    """The page, piece by piece, so that thousands of rows never lie in memory at once."""
    return page(title, _table(rows), style=_STYLE)


def _table(rows: Iterable[Row]) -> Iterator[str]:
    yield "<table>\n"
    for row in rows:
        figures = "".join(map(_figure, row.pictures))
        yield (
            f'<tr class="{html.escape(row.status)}"><td class="name">{html.escape(row.name)}'
            f'<div class="note">{html.escape(row.note)}</div></td><td>{figures}</td></tr>\n'
        )
    yield "</table>"


def _figure(shown: Shown) -> str:
    content = io.BytesIO()
    shown.thumbnail.convert("RGB").save(content, "JPEG", quality=_JPEG_QUALITY)
    picture = img(content.getvalue(), "jpeg", shown.thumbnail.size, shown.caption)
    linked = picture if shown.link is None else f'<a href="{html.escape(shown.link)}">{picture}</a>'
    return f"<figure>{linked}<figcaption>{html.escape(shown.caption)}</figcaption></figure>"
