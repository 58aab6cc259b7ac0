"""Scratches found by the program, written as masks, corrected and given back."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from .conftest import draw, pixels

SIDE = 96
SCRATCHES = (((8, 10), (85, 60)), ((70, 5), (20, 90)))


def shade() -> Image.Image:
    """Slow shading, without damage."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    channels = [70 + rows * 0.6, 90 + columns * 0.5, 140 - rows * 0.4]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def scratched() -> Image.Image:
    image = shade()
    for line in SCRATCHES:
        ImageDraw.Draw(image).line(line, fill=(250, 250, 245), width=2)
    return image


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two scratched pictures, one of them stored on its side, and a clean one."""
    folder = tmp_path / "scans"
    (folder / "1931").mkdir(parents=True)
    scratched().save(folder / "a.tif")
    exif = Image.Exif()
    exif[0x0112] = 6
    scratched().crop((0, 0, SIDE, 80)).save(folder / "1931" / "b.png", exif=exif)
    shade().save(folder / "clean.png")
    return folder


def line_pixels() -> np.ndarray:
    mask = Image.new("1", (SIDE, SIDE))
    for line in SCRATCHES:
        ImageDraw.Draw(mask).line(line, fill=1, width=2)
    return np.array(mask)


def test_dry_run_writes_masks_that_give_the_same_fill(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    dry = vae("inpaint", run, scans, "--mask-auto", "--mask-dilate", 1, "--dry-run", "--json")
    assert dry.code == 0, dry.stderr
    masks = tmp_path / "scans-masks"
    assert sorted(str(path.relative_to(masks)) for path in masks.rglob("*.*")) == ["1931/b.png", "a.png"]
    assert dry.json["pairs"] == 2 and dry.json["status"] == "ok" and not (tmp_path / "scans-inpaint").exists()
    mask = pixels(masks / "a.png")
    assert set(np.unique(mask)) == {0, 255} and (mask[line_pixels()] == 255).all() and (mask == 255).mean() < 0.2
    assert pixels(masks / "1931" / "b.png").shape == (SIDE, 80), "as displayed"

    words = ("--solver-steps", 1)
    found = vae("inpaint", run, scans, "--mask-auto", "--mask-dilate", 1, *words, "--out", tmp_path / "auto")
    given = vae("inpaint", run, scans, "--mask", masks, "--skip-missing", *words, "--out", tmp_path / "given")
    assert found.code == given.code == 0, found.stderr + given.stderr
    for name in ("a.tif", "1931/b.png"):
        np.testing.assert_array_equal(pixels(tmp_path / "auto" / name), pixels(tmp_path / "given" / name))
        assert (pixels(tmp_path / "auto" / name) != pixels(scans / name)).any()


def test_nothing_found_is_no_failure(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    for words in ((), ("--dry-run",)):
        outcome = vae("inpaint", run, scans / "clean.png", "--mask-auto", *words, "--out", tmp_path / "o", "--json")
        assert outcome.code == 0 and outcome.json["status"] == "ok", outcome.stderr
        assert [(entry["status"], entry["reason"]) for entry in outcome.json["files"]] == [
            ("skipped", "no damage found")
        ]
        assert "1 without damage" in outcome.stderr or "1 images without damage" in outcome.stderr
        assert "--mask " not in outcome.stderr, "there are no masks to go on with"
        assert not (tmp_path / "o").exists()


def test_the_next_command_takes_the_masks_as_they_are(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    draw(tmp_path / "more" / "clean.jpg", 1, side=SIDE)
    scratched().save(tmp_path / "more" / "c.jpg", quality=95)
    dry = vae("inpaint", run, scans, tmp_path / "more", "--mask-auto", "--dry-run")
    command = shlex.split(dry.stderr.splitlines()[-1].removeprefix("next: vae "))
    assert command[-3:] == ["--mask", str(tmp_path / "scans-masks"), "--skip-missing"]
    filled = vae(*command, "--solver-steps", 1, "--out", tmp_path / "filled", "--json")
    assert filled.code == 0, filled.stderr
    written = {Path(entry["input"]).name for entry in filled.json["files"] if entry["status"] == "ok"}
    assert written == {"a.tif", "b.png", "c.jpg"}


def test_the_sheet_shows_what_was_found(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    words = ("--mask-auto", "--solver-steps", 1, "--sheet", sheet, "--out", tmp_path / "filled")
    assert vae("inpaint", run, scans, *words).code == 0
    page = sheet.read_text(encoding="utf-8")
    assert page.count("no damage found") == 1 and "a.tif" in page


def test_masks_are_not_overwritten_unasked(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    words = ("inpaint", run, scans, "--mask-auto", "--dry-run", "--out", scans / "holes")
    assert vae(*words).code == 0
    corrected = scans / "holes" / "a.png"
    Image.new("L", (SIDE, SIDE), 7).save(corrected)
    again = vae(*words)
    assert again.code == 2 and "exists" in again.stderr and pixels(corrected)[0, 0] == 7
    assert vae(*words, "--overwrite").code == 0 and pixels(corrected)[0, 0] == 0
    assert len(list((scans / "holes").rglob("*.png"))) == 2, "masks inside the folder are no images"

    Image.new("L", (SIDE, SIDE), 7).save(corrected)
    (scans / "holes" / "1931" / "b.png").unlink()
    assert vae(*words, "--skip-existing").stdout.split() == [str(scans / "holes" / "1931" / "b.png")]
    assert pixels(corrected)[0, 0] == 7


def test_one_mask_for_one_image(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    words = ("inpaint", run, scans / "a.tif", "--mask-auto", "--dry-run")
    outcome = vae(*words, "--out", tmp_path / "hole.png")
    assert outcome.stdout.split() == [str(tmp_path / "hole.png")]
    assert (
        outcome.stderr.splitlines()[-1] == f"next: vae inpaint {run} {scans / 'a.tif'} --mask {tmp_path / 'hole.png'}"
    )
    assert vae("inpaint", run, scans, "--mask-auto", "--dry-run", "--out", tmp_path / "x.png").code == 2


def test_auto_is_a_source_of_its_own(vae, run: Path, scans: Path) -> None:
    for words in (("--mask-alpha",), ("--mask", scans / "a.tif"), ("--mask-invert",)):
        outcome = vae("inpaint", run, scans, "--mask-auto", *words)
        assert outcome.code == 2 and "--mask-auto" in outcome.stderr and len(outcome.errors) <= 3


def test_bad_files_and_suspicious_masks_are_named(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    (scans / "broken.png").write_bytes(b"nothing")
    draw(scans / "small.png", 1)
    wall = np.full((SIDE, SIDE), 90, np.uint8)
    wall[8::12], wall[:, 5::17] = 220, 220
    Image.fromarray(wall).save(scans / "wall.png")
    outcome = vae("inpaint", run, scans, "--mask-auto", "--dry-run", "--json")
    assert outcome.code == 1 and "wall.png: covers" in outcome.stderr
    states = {Path(entry["input"]).name: entry["status"] for entry in outcome.json["files"]}
    assert states["broken.png"] == "failed" and states["small.png"] == "skipped" and states["wall.png"] == "ok"

    filled = vae("inpaint", run, scans / "wall.png", scans / "a.tif", "--mask-auto", "--solver-steps", 1, "--json")
    states = {Path(entry["input"]).name: entry["status"] for entry in filled.json["files"]}
    assert filled.code == 1 and states == {"wall.png": "failed", "a.tif": "ok"}
    assert "looks like damage" in filled.stderr and "--dry-run" in filled.stderr


def test_images_of_one_name_in_two_folders_get_masks_of_their_own(vae, run: Path, tmp_path: Path) -> None:
    for folder, suffix in (("one", "jpg"), ("two", "tif")):
        (tmp_path / folder).mkdir()
        scratched().save(tmp_path / folder / f"a.{suffix}")
    dry = vae("inpaint", run, tmp_path / "one", tmp_path / "two", "--mask-auto", "--dry-run")
    assert dry.code == 0 and {path.parent.name for path in (tmp_path / "one-masks").rglob("a.png")} == {"one", "two"}
    command = shlex.split(dry.stderr.splitlines()[-1].removeprefix("next: vae "))
    filled = vae(*command, "--solver-steps", 1, "--out", tmp_path / "filled", "--json")
    assert filled.code == 0 and len(filled.json["files"]) == 2, filled.stderr


def test_images_of_one_stem_get_masks_that_are_found_again(vae, run: Path, tmp_path: Path) -> None:
    """Though only some of them are damaged, and others are called like masks."""
    (tmp_path / "scans").mkdir()
    for name in ("a.jpg", "a.png", "b.tif", "B.png", "b_mask.png"):
        scratched().save(tmp_path / "scans" / name, **({"quality": 95} if name == "a.jpg" else {}))
    shade().save(tmp_path / "scans" / "a.tif")
    dry = vae("inpaint", run, tmp_path / "scans", "--mask-auto", "--dry-run", "--json")
    assert dry.code == 0 and dry.json["pairs"] == 5, dry.stderr
    names = {Path(entry["input"]).name: Path(entry["output"]).name for entry in dry.json["files"] if entry["output"]}
    assert names["a.jpg"] == "a.jpg.png" and names["b_mask.png"] == "b_mask.png"
    command = shlex.split(dry.stderr.splitlines()[-1].removeprefix("next: vae "))
    listed = vae(*command, "--dry-run", "--json")
    assert listed.code == 0, listed.stderr
    states = {Path(entry["input"]).name: entry["status"] for entry in listed.json["files"] if entry["output"]}
    assert states == dict.fromkeys(names, "skipped")
    text = vae(*command, "--dry-run").stdout
    assert all(f"{name}  {tmp_path / 'scans-masks' / names[name]}  " in text for name in names)


def test_a_mask_whose_name_grows_too_long_fails_alone(vae, run: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    longest = "n" * 251  # with a suffix 255 bytes, the most that a name may have on the usual disks
    for name in (f"{longest}.tif", f"{longest}.png", "z.png"):
        scratched().save(tmp_path / "scans" / name)
    outcome = vae("inpaint", run, tmp_path / "scans", "--mask-auto", "--dry-run", "--json")
    assert outcome.code == 1 and outcome.stderr.count("name too long") == 2, outcome.stderr
    assert [entry["status"] for entry in outcome.json["files"]] == ["failed", "failed", "ok"]


def test_masks_of_further_pages_are_not_written_and_that_is_said(vae, run: Path, scans: Path) -> None:
    dry = vae("inpaint", run, scans / "a.tif", "--mask-auto", "--dry-run", "--pages", "all")
    assert dry.code == 2 and "--pages all: --mask-auto --dry-run writes masks of first pages" in dry.stderr
