"""`vae masks`: what its pages hold, without a browser; tests/browser uses them."""

import base64
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vae_cli.errors import WriteError
from vae_cli.jobs import masks as job
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.mask_sources import MaskSource

from .conftest import draw, draw_mask, pixels

SIDE = 16


def pictures_of(page: Path) -> list[dict[str, str]]:
    """The data of a page, as a browser reads it."""
    from html import unescape

    text = page.read_text(encoding="utf-8")
    found = re.findall(r'<script type="text/plain" class="picture"([^>]*)>([^<]*)</script>', text)
    entries = [dict(re.findall(r'data-(\w+)="([^"]*)"', attributes)) for attributes, _ in found]
    return [{name: unescape(value) for name, value in entry.items()} | {"content": content}
            for entry, (_, content) in zip(entries, found, strict=True)]  # fmt: skip


def hole_of(entry: dict[str, str]) -> np.ndarray:
    width, height = int(entry["width"]), int(entry["height"])
    rows = np.frombuffer(zlib.decompress(base64.b64decode(entry["mask"])), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any(), "the filter of PNG's rows"
    return np.unpackbits(rows[:, 1:], axis=1, count=width).astype(bool)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    draw(folder / "a.png", 1)
    draw(folder / "b.tif", 2)
    draw(folder / "deep" / "</script><b>.png", 3)
    return folder


def test_a_page_holds_pictures_masks_and_names(vae, scans: Path, tmp_path: Path) -> None:
    draw_mask(tmp_path / "masks" / "b.png")
    outcome = vae("masks", scans, "--mask", tmp_path / "masks", "--json")
    page = tmp_path / "scans-masks.html"
    assert outcome.code == 0 and outcome.json["pages"] == [str(page)] and outcome.json["masks"] == 1
    a, b, deep = pictures_of(page)
    assert base64.b64decode(a["content"]) == (scans / "a.png").read_bytes() and a["kind"] == "png" and not a["mask"]
    assert b["kind"] == "jpeg" and b["file"] == "b.png"
    np.testing.assert_array_equal(hole_of(b), pixels(tmp_path / "masks" / "b.png") == 255)
    assert deep["name"] == str(scans / "deep" / "</script><b>.png") and deep["file"] == "deep/</script><b>.png"
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 4 and "<b>" not in text
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text)


def test_marks_of_writing_stay_in_the_file_s_name(vae, tmp_path: Path) -> None:
    """By which the mask is found again; what is shown has them escaped."""
    image = draw(tmp_path / "scans" / "\u200fשלום.png", 1)
    assert vae("masks", image.parent).code == 0
    (entry,) = pictures_of(tmp_path / "scans-masks.html")
    assert entry["file"] == image.name and entry["name"].endswith("\\u200fשלום.png")


def test_found_masks_are_there_to_begin_with(vae, tmp_path: Path) -> None:
    from .test_cli_mask_auto import scratched, shade

    scratched().save(tmp_path / "a.png")
    shade().save(tmp_path / "b.png")
    vae("inpaint", tmp_path / "a.png", "--method", "classical", "--mask-auto", "--dry-run", "--out", tmp_path / "m.png")
    outcome = vae("masks", tmp_path / "a.png", tmp_path / "b.png", "--mask-auto", "--out", tmp_path / "page.html")
    assert outcome.code == 0 and "2 pictures, 1 of them with a mask" in outcome.stderr
    first, second = pictures_of(tmp_path / "page.html")
    np.testing.assert_array_equal(hole_of(first), pixels(tmp_path / "m.png") == 255)
    assert not second["mask"]


def test_what_browsers_would_show_otherwise_is_made_anew(vae, tmp_path: Path) -> None:
    """Turned PNGs, moving pictures and inks; a turned JPEG is theirs, too."""
    exif, folder = Image.Exif(), tmp_path / "in"
    exif[0x0112] = 6
    folder.mkdir()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    picture.save(folder / "turned.png", exif=exif)
    picture.save(folder / "turned.jpg", exif=exif)
    picture.convert("CMYK").save(folder / "inks.jpg")
    picture.save(folder / "moving.gif", save_all=True, append_images=[picture.rotate(90)])
    picture.save(folder / "still.gif")
    assert vae("masks", folder, "--out", tmp_path / "page.html").code == 0
    found = {Path(entry["name"]).name: entry for entry in pictures_of(tmp_path / "page.html")}
    assert {name: entry["kind"] for name, entry in found.items()} == {
        "turned.png": "jpeg", "turned.jpg": "jpeg", "inks.jpg": "jpeg", "moving.gif": "jpeg", "still.gif": "gif",
    }  # fmt: skip
    kept = {name for name, entry in found.items() if base64.b64decode(entry["content"]) == (folder / name).read_bytes()}
    assert kept == {"turned.jpg", "still.gif"}
    assert (found["turned.png"]["width"], found["turned.jpg"]["height"]) == ("20", "30")


def test_many_pictures_take_several_pages(vae, scans: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(job, "PAGE_PICTURES", 2)
    outcome = vae("masks", scans, "--out", tmp_path / "p #.html", "--json")
    second = tmp_path / "p #-2.html"
    assert outcome.json["pages"] == [str(tmp_path / "p #.html"), str(second)]
    assert [len(pictures_of(Path(page))) for page in outcome.json["pages"]] == [2, 1]
    assert 'href="p%20%23-2.html"' in (tmp_path / "p #.html").read_text() and "scans-masks-2.zip" in second.read_text()
    (tmp_path / "p #.html").unlink()
    assert vae("masks", scans, "--out", tmp_path / "p #.html").code == 2, "the second one exists"
    assert vae("masks", scans, "--out", tmp_path / "p #.html", "--overwrite").code == 0


def test_what_cannot_be_used_is_named_and_the_rest_written(
    vae, scans: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (scans / "broken.png").write_bytes(b"\x89PNG cut off")
    draw(scans / "huge.png", 4, side=SIDE + 1)
    monkeypatch.setattr(job, "MOST_PIXELS", SIDE * SIDE)
    draw_mask(tmp_path / "masks" / "a.png", side=SIDE + 8, box=(0, 0, 90, 90))
    outcome = vae("masks", scans, "--mask", tmp_path / "masks", "--out", tmp_path / "page.html", "--json")
    assert outcome.code == 1
    states = {Path(entry["input"]).name: entry["status"] for entry in outcome.json["files"]}
    assert states["broken.png"] == states["huge.png"] == "failed" and list(states.values()).count("ok") == 3
    assert "begins without a mask: " in outcome.stderr and "covers the whole image" in outcome.stderr
    entries = pictures_of(tmp_path / "page.html")
    assert "covers the whole image" in entries[0]["note"] and [entry["note"] for entry in entries[1:]] == ["", ""]


@pytest.mark.parametrize(
    "words, problem",
    [(("--out", "@/page.png"), "page.html"), (("--mask", "@/nowhere"), "no such file"),
     (("--mask-auto", "--mask-alpha"), "at most one of"), (("--out", "@/scans/a.png/page.html"), "is a file where")],
)  # fmt: skip
def test_refusals(vae, scans: Path, tmp_path: Path, words: tuple[str, ...], problem: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    outcome: Any = vae("masks", scans, *(word.replace("@", str(tmp_path)) for word in words))
    assert outcome.code == 2 and problem in outcome.stderr and len(outcome.errors) <= 3
    assert sorted(tmp_path.rglob("*")) == before


def test_only_bad_files_make_no_page(vae, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    outcome = vae("masks", tmp_path / "broken.png", "--out", tmp_path / "page.html")
    assert outcome.code == 3 and not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written_is_not_said_to_be(
    scans: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def cut_off(*_: object) -> Iterator[str]:
        yield "<html>"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "mask_page", cut_off)
    source, said = MaskSource(), list[object]()
    pages = job.plan_mask_pages([scans], source, tmp_path / "page.html", said.append)
    with pytest.raises(WriteError, match="No space left"):
        said += job.write_mask_pages(pages, [scans], source)
    assert not any(isinstance(event, FileDone) for event in said) and not (tmp_path / "page.html").exists()
