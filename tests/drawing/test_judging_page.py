"""The page that fills are judged on: pictures inside it, names that cannot break it, scratches that show."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from vae_cli.drawing.judging_page import Judged, View, at_full_size, hole_overlay, judging_page, reduced


def page(*rows: Judged) -> str:
    return "".join(judging_page("a <job>", rows, "marks.json", 1))


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_names_are_text_and_nothing_else() -> None:
    name = '"><script>alert("x")</script>'
    view = View(name, (4, 4), b"before", (b"one", b"two"), b"hole")
    text = page(Judged(name, "ok", "a < b & c", "x%22y", ((name, "one.png"), (name, "two.png")), (view,)))
    assert "<script>alert" not in text and text.count("</script>") == 1 and "a &lt; b &amp; c" in text
    assert "<title>a &lt;job&gt;</title>" in text and 'data-input="&#34;&gt;&lt;script&gt;' in text


def test_rows_are_taken_one_by_one_as_the_page_is_written() -> None:
    """Thousands of rows of pictures must never be in memory together."""
    taken: list[int] = []

    def rows() -> Iterator[Judged]:
        for number in range(50):
            taken.append(number)
            yield Judged(f"file-{number:02d}", "ok", "ok")

    pieces = judging_page("job", rows(), "marks.json", 1)
    for number in range(50):
        assert any(piece == f"file-{number:02d}" for piece in pieces)
        assert len(taken) == number + 1


def test_pictures_are_reduced_and_never_enlarged() -> None:
    red = np.full((400, 200, 3), (250, 0, 0), np.uint8)
    image = opened(reduced(red, 100))
    assert image.size == (50, 100) and np.abs(np.array(image) - (250.0, 0, 0)).max() < 6
    assert opened(reduced(np.zeros((5, 9, 1), np.uint8), 100)).size == (9, 5)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    assert np.abs(np.array(opened(at_full_size(noise))).astype(int) - noise).mean() < 6


def test_a_scratch_of_one_pixel_shows_on_a_large_picture() -> None:
    hole = np.zeros((1760, 1760), bool)
    hole[:, 880:883] = True
    marked = np.array(opened(hole_overlay(hole, (176, 176))))
    assert marked.shape == (176, 176, 4) and marked[60, 88, 3] > 150 and marked[60, 20, 3] == 0
    assert marked[60, 88, 0] > 200 > marked[60, 88, 1]
