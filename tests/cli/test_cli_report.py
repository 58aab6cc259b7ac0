"""A page about a run, written by `train` and by `report`."""

import shutil
from pathlib import Path


def test_train_leaves_a_page(run: Path) -> None:
    text = (run / "report.html").read_text()
    assert text.count("data:image/png") >= 5 and "PSNR of reconstructions" in text
    assert "Loss of the latent flow" in text and "cat, dog" in text


def test_a_page_elsewhere_and_the_own_one_again(vae, run: Path, tmp_path: Path) -> None:
    own = shutil.copytree(run, tmp_path / "own")
    outcome = vae("report", own, "--json")
    assert outcome.code == 0 and outcome.json["files"][0]["output"] == str(own / "report.html")
    path = tmp_path / "page.html"
    assert vae("report", own, "--out", path).stdout.split() == [str(path)]
    assert vae("report", own, "--out", path).code == 2
    assert vae("report", own, "--out", path, "--overwrite").code == 0
    assert vae("report", own / "checkpoints" / "best", "--out", tmp_path / "folder").code == 0
    assert "vae run own" in (tmp_path / "folder" / "report.html").read_text()


def test_what_has_no_report(vae, run: Path, tmp_path: Path) -> None:
    assert vae("report", tmp_path / "nowhere").code == 2
    assert vae("report", run, "--out", tmp_path / "page.pdf").code == 2
    alone = shutil.copy(run / "checkpoints" / "best" / "model.safetensors", tmp_path)
    assert vae("report", alone).code == 2 and not (tmp_path / "report.html").exists()
    started = tmp_path / "started"
    (started / "checkpoints").mkdir(parents=True)
    (started / "config.yaml").write_text("preset: tiny\n")
    assert vae("report", started).code == 4


def test_a_run_that_was_killed_before_its_page_gets_it(vae, run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    for left in [copy / "report.html", *(copy / "previews").glob("[!s]*.png")]:
        left.unlink()
    outcome = vae("train", "--out", copy, "--resume", "--device", "cpu", "--json")
    assert outcome.code == 0 and outcome.json["status"] == "nothing_to_do", outcome.stderr
    assert (copy / "report.html").exists() and (copy / "previews" / "map.png").exists()
    lines = (copy / "metrics.jsonl").read_text().splitlines()
    assert lines[-1] == lines[-2] and '"phase": "end"' in lines[-1]
