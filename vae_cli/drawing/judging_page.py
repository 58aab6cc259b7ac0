"""A page to judge fills on: before and after with a slider, holes at full resolution, and marks for a list."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vae_cli.drawing.page import page
from vae_cli.files.new_pictures import encoded, to_image

_HOLE_COLOUR, _HOLE_ALPHA = (235, 40, 60), 170


@dataclass(frozen=True)
class View:
    """A picture, or a part of it, before and after, as JPEGs. size: (width, height) on the page. hole: a PNG to lay
    over them."""

    caption: str
    size: tuple[int, int]
    before: bytes
    afters: tuple[bytes, ...]
    hole: bytes
    is_enlarged: bool = False

    @property
    def num_bytes(self) -> int:
        return len(self.before) + len(self.hole) + sum(map(len, self.afters))


@dataclass(frozen=True)
class Judged:
    """A file's name, what became of it (`ok`, `failed`, `skipped`), why, and its views. source: the file's address, and
    results: names and addresses of its fills, as many as each view has afters."""

    name: str
    status: str
    note: str
    source: str = ""
    results: tuple[tuple[str, str], ...] = ()
    views: tuple[View, ...] = ()


def judging_page(title: str, rows: Iterable[Judged], marks_name: str, seed: int) -> Iterator[str]:
    """The page piece by piece; a row is taken from `rows` only when the page so far has been given out.

    marks_name: of the list that it stores. seed: another one than the fills had.
    """
    return page("judging.html.j2", title=title, rows=rows, marks_name=marks_name, seed=seed)


def reduced(pixels: np.ndarray, side: int) -> bytes:
    """A JPEG of uint8 [H, W, C] whose longer side is `side` at most."""
    image = to_image(pixels)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return encoded(image, "JPEG", quality=85)


def at_full_size(pixels: np.ndarray) -> bytes:
    """A JPEG of uint8 [H, W, C], of high quality."""
    return encoded(to_image(pixels), "JPEG", quality=92, subsampling=0)


def hole_overlay(hole: np.ndarray, size: tuple[int, int]) -> bytes:
    """A PNG of `size` (width, height), red where the hole is, bool [H, W]; even a very thin scratch shows."""
    share = Image.fromarray(hole.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    red = Image.new("RGB", size, _HOLE_COLOUR)
    red.putalpha(share.point(lambda value: min(4 * value, _HOLE_ALPHA)))
    return encoded(red, "PNG")
