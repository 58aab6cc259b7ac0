"""Looks carried over from the command line to the files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import draw, pixels


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two cats and a dog in folders of those names, a 16-bit picture, one larger than the model, and no picture."""
    folder = tmp_path / "album"
    for number, name in enumerate(("cat/a.png", "cat/b.bmp", "dog/c.png", "large.png")):
        draw(folder / name, number, side=41 if name == "large.png" else 16)
    Image.fromarray(np.arange(20 * 24, dtype=np.uint16).reshape(20, 24) * 100).save(folder / "deep.tif")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.mark.parametrize(
    "look", [("--to", "dog", "--strength", "1"), ("--like", "photos"), ("--like", "photos", "--from", "album")]
)
def test_a_folder_keeps_its_tree_sizes_and_depths(vae, run: Path, album: Path, photos: Path, look) -> None:
    named = {"photos": photos, "album": album / "cat"}
    before = {path: path.read_bytes() for path in album.rglob("*.*")}
    outcome = vae("style", run, album, *(named.get(word, word) for word in look), "--json")
    assert outcome.code == 1, outcome.stderr
    out = album.with_name("album-style")
    names = {"cat/a.png", "cat/b.bmp", "dog/c.png", "large.png", "deep.tif"}
    kept = {name for name in names if not ("--from" in look and name.startswith("cat"))}
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.*")} == kept
    for path in out.rglob("*.*"):
        source = pixels(album / path.relative_to(out))
        assert (pixels(path).shape, pixels(path).dtype) == (source.shape, source.dtype)
        is_target = "--to" in look and path.parent.name == "dog"
        assert np.array_equal(pixels(path), source) == is_target, path.name
    states = {Path(entry["input"]).name: entry["status"] for entry in outcome.json["files"]}
    assert states.pop("broken.png") == "failed" and set(states.values()) == {"ok"}
    assert {path: path.read_bytes() for path in album.rglob("*.*")} == before, "the originals were touched"


def test_a_folder_with_a_labels_name_tells_the_label(vae, run: Path, album: Path, tmp_path: Path) -> None:
    outcome = vae("style", run, album, "--to", "dog", "--out", tmp_path / "out", "--json")
    labels = {Path(name).name: label for name, label in outcome.json["labels"].items()}
    assert (labels["a.png"], labels["b.bmp"], labels["c.png"]) == ("cat", "cat", "dog")
    assert labels["large.png"] in ("cat", "dog")
    assert "already dog, left as it is" in outcome.stderr


def test_strength_0_keeps_every_pixel(vae, run: Path, album: Path, photos: Path, tmp_path: Path) -> None:
    for number, look in enumerate((("--to", "dog"), ("--like", photos))):
        out = tmp_path / f"out-{number}"
        assert vae("style", run, album, *look, "--strength", 0, "--out", out).code == 1
        for path in out.rglob("*.*"):
            assert np.array_equal(pixels(path), pixels(album / path.relative_to(out))), path


def test_one_image_to_one_file_and_a_sheet(vae, run: Path, album: Path, photos: Path, tmp_path: Path) -> None:
    content, gap = album / "cat" / "a.png", 2
    for look, columns in ((("--to", "dog"), 2), (("--like", photos / "cat"), 3)):
        result, sheet = tmp_path / f"{columns}.png", tmp_path / f"sheet-{columns}.png"
        outcome = vae("style", run, content, *look, "--out", result, "--sheet", sheet, "--json")
        assert outcome.code == 0, outcome.stderr
        assert outcome.json["sheet"] == str(sheet) and len(outcome.json["files"]) == 1
        shown = pixels(sheet)
        assert shown.shape[:2] == (16, columns * 16 + (columns - 1) * gap)
        assert np.array_equal(shown[:, :16], pixels(content)) and np.array_equal(shown[:, -16:], pixels(result))


def test_it_goes_on_where_it_stopped(vae, run: Path, album: Path, tmp_path: Path) -> None:
    words = ("style", run, album / "cat", "--to", "dog", "--out", tmp_path / "out")
    assert vae(*words).code == 0
    assert vae(*words).code == 2, "exists"
    (tmp_path / "out" / "a.png").unlink()
    again = vae(*words, "--skip-existing")
    assert again.code == 0 and again.stdout.split() == [str(tmp_path / "out" / "a.png")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--to LABEL or --like"),
        (("--to", "dog", "--like", "photos"), "--to LABEL or --like"),
        (("--to", "dog", "--from", "photos"), "--from"),
        (("--to", "dgo"), "did you mean dog?"),
        (("--like", "nowhere"), "nowhere"),
        (("--like", "photos", "--solver-steps", 3), "--solver-steps"),
        (("--to", "dog", "--sheet", "sheet"), "--sheet"),
    ],
)
def test_what_cannot_be_asked_for(vae, run: Path, album: Path, photos: Path, words, said: str) -> None:
    outcome = vae("style", run, album, *(photos if word == "photos" else word for word in words))
    assert outcome.code == 2 and said in outcome.errors[0]
    assert not album.with_name("album-style").exists()


def test_labels_need_a_labelled_model_and_a_look_none(vae, run_without_flow: Path, album: Path, photos: Path) -> None:
    outcome = vae("style", run_without_flow, album / "cat", "--to", "dog")
    assert outcome.code == 2 and "without labels" in outcome.errors[0]
    assert vae("style", run_without_flow, album / "cat", "--like", photos / "dog").code == 0


def test_a_look_of_nothing_usable(vae, run: Path, album: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_bytes(b"no picture")
    outcome = vae("style", run, album / "cat", "--like", tmp_path / "none")
    assert outcome.code == 3 and "none" in outcome.errors[0]
