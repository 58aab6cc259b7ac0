"""Folders of damaged pictures and masks, from the command line to the files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sixteen_bit_files import stored

from vae_cli.images.samples import Samples
from vae_cli.jobs import train as job
from vae_cli.training.loop import train

from .conftest import SIDE, draw, draw_mask, pixels

HOLE = (slice(4, 10), slice(4, 10))
"""What `draw_mask` marks."""


def assert_only_the_hole_changed(before: Path, after: Path) -> None:
    original, filled = pixels(before), pixels(after)
    assert original.shape == filled.shape and original.dtype == filled.dtype
    known = np.ones(original.shape[:2], bool)
    known[HOLE] = False
    np.testing.assert_array_equal(original[known], filled[known])
    assert (original[HOLE] != filled[HOLE]).any()


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Pictures in three formats, one without a mask; the masks lie in `masks` inside."""
    folder = tmp_path / "scans"
    draw(folder / "a.tif", 1)
    draw(folder / "1931" / "b.png", 2)
    draw(folder / "c.bmp", 3, mode="L")
    draw(folder / "lonely.png", 4)
    for name in ("a.png", "1931/b_mask.png", "c-mask.png"):
        draw_mask(folder / "masks" / name)
    return folder


def test_a_folder_with_masks_inside(vae, run: Path, scans: Path) -> None:
    outcome = vae("inpaint", run, scans, "--mask", scans / "masks", "--json")
    assert outcome.code == 1, outcome.stderr
    out = scans.with_name("scans-inpaint")
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == ["1931/b.png", "a.tif", "c.bmp"]
    for name in ("a.tif", "1931/b.png", "c.bmp"):
        assert_only_the_hole_changed(scans / name, out / name)
    states = {Path(entry["input"]).name: (entry["status"], entry["sample"]) for entry in outcome.json["files"]}
    assert states == {"a.tif": ("ok", 0), "b.png": ("ok", 0), "c.bmp": ("ok", 0), "lonely.png": ("skipped", None)}
    with Image.open(out / "1931" / "b.png") as image:
        assert image.text["seed"] == "0"


def test_skip_missing_and_skip_existing(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    words = ("inpaint", run, scans, "--mask", scans / "masks", "--out", scans / "fixed")
    assert vae(*words, "--skip-missing").code == 0
    assert vae(*words, "--skip-missing").code == 2
    kept = (scans / "fixed" / "a.tif").read_bytes()
    (scans / "fixed" / "c.bmp").unlink()
    again = vae(*words, "--skip-missing", "--skip-existing", "--json", "--seed", 8)
    assert again.code == 0 and (scans / "fixed" / "a.tif").read_bytes() == kept
    assert sorted(entry["status"] for entry in again.json["files"]) == ["ok", "skipped", "skipped", "skipped"]
    assert (scans / "fixed" / "c.bmp").exists()


def test_several_fills_depend_on_seed_and_number_only(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    """The model's own: so young a model is hardly trusted, and its fills are all the classical one."""
    mask = scans / "masks" / "a.png"
    common = ("inpaint", run, scans / "a.tif", "--mask", mask, "--method", "model")
    assert vae(*common, "--samples", 3, "--out", tmp_path / "three").code == 0
    assert sorted(path.name for path in (tmp_path / "three").iterdir()) == ["a.tif", "a.v2.tif", "a.v3.tif"]
    words = ("--samples", 2, "--batch-size", 1, "--out", tmp_path / "two", "--format", "png")
    assert vae(*common, *words).code == 0
    for name in ("a", "a.v2"):
        np.testing.assert_array_equal(
            pixels(tmp_path / "three" / f"{name}.tif"), pixels(tmp_path / "two" / f"{name}.png")
        )
    assert (pixels(tmp_path / "three" / "a.tif") != pixels(tmp_path / "three" / "a.v2.tif")).any()
    assert vae("inpaint", run, scans / "a.tif", "--mask", mask, "--samples", 2, "--out", tmp_path / "x.png").code == 2


def test_a_name_that_grows_too_long_fails_its_file_alone(vae, run: Path, tmp_path: Path) -> None:
    longest = f"{'n' * 251}.png"  # 255 bytes, the most that a name may have on the usual disks
    for name in ("a.png", longest):
        draw(tmp_path / "scans" / name, 1)
    deep = stored(tmp_path / "scans" / f"{'o' * 251}.png", Samples(np.zeros((SIDE, SIDE, 3), np.uint16), 3)).name
    draw_mask(tmp_path / "mask.png")
    words = ("inpaint", run, tmp_path / "scans", "--mask", tmp_path / "mask.png", "--samples", 2)
    outcome = vae(*words, "--out", tmp_path / "out", "--json")
    assert outcome.code == 1 and "name too long" in outcome.stderr, outcome.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "a.v2.png", longest, deep]
    assert [entry["status"] for entry in outcome.json["files"]] == ["ok", "ok", "ok", "failed", "ok", "failed"]
    again = vae(*words, "--out", tmp_path / "out", "--skip-existing", "--json")
    assert [entry["status"] for entry in again.json["files"]] == [*["skipped"] * 3, "failed", "skipped", "failed"]


@pytest.mark.parametrize("command", ["inpaint", "denoise", "style"])
def test_two_results_of_one_name_are_refused_also_when_existing_ones_are_skipped(
    vae, run: Path, tmp_path: Path, command: str
) -> None:
    for folder in ("x", "y"):
        draw(tmp_path / folder / "a.png", 1)
    draw_mask(tmp_path / "mask.png")
    words = {"inpaint": ("--mask", tmp_path / "mask.png"), "denoise": (), "style": ("--to", "cat")}[command]
    twice = (tmp_path / "x" / "a.png", tmp_path / "y" / "a.png")
    outcome = vae(command, run, *twice, *words, "--out", tmp_path / "out", "--skip-existing")
    assert outcome.code == 2 and "two inputs" in outcome.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize("pixels", ["inf", "nan"])
def test_options_are_finite_numbers(vae, run: Path, scans: Path, pixels: str) -> None:
    outcome = vae("inpaint", run, scans, "--mask", scans / "masks", "--feather", pixels)
    assert outcome.code == 2 and "--feather" in outcome.stderr and len(outcome.errors) <= 3


def test_a_feather_wider_than_the_picture_is_as_wide_as_it(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    mask = scans / "masks" / "a.png"
    outcome = vae("inpaint", run, scans / "a.tif", "--mask", mask, "--feather", 1e9, "--out", tmp_path / "a.tif")
    assert outcome.code == 0, outcome.stderr


def test_one_file_to_one_file(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    outcome = vae("inpaint", run, scans / "a.tif", "--mask", scans / "masks" / "a.png", "--out", tmp_path / "new.png")
    assert outcome.code == 0 and outcome.stdout.split() == [str(tmp_path / "new.png")]
    with Image.open(tmp_path / "new.png") as image:
        assert image.format == "PNG"
    assert_only_the_hole_changed(scans / "a.tif", tmp_path / "new.png")


def test_colour_and_transparency_as_masks(vae, run: Path, tmp_path: Path) -> None:
    picture = pixels(draw(tmp_path / "plain.png", 5)).copy()
    picture[HOLE] = (255, 0, 255)
    Image.fromarray(picture).save(tmp_path / "pink.png")
    assert vae("inpaint", run, tmp_path / "pink.png", "--mask-color", "#ff00ff", "--out", tmp_path / "o1.png").code == 0
    assert_only_the_hole_changed(tmp_path / "pink.png", tmp_path / "o1.png")
    alpha = np.full(picture.shape[:2], 255, np.uint8)
    alpha[HOLE] = 0
    Image.fromarray(np.dstack([picture, alpha])).save(tmp_path / "clear.png")
    assert vae("inpaint", run, tmp_path / "clear.png", "--mask-alpha", "--out", tmp_path / "o2.png").code == 0
    assert_only_the_hole_changed(tmp_path / "clear.png", tmp_path / "o2.png")
    assert (pixels(tmp_path / "o2.png")[..., 3] == 255).all()


def test_dry_run_writes_nothing(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    draw_mask(scans / "masks" / "lonely.png", box=(0, 0, 14, 15))
    draw(scans / "extra.png", 6)
    words = ("inpaint", run, scans, "--mask", scans / "masks", "--out", tmp_path / "fixed", "--dry-run")
    outcome = vae(*words)
    assert outcome.code == 1 and not (tmp_path / "fixed").exists()
    assert "4 pairs, 1 images without a mask" in outcome.stdout and "mask cover 14.1% to 93.8%" in outcome.stdout
    assert f"{scans / 'masks' / 'lonely.png'}  93.8%" in outcome.stdout
    assert "--mask-invert" in outcome.stderr and "extra.png" in outcome.stderr
    facts = vae(*words, "--skip-missing", "--json").json
    assert facts["status"] == "ok" and facts["pairs"] == 4


def test_the_mask_of_an_image_is_no_other_s(vae, tmp_path: Path) -> None:
    """`a_mask.png` would be that of `a.png`, were there no image of its own name."""
    for name in ("a.png", "a_mask.png"):
        draw(tmp_path / "scans" / name, 1)
    mask = draw_mask(tmp_path / "masks" / "a_mask.png")
    words = ("inpaint", "--method", "classical", tmp_path / "scans", "--mask", tmp_path / "masks", "--dry-run")
    outcome = vae(*words)
    assert outcome.code == 1 and f"{tmp_path / 'scans' / 'a_mask.png'}  {mask}  " in outcome.stdout
    assert "1 pairs, 1 images without a mask" in outcome.stdout


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_masks_in_an_archive(vae, scans: Path, tmp_path: Path, kind: str) -> None:
    archive = shutil.make_archive(str(tmp_path / "masks"), kind, scans / "masks")
    shutil.rmtree(scans / "masks")
    words = ("inpaint", "--method", "classical", scans, "--mask", archive, "--mask-pattern", "{stem}_mask.png")
    outcome = vae(*words, "--dry-run")
    assert outcome.code == 1 and f"{scans / '1931' / 'b.png'}  {archive}/1931/b_mask.png  " in outcome.stdout


def test_masks_that_cannot_be_used_fail_their_file(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    draw_mask(scans / "masks" / "a.png", box=(-5, -5, -4, -4))
    draw(scans / "c.png", 7)
    outcome = vae("inpaint", run, scans, "--mask", scans / "masks", "--out", tmp_path / "o", "--skip-missing", "--json")
    assert outcome.code == 1
    reasons = {
        Path(entry["input"]).name: entry["reason"] for entry in outcome.json["files"] if entry["status"] == "failed"
    }
    assert set(reasons) == {"a.tif", "c.bmp", "c.png"} and "empty" in reasons["a.tif"] and "stem" in reasons["c.png"]


def test_mask_options(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    draw_mask(tmp_path / "small.png", box=(6, 6, 7, 7))
    words = ("--mask", tmp_path / "small.png", "--mask-dilate", 2, "--feather", 2)
    assert vae("inpaint", run, scans / "a.tif", *words, "--out", tmp_path / "o.png").code == 0
    assert_only_the_hole_changed(scans / "a.tif", tmp_path / "o.png")
    inverted = np.full((16, 16), 255, np.uint8)
    inverted[HOLE] = 0
    Image.fromarray(inverted).save(tmp_path / "inverted.png")
    words = ("--mask", tmp_path / "inverted.png", "--mask-invert")
    assert vae("inpaint", run, scans / "a.tif", *words, "--out", tmp_path / "p.png").code == 0
    assert_only_the_hole_changed(scans / "a.tif", tmp_path / "p.png")


@pytest.mark.parametrize("words", [(), ("--dry-run",)], ids=["filled", "dry-run"])
def test_masks_that_look_inverted_are_told_once(vae, run: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    for number in range(3):
        draw(tmp_path / "scans" / f"{number}.png", number)
    mask = draw_mask(tmp_path / "mask.png", box=(0, 0, 13, 15))
    outcome = vae("inpaint", run, tmp_path / "scans", "--mask", mask, *words)
    assert outcome.code == 0 and outcome.stderr.count("inverted?") == 1
    assert "0.png: its mask covers 88%" in outcome.stderr and "3 masks in all" in outcome.stderr
    assert "in all" not in vae("inpaint", run, tmp_path / "scans" / "0.png", "--mask", mask, *words).stderr


def test_jpeg_is_said_to_be_re_encoded_once(vae, run: Path, tmp_path: Path) -> None:
    for number in range(3):
        draw(tmp_path / "jpegs" / f"{number}.jpg", number)
    mask = draw_mask(tmp_path / "mask.png")
    outcome = vae("inpaint", run, tmp_path / "jpegs", "--mask", mask)
    assert outcome.code == 0 and outcome.stderr.count("re-encoded") == 1
    assert len(list((tmp_path / "jpegs-inpaint").iterdir())) == 3


def test_a_model_without_a_flow_names_the_command(vae, run_without_flow: Path, scans: Path, tmp_path: Path) -> None:
    words = ("--mask", scans / "masks" / "a.png", "--out", tmp_path / "o.png")
    outcome = vae("inpaint", run_without_flow, scans / "a.tif", *words)
    assert outcome.code == 2 and f"vae train --out {run_without_flow} --resume" in outcome.stderr
    assert "training.flow_share=0.6" in outcome.stderr and len(outcome.errors) <= 3


def test_a_model_that_was_stopped_before_its_flow_is_to_be_resumed_as_it_was(
    vae, photos: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(job, "train", lambda run, stop: train(run, lambda: run.state.step >= 3))
        vae("train", photos, "--preset", "tiny", "--labels", "none", "--out", tmp_path / "run", "--device", "cpu")
    words = ("--mask", scans / "masks" / "a.png", "--out", tmp_path / "o.png")
    outcome = vae("inpaint", tmp_path / "run", scans / "a.tif", *words)
    assert outcome.code == 2 and outcome.errors[-1].endswith(f"vae train --out {tmp_path / 'run'} --resume")
    for steps in (2, 3):
        fewer = vae("train", "--out", tmp_path / "run", "--resume", "--steps", steps, "--device", "cpu")
        assert fewer.code == 2 and "the run has made 3 already" in fewer.errors[0]
    assert vae("train", "--out", tmp_path / "run", "--resume", "--device", "cpu").code == 0
    assert vae("inpaint", tmp_path / "run", scans / "a.tif", *words).code == 0


def test_the_originals_are_never_touched(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    shutil.copytree(scans, tmp_path / "copy")
    outcome = vae("inpaint", run, scans, "--mask", scans / "masks", "--out", scans)
    assert outcome.code == 2 and "exists" in outcome.stderr
    for path in scans.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "copy" / path.relative_to(scans)).read_bytes()


def test_the_json_tells_the_method_and_the_scale(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    words = ("--mask", scans / "masks" / "a.png", "--json", "--out")
    outcome = vae("inpaint", run, scans / "a.tif", *words, tmp_path / "one")
    assert outcome.json["method"] == "auto" and outcome.json["files"][0]["scale"] >= 1
    smooth = vae("inpaint", run, scans / "a.tif", "--method", "classical", *words, tmp_path / "two")
    assert smooth.code == 0 and smooth.json["method"] == "classical"
    assert (pixels(tmp_path / "one" / "a.tif") != pixels(tmp_path / "two" / "a.tif")).any()


def test_a_classical_fill_has_no_variants(vae, run: Path, scans: Path) -> None:
    words = ("--mask", scans / "masks", "--method", "classical", "--samples", 2)
    outcome = vae("inpaint", run, scans, *words)
    assert outcome.code == 2 and "--samples" in outcome.stderr


def test_masks_beside_the_images(vae, run: Path, tmp_path: Path) -> None:
    """In one folder `a_mask.png` is the mask of `a.png`, and no image to fill."""
    folder = tmp_path / "scans"
    draw(folder / "a.png", 1)
    draw_mask(folder / "a_mask.png")
    outcome = vae("inpaint", run, folder, "--mask", folder, "--out", tmp_path / "out", "--json", "--device", "cpu")
    assert outcome.code == 0, outcome.stderr
    assert [Path(entry["output"]).name for entry in outcome.json["files"]] == ["a.png"]
    changed = (pixels(tmp_path / "out" / "a.png") != pixels(folder / "a.png")).any(axis=2)
    assert changed.any() and not changed[:4].any() and not changed[10:].any()


def test_named_files_of_one_stem_share_no_mask(vae, run: Path, tmp_path: Path) -> None:
    draw_mask(tmp_path / "masks" / "a.png")
    draw_mask(tmp_path / "masks" / "b.png")
    files = [draw(tmp_path / "one" / "a.png", 1), draw(tmp_path / "two" / "a.bmp", 2), draw(tmp_path / "b.png", 3)]
    outcome = vae("inpaint", run, *files, "--mask", tmp_path / "masks", "--out", tmp_path / "out", "--json")
    assert outcome.code == 1, outcome.stderr
    states = {Path(entry["input"]).name: entry["status"] for entry in outcome.json["files"]}
    assert states == {"a.png": "failed", "a.bmp": "failed", "b.png": "ok"}
    assert "a.bmp and a.png share one stem" in outcome.json["files"][0]["reason"]


def test_masks_of_several_folders(vae, run: Path, tmp_path: Path) -> None:
    """Masks in folders called like the inputs'; beside them a mask by name alone, for what one folder only has."""
    inputs = [tmp_path / "one", tmp_path / "two"]
    for number, folder in enumerate(inputs):
        draw(folder / "a.png", number)
        draw_mask(tmp_path / "masks" / folder.name / "a.png")
        draw(folder / "c.png", number)
    draw(inputs[0] / "b.png", 5)
    for name in ("b.png", "c.png"):
        draw_mask(tmp_path / "masks" / name)
    outcome = vae("inpaint", run, *inputs, "--mask", tmp_path / "masks", "--out", tmp_path / "out", "--json")
    states = {Path(entry["input"]).relative_to(tmp_path).as_posix(): entry for entry in outcome.json["files"]}
    failed = {name for name, entry in states.items() if entry["status"] == "failed"}
    assert outcome.code == 1 and failed == {"one/c.png", "two/c.png"} and len(states) == 5, outcome.stderr
    assert all(str(folder / "c.png") in states["one/c.png"]["reason"] for folder in inputs)


def test_images_without_a_mask_are_counted(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    words = ("inpaint", run, scans, "--mask", scans / "masks", "--skip-missing", "--out", tmp_path / "out")
    assert "3 written, 1 without a mask, 0 failed" in vae(*words).stderr
    assert "3 pairs, 1 images without a mask" in vae(*words, "--dry-run", "--overwrite").stdout


def test_the_next_command_asks_for_the_same_holes(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    words = (run, scans / "a.tif", scans / "c.bmp", "--mask", scans / "masks", "--mask-dilate", 1)
    outcome = vae("inpaint", *words, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.stderr
    suggested = outcome.stderr.splitlines()[-1]
    assert suggested.startswith(f"next: vae inpaint {' '.join(map(str, words))} --samples 3 --seed 1 --out ")


def test_a_pattern_and_a_value_are_taken_by_the_next_command_too(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    """Masks of 0 and 1, called as no rule would have them; what would do is said where it is not given."""
    for name in ("a_damage.png", "1931/b_damage.png"):
        mask = pixels(draw_mask(tmp_path / "holes" / name)) // 255
        Image.fromarray(mask).save(tmp_path / "holes" / name)
    words = ("inpaint", run, scans / "a.tif", "--mask", tmp_path / "holes")
    outcome = vae(*words)
    assert outcome.code == 3 and "a_damage.png would be one with --mask-pattern '{stem}_damage.png'" in outcome.stderr
    words = (*words, "--mask-pattern", "{stem}_damage.png")
    outcome = vae(*words)
    assert outcome.code == 3 and "it holds 0, 1, and white" in outcome.stderr and "--mask-value 1" in outcome.stderr
    outcome = vae(*words, "--mask-value", 1, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.stderr
    assert_only_the_hole_changed(scans / "a.tif", tmp_path / "out" / "a.tif")
    assert "--mask-pattern '{stem}_damage.png' --mask-value 1 --samples 3" in outcome.stderr.splitlines()[-1]
    outcome = vae("inpaint", run, scans, *words[3:], "--mask-value", 1, "--skip-missing", "--dry-run", "--json")
    assert outcome.code == 0 and outcome.json["pairs"] == 2, "in folders, too"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--mask-alpha", "--mask-pattern", "{stem}.png"), "is for a folder or archive of masks"),
        (("--mask", "{scans}/a.tif", "--mask-pattern", "{stem}.png"), "is for a folder or archive of masks"),
        (("--mask", "{scans}", "--mask-pattern", "damage.png"), "names no image's mask"),
        (("--mask", "{scans}", "--mask-pattern", "{stam}_{stem}.png"), "names no image's mask"),
        (("--mask-auto", "--mask-value", "1"), "--mask FILE|DIR"),
        (("--mask", "{scans}", "--mask-value", "-1"), "--mask-value"),
    ],
)
def test_options_of_masks_that_mean_nothing(vae, run: Path, scans: Path, words: tuple[str, ...], told: str) -> None:
    outcome = vae("inpaint", run, scans, *(word.replace("{scans}", str(scans)) for word in words))
    assert outcome.code == 2 and told in " ".join(outcome.errors) and len(outcome.errors) <= 3
