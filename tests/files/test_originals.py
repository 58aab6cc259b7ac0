"""Originals: outside the hole nothing changes, whatever the mode, depth, format and orientation."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from vae_cli.errors import ConfigError, DataError, WriteError
from vae_cli.files.originals import open_original
from vae_cli.files.pillow_encoding import is_lossless
from vae_cli.files.pillow_original import PillowOriginal
from vae_cli.images.decode import open_image
from vae_cli.images.modes import to_array
from vae_cli.images.orientation import as_displayed, as_stored

HEIGHT, WIDTH = 20, 26
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RAW_BANDS = {"1": 1, "L": 1, "LA": 2, "P": 1, "RGB": 3, "RGBA": 4, "CMYK": 4, "YCbCr": 3, "LAB": 3, "PA": 2}


def picture(mode: str, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Image.Image:
    """Random pixels of any mode, not one equal to its neighbour."""
    random = np.random.default_rng(7)
    if mode.startswith("I"):
        values = random.integers(0, 65536, size)
        kind = {"I;16B": ">u2", "I": "i4"}.get(mode, "<u2")
        return Image.frombytes(mode, size[::-1], values.astype(kind).tobytes())
    values = random.integers(0, 256, (*size, RAW_BANDS[mode]), dtype=np.uint8)
    if mode in ("P", "PA"):
        values[..., 0] %= 16
    if mode == "1":
        values = values // 128
    image = Image.frombytes(mode, size[::-1], values.tobytes(), "raw", "1;8" if mode == "1" else mode)
    if mode in ("P", "PA"):
        image.putpalette(np.random.default_rng(3).integers(0, 256, 48, dtype=np.uint8).tobytes())
    return image


def hole_of(size: tuple[int, int]) -> np.ndarray:
    """A rectangle nearer to the top left corner, so that a wrong rotation shows."""
    hole = np.zeros(size, bool)
    hole[2:7, 3:12] = True
    return hole


def fill_of(original: PillowOriginal, value: float = 200.0) -> np.ndarray:
    return np.full((*original.display_size, 3), value, np.float32)


def refill(path: Path, out: Path, **options: Any) -> tuple[PillowOriginal, PillowOriginal, np.ndarray, tuple[str, ...]]:
    """(before, after, hole as stored, remarks) of filling a hole with light grey."""
    before = open_original(path)
    hole = hole_of(before.display_size)
    notes = before.with_fill(fill_of(before), hole).save(out, **options)
    return before, open_original(out), as_stored(hole, before.orientation), notes


LOSSLESS = [
    ("bmp", "1", {}),
    ("bmp", "L", {"dpi": (96, 96)}),
    ("bmp", "P", {}),
    ("bmp", "RGB", {"dpi": (300, 300)}),
    ("gif", "P", {"transparency": 3}),
    ("gif", "L", {"optimize": False}),
    ("pbm", "1", {}),
    ("pgm", "L", {}),
    ("pgm", "I", {}),
    ("ppm", "RGB", {}),
    ("webp", "RGB", {"lossless": True, "exact": True, "icc_profile": SRGB}),
    ("webp", "RGBA", {"lossless": True, "exact": True}),
    ("jp2", "RGB", {"irreversible": False}),
    ("jp2", "I;16", {"irreversible": False}),
]


@pytest.mark.parametrize(
    ("suffix", "mode", "options"), LOSSLESS, ids=lambda item: item if isinstance(item, str) else ""
)
def test_only_the_hole_changes(tmp_path: Path, suffix: str, mode: str, options: dict[str, Any]) -> None:
    picture(mode).save(tmp_path / f"a.{suffix}", **options)
    before, after, hole, notes = refill(tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}")
    old, new = np.asarray(before.image), np.asarray(after.image)
    assert (before.image.mode, before.image.size, before.format) == (after.image.mode, after.image.size, after.format)
    assert before.image.mode == mode
    if before.format == "GIF":  # its writer may renumber the palette
        old, new = (np.asarray(item.image.convert("RGBA")) for item in (before, after))
    np.testing.assert_array_equal(old[~hole], new[~hole])
    assert (old[hole] != new[hole]).any()
    assert is_lossless(before, before.format)
    assert not notes
    for key in ("icc_profile", "dpi", "transparency", "compression", "resolution"):
        assert before.image.info.get(key) == after.image.info.get(key) or (key, before.format) == (
            "transparency",
            "GIF",
        ), key
    np.testing.assert_array_equal(before.display_array(3)[~hole].astype(int), after.display_array(3)[~hole].astype(int))


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "gif"])
def test_damaged_pixels_are_never_taken_for_a_picture(tmp_path: Path, suffix: str) -> None:
    """Whatever byte is turned, in the middle of the data: it is refused, or shows what opening it alone would show."""
    path, random = tmp_path / f"a.{suffix}", np.random.default_rng(0)
    picture("RGB", (40, 40)).save(path, **({"compression": "tiff_adobe_deflate"} if suffix == "tif" else {}))
    data, num_refused = path.read_bytes(), 0
    for place in random.integers(len(data) // 4, 3 * len(data) // 4, 20).tolist():
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            shown = to_array(open_image(path), channels=3)
        except DataError:
            num_refused += 1
            with pytest.raises(DataError):
                open_original(path)
        else:
            assert (open_original(path).display_array(3) == shown).all()
    assert num_refused > 5 or suffix in ("webp", "gif")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I"])
def test_the_hole_shows_the_fill(mode: str) -> None:
    original = PillowOriginal(Path("a.tif"), picture(mode), 1, "TIFF", 1, {})
    if mode == "RGBA":
        original.image.putalpha(255)
    fill = np.random.default_rng(0).uniform(0, 255, (HEIGHT, WIDTH, 3)).astype(np.float32)
    hole = hole_of((HEIGHT, WIDTH))
    grey = mode in ("L", "I;16", "I")
    shown = original.with_fill(fill, hole).display_array(1 if grey else 3).astype(np.float32)
    wanted = (fill @ np.array([[0.299], [0.587], [0.114]], np.float32)) if grey else fill
    if mode.startswith("I"):
        np.testing.assert_allclose(shown[hole], wanted[hole] * 257, atol=0.6)  # no 8-bit steps
    else:
        tolerance = 4 if mode == "YCbCr" else 0.51
        np.testing.assert_allclose(shown[hole], wanted[hole], atol=tolerance)


def test_grey_fill_in_colour_image() -> None:
    original = PillowOriginal(Path("a.png"), picture("RGB"), 1, "PNG", 1, {})
    filled = original.with_fill(np.full((HEIGHT, WIDTH, 1), 77.4, np.float32), hole_of((HEIGHT, WIDTH)))
    assert (np.asarray(filled.image)[hole_of((HEIGHT, WIDTH))] == 77).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["webp"])
def test_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    options: dict[str, Any] = {"lossless": True, "exact": True} if suffix == "webp" else {}
    stored = picture("RGB")
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **options)
    before, after, hole, _ = refill(tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}")
    assert before.orientation == after.orientation == orientation
    np.testing.assert_array_equal(np.asarray(before.image), np.asarray(stored))
    np.testing.assert_array_equal(np.asarray(after.image)[~hole], np.asarray(stored)[~hole])
    assert (np.asarray(after.image)[hole] == 200).all()
    shown = after.display_array(3)
    assert shown.shape[:2] == before.display_size
    assert (shown[hole_of(before.display_size)] == 200).all()
    with Image.open(tmp_path / f"b.{suffix}") as image:  # and as Pillow itself shows it
        np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(image)), shown)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_as_stored_is_the_inverse(orientation: int) -> None:
    array = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(as_stored(as_displayed(array, orientation), orientation), array)


def test_format_without_orientation_tag_is_rotated(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    picture("RGB").save(tmp_path / "a.png", exif=exif)
    before, after, _, notes = refill(tmp_path / "a.png", tmp_path / "b.bmp", format="bmp")
    assert after.display_size == before.display_size
    assert after.orientation == 1
    assert "rotated" in notes[0]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_keeps_its_tables(tmp_path: Path, mode: str) -> None:
    smooth = picture(mode, (5, 7)).resize((WIDTH * 4, HEIGHT * 4), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=88, dpi=(300, 300), icc_profile=SRGB, subsampling=0)
    before, after, hole, notes = refill(tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert after.image.mode == mode
    assert after.facts["coding"] == before.facts["coding"]
    assert (after.image.info["dpi"], after.image.info["icc_profile"]) == ((300, 300), SRGB)
    assert notes == ("re-encoded (JPEG is lossy)",)
    assert not is_lossless(before, before.format)
    far = ~hole
    far[:24, :32] = False  # the blocks that the hole touches
    difference = np.asarray(before.image)[far].astype(int) - np.asarray(after.image)[far]
    assert abs(difference).max() <= 3


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_kept_or_opaque(mode: str) -> None:
    original, hole = PillowOriginal(Path("a.tif"), picture(mode), 1, "TIFF", 1, {}), hole_of((HEIGHT, WIDTH))
    alpha = np.asarray(original.image)[..., -1]
    np.testing.assert_array_equal(np.asarray(original.with_fill(fill_of(original), hole).image)[..., -1], alpha)
    opaque = np.asarray(original.with_fill(fill_of(original), hole, opaque_hole=True).image)[..., -1]
    assert (opaque[hole] == 255).all()
    np.testing.assert_array_equal(opaque[~hole], alpha[~hole])


@pytest.mark.parametrize(("suffix", "options"), [("gif", {}), ("webp", {"lossless": True})])
def test_another_format_takes_the_first_frame_and_it_is_said(
    tmp_path: Path, suffix: str, options: dict[str, Any]
) -> None:
    first, second = picture("P" if suffix == "gif" else "RGB"), picture("L").convert("RGB")
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second], **options)
    before, after, hole, notes = refill(tmp_path / f"a.{suffix}", tmp_path / "b.png", format="png")
    assert before.num_frames == 2 and notes == ("only the first frame is kept",)
    np.testing.assert_array_equal(before.display_array(3)[~hole], after.display_array(3)[~hole])
    np.testing.assert_array_equal(before.display_array(3), np.asarray(first.convert("RGB")))


@pytest.mark.parametrize("suffix", ["webp", "avif"])
def test_lossy_formats_say_so(tmp_path: Path, suffix: str) -> None:
    picture("RGB").save(tmp_path / f"a.{suffix}")
    before, after, _, notes = refill(tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}")
    assert (before.format, before.image.mode) == (after.format, after.image.mode)
    assert not is_lossless(before, before.format)
    assert "lossy" in notes[0]


@pytest.mark.parametrize(
    ("suffix", "mode", "wanted", "stored_mode"),
    [
        ("tif", "I;16", "png", "I;16"),
        ("tif", "I;16B", "pgm", "I"),
        ("pgm", "I", "png", "I;16"),
        ("png", "P", "webp", "RGB"),
        ("png", "LA", "webp", "RGBA"),
        ("png", "P", "jpg", "RGB"),
        ("png", "1", "jpeg", "L"),
        ("png", "1", "tif", "1"),
        ("png", "P", "tif", "RGB"),
        ("tif", "P", "png", "P"),
        ("tif", "LAB", "png", "RGB"),
        ("jpg", "RGB", "tif", "RGB"),
        ("jpg", "RGB", "png", "RGB"),
        ("tif", "CMYK", "jp2", "CMYK"),
        ("tif", "RGBA", "webp", "RGBA"),
    ],
)
def test_forced_format(tmp_path: Path, suffix: str, mode: str, wanted: str, stored_mode: str) -> None:
    options: dict[str, Any] = {"dpi": (300, 300)} if suffix in ("jpg", "tif") else {}
    picture(mode).save(tmp_path / f"a.{suffix}", **options)
    before, after, hole, _ = refill(tmp_path / f"a.{suffix}", tmp_path / f"b.{wanted}", format=wanted)
    with Image.open(tmp_path / f"b.{wanted}") as image:
        assert image.mode == stored_mode
        dpi = image.info.get("dpi")
    if wanted not in ("jpg", "jpeg") and mode != "CMYK":
        np.testing.assert_array_equal(before.display_array(3)[~hole], after.display_array(3)[~hole])
    if wanted in ("png", "tif") and suffix in ("jpg", "tif"):
        assert dpi == pytest.approx((300, 300), abs=0.01)


@pytest.mark.parametrize(("mode", "wanted"), [("RGBA", "jpg"), ("I;16", "jpg"), ("RGB", "gif"), ("RGBA", "bmp")])
def test_format_that_cannot_hold_the_image(tmp_path: Path, mode: str, wanted: str) -> None:
    picture(mode).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=rf"a\.png: .*{mode}.*--format"):
        open_original(tmp_path / "a.png").save(tmp_path / f"b.{wanted}", format=wanted)
    assert not (tmp_path / f"b.{wanted}").exists()


def test_transparent_palette_is_no_bmp(tmp_path: Path) -> None:
    picture("P").save(tmp_path / "a.png", transparency=0)
    with pytest.raises(DataError, match="transparency"):
        open_original(tmp_path / "a.png").save(tmp_path / "b.bmp", format="bmp")


def test_unknown_format_and_existing_output(tmp_path: Path) -> None:
    picture("L").save(tmp_path / "a.png")
    original, content = open_original(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()
    with pytest.raises(ConfigError, match="--format xyz"):
        original.save(tmp_path / "b.png", format="xyz")
    with pytest.raises(ConfigError, match="--overwrite"):
        original.with_fill(fill_of(original), hole_of((HEIGHT, WIDTH))).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == content
    original.with_fill(fill_of(original), hole_of((HEIGHT, WIDTH))).save(tmp_path / "a.png", overwrite=True)
    assert (tmp_path / "a.png").read_bytes() != content


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    picture("L").save(tmp_path / "a.png")
    original, content = open_original(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(WriteError, match=r"a\.png: .*No space left"):
        original.save(tmp_path / "a.png", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == content


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    picture("L").save(tmp_path / "a.png")
    with pytest.raises(WriteError, match=r"b\.png"):
        open_original(tmp_path / "a.png").save(tmp_path / "a.png" / "b.png")


def test_longest_name_can_be_written(tmp_path: Path) -> None:
    picture("L").save(tmp_path / "a.png")
    open_original(tmp_path / "a.png").save(tmp_path / ("n" * 251 + ".png"))


def test_bad_files_are_named(tmp_path: Path) -> None:
    picture("RGB", (200, 200)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:5000])
    (tmp_path / "empty.png").write_bytes(b"")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    (tmp_path / "deep.ppm").write_bytes(b"P6 2 2 65535\n" + bytes(24))
    for name in ("cut.png", "empty.png", "float.tif", "deep.ppm", "none.png"):
        with pytest.raises(DataError, match=name):
            open_original(tmp_path / name)


def test_wrong_sizes_are_a_callers_mistake() -> None:
    original = PillowOriginal(Path("a.png"), picture("L"), 1, "PNG", 1, {})
    with pytest.raises(ValueError, match="do not fit"):
        original.with_fill(fill_of(original), hole_of((WIDTH, HEIGHT)))


@pytest.mark.parametrize("wanted", ["jpg", "png", "tiff", "webp", "bmp"])
def test_another_format_says_what_it_has_lost_of_png_and_tiff(tmp_path: Path, wanted: str) -> None:
    text, exif = PngImagePlugin.PngInfo(), Image.Exif()
    text.add_text("Title", "a title")
    text.add_itxt("XML:com.adobe.xmp", "<x/>")
    exif[270] = "a description"
    picture("RGB").save(tmp_path / "a.png", pnginfo=text, exif=exif)
    picture("RGB").save(tmp_path / "b.tif", tiffinfo={270: "a description", 700: b"<x/>", 33723: b"\x1c\x02\x05\0\0"})
    picture("RGB").save(tmp_path / "bare.png")
    of_png = {"text", "XMP", "EXIF"} if wanted in ("tiff", "bmp") else {"text", "XMP"}  # the others take EXIF data
    lost = {"a.png": of_png, "b.tif": {"text", "XMP", "IPTC and Photoshop data"}, "bare.png": set()}
    for name, names in lost.items():
        if name.endswith(wanted[:3]):
            continue
        for strip in (False, True):
            out = tmp_path / f"{strip} {name}.{wanted}"
            remarks = open_original(tmp_path / name).save(out, format=wanted, strip=strip)
            said = {remark.split(":")[0] for remark in remarks if "not kept" in remark}
            assert said == (set() if strip else names)
