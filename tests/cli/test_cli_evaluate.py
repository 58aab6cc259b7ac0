"""`vae evaluate`: layers, warnings, and samples compared by the features of a network."""

import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from tiny import rewritten

from vae_cli.images.image_ref import ImageRef
from vae_cli.images.recipe import ImageRecipe
from vae_cli.metrics import classifier

from .conftest import SIDE, draw, pixels

HOLE_KEYS = {"family", "psnr_hole_db", "psnr_hole_mean_fill_db", "ssim"}
SAMPLE_KEYS = {"fid", "kid", "kid_std", "precision", "recall", "density", "coverage"}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("networks") / "network.safetensors"
    save_file(classifier.build_classifier(3, (SIDE, SIDE), 2).state_dict(), path)
    return path


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier that is trained for a moment."""
    defaults = dict(classifier.train_classifier.__kwdefaults__, num_steps=3)
    monkeypatch.setattr(classifier.train_classifier, "__kwdefaults__", defaults)


def test_samples_are_compared_by_the_network_of_a_file(vae, run: Path, photos: Path, network: Path) -> None:
    outcome = vae("evaluate", run, photos, "--feature-weights", network, "--json")
    assert outcome.code == 0, outcome.stderr
    facts = outcome.json
    assert set(facts) >= SAMPLE_KEYS | {"elbo_nats", "layers", "nearest_training"}
    assert facts["fid"] > 0 and 0 <= facts["precision"] <= 1 and facts["kid_std"] >= 0
    assert facts["nearest_training"]["training_images"] > 1
    for words in ("12 samples", "64 features", "network.safetensors"):
        assert words in outcome.stderr
    table = vae("evaluate", run, photos, "--feature-weights", network, "--limit", 5)
    assert "Fréchet" in table.stdout and "coverage" in table.stdout and "5 samples" in table.stderr


def test_the_seed_decides_the_samples(vae, run: Path, photos: Path, network: Path) -> None:
    words = ("evaluate", run, photos, "--feature-weights", network, "--json", "--seed")
    first, again, other = (vae(*words, seed).json for seed in (1, 1, 2))
    assert first == again and first["fid"] != other["fid"]


def test_the_batch_size_says_how_many_images_are_read_at_a_time(
    vae, run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads read them with --batch-size 2 on a machine of many cores; no figure changes."""
    together, most, lock, figures = 0, {}, threading.Lock(), {}

    def decode(recipe: ImageRecipe, ref: ImageRef) -> np.ndarray:
        nonlocal together
        with lock:
            together += 1
            most[size] = max(most.get(size, 0), together)
        time.sleep(0.03)
        with lock:
            together -= 1
        return original(recipe, ref)

    original = ImageRecipe.decode
    monkeypatch.setattr(ImageRecipe, "decode", decode)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    for size in (1, 2, 64):
        monkeypatch.setenv("VAE_CACHE", str(tmp_path / str(size)))
        figures[size] = vae("evaluate", run, photos, "--batch-size", size, "--json").json
    assert most[1] == 1 and most[2] == 2 < most[64] <= 5
    assert figures[1] == figures[2] == figures[64]


def test_nothing_is_compared_unless_asked_for(vae, run: Path, photos: Path) -> None:
    outcome = vae("evaluate", run, photos, "--json")
    assert not SAMPLE_KEYS & set(outcome.json) and outcome.json["training_psnr_db"] is None
    assert outcome.json["layers"][0].keys() == {"shape", "rate_nats", "active_units", "latent_units"}


def test_training_images_are_measured_beside_held_out_ones(vae, run: Path) -> None:
    outcome = vae("evaluate", run, "--json")
    assert outcome.json["training_psnr_db"] > 0
    assert "warning: figures of 1 image mean little" in outcome.stderr


def test_a_network_that_is_not_there(vae, run: Path, photos: Path, tmp_path: Path) -> None:
    outcome = vae("evaluate", run, photos, "--feature-weights", tmp_path / "none.safetensors", "--json")
    assert outcome.code == 2 and outcome.json["error"]["code"] == 2
    assert "none.safetensors" in outcome.stderr and len(outcome.errors) <= 3


def test_a_network_for_other_images(vae, run: Path, photos: Path, tmp_path: Path) -> None:
    save_file(classifier.build_classifier(1, (28, 28), 2).state_dict(), tmp_path / "grey.safetensors")
    outcome = vae("evaluate", run, photos, "--feature-weights", tmp_path / "grey.safetensors")
    assert outcome.code == 2 and "not made for" in outcome.stderr and len(outcome.errors) <= 3
    (tmp_path / "text.safetensors").write_text("no tensors")
    assert vae("evaluate", run, photos, "--feature-weights", tmp_path / "text.safetensors").code == 4


def test_one_held_out_image_cannot_be_compared(vae, run: Path, network: Path) -> None:
    outcome = vae("evaluate", run, "--limit", 1, "--feature-weights", network)
    assert outcome.code == 2 and "vae evaluate RUN DATA" in outcome.stderr and len(outcome.errors) <= 3


def test_a_classifier_is_trained_on_the_run_s_labels(vae, run_without_flow: Path, photos: Path, few_steps) -> None:
    """Also where the model was trained without them; the run itself is left as it was."""
    before = sorted(run_without_flow.rglob("*"))
    outcome = vae("evaluate", run_without_flow, photos, "--feature-weights", "auto", "--json")
    assert outcome.code == 0, outcome.stderr
    assert set(outcome.json) >= SAMPLE_KEYS and "classifier" in outcome.stderr
    assert sorted(run_without_flow.rglob("*")) == before


def test_classes_that_came_later_change_no_names(vae, photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for split in ("train", "val"):
        shutil.copytree(photos, data / split)
    words = ("--preset", "tiny", "--steps", 2, "--set", "training.flow_share=0", "--device", "cpu")
    assert vae("train", data, *words, "--out", tmp_path / "run").code == 0
    before = vae("evaluate", tmp_path / "run", "--json").json["per_label"]
    for split in ("train", "val"):
        shutil.copytree(data / split / "cat", data / split / "aardvark")
    after = vae("evaluate", tmp_path / "run", "--json").json["per_label"]
    assert set(before) == set(after) == {"cat", "dog"} and after["dog"]["psnr_db"] == pytest.approx(
        before["dog"]["psnr_db"]
    )


def test_grey_images_have_no_probability_under_a_model_of_black_and_white(vae, tmp_path: Path) -> None:
    for number in range(8):
        path = draw(tmp_path / "data" / f"{number}.png", number, mode="L")
        Image.open(path).point(lambda value: 255 * (value > 90)).save(path)
    words = ("--preset", "tiny", "--steps", 2, "--set", "training.flow_share=0", "--device", "cpu")
    assert vae("train", tmp_path / "data", *words, "--out", tmp_path / "run").code == 0
    assert vae("evaluate", tmp_path / "run", tmp_path / "data", "--json").json["bits_per_dim"] > 0
    draw(tmp_path / "grey" / "a.png", 1, mode="L")
    outcome = vae("evaluate", tmp_path / "run", tmp_path / "grey", "--importance-samples", 2, "--json")
    assert outcome.code == 0 and "black and white" in outcome.stderr
    assert outcome.json["bits_per_dim"] is None and outcome.json["nll_nats"] is None


def without_data(run: Path, copy: Path) -> Path:
    """A copy of a run's best checkpoint whose images have moved."""
    shutil.copytree(run / "checkpoints" / "best", copy)
    rewritten(copy / "model.safetensors", {"data": {"path": str(copy / "absent")}})
    return copy


def test_when_the_training_images_are_gone(vae, run: Path, photos: Path, network: Path, tmp_path: Path) -> None:
    copy = without_data(run, tmp_path / "copy")
    outcome = vae("evaluate", copy, photos, "--feature-weights", network, "--json")
    assert outcome.code == 0 and "nearest_training" not in outcome.json
    assert "training images cannot be read" in outcome.stderr
    assert vae("evaluate", copy, photos, "--feature-weights", "auto").code == 2


def test_a_classifier_needs_classes(vae, tmp_path: Path) -> None:
    for number in range(6):
        draw(tmp_path / "data" / f"{number}.png", number)
    words = ("--preset", "tiny", "--steps", 2, "--set", "training.flow_share=0", "--device", "cpu")
    assert vae("train", tmp_path / "data", *words, "--out", tmp_path / "run").code == 0
    outcome = vae("evaluate", tmp_path / "run", tmp_path / "data", "--feature-weights", "auto")
    assert outcome.code == 2 and "class folders" in outcome.stderr and len(outcome.errors) <= 3


def test_a_collapsed_posterior_is_named_with_what_to_try(vae, run: Path, photos: Path, monkeypatch) -> None:
    from vae_cli.metrics.latents import VarianceMeter

    assert "posterior collapse" not in vae("evaluate", run, photos, "--limit", 5).stderr, "too few to tell"
    monkeypatch.setattr(VarianceMeter, "num_active", lambda _: 0)
    outcome = vae("evaluate", run, photos)
    assert outcome.code == 0 and "posterior collapse" in outcome.stderr
    assert "objective.free_nats" in outcome.stderr and "objective.kl_warmup_steps" in outcome.stderr


# ---- holes


def test_holes_are_filled_and_measured(vae, run: Path, photos: Path) -> None:
    words = ("evaluate", run, photos, "--holes", "half", "--json")
    outcome = vae(*words)
    assert outcome.code == 0, outcome.stderr
    assert set(outcome.json["inpaint"]) == HOLE_KEYS and outcome.json["inpaint"]["family"] == "half"
    one, mean = (outcome.json["inpaint"][name] for name in ("psnr_hole_db", "psnr_hole_mean_fill_db"))
    assert 0 < one < mean + 0.1 < 60, "fills of so young a model are nearly alike"
    assert "120/120 fills" in outcome.stderr and not outcome.json["files"]
    assert vae(*words).json == outcome.json != vae(*words, "--seed", 1).json
    assert vae(*words, "--limit", 3).json["inpaint"] != outcome.json["inpaint"]
    table = vae("evaluate", run, "--holes", "scattered")
    assert "one fill" in table.stdout and "mean of ten" in table.stdout
    assert "inpaint" not in vae("evaluate", run, photos, "--json").json


def test_the_contact_sheet(vae, run: Path, photos: Path, tmp_path: Path) -> None:
    """Rows of before, mask, after and truth; a box of half the side is missing."""
    sheet = tmp_path / "new" / "sheet.png"
    words = ("evaluate", run, photos, "--limit", 3, "--holes", "center", "--sheet", sheet)
    outcome = vae(*words, "--json")
    assert outcome.code == 0, outcome.stderr
    (written,) = outcome.json["files"]
    assert written["input"] is None and written["output"] == str(sheet) and written["status"] == "ok"
    shown, step = pixels(sheet), SIDE + 2
    assert shown.shape == (3 * step - 2, 4 * step - 2, 3)
    for row in range(3):
        before, mask, after, truth = (
            shown[row * step : row * step + SIDE, column * step : column * step + SIDE] for column in range(4)
        )
        hole = mask[:, :, 0] == 255
        assert hole.sum() == (SIDE // 2) ** 2 and hole[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4].all()
        assert (before[hole] == 128).all() and (after[hole] != truth[hole]).any()
        assert (before[~hole] == truth[~hole]).all() and (after[~hole] == truth[~hole]).all()
    again = vae(*words)
    assert again.code == 2 and "--overwrite" in again.stderr and "exists" in again.stderr
    replaced = vae(*words, "--overwrite")
    assert replaced.code == 0 and replaced.stdout.splitlines()[-1] == str(sheet)


def test_what_holes_cannot_be(vae, run: Path, photos: Path, tmp_path: Path) -> None:
    outcome = vae("evaluate", run, photos, "--holes", "box", "--json")
    assert outcome.code == 2 and "center" in outcome.stderr and outcome.json["error"]["code"] == 2
    alone = vae("evaluate", run, photos, "--sheet", tmp_path / "sheet.png")
    assert alone.code == 2 and "--holes" in alone.stderr
    folder = vae("evaluate", run, photos, "--holes", "half", "--sheet", tmp_path / "sheets")
    assert folder.code == 2 and ".png" in folder.stderr and not list(tmp_path.iterdir())


def test_holes_need_a_flow(vae, run_without_flow: Path, photos: Path) -> None:
    outcome = vae("evaluate", run_without_flow, photos, "--holes", "half", "--json")
    assert outcome.code == 2 and len(outcome.errors) <= 3
    assert "vae train" in outcome.json["error"]["message"] and "flow_share" in outcome.stderr
