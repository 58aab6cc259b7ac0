"""`vae inpaint --sheet`: a page to judge a folder's fills on, and --only: what is done again."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vae_cli.jobs import inpaint_sheet, marks

from .conftest import draw, draw_mask, pixels


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "old scans"
    draw(folder / "a.png", 1)
    draw(folder / "b.tif", 2)
    draw(folder / "lonely.png", 3)
    (folder / "broken.png").write_bytes(b"\x89PNG cut off")
    for name in ("a.png", "b.png", "broken.png"):
        draw_mask(folder / "masks" / name)
    return folder


def cards_of(page: Path) -> dict[str, str]:
    """The HTML of each file's card, by its name."""
    found = re.findall(
        r'<article class="[^"]*" data-input="([^"]*)"(.*?)</article>', page.read_text("utf-8"), re.DOTALL
    )
    return {Path(unescape(name)).name: html for name, html in found}


def test_the_sheet_has_a_card_for_every_file(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    page = tmp_path / "fixed" / "sheet.html"
    words = ("inpaint", run, scans, "--mask", scans / "masks", "--out", tmp_path / "fixed", "--sheet", page)
    outcome = vae(*words, "--samples", 2, "--json")
    assert outcome.code == 1 and outcome.json["sheet"] == str(page)
    cards, text = cards_of(page), page.read_text(encoding="utf-8")
    assert set(cards) == {"a.png", "b.tif", "lonely.png", "broken.png"}
    assert cards["a.png"].count("<img") == 4, "before, two fills, hole"
    assert cards["a.png"].count('type="radio"') == 2 and 'class="fill" data-output=' in cards["a.png"]
    assert 'href="../old%20scans/a.png"' in cards["a.png"] and 'href="a.v2.png"' in cards["a.png"]
    assert "no mask" in cards["lonely.png"] and "<img" not in cards["lonely.png"] + cards["broken.png"]
    assert "radio" not in cards["lonely.png"] + cards["broken.png"], "nothing to judge"
    assert "4 fills written, 1 failed, 1 without a mask" in text and "--only sheet-marks.json --seed 1" in text
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text), "it opens without a network"


def test_a_resumed_job_shows_what_was_there_before(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    page = tmp_path / "sheet.html"
    words = ("inpaint", run, scans, "--mask", scans / "masks", "--out", tmp_path / "fixed", "--sheet", page)
    assert vae(*words).code == 1 and vae(*words, "--overwrite").code == 1
    first = page.read_text(encoding="utf-8")
    assert vae(*words, "--skip-existing").code == 1
    assert page.read_text(encoding="utf-8").count("<img") == first.count("<img") == 6


def test_a_sheet_is_a_page_and_replaces_nothing(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    words = ("inpaint", run, scans, "--mask", scans / "masks", "--out", tmp_path / "fixed")
    refused = vae(*words, "--sheet", tmp_path / "sheet.png")
    assert refused.code == 2 and "sheet.html" in refused.stderr
    (tmp_path / "mine.html").write_text("keep")
    assert vae(*words, "--sheet", tmp_path / "mine.html").code == 2
    assert vae(*words, "--sheet", tmp_path / "mine.html", "--skip-existing").code == 2
    assert (tmp_path / "mine.html").read_text() == "keep" and not (tmp_path / "fixed").exists()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A picture of 900x700 with a large hole, which a smooth fill mends, and a small one on an edge, which shows."""
    folder = tmp_path / "large"
    columns = np.repeat(np.arange(900)[None] // 8, 700, 0)
    columns[300:320, 700:720] = np.random.default_rng(0).integers(0, 255, (20, 20))
    columns[420:440, 700:] += 140
    folder.mkdir()
    Image.fromarray(columns.astype(np.uint8)).convert("RGB").save(folder / "a.png")
    hole = np.zeros((700, 900), np.uint8)
    hole[100:200, 100:220] = hole[415:430, 700:760] = 255
    Image.fromarray(hole).save(tmp_path / "hole.png")
    return folder


def sheet_of(vae, folder: Path, page: Path) -> Any:
    words = ("--method", "classical", "--mask", folder.parent / "hole.png", "--out", folder.parent / "fixed")
    return vae("inpaint", folder, *words, "--sheet", page, "--overwrite")


def test_holes_of_a_large_picture_are_shown_at_full_size(vae, large: Path, tmp_path: Path) -> None:
    assert sheet_of(vae, large, tmp_path / "s.html").code == 0
    (card,) = cards_of(tmp_path / "s.html").values()
    captions = re.findall("<figcaption>(.*?)</figcaption>", card)
    assert captions[:2] == ["1:1.4, the whole picture", "1:1, the largest hole"]
    assert re.fullmatch(r"1:1, the hole whose edge shows most: \d+ levels", captions[2]) and len(captions) == 3
    assert card.count('width="256" height="256"') == 6 and card.count('width="640" height="498"') == 3


def test_a_page_of_many_pictures_stays_small(vae, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet_of(vae, large, tmp_path / "s.html")
    full = (tmp_path / "s.html").stat().st_size
    monkeypatch.setattr(inpaint_sheet, "MOST_BYTES", 60_000)
    sheet_of(vae, large, tmp_path / "s.html")
    assert (tmp_path / "s.html").stat().st_size < full / 2
    for number in range(3):
        (large / f"b{number}.png").write_bytes((large / "a.png").read_bytes())
    monkeypatch.setattr(inpaint_sheet, "MOST_BYTES", 2_000)
    sheet_of(vae, large, tmp_path / "s.html")
    cards = list(cards_of(tmp_path / "s.html").values())
    assert "<img" in cards[0] and "<img" not in "".join(cards[1:]) and "not shown: a page holds" in cards[1]
    assert all("radio" in card for card in cards), "but it can be judged by its files"


def marked(path: Path, *entries: object) -> Path:
    path.write_text(json.dumps(entries))
    return path


def test_only_what_is_marked_is_done_again(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    words = ("inpaint", run, scans, "--mask", scans / "masks", "--out", tmp_path / "fixed")
    vae(*words)
    first = {name: pixels(tmp_path / "fixed" / name) for name in ("a.png", "b.tif")}
    listed = marked(tmp_path / "list.json", {"input": str(scans / "a.png"), "mark": "accept"},
                    {"input": f"{tmp_path}/./old scans/b.tif", "mark": "redo", "output": "fixed/b.tif"})  # fmt: skip
    refused = vae(*words, "--only", listed, "--seed", 1)
    assert refused.code == 2 and f"{tmp_path / 'fixed' / 'b.tif'}: exists" in refused.stderr
    outcome = vae(*words, "--only", listed, "--seed", 1, "--overwrite", "--json")
    assert outcome.code == 0, "nor do broken files count that are not in the list"
    assert [entry["input"] for entry in outcome.json["files"]] == [str(scans / "b.tif")]
    np.testing.assert_array_equal(pixels(tmp_path / "fixed" / "a.png"), first["a.png"])
    again = pixels(tmp_path / "fixed" / "b.tif")
    assert (again != first["b.tif"]).any()
    assert vae(*words, "--only", listed, "--overwrite").code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "fixed" / "b.tif"), first["b.tif"])
    assert vae(*words, "--only", listed, "--dry-run", "--json").code == 2, "the result exists"
    assert vae(*words, "--only", listed, "--dry-run", "--overwrite", "--json").json["pairs"] == 1


def test_what_the_list_names_and_input_lacks_is_named(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    words = ("inpaint", run, scans, "--mask", scans / "masks", "--out", tmp_path / "fixed")
    entries = [{"input": name, "mark": "redo"} for name in (str(scans / "a.png"), "elsewhere/c.png")]
    outcome = vae(*words, "--only", marked(tmp_path / "l.json", *entries), "--json")
    assert outcome.code == 1
    states = {entry["input"]: (entry["status"], entry["reason"]) for entry in outcome.json["files"]}
    assert states["elsewhere/c.png"] == ("failed", f"{tmp_path / 'l.json'} lists it, but it is not among INPUT")
    assert states[str(scans / "a.png")][0] == "ok"
    assert vae(*words, "--only", marked(tmp_path / "l.json", entries[1])).code == 3
    assert vae(*words, "--only", marked(tmp_path / "l.json")).code == 0, "nothing to do"


def test_files_keep_the_names_that_they_have_among_all(vae, run: Path, tmp_path: Path) -> None:
    """`a.tif` alone would become a.png, which is another picture's fill."""
    for suffix in ("png", "tif"):
        draw(tmp_path / "in" / f"a.{suffix}", 1)
        draw_mask(tmp_path / "masks" / f"a.{suffix}.png")
    words = ("inpaint", run, tmp_path / "in", "--mask", tmp_path / "masks", "--format", "png", "--out", tmp_path / "o")
    assert vae(*words).code == 0
    listed = marked(tmp_path / "l.json", {"input": str(tmp_path / "in" / "a.tif"), "mark": "redo"})
    outcome = vae(*words, "--only", listed, "--overwrite", "--json")
    assert [entry["output"] for entry in outcome.json["files"]] == [str(tmp_path / "o" / "a.tif.png")]


@pytest.mark.parametrize(
    "content, problem",
    [('{"input": "a"}', "not a list"), ("[", "no JSON"), ("[" * 100_000, "no JSON"), ("\xff", "no JSON"),
     ('["a.png"]', "entry 1 is 'a.png'"), ('[{"input": "a", "mark": "maybe"}]', "'maybe'"),
     ('[{"input": 5, "mark": "redo"}]', "entry 1"), ('[{"input": "", "mark": "redo"}]', "entry 1"),
     ('[{"input": "a", "mark": ["redo"]}]', "entry 1"), ('[{"input": "a", "mark": "redo", "x": "y"}]', "entry 1"),
     ('[{"input": "a", "mark": "redo"}, {"input": "./a", "mark": "accept"}]', "both accept and redo"),
     (f'[{{"input": "{"x" * 100_000}", "mark": 1}}]', "entry 1")],
)  # fmt: skip
def test_a_bad_list_is_refused(vae, run: Path, scans: Path, tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "l.json").write_bytes(content.encode("latin-1"))
    outcome = vae("inpaint", run, scans, "--mask", scans / "masks", "--only", tmp_path / "l.json")
    assert outcome.code == 2 and problem in outcome.stderr and 1 <= len(outcome.errors) <= 3
    assert sum(map(len, outcome.errors)) < 1000


def test_a_list_of_any_size_is_no_list(
    vae, run: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "MAX_BYTES", 100)
    (tmp_path / "l.json").write_text(" " * 101 + "[]")
    for path in (tmp_path / "l.json", tmp_path, tmp_path / "nowhere.json", Path("/dev/zero")):
        outcome = vae("inpaint", run, scans, "--mask", scans / "masks", "--only", path)
        assert outcome.code == 2 and "cannot be read" in outcome.stderr and len(outcome.errors) <= 3


def test_only_is_about_fills(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    listed = marked(tmp_path / "l.json")
    outcome = vae("inpaint", run, scans, "--mask-auto", "--dry-run", "--only", listed)
    assert outcome.code == 2 and "leave out one of them" in outcome.stderr
