"""Labels from class folders to pictures: rows, folders, odd names, unlabelled images beside them, figures by label."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from vae_cli.metrics import classifier
from vae_cli.model.flow import GUIDANCE

from .conftest import SIDE, draw, pixels

BYTES = os.fsdecode(b"\xff\xe9")
ODD = ("-1", "Cat", "all", "cat", "none", "one", "käse", "日本", BYTES)


@pytest.fixture(scope="module")
def odd_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of each odd name but `one`, which has a single one, and six without a label at the top."""
    folder, number = tmp_path_factory.mktemp("data") / "odd", 0
    for name in ODD:
        for _ in range(1 if name == "one" else 4):
            number += 1
            draw(folder / name / f"{number:02d}.png", number)
    for number in range(100, 106):
        draw(folder / f"{number}.png", number)
    return folder


@pytest.fixture(scope="module")
def odd_run(odd_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from .conftest import invoke

    folder = tmp_path_factory.mktemp("runs") / "odd"
    words = ("--labels", "folders", "--preset", "tiny", "--steps", 4, "--set", "training.batch_size=4")
    outcome = invoke("train", odd_photos, *words, "--out", folder, "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.stderr
    assert sorted(outcome.json["labels"]) == sorted(ODD)
    return folder


def test_a_row_a_label(vae, run: Path, tmp_path: Path) -> None:
    outcome = vae("sample", run, "--label", "all", "-n", 3, "--out", tmp_path / "grid.png", "--json", "--seed", 2)
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["labels"] == ["cat", "dog"] and outcome.json["guidance"] == GUIDANCE
    found = pixels(tmp_path / "grid.png")
    assert found.shape[0] == 2 * SIDE + 2 and found.shape[1] > 3 * SIDE + 4
    for row, label in enumerate(("cat", "dog")):
        assert vae("sample", run, "--label", label, "-n", 3, "--seed", 2, "--out", tmp_path / label).code == 0
        for column in range(3):
            top, right = row * (SIDE + 2), found.shape[1] - (3 - column) * (SIDE + 2) + 2
            alone = pixels(tmp_path / label / f"{column:06d}.png")
            np.testing.assert_array_equal(found[top : top + SIDE, right : right + SIDE], alone)
    title = found[:, : found.shape[1] - 3 * (SIDE + 2) + 2]
    assert title[:SIDE].min() < 128 and title[SIDE + 2 :].min() < 128, "both rows have a name"


def test_a_folder_a_label(vae, run: Path, tmp_path: Path) -> None:
    words = ("sample", run, "--label", "dog", "--label", "cat", "--label", "dog", "-n", 2, "--out", tmp_path / "o")
    outcome = vae(*words, "--json")
    assert outcome.code == 0, outcome.stderr
    files = [(Path(entry["output"]).relative_to(tmp_path / "o").as_posix(), entry["label"], entry["sample"])
             for entry in outcome.json["files"]]  # fmt: skip
    assert files == [(f"{label}/{n:06d}.png", label, n) for label in ("dog", "cat") for n in (0, 1)]
    assert all((tmp_path / "o" / name).exists() for name, _, _ in files)
    again = vae(*words)
    assert again.code == 2 and "--overwrite" in again.stderr


def test_one_label_is_written_as_without_labels(vae, run: Path, tmp_path: Path) -> None:
    facts = vae("sample", run, "--label", "cat", "-n", 4, "--out", tmp_path / "o", "--json").json
    assert [Path(entry["output"]).name for entry in facts["files"]] == [f"{n:06d}.png" for n in range(4)]
    assert facts["labels"] == ["cat"] and facts["files"][0]["label"] == "cat"
    assert vae("sample", run, "--label", "cat", "-n", 4, "--out", tmp_path / "g.png").code == 0
    assert pixels(tmp_path / "g.png").shape == (2 * SIDE + 2, 2 * SIDE + 2, 3)
    plain = vae("sample", run, "-n", 1, "--out", tmp_path / "p", "--json").json
    assert "labels" not in plain and "label" not in plain["files"][0]


def test_unknown_labels_among_known_ones(vae, run: Path, run_without_flow: Path, tmp_path: Path) -> None:
    for words in (("--label", "cat", "--label", "Dog"), ("--label", "all", "--label", "dgo")):
        outcome = vae("sample", run, *words, "--out", tmp_path / "o")
        assert outcome.code == 2 and "did you mean dog" in outcome.stderr and not (tmp_path / "o").exists()
    without = vae("sample", run_without_flow, "--label", "all", "--out", tmp_path / "o")
    assert without.code == 2 and "without labels" in without.stderr


def test_odd_names_can_be_drawn(vae, odd_run: Path, tmp_path: Path) -> None:
    for label in ("-1", "none", "one", "日本", BYTES):
        outcome = vae("sample", odd_run, "--label", label, "-n", 1, "--out", tmp_path / label / "a.png", "--json")
        assert outcome.code == 0, outcome.stderr
        assert outcome.json["labels"] == [label]
    of_class = vae("sample", odd_run, "--label", "all", "-n", 1, "--out", tmp_path / "x", "--json").json
    assert of_class["labels"] == ["all"]
    both = vae("sample", odd_run, "--label", "cat", "--label", "Cat", "-n", 1, "--out", tmp_path / "y", "--json").json
    folders = [Path(entry["output"]).parent.name for entry in both["files"]]
    assert len({folder.casefold() for folder in folders}) == 2, "also where the file system ignores case"
    every = [word for label in ODD for word in ("--label", label)]
    assert vae("sample", odd_run, *every, "-n", 1, "--out", tmp_path / "every.png").code == 0


def test_info_counts_labels(vae, odd_run: Path, run_without_flow: Path) -> None:
    facts = vae("info", odd_run, "--json").json
    held_out = json.loads((odd_run / "data.json").read_text())["validation_images"]
    assert set(facts["label_images"]) == set(facts["labels"]) == set(ODD)
    assert sum(facts["label_images"].values()) + facts["unlabelled_images"] == 8 * 4 + 1 + 6 - held_out
    text = vae("info", odd_run).stdout
    assert f"日本 ({facts['label_images']['日本']})" in text and "\\udcff" in text and "images without" in text
    assert vae("info", run_without_flow, "--json").json["label_images"] is None


def test_previews_by_label(run: Path, odd_run: Path, run_without_flow: Path) -> None:
    assert pixels(run / "previews" / "labels.png").shape[0] == 2 * SIDE + 2
    assert (odd_run / "previews" / "labels.png").exists()
    assert not (run_without_flow / "previews" / "labels.png").exists()


def test_figures_by_label(vae, run: Path, odd_run: Path, odd_photos: Path, photos: Path, tmp_path: Path) -> None:
    found = vae("evaluate", run, photos, "--json").json["per_label"]
    assert {name: figures["images"] for name, figures in found.items()} == {"cat": 6, "dog": 6}
    assert {"elbo_nats", "psnr_db"} <= set(found["cat"]) and found["cat"] != found["dog"]
    assert "\ncat" in vae("evaluate", run, photos).stdout
    beside = vae("evaluate", odd_run, odd_photos, "--json").json
    assert beside["images"] == 39 and sum(figures["images"] for figures in beside["per_label"].values()) == 33
    flat = tmp_path / "flat"
    shutil.copytree(photos / "cat", flat)
    for trained in (run, odd_run):
        assert vae("evaluate", trained, flat, "--json").json["per_label"] is None


def test_samples_named_by_a_classifier(vae, run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = dict(classifier.train_classifier.__kwdefaults__, num_steps=3)
    monkeypatch.setattr(classifier.train_classifier, "__kwdefaults__", defaults)
    words = ("evaluate", run, photos, "--limit", 4, "--feature-weights", "auto")
    facts = vae(*words, "--json").json
    shares = [facts["per_label"][label]["label_accuracy"] for label in ("cat", "dog")]
    assert facts["label_accuracy"] == pytest.approx(sum(shares) / 2) and 0 <= facts["classifier_accuracy"] <= 1
    text = vae(*words).stdout
    assert "samples named so" in text and "samples of labels named rightly" in text
