"""A page about a run, written by `train` and by `report`."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest


def test_train_leaves_a_page(run: Path) -> None:
    text = (run / "report.html").read_text()
    assert text.count("data:image/png") >= 5 and "PSNR of reconstructions" in text
    assert "loss of the flow" in text and "cat, dog" in text
    cards = dict(re.findall(r"<h2>([^<]+)</h2><p class=\"value\">([^<]+)</p>", text))
    images = json.loads((run / "data.json").read_text())["training_images"]
    assert cards["Learned from"] == f"{images} images" and re.fullmatch(r"\d+ min \d+ s", cards["Took"])
    assert cards["Rebuilds images"].endswith(" dB") and cards["Fills holes"].endswith("% by the model")
    assert f"vae train --config {run}/config.yaml" in text and "30 updates on " in text


def test_a_page_elsewhere_and_the_own_one_again(vae, run: Path, tmp_path: Path) -> None:
    own = shutil.copytree(run, tmp_path / "own")
    outcome = vae("report", own, "--json")
    assert outcome.code == 0 and outcome.json["files"][0]["output"] == str(own / "report.html")
    path = tmp_path / "page.html"
    assert vae("report", own, "--out", path).stdout.split() == [str(path)]
    assert vae("report", own, "--out", path).code == 2
    assert vae("report", own, "--out", path, "--overwrite").code == 0
    assert vae("report", own / "checkpoints" / "best", "--out", tmp_path / "folder").code == 0
    assert "<h1>own</h1>" in (tmp_path / "folder" / "report.html").read_text()


def test_what_has_no_report(vae, run: Path, tmp_path: Path) -> None:
    assert vae("report", tmp_path / "nowhere").code == 2
    assert vae("report", run, "--out", tmp_path / "page.pdf").code == 2
    alone = shutil.copy(run / "checkpoints" / "best" / "model.safetensors", tmp_path)
    assert vae("report", alone).code == 2 and not (tmp_path / "report.html").exists()
    started = tmp_path / "started"
    (started / "checkpoints").mkdir(parents=True)
    (started / "config.yaml").write_text("preset: tiny\n")
    assert vae("report", started).code == 4


@pytest.mark.parametrize("page", ["none", "older", "written while training"])
def test_a_run_that_was_killed_before_its_page_gets_it(vae, run: Path, tmp_path: Path, page: str) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    for left in (copy / "previews").glob("[!s]*.png"):
        left.unlink()
    if page == "none":
        (copy / "report.html").unlink()
    elif page == "older":
        os.utime(copy / "report.html", (1, 1))
    else:
        without_figures = (copy / "metrics.jsonl").read_bytes().splitlines(keepends=True)[:-1]
        (copy / "metrics.jsonl").write_bytes(b"".join(without_figures))
        os.utime(copy / "report.html")
    outcome = vae("train", "--out", copy, "--resume", "--device", "cpu", "--json")
    assert outcome.code == 0 and outcome.json["status"] == "nothing_to_do", outcome.stderr
    assert (copy / "report.html").exists() and (copy / "previews" / "map.png").exists()
    lines = (copy / "metrics.jsonl").read_text().splitlines()
    assert '"phase": "end"' in lines[-1] and (page == "written while training" or lines[-1] == lines[-2])
    again = vae("train", "--out", copy, "--resume", "--device", "cpu")
    assert again.code == 0 and "pictures:" not in again.stderr
