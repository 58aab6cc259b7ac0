"""`vae inpaint --sheet`: one page for a folder of damaged pictures."""

from pathlib import Path

import pytest

from .conftest import draw, draw_mask


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


def test_the_sheet_has_a_row_for_every_file(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    page = tmp_path / "fixed" / "sheet.html"
    words = ("inpaint", run, scans, "--mask", scans / "masks", "--out", tmp_path / "fixed", "--sheet", page)
    outcome = vae(*words, "--samples", 2, "--json")
    assert outcome.code == 1 and outcome.json["sheet"] == str(page)
    text = page.read_text(encoding="utf-8")
    assert text.count("<tr") == 4 and text.count("<img") == 8, "before, hole and two fills of two pictures"
    assert "4 fills written, 1 failed, 1 without a mask" in text
    assert 'href="../old%20scans/a.png"' in text and 'href="a.v2.png"' in text
    assert text.count('<tr class="failed">') == 1 and "no mask" in text


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
