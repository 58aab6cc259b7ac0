"""Scans of 48 and 64 bits from the command line to the files."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from sixteen_bit_files import opened, stored

from vae_cli.files.png_in_place import PngSource
from vae_cli.images.samples import Samples

from .conftest import draw, draw_mask

SIDE = 24
HOLE = (slice(4, 10), slice(4, 10))
"""What `draw_mask` marks."""


def scan(path: Path, num_samples: int = 3, *, alpha: np.ndarray | None = None) -> Path:
    pixels = np.random.default_rng(3).integers(0, 65536, (SIDE, SIDE, num_samples)).astype(np.uint16)
    if alpha is not None:
        pixels[..., 3] = alpha
    picture = Samples(pixels, 3, alpha="straight" if num_samples == 4 else None, dots_per_inch=(300, 300))
    return stored(path, picture)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two good scans and one that is cut off."""
    scan(tmp_path / "scans" / "a.tif")
    scan(tmp_path / "scans" / "b.png", 4)
    cut = scan(tmp_path / "scans" / "cut.tif")
    cut.write_bytes(cut.read_bytes()[:900])
    return tmp_path / "scans"


def test_inpaint_changes_the_hole_only(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    mask = draw_mask(tmp_path / "mask.png", side=SIDE)
    outcome = vae("inpaint", run, scans, "--mask", mask, "--out", tmp_path / "out", "--samples", 2, "--json")
    assert outcome.code == 1, outcome.stderr
    states = {(Path(entry["input"]).name, entry["sample"]): entry["status"] for entry in outcome.json["files"]}
    assert states == {("a.tif", 0): "ok", ("a.tif", 1): "ok", ("b.png", 0): "ok", ("b.png", 1): "ok",
                      ("cut.tif", None): "failed"}  # fmt: skip
    known = np.ones((SIDE, SIDE), bool)
    known[HOLE] = False
    for name in ("a.tif", "a.v2.tif", "b.png", "b.v2.png"):
        before, after = opened(scans / name.replace(".v2", "")), opened(tmp_path / "out" / name)
        np.testing.assert_array_equal(before.pixels[known], after.pixels[known])
        filled = after.pixels[HOLE][..., :3]
        assert (filled != before.pixels[HOLE][..., :3]).any()
        assert (filled % 257).any(), "steps of 8 bits"
        assert after.dots_per_inch == pytest.approx(before.dots_per_inch)
    chunks = opened(tmp_path / "out" / "b.png").source
    assert isinstance(chunks, PngSource) and (b"tEXt", b"seed\x000") in chunks.chunks


def test_transparency_and_colour_as_masks(vae, run: Path, tmp_path: Path) -> None:
    alpha = np.full((SIDE, SIDE), 65535, np.uint16)
    alpha[HOLE] = 100
    path = scan(tmp_path / "clear.png", 4, alpha=alpha)
    facts = vae("inpaint", run, path, "--mask-alpha", "--dry-run", "--json").json
    assert facts["mask_cover"] == pytest.approx([36 / SIDE**2] * 2)
    assert vae("inpaint", run, path, "--mask-alpha", "--out", tmp_path / "o.png").code == 0
    assert (opened(tmp_path / "o.png").pixels[..., 3] == 65535).all()
    pixels = opened(path).pixels[..., :3].copy()
    pixels[HOLE] = (65535, 100, 65500)  # magenta, to 8 bits
    pink = stored(tmp_path / "pink.tif", Samples(pixels, 3))
    assert vae("inpaint", run, pink, "--mask-color", "#ff00ff", "--out", tmp_path / "p.tif").code == 0
    changed = (opened(tmp_path / "p.tif").pixels != pixels).any(axis=2)
    assert changed[HOLE].all() and changed.sum() == 36


def test_denoise_at_sixteen_bits(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    outcome = vae("denoise", run, scans / "a.tif", "--sigma", 20, "--out", tmp_path / "clean.tif")
    assert outcome.code == 0, outcome.stderr
    pixels = opened(tmp_path / "clean.tif").pixels
    assert pixels.shape == (SIDE, SIDE, 3) and (pixels % 257).any()


@pytest.mark.parametrize("command", ["denoise", "style"])
def test_what_a_format_cannot_hold_stops_no_other(vae, run: Path, scans: Path, tmp_path: Path, command: str) -> None:
    draw(scans / "c.png", 1, side=SIDE)
    how = ("--sigma", 20) if command == "denoise" else ("--like", draw(tmp_path / "plain.png", 2))
    outcome = vae(command, run, scans, *how, "--format", "jpg", "--out", tmp_path / "out", "--json")
    assert outcome.code == 1, outcome.stderr
    files = [entry for entry in outcome.json["files"] if not entry["input"].endswith("cut.tif")]
    found = [(Path(entry["input"]).name, entry["status"]) for entry in files]
    assert found == [("a.tif", "failed"), ("b.png", "failed"), ("c.png", "ok")]
    assert "16-bit colour cannot be stored as JPEG" in files[0]["reason"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["c.jpg"]


def test_check_and_train_read_them(vae, scans: Path) -> None:
    """As `inpaint` does, and refuse what it refuses."""
    outcome = vae("check", scans, "--json")
    assert outcome.code == 0 and [entry["input"] for entry in outcome.json["files"]] == ["cut.tif"]
    assert outcome.json["images"] == 2 and outcome.json["modes"] == {"RGB": 1, "RGBA": 1}
    trained = vae("train", scans, "--preset", "tiny", "--steps", 2, "--out", scans.with_name("run"), "--json")
    assert trained.code == 0 and (trained.json["skipped"], trained.json["images"]) == (1, 1)


def test_pages_of_a_tiff(vae, run: Path, tmp_path: Path) -> None:
    """Each has its own page of the mask; what --pages does not name stays as it is, and by default that is said."""
    pages = [np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8) for number in range(4)]
    holes = np.zeros((4, SIDE, SIDE), np.uint8)
    for number in range(4):
        holes[number, 4 : 6 + number, 4:9] = 255
    for name, content in (("a.tif", pages), ("m.tif", holes)):
        with tifffile.TiffWriter(tmp_path / name) as file:
            for page in content:
                file.write(
                    page, photometric="rgb" if page.ndim == 3 else "minisblack", compression="zlib", metadata=None
                )
    command = ("inpaint", run, tmp_path / "a.tif", "--mask", tmp_path / "m.tif", "--json")
    for wanted, changed in ((None, [0]), ("first", [0]), ("all", [0, 1, 2, 3]), ("2,4", [1, 3])):
        out = tmp_path / f"out-{wanted}"
        outcome = vae(*command, "--out", out, "--samples", 2, *(["--pages", wanted] if wanted else []))
        assert outcome.code == 0, outcome.stderr
        assert ("only one page is changed" in outcome.stderr) == (len(changed) == 1)
        assert [entry["status"] for entry in outcome.json["files"]] == ["ok", "ok"]
        for name in ("a.tif", "a.v2.tif"):
            with tifffile.TiffFile(out / name) as file:
                after = [page.asarray() for page in file.pages]
            for number in range(4):
                differs = (after[number] != pages[number]).any(axis=2)
                assert differs.any() == (number in changed) and not differs[holes[number] == 0].any()
    failed = vae(*command, "--out", tmp_path / "out", "--pages", "3-5")
    assert failed.code == 3 and "has no page 5, only 4" in failed.json["files"][0]["reason"]
    for wanted in ("0", "a", "2-1", "", "1,,2", "-3"):
        assert vae(*command, "--out", tmp_path / "out", f"--pages={wanted}").code == 2


def test_two_page_numbers_of_what_has_none(vae, run: Path, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 1, side=SIDE)
    mask = draw_mask(tmp_path / "mask.png", side=SIDE)
    outcome = vae("inpaint", run, tmp_path / "a.png", "--mask", mask, "--pages", "all", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.stderr
