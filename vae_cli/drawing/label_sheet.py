"""A picture with one row of images for each label and the labels' names beside them; folder names made from labels."""

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vae_cli.drawing.grids import GAP_PIXELS, INK, grid, ground
from vae_cli.printable import printable

SMALLEST_TEXT, LARGEST_TEXT = 11, 20  # pixels; in between, text is two fifths as high as an image
MAX_TITLE_CHARACTERS = 24
MARGIN_PIXELS = 4
MAX_FOLDER_CHARACTERS = 60  # file systems take names of 255 bytes, and a character may need four
OTHER_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "PingFang.ttc",
               "msyh.ttc", "malgun.ttf", "segoeui.ttf", "arial.ttf", "seguiemj.ttf")  # fmt: skip
"""Used, where the system has them, for names in scripts that Pillow's own font lacks."""
_UNUSED_CHARACTER = "\uffff"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def sheet(names: Sequence[str], rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """uint8 [H, W, C]: each row's images [h, w, C] with its name to the left, which is cut short where it is long."""
    image_height, _, channels = rows[0][0].shape
    size = max(SMALLEST_TEXT, min(LARGEST_TEXT, image_height * 2 // 5))
    titles = [_title(name, number, size) for number, name in enumerate(names, start=1)]
    width = max(title.shape[1] for title in titles) + 2 * MARGIN_PIXELS
    lines = []
    for title, row in zip(titles, rows, strict=True):
        below = max(0, len(title) - image_height) + GAP_PIXELS
        line = np.pad(grid(row, num_columns=len(row)), ((0, below), (width, 0), (0, 0)),
                      constant_values=ground(channels))  # fmt: skip
        if ground(channels) == 0:
            title = np.concatenate([np.full((*title.shape[:2], channels - 1), INK, np.uint8), 255 - title], axis=2)
        top = max(0, (image_height - len(title)) // 2)
        line[top : top + len(title), MARGIN_PIXELS : MARGIN_PIXELS + title.shape[1]] = title
        lines.append(line)
    return np.concatenate(lines)[:-GAP_PIXELS]


def _title(name: str, number: int, size: int) -> np.ndarray:
    """uint8 [H, W, 1]: the name in black on white, or the row's number where no font has all of its characters."""
    text = printable(name)
    text = text if len(text) <= MAX_TITLE_CHARACTERS else f"{text[: MAX_TITLE_CHARACTERS - 3]}..."
    font = next((font for font in _fonts(size) if _has_all(font, text)), None)
    if font is None:
        text, font = f"#{number}", _fonts(size)[0]
    left, _, right, bottom = font.getbbox(text)
    image = Image.new("L", (max(1, round(right - min(left, 0))), max(size, round(bottom))), 255)
    ImageDraw.Draw(image).text((-min(left, 0), 0), text, fill=0, font=font)
    return np.asarray(image)[:, :, None]


@cache
def _fonts(size: int) -> list[Font]:
    """Pillow's own font and those of OTHER_FONTS that the system has."""
    found: list[Font] = [ImageFont.load_default(size)]
    for name in OTHER_FONTS:
        with suppress(OSError, ImportError):  # not installed; ImportError: Pillow was built without FreeType
            found.append(ImageFont.truetype(name, size))
    return found


def _has_all(font: Font, text: str) -> bool:
    """Whether the font has every character of the text: one that it lacks is drawn as a box, like an unused one."""

    def drawn(character: str) -> tuple[tuple[int, int], bytes]:
        mask = font.getmask(character)
        return mask.size, bytes(mask)

    try:
        missing = drawn(_UNUSED_CHARACTER) if hasattr(font, "path") else None
        return all(character == " " or drawn(character) != missing for character in text)
    except UnicodeEncodeError:  # without FreeType, Pillow's own font has Latin-1 only
        return False


def folder_names(labels: Sequence[str]) -> list[str]:
    """A folder's name for each label: one plain path component, and no two that differ by case alone."""
    found: dict[str, str] = {}
    for label in labels:
        name = re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", label)[:MAX_FOLDER_CHARACTERS].rstrip(". ") or "_"
        number, unique = 1, name
        while unique.casefold() in found:
            number += 1
            unique = f"{name}-{number}"
        found[unique.casefold()] = unique
    return list(found.values())
