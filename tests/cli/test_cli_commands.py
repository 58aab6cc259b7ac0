"""sample, reconstruct, interpolate, evaluate, check and info from the command line to the files."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import rewritten

from .conftest import SIDE, draw, pixels

# ---- sample


def test_sample_does_not_depend_on_the_batch_size(vae, run: Path, tmp_path: Path) -> None:
    for batch_size in (1, 4):
        outcome = vae(
            "sample", run, "-n", 4, "--batch-size", batch_size, "--seed", 5, "--out", tmp_path / str(batch_size)
        )
        assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.split() == [str(tmp_path / "4" / f"{index:06d}.png") for index in range(4)]
    for index in range(4):
        one, four = (pixels(tmp_path / size / f"{index:06d}.png") for size in ("1", "4"))
        assert one.shape == (SIDE, SIDE, 3)
        np.testing.assert_array_equal(one, four)


def test_sample_grid_and_json(vae, run: Path, tmp_path: Path) -> None:
    grid = tmp_path / "grid.png"
    facts = vae("sample", run, "-n", 4, "--seed", 9, "--out", grid, "--json").json
    assert {key: facts[key] for key in ("command", "status", "seed", "prior", "temperature", "solver_steps")} == {
        "command": "sample", "status": "ok", "seed": 9, "prior": "flow", "temperature": 1.0, "solver_steps": 4,
    }  # fmt: skip
    assert [(entry["input"], entry["output"], entry["status"]) for entry in facts["files"]] == [(None, str(grid), "ok")]
    with Image.open(grid) as image:
        assert image.text["seed"] == "9"
        assert image.size == (2 * SIDE + 2, 2 * SIDE + 2)


def test_sample_goes_to_the_run_and_never_overwrites(vae, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    first = vae("sample", copy / "checkpoints" / "best", "-n", 2)
    assert first.code == 0 and (copy / "samples" / "000001.png").exists()
    (copy / "samples" / "000001.png").write_bytes(b"precious")
    again = vae("sample", copy, "-n", 2)
    assert again.code == 2 and "--overwrite" in again.stderr and "000000.png" in again.stderr
    assert (copy / "samples" / "000001.png").read_bytes() == b"precious"
    assert vae("sample", copy, "-n", 2, "--overwrite").code == 0
    assert pixels(copy / "samples" / "000001.png").shape == (SIDE, SIDE, 3)


def test_sample_labels(vae, run: Path, tmp_path: Path) -> None:
    assert vae("sample", run, "-n", 1, "--label", "cat", "--guidance", 2, "--out", tmp_path / "cat.png").code == 0
    unknown = vae("sample", run, "-n", 1, "--label", "cta", "--out", tmp_path / "no.png")
    assert unknown.code == 2 and "did you mean cat" in unknown.stderr
    assert vae("sample", run, "-n", 1, "--guidance", 2, "--out", tmp_path / "no.png").code == 2


def test_sample_without_a_flow_says_so(vae, run_without_flow: Path, tmp_path: Path) -> None:
    outcome = vae("sample", run_without_flow, "-n", 1, "--out", tmp_path / "a.png", "--json")
    assert outcome.json["prior"] == "normal" and outcome.json["solver_steps"] is None
    assert "N(0, I)" in outcome.stderr
    assert vae("sample", run_without_flow, "--prior", "flow", "--out", tmp_path / "b.png").code == 2


def test_quiet_says_nothing(vae, run: Path, tmp_path: Path) -> None:
    outcome = vae("sample", run, "-n", 1, "--out", tmp_path / "a.png", "--quiet")
    assert outcome.stderr == "" and outcome.stdout.split() == [str(tmp_path / "a.png")]
    loud = vae("sample", run, "-n", 1, "--out", tmp_path / "b.png")
    assert "next: vae " in loud.stderr and "1/1 images" in loud.stderr and "\x1b" not in loud.stderr


# ---- reconstruct


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A tree with one stem twice, odd names, a broken picture and something that is none."""
    folder = tmp_path / "mixed"
    draw(folder / "a.png", 1)
    draw(folder / "a.bmp", 2)
    draw(folder / "deep" / "ünïcode 文字.png", 3, mode="RGBA", side=40)
    draw(folder / "line\nbreak.png", 4, mode="L")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n rubbish")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_reconstruct_mirrors_the_tree(vae, run: Path, mixed: Path) -> None:
    outcome = vae("reconstruct", run, mixed)
    out = mixed.with_name("mixed-reconstruct")
    assert outcome.code == 1, outcome.stderr
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert written == ["a.bmp.png", "a.png.png", "deep/ünïcode 文字.png", "line\nbreak.png"]
    assert len(outcome.stdout.splitlines()) == 4 and "line\\nbreak.png" in outcome.stdout
    assert "broken.png" in outcome.stderr and all(pixels(path).shape == (SIDE, SIDE, 3) for path in out.rglob("*.png"))


def test_reconstruct_tells_an_image_from_itself_in_its_folder(vae, run: Path, mixed: Path, tmp_path: Path) -> None:
    inside = next(path for path in sorted(mixed.rglob("*.png")) if path.parent != mixed)
    outcome = vae("reconstruct", run, mixed, inside, "--out", tmp_path / "out", "--json")
    written = [entry["output"] for entry in outcome.json["files"] if entry["status"] == "ok"]
    assert len(set(written)) == len(written) and all(Path(path).exists() for path in written)


def test_reconstruct_reports_each_file(vae, run: Path, mixed: Path, tmp_path: Path) -> None:
    facts = vae("reconstruct", run, mixed, "--out", tmp_path / "o", "--json").json
    assert facts["status"] == "partial"
    states = {Path(entry["input"]).name: entry["status"] for entry in facts["files"]}
    assert states.pop("broken.png") == "failed" and set(states.values()) == {"ok"} and len(states) == 4


def test_a_model_uses_the_threads_of_the_machine_it_is_on(vae, run: Path, photos: Path, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    try:
        assert vae("reconstruct", run, photos, "--out", tmp_path / "out").code == 0
        assert torch.get_num_threads() == 2, "the run was trained with one"
    finally:
        torch.set_num_threads(1)


def test_reconstruct_is_the_same_every_time(vae, run: Path, photos: Path, tmp_path: Path) -> None:
    one = draw(tmp_path / "one.png", 3)
    for name, words in {"a": (), "b": ("--batch-size", 1), "c": ("--compare",), "d": ("--sample",)}.items():
        assert vae("reconstruct", run, one, "--out", tmp_path / f"{name}.png", *words).code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))
    beside = pixels(tmp_path / "c.png")
    np.testing.assert_array_equal(beside[:, :SIDE], pixels(one))
    np.testing.assert_array_equal(beside[:, -SIDE:], pixels(tmp_path / "a.png"))
    assert (pixels(tmp_path / "d.png") != pixels(tmp_path / "a.png")).any()
    assert vae("reconstruct", run, photos, "--out", tmp_path / "all.png").code == 2


def test_nothing_usable_is_exit_3(vae, run: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    outcome = vae("reconstruct", run, bad, "--out", tmp_path / "o", "--json")
    assert outcome.code == 3 and outcome.json["error"]["code"] == 3 and outcome.json["files"][0]["status"] == "failed"
    (tmp_path / "none").mkdir()
    assert vae("reconstruct", run, tmp_path / "none").code == 3
    assert vae("reconstruct", run, tmp_path / "missing.png").code == 2


# ---- interpolate


def test_interpolate_strip_animation_and_frames(vae, run: Path, tmp_path: Path) -> None:
    a, b = draw(tmp_path / "a.png", 1), draw(tmp_path / "b.png", 2)
    assert vae("interpolate", run, a, b, "--out", tmp_path / "strip.png").code == 0
    assert pixels(tmp_path / "strip.png").shape == (SIDE, 9 * SIDE + 8 * 2, 3)
    assert vae("interpolate", run, a, b, "--steps", 4, "--out", tmp_path / "walk.webp", "--mode", "lerp").code == 0
    with Image.open(tmp_path / "walk.webp") as image:
        assert image.n_frames == 4
    assert vae("interpolate", run, a, b, "--steps", 3).code == 0
    frames = sorted(path.name for path in (tmp_path / "a.png-interpolate").iterdir())
    assert frames == ["000000.png", "000001.png", "000002.png"]
    assert vae("reconstruct", run, a, "--out", tmp_path / "end.png").code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "a.png-interpolate/000000.png"), pixels(tmp_path / "end.png"))


def test_interpolate_from_samples(vae, run: Path, tmp_path: Path) -> None:
    words = ("interpolate", run, "--from-samples", "3,1,0", "--steps", 3, "--loop", "--seed", 4)
    outcome = vae(*words, "--out", tmp_path / "walk.gif", "--json")
    assert outcome.code == 0 and outcome.json["files"][0]["output"] == str(tmp_path / "walk.gif")
    assert outcome.json["seed"] == 4
    assert vae(*words, "--out", tmp_path / "frames").code == 0
    with Image.open(tmp_path / "frames" / "000000.png") as image:
        assert image.text["seed"] == "4"


def test_interpolate_refuses_what_is_no_picture(vae, run: Path, tmp_path: Path) -> None:
    a = draw(tmp_path / "a.png", 1)
    (tmp_path / "b.png").write_bytes(b"")
    assert vae("interpolate", run, a, tmp_path / "b.png", "--out", tmp_path / "o.png").code == 3
    assert vae("interpolate", run, a, tmp_path, "--out", tmp_path / "o.png").code == 2
    assert vae("interpolate", run, a, tmp_path / "c.png", "--out", tmp_path / "o.png").code == 2


# ---- evaluate

EVALUATE_KEYS = {
    "images", "elbo_nats", "nll_nats", "importance_samples", "bits_per_dim", "rate_nats", "distortion_nats",
    "active_units", "latent_units", "psnr_db", "ssim",
}  # fmt: skip


def test_evaluate_the_held_out_images(vae, run: Path) -> None:
    outcome = vae("evaluate", run, "--json", "--importance-samples", 3)
    assert outcome.code == 0, outcome.stderr
    assert set(outcome.json) >= EVALUATE_KEYS | {"schema_version", "command", "status"}
    assert outcome.json["images"] >= 1 and outcome.json["importance_samples"] == 3
    assert outcome.json["nll_nats"] is not None
    assert "ELBO" in vae("evaluate", run).stdout


def test_evaluate_other_images(vae, run: Path, photos: Path, tmp_path: Path) -> None:
    everything = vae("evaluate", run, photos, "--json").json
    assert everything["images"] == 12 and everything["nll_nats"] is None
    assert vae("evaluate", run, photos, "--limit", 5, "--json").json["images"] == 5
    draw(tmp_path / "set" / "train" / "a.png", 1)
    draw(tmp_path / "set" / "val" / "b.png", 2)
    outcome = vae("evaluate", run, tmp_path / "set", "--json")
    assert outcome.json["images"] == 1 and "validation split" in outcome.stderr


def test_evaluate_when_the_training_images_are_gone(vae, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run / "checkpoints" / "best", copy)
    rewritten(copy / "model.safetensors", {"data": {"path": str(tmp_path / "absent")}})
    outcome = vae("evaluate", copy)
    assert outcome.code == 2 and "vae evaluate RUN DATA" in outcome.stderr and len(outcome.errors) <= 3


# ---- check and info


def test_check(vae, mixed: Path, photos: Path) -> None:
    facts = vae("check", mixed, "--json").json
    assert facts["images"] == 4 and facts["skipped"] == 1 and facts["labels"] == {}
    assert facts["sizes"] == {"16x16": 3, "40x40": 1} and facts["modes"] == {"RGB": 2, "RGBA": 1, "L": 1}
    assert [(entry["input"], entry["status"]) for entry in facts["files"]] == [("broken.png", "failed")]
    assert vae("check", mixed, "--strict").code == 3 and vae("check", photos, "--strict").code == 0
    assert vae("check", photos, "--json").json["labels"] == {"cat": 6, "dog": 6}
    assert "line\\nbreak" not in vae("check", mixed).stdout


def test_check_names_what_is_doubtful(vae, tmp_path: Path) -> None:
    """Sixteen pictures of as many sizes, among them one mirrored, one black and one narrow strip."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 6, 6, 3), dtype=np.uint8)
    for number, cells in enumerate(noise[:13]):
        Image.fromarray(cells).resize((60 + 4 * number, 60), 0).save(tmp_path / f"{number:02d}.png")
    Image.fromarray(noise[5, :, ::-1]).resize((200, 150), 0).save(tmp_path / "mirrored.jpg")
    Image.new("L", (70, 60), 9).save(tmp_path / "night.png")
    Image.fromarray(noise[13]).resize((600, 50), 0).save(tmp_path / "strip.png")
    facts = vae("check", tmp_path, "--duplicates", "--json").json
    assert facts["duplicates"] == [["05.png", "mirrored.jpg"]] and facts["blurred"] == []
    assert facts["dark"] == ["night.png"] and facts["odd_sizes"] == ["strip.png"] and len(facts["sizes"]) == 16
    lines = vae("check", tmp_path, "--duplicates").stdout.splitlines()
    assert "sizes: shorter side 32 to 63 (15), 128 to 255 (1) pixels; 16 different ones" in lines
    assert lines[lines.index("duplicates: 1 groups") + 1] == "  05.png = mirrored.jpg"
    assert "duplicates" not in vae("check", tmp_path, "--json").json


def test_check_without_usable_images(vae, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    outcome = vae("check", tmp_path, "--json")
    assert outcome.code == 3 and outcome.json["images"] == 0 and outcome.json["error"]["code"] == 3


def test_info_about_a_run(vae, run: Path, run_without_flow: Path) -> None:
    facts = vae("info", run, "--json").json
    assert facts["image_size"] == [SIDE, SIDE] and facts["channels"] == 3 and facts["labels"] == ["cat", "dog"]
    assert facts["phase"] == "flow" and 0 < facts["step"] <= 30 and facts["format_version"] == 5
    assert facts["parameters"] > 1000 and facts["config"]["preset"] == "tiny" and len(facts["latent_shapes"][0]) == 3
    assert "16x16" in vae("info", run).stdout
    assert vae("info", run_without_flow, "--json").json["phase"] == "vae"


def test_a_fact_about_a_strangers_run_stays_one_line(vae, run: Path, tmp_path: Path) -> None:
    best = run / "checkpoints" / "best"
    shutil.copytree(best, tmp_path / "best")
    rewritten(tmp_path / "best" / "model.safetensors", {"preset": "tiny\nstep        9"})
    text = vae("info", tmp_path / "best" / "model.safetensors").stdout
    assert "preset      tiny\\nstep        9\n" in text


def test_one_json_object_whatever_happens(vae, run: Path, mixed: Path, tmp_path: Path) -> None:
    for words in (("reconstruct", run, mixed, "--out", tmp_path / "o"), ("check", mixed), ("info", run)):
        assert len(vae(*words, "--json").stdout.splitlines()) == 1
        json.loads(vae(*words, "--json").stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="names that differ in case are one file elsewhere")
def test_names_that_differ_in_case_are_two_images(vae, run: Path, tmp_path: Path) -> None:
    names = ("IMG.png", "img.png", "straße.png", "strasse.png")
    for number, name in enumerate(names):
        draw(tmp_path / "in" / name, number)
    outcome = vae("reconstruct", run, tmp_path / "in", "--out", tmp_path / "out", "--device", "cpu")
    assert outcome.code == 0 and {path.name for path in (tmp_path / "out").iterdir()} == set(names), outcome.stderr


def test_drawn_reconstructions_depend_on_nothing_beside_them(vae, run: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "b.png")):
        draw(tmp_path / "in" / name, number)
    for out, inputs in (("both", [tmp_path / "in"]), ("alone", [tmp_path / "in" / "b.png"])):
        outcome = vae("reconstruct", run, *inputs, "--sample", "--device", "cpu", "--out", tmp_path / out)
        assert outcome.code == 0, outcome.stderr
    np.testing.assert_array_equal(pixels(tmp_path / "both" / "b.png"), pixels(tmp_path / "alone" / "b.png"))


def test_what_sample_names_next_fits_what_it_drew(vae, run: Path, tmp_path: Path) -> None:
    def following(*words: object) -> str:
        outcome = vae("sample", run, *words, "--solver-steps", 1)
        return str(outcome.stderr.splitlines()[-1])

    assert "-n 64 --out grid.png" in following("-n", 1, "--out", tmp_path / "one.png")
    assert "--from-samples 0,2 --seed 5" in following("-n", 3, "--seed", 5, "--out", tmp_path / "three.png")
    assert "--label all" in following("-n", 2, "--label", "cat", "--out", tmp_path / "cats.png")
    assert "evaluate" in following("-n", 1, "--label", "all", "--out", tmp_path / "all.png")


def test_kinds_that_are_only_read_are_refused_as_output(vae, run: Path, tmp_path: Path) -> None:
    outcome = vae("sample", run, "-n", 1, "--out", tmp_path / "a.heic")
    assert outcome.code == 2 and "HEIC" in outcome.errors[0] and not list(tmp_path.iterdir())
