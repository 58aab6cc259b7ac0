"""Which folders became splits is said by every command that cares."""

from pathlib import Path

import pytest

from .conftest import draw


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """`voc` has a class called train, `parts` has splits."""
    for number in range(18):
        draw(tmp_path / "voc" / ("bus", "car", "train")[number % 3] / f"{number}.png", number)
        draw(tmp_path / "parts" / ("train", "train", "val")[number % 3] / f"{number}.png", number)
    return tmp_path


def test_check_says_what_training_would_do(vae, sets: Path) -> None:
    outcome = vae("check", sets / "voc", "--json")
    assert outcome.json["labels"] == {"bus": 6, "car": 6, "train": 6} and "train/ may well be a class" in outcome.stderr
    outcome = vae("check", sets / "parts", "--json")
    assert "splits by the folders train/, val/: train 12, validation 6 images" in outcome.stderr
    outcome = vae("check", sets / "parts", "--splits", "none", "--json")
    assert outcome.json["labels"] == {"train": 12, "val": 6} and "splits by" not in outcome.stderr


def test_train_says_and_stores_it(vae, sets: Path) -> None:
    words = ("--preset", "tiny", "--dry-run", "--device", "cpu", "--json")
    outcome = vae("train", sets / "parts", *words)
    assert "splits by the folders" in outcome.stderr and outcome.json["config"]["data"]["splits"] == "folders"
    assert outcome.json["images"] == 12
    outcome = vae("train", sets / "parts", *words, "--splits", "none")
    assert "splits by" not in outcome.stderr and outcome.json["config"]["data"]["splits"] == "none"
    assert outcome.json["images"] == 17, "one is held out by its name"
    assert vae("train", sets / "parts", *words, "--splits", "some").code == 2


def test_evaluate_measures_the_split_and_says_so(vae, run: Path, sets: Path) -> None:
    outcome = vae("evaluate", run, sets / "parts", "--json")
    assert outcome.json["images"] == 6 and "splits by the folders" in outcome.stderr
    outcome = vae("evaluate", run, sets / "voc", "--json")
    assert outcome.json["images"] == 18 and "may well be a class" in outcome.stderr
