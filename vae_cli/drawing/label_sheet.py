"""A picture with one row of images a label, and the labels' names beside the rows; folders named by labels."""

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from vae_cli.drawing.grids import GAP_PIXELS, grid
from vae_cli.printable import printable

if TYPE_CHECKING:
    import numpy as np
    from PIL import ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SMALLEST_TEXT, LARGEST_TEXT = 11, 20
"""Pixels; in between, text is two fifths as high as an image."""
MOST_CHARACTERS = 24
MARGIN_PIXELS = 4
MOST_NAME_CHARACTERS = 60
"""Of a folder; file systems take 255 bytes, and a character may have four."""
OTHER_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "PingFang.ttc",
               "msyh.ttc", "malgun.ttf", "segoeui.ttf", "arial.ttf", "seguiemj.ttf")  # fmt: skip
"""Tried, where the system has them, for names in scripts that Pillow's own font lacks."""
_UNUSED_CHARACTER = "\uffff"


def sheet(names: Sequence[str], rows: Sequence[Sequence["np.ndarray"]]) -> "np.ndarray":
    """uint8 [H, W, C]: each row's images [h, w, C] behind its name, which is cut short where it is long."""
    import numpy as np

    height, _, channels = rows[0][0].shape
    size = max(SMALLEST_TEXT, min(LARGEST_TEXT, height * 2 // 5))
    titles = [_title(name, number, size) for number, name in enumerate(names, start=1)]
    width = max(title.shape[1] for title in titles) + 2 * MARGIN_PIXELS
    lines = []
    for title, row in zip(titles, rows, strict=True):
        images = grid(row, num_columns=len(row))
        line = np.full((max(height, title.shape[0]) + GAP_PIXELS, width + images.shape[1], channels), 255,
                       np.uint8)  # fmt: skip
        line[:height, width:] = images
        top = max(0, (height - title.shape[0]) // 2)
        line[top : top + title.shape[0], MARGIN_PIXELS : MARGIN_PIXELS + title.shape[1]] = title
        lines.append(line)
    return np.concatenate(lines)[:-GAP_PIXELS]


def _title(name: str, number: int, size: int) -> "np.ndarray":
    """uint8 [H, W, 1]: the name in black on white; the row's number where no font has all of its characters."""
    import numpy as np
    from PIL import Image, ImageDraw

    text = printable(name)
    text = text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."
    font = next((font for font in _fonts(size) if _has(font, text)), None)
    if font is None:
        text, font = f"#{number}", _fonts(size)[0]
    left, _, right, bottom = font.getbbox(text)
    image = Image.new("L", (max(1, round(right - min(left, 0))), max(size, round(bottom))), 255)
    ImageDraw.Draw(image).text((-min(left, 0), 0), text, fill=0, font=font)
    return np.asarray(image)[:, :, None]


@cache
def _fonts(size: int) -> list["Font"]:
    """Pillow's own font and those of OTHER_FONTS that the system has."""
    from PIL import ImageFont

    found: list[Font] = [ImageFont.load_default(size)]
    for name in OTHER_FONTS:
        try:
            found.append(ImageFont.truetype(name, size))
        except (OSError, ImportError):  # not there; ImportError: a Pillow without FreeType
            continue
    return found


def _has(font: "Font", text: str) -> bool:
    """Whether a font draws every character as something else than its sign for a missing one."""

    def drawn(character: str) -> tuple[tuple[int, int], bytes]:
        mask = font.getmask(character)
        return mask.size, bytes(mask)

    try:
        missing = drawn(_UNUSED_CHARACTER) if hasattr(font, "path") else None
        return all(character == " " or drawn(character) != missing for character in text)
    except UnicodeEncodeError:  # the font of a Pillow without FreeType knows Latin-1 alone
        return False


def folder_names(labels: Sequence[str]) -> list[str]:
    """A folder's name for each label: no separators, nothing that leads elsewhere, no two alike whatever their case."""
    found: dict[str, str] = {}
    for label in labels:
        name = re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", label)[:MOST_NAME_CHARACTERS].rstrip(". ") or "_"
        number, unique = 1, name
        while unique.casefold() in found:
            number += 1
            unique = f"{name}-{number}"
        found[unique.casefold()] = unique
    return list(found.values())
