"""The page of a folder job: pictures inside it, names that cannot break it, scratches that show."""

import base64
import io
import re
from collections.abc import Iterator

import numpy as np
from PIL import Image

from vae_cli.drawing.contact_sheet import THUMBNAIL_SIDE, Figure, Row, contact_sheet, thumbnail


def page(*rows: Row) -> str:
    return "".join(contact_sheet("a <job>", rows))


def test_a_row_shows_its_pictures_and_links_to_the_files() -> None:
    red = thumbnail(np.full((400, 200, 3), (250, 0, 0), np.uint8))
    text = page(Row("a.png", "ok", (Figure("before", red, "scans/a%20b.png"), Figure("hole", red))))
    assert text.count("<img") == 2 and text.count("<a href=") == 1 and 'href="scans/a%20b.png"' in text
    found = re.search(r"data:image/jpeg;base64,([^\"]+)", text)
    assert found is not None
    with Image.open(io.BytesIO(base64.b64decode(found[1]))) as image:
        assert image.size == (THUMBNAIL_SIDE // 2, THUMBNAIL_SIDE)
        assert np.asarray(image)[50, 50, 0] > 240 and np.asarray(image)[50, 50, 1] < 15
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text), "it opens without a network"


def test_names_are_text_and_nothing_else() -> None:
    text = page(Row('<script>alert("x")</script>', "a < b & c"))
    assert "<script>" not in text and "&lt;script&gt;" in text and "a &lt; b &amp; c" in text
    assert "<title>a &lt;job&gt;</title>" in text


def test_rows_are_taken_one_by_one_as_the_page_is_written() -> None:
    """Thousands of rows of pictures must never be in memory together."""
    taken: list[int] = []

    def rows() -> Iterator[Row]:
        for number in range(50):
            taken.append(number)
            yield Row(f"file-{number:02d}", "ok")

    pieces = contact_sheet("job", rows())
    for number in range(50):
        assert any(piece == f"file-{number:02d}" for piece in pieces)
        assert len(taken) == number + 1


def test_small_pictures_are_not_enlarged_and_deep_ones_become_eight_bits() -> None:
    assert thumbnail(np.zeros((5, 9, 1), np.uint8)).size == (9, 5)
    deep = thumbnail(np.full((4, 4, 3), 0x8040, np.uint16))
    assert deep.getpixel((0, 0)) == (0x80, 0x80, 0x80)
