"""`vae masks` in a browser: strokes become the masks that they look like, and files that `inpaint` takes."""

import io
import itertools
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from .conftest import overflow, until

SIZE = (120, 200)  # height, width
RED = np.array((235, 40, 60))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Four pictures, stored in ways that browsers show and do not; one that is displayed on its side; one mask."""
    folder = tmp_path / "scans"
    (folder / "1931").mkdir(parents=True)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    picture = Image.fromarray(np.stack([rows + 60, columns + 20, rows * 0 + 200], -1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.rotate(90, expand=True).save(folder / "a.jpg", quality=95, exif=exif)
    picture.save(folder / "1931" / "<b> & 'ü'.tif")
    picture.save(folder / "c.png")
    picture.convert("L").save(folder / "d.png", exif=exif)  # which is 120 pixels wide
    hole = np.zeros(SIZE, np.uint8)
    hole[30:60, 101:133] = 255
    (tmp_path / "holes").mkdir()
    Image.fromarray(hole).save(tmp_path / "holes" / "c.png")
    return folder


@pytest.fixture
def mask_page(vae: Callable[..., Any], scans: Path) -> Path:
    path = scans.parent / "page.html"
    vae("masks", scans, "--mask", scans.parent / "holes", "--out", path)
    return path


def loaded(page: Any, number: int) -> Any:
    return until(page, f"!!mask && !isOpening && current === pictures[{number}]")


def on_screen(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point of the picture is on the screen."""
    box, view = page.locator("#stage").bounding_box(), page.evaluate("view")
    border = 1
    return box["x"] + border + view["x"] + x * view["scale"], box["y"] + border + view["y"] + y * view["scale"]


def draw(page: Any, *points: tuple[float, float]) -> None:
    page.mouse.move(*on_screen(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*on_screen(page, *point))
    page.mouse.up()


def saved(page: Any, button: str = "#save") -> bytes:
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path()).read_bytes()


def hole_of(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG" and image.mode == "1"
        return np.array(image)


def near(*points: tuple[float, float], radius: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    """The pixels whose middles are so near to a line."""
    middles = np.stack(np.meshgrid(np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5), -1)
    found = np.zeros(size, bool)
    for start, end in itertools.pairwise(points):
        way = np.subtract(end, start)
        along = np.clip((middles - start) @ way / (way @ way), 0, 1)[..., None]
        found |= np.linalg.norm(middles - start - along * way, axis=-1) <= radius
    return found


def test_a_stroke_is_saved_as_it_was_drawn(open_page, mask_page: Path) -> None:
    page = loaded(open_page(mask_page), 0)
    points = (30, 20), (150, 90), (160, 40)
    draw(page, *points)
    radius = page.evaluate("brush") / 2
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "<b> & 'ü'.png".replace("<", "_").replace(">", "_")
    hole = hole_of(Path(download.value.path()).read_bytes())
    wanted = near(*points, radius=radius)
    assert hole.shape == SIZE and wanted.sum() > 500
    differing = hole != wanted  # the screen rounds where a pointer is
    assert not (differing & ~(near(*points, radius=radius + 0.2) & ~near(*points, radius=radius - 0.2))).any()

    page.keyboard.press("e")
    draw(page, (80, 0), (80, 119))
    erased = hole_of(saved(page))
    assert not erased[:, 78:82].any() and (erased & ~hole).sum() == 0
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(hole_of(saved(page)), hole)
    page.keyboard.press("Control+y")
    np.testing.assert_array_equal(hole_of(saved(page)), erased)
    page.click("#undo")
    page.click("#undo")
    page.click("#save")
    assert "no hole in this mask yet" in page.inner_text("#status") and page.is_disabled("#undo")


def test_the_given_mask_is_there_and_comes_back(open_page, mask_page: Path) -> None:
    page = loaded(open_page(mask_page), 0)
    for _ in range(2):
        page.keyboard.press("n")
    hole = hole_of(saved(loaded(page, 2)))
    assert hole[30:60, 101:133].all() and hole.sum() == 30 * 32
    page.click("#clear")
    page.click("#save")
    assert "no hole" in page.inner_text("#status")
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(hole_of(saved(page)), hole)


def test_all_masks_as_a_zip_are_what_inpaint_takes(open_page, mask_page: Path, scans: Path, vae) -> None:
    page = loaded(open_page(mask_page), 0)
    draw(page, (30, 20), (60, 20))
    page.keyboard.press("n")
    draw(loaded(page, 1), (10, 100), (100, 100))
    content = saved(page, "#all")
    status = page.inner_text("#status")
    assert status.startswith("3 saved, 1 without a hole") and status.endswith("scans-masks.zip --skip-missing")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["1931/<b> & 'ü'.png", "a.png", "c.png"]
        assert hole_of(archive.read("a.png"))[100, 15:95].all() and hole_of(archive.read("a.png")).shape == SIZE
    path = scans.parent / "scans-masks.zip"
    path.write_bytes(content)
    words = ("inpaint", scans, "--method", "classical", "--mask", path, "--skip-missing")
    assert json.loads(vae(*words, "--dry-run", "--json").stdout)["pairs"] == 3
    vae(*words, "--out", scans.parent / "fixed")
    assert sorted(file.name for file in (scans.parent / "fixed").rglob("*.*")) == ["<b> & 'ü'.tif", "a.jpg", "c.png"]


@pytest.mark.parametrize("number", range(4))
def test_pictures_are_shown_upright(open_page, mask_page: Path, number: int) -> None:
    page = loaded(open_page(mask_page), 0)
    page.select_option("#list", str(number))
    loaded(page, number)
    page.mouse.move(1, 1)
    width, height = (120, 200) if number == 3 else (200, 120)
    assert page.evaluate("[current.width, current.height]") == [width, height]
    x, y = on_screen(page, 10, 10)
    shown = np.array(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    wanted = (70, 30, 200)
    if number == 3:  # stored on its side: its lower left corner is at the upper left
        wanted = tuple(np.array(Image.open(mask_page.parent / "scans" / "d.png"))[109, 10].repeat(3))
    assert np.abs(shown[round(y), round(x)] - wanted).max() < 8


def test_zoom_by_wheel_keys_and_buttons(open_page, mask_page: Path) -> None:
    page = loaded(open_page(mask_page), 0)
    # On a busy machine the page is laid out once more after the picture is there, and fitted anew.
    page.evaluate("(window.last = 0, window.rests = 0)")
    until(page, "(rests = last === view.scale ? rests + 1 : 0, last = view.scale, rests > 10)")
    fitted = page.evaluate("view.scale")
    page.mouse.move(*on_screen(page, 50, 40))
    before = on_screen(page, 50, 40)
    page.mouse.wheel(0, -200)
    assert page.evaluate("view.scale") == pytest.approx(fitted * np.exp(0.4))
    assert on_screen(page, 50, 40) == pytest.approx(before, abs=1), "the point under the pointer stays"
    page.keyboard.press("1")
    assert page.evaluate("view.scale") == 1
    page.keyboard.press("+")
    page.click("#out")
    assert page.evaluate("view.scale") == pytest.approx(1)
    page.click("#fit")
    assert page.evaluate("view.scale") == fitted
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("h")
    draw(page, (50, 40), (60, 40))
    assert page.is_disabled("#undo"), "the hand draws nothing"


def test_one_finger_draws_and_two_move(open_page, mask_page: Path) -> None:
    page = loaded(open_page(mask_page, 360, has_touch=True), 0)
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        at = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    scale, (x, y) = page.evaluate("view.scale"), on_screen(page, 100, 60)
    send("touchStart", (x - 20, y))
    send("touchStart", (x - 20, y), (x + 20, y))
    send("touchMove", (x - 40, y), (x + 40, y))
    send("touchEnd")
    assert page.evaluate("view.scale") == pytest.approx(2 * scale, rel=0.05)
    assert page.is_disabled("#undo"), "and what the first finger had begun is gone"
    assert not page.evaluate("mask.levels[0].data.some(Boolean)")
    send("touchStart", (x, y))
    send("touchMove", (x + 30, y))
    send("touchEnd")
    until(page, "!document.getElementById('undo').disabled")
    assert hole_of(saved(page)).sum() > 20


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_follows_the_scheme(open_page, mask_page: Path, width: int, scheme: str) -> None:
    page = loaded(open_page(mask_page, width, scheme), 0)
    assert overflow(page) == 0
    assert page.locator("#stage").bounding_box()["height"] > 300
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    page.keyboard.press("?")
    assert overflow(page) == 0 and page.locator("#keys").bounding_box()["width"] <= width


def test_a_thin_scratch_shows_on_a_large_picture(open_page, vae, tmp_path: Path) -> None:
    Image.new("L", (3000, 2000), 90).save(tmp_path / "a.png")
    hole = np.zeros((2000, 3000), np.uint8)
    hole[:, 1501] = 255
    Image.fromarray(hole).save(tmp_path / "hole.png")
    vae("masks", tmp_path / "a.png", "--mask", tmp_path / "hole.png", "--out", tmp_path / "page.html")
    page = loaded(open_page(tmp_path / "page.html", 360), 0)
    until(page, "view.scale < 0.2")
    page.mouse.move(1, 1)
    x, y = on_screen(page, 1501, 1000)
    shown = np.array(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    beside = shown[round(y), round(x) - 3 : round(x) + 4]
    assert (np.abs(beside - RED).sum(1) < 150).any() and (beside[0] == 90).all()


def test_leaving_with_unsaved_strokes_is_asked_about(open_page, mask_page: Path) -> None:
    page = loaded(open_page(mask_page), 0)
    assert page.evaluate("unsaved") == 0
    draw(page, (30, 20), (60, 20))
    assert page.evaluate("unsaved") == 1
    page.keyboard.press("n")
    draw(loaded(page, 1), (30, 20), (60, 20))
    saved(page)
    assert page.evaluate("unsaved") == 1
    saved(page, "#all")
    assert page.evaluate("unsaved") == 0
