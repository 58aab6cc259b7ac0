"""`vae score` and `vae similar`: tables, pages and heat maps of images and of their neighbours."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import rewritten

from .conftest import SIDE, draw, pixels

COLUMNS = ["file", "elbo_nats", "bits_per_dim", "psnr_db", "strangeness", "stranger_than", "nearest"]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Discs as the run has learned them, one of which it has seen, a checkerboard, and a broken picture."""
    folder = tmp_path / "new"
    for number in (0, 50, 51, 52):
        draw(folder / f"{number}.png", number)
    board = np.indices((SIDE, SIDE)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(folder / "odd, one.png")
    (folder / "broken.png").write_bytes(b"")
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_what_score_writes(vae, run: Path, mixed: Path, tmp_path: Path) -> None:
    sheet, heatmaps = tmp_path / "sheet.html", mixed / "heat"
    words = ("score", run, mixed, "--sheet", sheet, "--heatmaps", heatmaps)
    outcome = vae(*words, "--json")
    assert outcome.code == 1 and outcome.json["order"] == "strangeness", outcome.stderr
    assert "reading the images that the run itself names" in outcome.stderr and outcome.json["usual_images"] >= 10
    rows = table(tmp_path / "new-score.csv")
    assert list(rows[0]) == COLUMNS
    nearest = {row["file"]: row["nearest"] for row in rows}
    assert nearest[str(mixed / "0.png")] == "dog/00.png", "it was learned from"
    strangeness = [float(row["strangeness"]) for row in rows]
    assert strangeness == sorted(strangeness, reverse=True) and len(rows) == 5
    scored = [entry for entry in outcome.json["files"] if "strangeness" in entry]
    assert [entry["strangeness"] for entry in scored] == pytest.approx(strangeness, rel=1e-5)
    failed = [entry["input"] for entry in outcome.json["files"] if entry["status"] == "failed"]
    assert failed == [str(mixed / "broken.png")]
    assert pixels(heatmaps / "odd, one.png").shape == (SIDE * 16, SIDE * 32 + 2, 3)
    page = sheet.read_text()
    named = re.findall(r"<h2>(.*?)</h2>", page)
    assert named == [row["file"] for row in rows] and page.count("<img") == 20
    assert re.search(r'href="new/odd%2C%20one\.png"', page)
    again = vae(*words)
    assert again.code == 2 and "--overwrite" in again.errors[0]
    assert vae(*words, "--overwrite").code == 1
    assert len(table(tmp_path / "new-score.csv")) == 5, "heat maps are left out"


def test_other_images_may_be_usual(vae, run_without_flow: Path, mixed: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("new/50.png\nnew/0.png\n")
    words = ("score", run_without_flow, tmp_path / "list.txt", "--normal", photos / "dog", "--out", tmp_path / "s.csv")
    outcome = vae(*words, "--json")
    assert outcome.code == 0 and outcome.json["usual_images"] == 6, outcome.stderr
    assert "the run itself names" not in outcome.stderr, "a stored path is not followed"
    rows = table(tmp_path / "s.csv")
    assert [row["file"] for row in rows] == [str(tmp_path / "new" / name) for name in ("50.png", "0.png")]
    assert rows[1]["nearest"] == "00.png"


def test_without_usual_images_likelihood_has_to_do(vae, run: Path, mixed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run / "checkpoints" / "best", copy)
    rewritten(copy / "model.safetensors", {"data": {"path": str(tmp_path / "absent")}})
    outcome = vae("score", copy, mixed, "--sheet", tmp_path / "s.html", "--json")
    assert outcome.code == 1 and outcome.json["order"] == "elbo_nats", outcome.stderr
    assert "--normal" in outcome.stderr
    bounds = [float(row["elbo_nats"]) for row in table(tmp_path / "new-score.csv")]
    assert bounds == sorted(bounds) and table(tmp_path / "new-score.csv")[0]["strangeness"] == ""


def test_files_that_are_no_tables_and_pages(vae, run: Path, mixed: Path, tmp_path: Path) -> None:
    for words, problem in (
        (("score", run, mixed, "--out", "s.txt"), ".csv"),
        (("score", run, mixed, "--sheet", "s.png"), ".html"),
        (("score", run, mixed, "--normal", tmp_path / "absent"), "absent"),
        (("similar", run, mixed, mixed, "--out", "s.png"), ".csv"),
        (("similar", run, mixed / "absent.png", mixed), "absent.png"),
    ):
        outcome = vae(*words)
        assert outcome.code == 2 and problem in outcome.errors[0], outcome.stderr
    assert vae("score", run, mixed / "broken.png").code == 3


def test_similar_images(vae, run: Path, photos: Path, mixed: Path, tmp_path: Path) -> None:
    """The copy of a photo is its nearest; a file is not similar to itself."""
    out = tmp_path / "near.csv"
    outcome = vae("similar", run, mixed, photos, "-n", 3, "--out", out, "--json")
    assert outcome.code == 1, outcome.stderr
    rows = table(out)
    assert list(rows[0]) == ["query", "rank", "file", "distance"] and len(rows) == 5 * 3
    first = next(row for row in rows if row["query"] == str(mixed / "0.png"))
    assert (first["rank"], first["file"]) == ("1", str(photos / "dog" / "00.png")) and float(first["distance"]) < 1e-3
    entry = next(entry for entry in outcome.json["files"] if entry["input"] == str(mixed / "0.png"))
    assert entry["similar"][0]["file"] == first["file"] and len(entry["similar"]) == 3
    assert out.with_suffix(".html").read_text().count("<img") == 5 * 4
    alone = vae("similar", run, photos / "cat" / "01.png", photos, "-n", 40, "--out", tmp_path / "alone.csv")
    assert alone.code == 0, alone.stderr
    found = [row["file"] for row in table(tmp_path / "alone.csv")]
    assert len(found) == 11 and str(photos / "cat" / "01.png") not in found
