"""The page of `inpaint --sheet` in a browser: the slider, marks, and the list that `--only` takes."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vae_cli.drawing.judging_page import Judged, View, hole_overlay, judging_page, reduced

from .conftest import overflow

BLACK, WHITE, GREY = 0, 255, 128


def flat(level: int) -> bytes:
    return reduced(np.full((90, 120, 3), level, np.uint8), 120)


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """Three cards: black before, white and grey after; one fill; none."""
    hole = np.zeros((90, 120), bool)
    hole[40:50] = True
    overlay = hole_overlay(hole, (120, 90))
    two = (View("whole", (120, 90), flat(BLACK), (flat(WHITE), flat(GREY)), overlay),)
    one = (View("whole", (120, 90), flat(BLACK), (flat(WHITE),), overlay), *two)
    rows = [Judged("a.png", "ok", "ok", "a.png", (("o/a.png", "x"), ("o/a.v2.png", "y")), two),
            Judged("b.png", "failed", "no picture"),
            Judged("deep/<c> 'ü'.png", "ok", "ok", "c.png", (("o/c.png", "z"),), one)]  # fmt: skip
    path = tmp_path / "sheet.html"
    path.write_text("".join(judging_page("vae inpaint: a long title of a page", rows, "sheet-marks.json", 1)), "utf-8")
    return path


def levels(page: Any, card: int, view: int = 0) -> np.ndarray:
    """The picture in a pane as it is on the screen, [H, W, 3]."""
    page.mouse.move(1, 1)
    pane = page.locator(".card").nth(card).locator(".pane").nth(view)
    return np.array(Image.open(io.BytesIO(pane.screenshot())).convert("RGB")).astype(int)


def saved(page: Any) -> Any:
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "sheet-marks.json"
    return json.loads(Path(download.value.path()).read_text("utf-8"))


def test_the_slider_uncovers_what_was_before(open_page, sheet: Path) -> None:
    page = open_page(sheet)
    shown = levels(page, 0)
    assert (shown[10:80, 5:55] < 5).all() and (shown[10:80, 65:115] > 250).all()
    slide = page.locator(".slide").first
    box = slide.bounding_box()
    page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 45)
    assert float(slide.input_value()) == pytest.approx(80, abs=1)
    shown = levels(page, 0)
    assert (shown[10:80, 5:90] < 5).all() and (shown[10:80, 102:115] > 250).all()
    slide.press("Home")
    assert (levels(page, 0)[10:80, 5:115] > 250).all(), "and by keyboard"


def test_fills_and_holes_are_chosen(open_page, sheet: Path) -> None:
    page = open_page(sheet)
    page.click("text=fill 2")
    assert (np.abs(levels(page, 0)[10:30, 65:115] - GREY) < 4).all()
    page.click("#holes")
    shown = levels(page, 0)[45]
    assert (shown[5:55, 0] > shown[5:55, 1] + 90).all() and (shown[65:115, 0] > shown[65:115, 1] + 90).all()
    page.keyboard.press("h")
    assert (levels(page, 0)[45, 5:55] < 5).all()


def test_marks_become_a_list(open_page, sheet: Path) -> None:
    page = open_page(sheet)
    assert page.inner_text("#counts") == "0 accepted, 0 to be redone, 2 not marked" and saved(page) == []
    page.click("text=fill 2")
    page.locator(".card").nth(0).locator("text=accept").click()
    page.keyboard.press("n")
    page.keyboard.press("n")
    page.keyboard.press("r")
    assert page.inner_text("#counts") == "1 accepted, 1 to be redone, 0 not marked"
    assert saved(page) == [{"input": "a.png", "mark": "accept", "output": "o/a.v2.png"},
                           {"input": "deep/<c> 'ü'.png", "mark": "redo"}]  # fmt: skip
    page.select_option("#filter", "redo")
    assert [page.locator(".card").nth(number).is_visible() for number in range(3)] == [False, False, True]
    page.select_option("#filter", "failed")
    assert [page.locator(".card").nth(number).is_visible() for number in range(3)] == [False, True, False]
    page.select_option("#filter", "all")
    page.locator(".card").nth(2).locator("h2").click()
    page.keyboard.press("u")
    assert page.inner_text("#counts") == "1 accepted, 0 to be redone, 1 not marked"


def test_keys_go_through_the_page(open_page, sheet: Path) -> None:
    page = open_page(sheet)
    for key in "nara":
        page.keyboard.press(key)
    assert [entry["mark"] for entry in saved(page)] == ["accept", "accept"], (
        "past the one in between, which has no fill"
    )


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_follows_the_scheme(open_page, vae: Callable[..., Any], tmp_path: Path, width: int, scheme: str
) -> None:  # fmt: skip
    """With the real page of a large picture, whose name has no room to break."""
    image = np.random.default_rng(0).integers(0, 90, (700, 900, 3), np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(image).save(tmp_path / "in" / f"{'name' * 20}.jpg")
    hole = np.zeros((700, 900), np.uint8)
    hole[300:330, 100:400] = 255
    Image.fromarray(hole).save(tmp_path / "hole.png")
    words = ("--method", "classical", "--mask", tmp_path / "hole.png", "--out", tmp_path / "fixed")
    vae("inpaint", tmp_path / "in", *words, "--sheet", tmp_path / "sheet.html")
    page = open_page(tmp_path / "sheet.html", width, scheme)
    assert overflow(page) == 0
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    panes = [pane.bounding_box() for pane in page.locator(".pane").all()]
    assert [round(pane["width"]) for pane in panes] == ([640, 256] if width == 1440 else [328, 256])
    assert panes[0]["height"] == pytest.approx(panes[0]["width"] * 498 / 640, abs=1)
