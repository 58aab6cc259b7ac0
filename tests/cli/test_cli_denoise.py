"""Noisy pictures from the command line to the files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vae_cli.cli.results import Results
from vae_cli.jobs.events import FileDone

from .conftest import draw, pixels


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """A picture larger than the model, one smaller, one of 16 bits and something that is none."""
    folder = tmp_path / "shots"
    draw(folder / "large.png", 1, side=41)
    draw(folder / "1931" / "small.bmp", 2, side=9)
    Image.fromarray(np.arange(20 * 24, dtype=np.uint16).reshape(20, 24) * 100).save(folder / "deep.tif")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_a_folder_keeps_its_tree_sizes_and_depths(vae, run: Path, shots: Path) -> None:
    before = {path: path.read_bytes() for path in shots.rglob("*.*")}
    outcome = vae("denoise", run, shots, "--sigma", 20, "--json")
    assert outcome.code == 1, outcome.stderr
    out = shots.with_name("shots-denoise")
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == [
        "1931/small.bmp",
        "deep.tif",
        "large.png",
    ]
    for path in out.rglob("*.*"):
        source = pixels(shots / path.relative_to(out))
        assert (pixels(path).shape, pixels(path).dtype) == (source.shape, source.dtype)
        assert (pixels(path) != source).any()
    states = {Path(entry["input"]).name: (entry["status"], entry["sample"]) for entry in outcome.json["files"]}
    assert states == {"broken.png": ("failed", None), "deep.tif": ("ok", None), "large.png": ("ok", None),
                      "small.bmp": ("ok", None)}  # fmt: skip
    assert set(outcome.json["sigma"].values()) == {20.0}
    assert {path: path.read_bytes() for path in shots.rglob("*.*")} == before, "the originals were touched"


def test_sigma_is_estimated_for_each_image(vae, run: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for sigma in (5, 30):
        noisy = (128 + random.normal(0, sigma, (64, 64))).clip(0, 255).round().astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / f"{sigma}.png")
    found = vae("denoise", run, tmp_path / "5.png", tmp_path / "30.png", "--out", tmp_path / "out", "--json").json[
        "sigma"
    ]
    for sigma in (5, 30):
        assert found[str(tmp_path / f"{sigma}.png")] == pytest.approx(sigma, rel=0.2)


def test_samples_are_numbered_and_differ(vae, run: Path, shots: Path, tmp_path: Path) -> None:
    words = ("denoise", run, shots / "large.png", "--sigma", 40, "--samples", 2, "--out", tmp_path / "out")
    assert vae(*words).code == 0
    first, second = tmp_path / "out" / "large.png", tmp_path / "out" / "large.v2.png"
    assert (pixels(first) != pixels(second)).any()
    assert vae(*words).code == 2, "exists"
    second.unlink()
    again = vae(*words, "--skip-existing", "--json")
    assert again.code == 0
    assert [(entry["output"], entry["reason"]) for entry in again.json["files"]] == [
        (str(first), "exists"), (str(second), None),
    ]  # fmt: skip
    all_there = vae(*words, "--skip-existing", "--json").json["files"]
    assert [(entry["output"], entry["reason"]) for entry in all_there] == [
        (str(first), "exists"), (str(second), "exists"),
    ]  # fmt: skip


@pytest.mark.parametrize("sigma", ["0", "-3", "nan", "inf", "300", "loud"])
def test_a_sigma_that_is_none(vae, run: Path, shots: Path, sigma: str) -> None:
    outcome = vae("denoise", run, shots, f"--sigma={sigma}")
    assert outcome.code == 2 and f"--sigma {sigma}" in outcome.errors[0]


def test_solver_steps_belong_to_samples(vae, run: Path, shots: Path) -> None:
    assert vae("denoise", run, shots, "--solver-steps", 3).code == 2


def test_strong_noise_is_remarked_on(vae, run: Path, shots: Path, tmp_path: Path) -> None:
    outcome = vae("denoise", run, shots / "large.png", "--sigma", 90, "--out", tmp_path / "one.png")
    assert outcome.code == 0 and "more than models are trained on" in outcome.stderr


def test_a_model_without_a_flow_names_the_command(vae, run_without_flow: Path, shots: Path) -> None:
    outcome = vae("denoise", run_without_flow, shots)
    assert outcome.code == 2 and "vae train --out" in "\n".join(outcome.errors)


def test_the_next_command_knows_the_noise(vae, run: Path, shots: Path, tmp_path: Path) -> None:
    words = ("denoise", run, shots / "large.png")
    outcome = vae(*words, "--sigma", 25, "--out", tmp_path / "out")
    assert f"next: vae {' '.join(map(str, words))} --sigma 25 --samples 3 --out " in outcome.stderr
    assert "next:" not in vae(*words, "--samples", 2, "--out", tmp_path / "others").stderr


def test_a_grey_model_says_so_of_images_in_colour(vae, grey_run: Path, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png", 0)
    draw(tmp_path / "in" / "b.png", 1, mode="L")
    words = ("--device", "cpu", "--out", tmp_path / "out")
    outcome = vae("denoise", grey_run, tmp_path / "in", "--sigma", 20, *words)
    assert outcome.code == 0 and "the model is grey: colours keep their noise (1 of 2 images)" in outcome.stderr
    before, after = (pixels(tmp_path / folder / "a.png").astype(int) for folder in ("in", "out"))
    inside = ((after > 0) & (after < 255)).all(-1)
    apart = [np.abs((picture[..., 0] - picture[..., 1])[inside]) for picture in (before, after)]
    assert (before != after).any() and inside.any() and np.abs(apart[0] - apart[1]).max() <= 1


def test_a_stop_while_a_result_is_shown_still_lists_all_that_was_written(
    vae, run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = Results._take_file

    def stopped(results: Results, event: FileDone) -> None:
        show(results, event)
        if len(results.files) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Results, "_take_file", stopped)
    outcome = vae("denoise", run, photos, "--sigma", 20, "--out", tmp_path / "out", "--json")
    listed = {entry["output"] for entry in outcome.json["files"] if entry["status"] == "ok"}
    assert outcome.code == 130 and listed == set(map(str, (tmp_path / "out").rglob("*.png")))
    assert len(listed) > 1, "several are computed together"
