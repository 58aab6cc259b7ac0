"""A page of small pictures with one row for each file: what a job over a folder of images has found."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vae_cli.drawing.page import page
from vae_cli.files.new_pictures import encoded, to_image
from vae_cli.images.modes import eight_bits

THUMBNAIL_SIDE = 176  # pixels of a thumbnail's longer side


@dataclass(frozen=True)
class Figure:
    """A thumbnail and its caption; `link` is an address relative to the page, None = not to be clicked."""

    caption: str
    thumbnail: Image.Image
    link: str | None = None

    @property
    def jpeg(self) -> bytes:
        return encoded(self.thumbnail.convert("RGB"), "JPEG", quality=85)


@dataclass(frozen=True)
class Row:
    """A file's name, what there is to say of it, and its pictures."""

    name: str
    note: str
    pictures: tuple[Figure, ...] = ()


def contact_sheet(title: str, rows: Iterable[Row]) -> Iterator[str]:
    """The page piece by piece; a row is taken from `rows` only when the page so far has been given out."""
    return page("contact_sheet.html.j2", title=title, rows=rows)


def thumbnail(pixels: np.ndarray) -> Image.Image:
    """The small picture of uint8 or uint16 [H, W, C] with one or three channels; never enlarged."""
    image = to_image(eight_bits(pixels))
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return image


def with_heat(pixels: np.ndarray, heat: np.ndarray) -> Image.Image:
    """A picture uint8 [H, W, C] in grey, and over it heat, float [H, W] from 0 (none) over red to 1 (yellow)."""
    grey = np.asarray(to_image(pixels).convert("L"), float)[:, :, None]
    strength = np.clip(heat, 0, 1)[:, :, None]
    colour = np.concatenate([np.minimum(2 * strength, 1), np.maximum(2 * strength - 1, 0), 0 * strength], axis=2) * 255
    share = np.minimum(1.5 * strength, 0.85)
    return Image.fromarray(np.rint(grey * (1 - share) + colour * share).astype(np.uint8))


def at_least(image: Image.Image, side: int = THUMBNAIL_SIDE) -> Image.Image:
    """The picture, its pixels as squares so large that the longer side has about so many."""
    scale = max(1, round(side / max(image.size)))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
