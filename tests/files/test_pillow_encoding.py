"""Other formats, no metadata, and results that are read again before they take their name."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from originals import encoded, refilled, shown, smooth
from PIL import ExifTags, Image, PngImagePlugin
from test_jpeg_segments import IPTC, metadata, with_segments
from test_thumbnails import exif as exif_with_thumbnail

from vae_cli.errors import DataError
from vae_cli.files import containers, gif_frames, jpeg_segments, pillow_encoding
from vae_cli.files.originals import open_original
from vae_cli.images.decode import open_image

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
SUFFIXES = {"JPEG": "jpg", "WEBP": "webp", "AVIF": "avif", "PNG": "png", "TIFF": "tif", "GIF": "gif", "BMP": "bmp"}


def described(orientation: int = 1, *, secret: str = "a secret") -> dict[str, Any]:
    """Options of Pillow's `save`: EXIF with a place, profile and XMP."""
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    tags[ExifTags.Base.Artist] = secret
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.LensModel] = secret
    tags.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    return {"exif": tags, "icc_profile": b"the profile", "xmp": XMP}


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("target", ["JPEG", "WEBP", "AVIF", "PNG", "TIFF"])
@pytest.mark.parametrize("source", ["JPEG", "WEBP", "AVIF"])
def test_descriptions_go_with_the_picture(tmp_path: Path, source: str, target: str, orientation: int) -> None:
    path, out = tmp_path / f"a.{SUFFIXES[source]}", tmp_path / f"b.{SUFFIXES[target]}"
    path.write_bytes(
        encoded(smooth(), source, **described(orientation), **({"dpi": (300, 200)} if source == "JPEG" else {}))
    )
    remarks = open_original(path).save(out, format=SUFFIXES[target])
    with Image.open(out) as image:
        if target != "PNG":
            image.load()
        tags = Image.Exif()
        tags.load(image.info["exif"] if target != "TIFF" else b"") if target != "TIFF" else None
        tags = image.getexif() if target == "TIFF" else tags
        assert tags[ExifTags.Base.Artist] == "a secret"
        assert tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.LensModel] == "a secret"
        assert tags.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
        assert image.info["icc_profile"] == b"the profile" and XMP[:40] in out.read_bytes()
        if source == "JPEG" and target in ("PNG", "TIFF", "JPEG"):
            assert image.info["dpi"] == pytest.approx((300, 200), abs=0.01)
    assert open_original(out).display_size == ((40, 56) if orientation == 1 else (56, 40))
    says = [] if target in ("PNG", "TIFF") else [f"re-encoded ({target} is lossy)"]
    says += ["resolution: not kept in " + target] * (source == "JPEG" and target in ("WEBP", "AVIF"))
    assert sorted(remarks) == sorted(says) or target == "WEBP"  # lossless where it comes from another format


@pytest.mark.parametrize("target", ["png", "webp", "bmp"])
def test_what_another_format_cannot_hold_is_said(tmp_path: Path, target: str) -> None:
    content = (
        with_segments(encoded(smooth(), "JPEG", **described(6)), (0xED, IPTC), (0xE5, b"x"), (0xFE, b"c")) + b"a film"
    )
    (tmp_path / "a.jpg").write_bytes(content)
    remarks = open_original(tmp_path / "a.jpg").save(tmp_path / f"b.{target}", format=target)
    for name in ("IPTC and Photoshop data", "APP5 data", "comment", "what follows the picture"):
        assert f"{name}: not kept in {target.upper()}" in remarks
    assert ("EXIF: not kept in BMP" in remarks, "XMP: not kept in BMP" in remarks) == ((target == "bmp",) * 2)
    assert any("rotated" in remark for remark in remarks) == (target == "bmp")


@pytest.mark.parametrize("orientation", [1, 8])
@pytest.mark.parametrize("source", ["JPEG", "WEBP", "AVIF", "PNG", "TIFF"])
def test_stripped_files_tell_nothing(tmp_path: Path, source: str, orientation: int) -> None:
    options = described(orientation)
    if source == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_text("Author", "a secret")
        chunks.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options["pnginfo"] = chunks
    content = encoded(smooth(), source, **options)
    if source == "JPEG":
        content = with_segments(content, (0xED, IPTC), (0xFE, b"a secret")) + b"a film"
    path, out = tmp_path / f"a.{SUFFIXES[source]}", tmp_path / f"b.{SUFFIXES[source]}"
    path.write_bytes(content)
    before = open_original(path)
    before.with_text("seed", "7").save(out, strip=True)
    new, after = out.read_bytes(), open_original(out)
    for secret in (b"a secret", b"xmpmeta", b"film", b"seed", b"captio"):
        assert secret not in new, secret
    with Image.open(out) as image:
        assert image.info["icc_profile"] == b"the profile"
    assert after.orientation == before.orientation == orientation
    if source in ("PNG", "TIFF"):
        np.testing.assert_array_equal(before.display_array(3), after.display_array(3))


def test_stripped_jpeg_keeps_what_shows_its_colours(tmp_path: Path) -> None:
    content = encoded(smooth("CMYK"), "JPEG", dpi=(300, 300), **described())
    refilled(tmp_path / "a.jpg", content, strip=True)
    assert [marker for marker, _ in metadata((tmp_path / "out.jpg").read_bytes())] == [0xE0, 0xEE, 0xE2]
    refilled(tmp_path / "a.jpg", encoded(smooth(), "JPEG", dpi=(300, 300), **described()), strip=True)
    assert [marker for marker, _ in metadata((tmp_path / "out.jpg").read_bytes())] == [0xE0, 0xE2]
    assert Image.open(tmp_path / "out.jpg").info["dpi"] == (300, 300)


@pytest.mark.parametrize("source", ["JPEG", "WEBP", "AVIF", "PNG"])
def test_an_orientation_that_only_xmp_knows_turns_nothing(tmp_path: Path, source: str) -> None:
    options: dict[str, Any] = {"xmp": XMP}
    if source == "PNG":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    path, out = tmp_path / f"a.{SUFFIXES[source]}", tmp_path / f"b.{SUFFIXES[source]}"
    for others in ({}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x0f\0\2\0\0\0\4cam\0\0\0\0\0"}):
        path.write_bytes(encoded(smooth(), source, **options, **others))
        before = open_original(path)
        before.save(out, overwrite=True)
        assert open_image(path).size == (56, 40) and before.display_size == (40, 56)
        assert XMP in out.read_bytes() and open_original(out).display_size == (40, 56)
        with Image.open(out) as image:
            image.info.pop("xmp", None)
            image.info.pop("XML:com.adobe.xmp", None)
            assert b"\x01\x12" not in image.info.get("exif", b"") and b"\x12\x01" not in image.info.get("exif", b"")


def test_training_does_not_turn_a_tiff_by_its_xmp(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[700] = XMP
    smooth().save(tmp_path / "a.tif", exif=tags)
    assert open_image(tmp_path / "a.tif").size == (56, 40)


BREAK = {
    "JPEG": (jpeg_segments, "with_new_pixels"), "WEBP": (containers, "webp_with_new_pixels"),
    "GIF": (gif_frames, "with_new_pixels"),
}  # fmt: skip


@pytest.mark.parametrize("harm", ["other pixels", "no picture", "raises"])
@pytest.mark.parametrize("kind", BREAK)
def test_results_are_read_again(tmp_path: Path, kind: str, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not come back as it was meant is written in another way; if that fails, too, there is no file."""
    image = smooth("P" if kind == "GIF" else "RGB")
    other = encoded(image.rotate(180), kind)

    def broken(*_: object) -> bytes:
        if harm == "raises":
            raise KeyError(kind)
        return other if harm == "other pixels" else b"nothing"

    monkeypatch.setitem(
        pillow_encoding._WITH_NEW_PIXELS if kind == "GIF" else pillow_encoding._WITH_NEW_CODE, kind, broken
    )
    content = encoded(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    before, after, hole, _ = refilled(tmp_path / f"a.{SUFFIXES[kind]}", content)
    if kind != "JPEG":
        np.testing.assert_array_equal(shown(before)[~hole], shown(after)[~hole])
    monkeypatch.setattr(pillow_encoding, "_encoded", lambda *_: b"nothing" if harm == "no picture" else other)
    monkeypatch.setattr(pillow_encoding, "is_lossless", lambda *_: True)
    (tmp_path / f"out.{SUFFIXES[kind]}").unlink()
    with pytest.raises(DataError, match="does not come back"):
        refilled(tmp_path / f"a.{SUFFIXES[kind]}", content)
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{SUFFIXES[kind]}"]


def test_metadata_that_cannot_be_written_is_dropped_and_said(tmp_path: Path) -> None:
    (tmp_path / "a.webp").write_bytes(
        encoded(smooth(), "WEBP", lossless=True, xmp=b"x" * 70_000, exif=b"Exif\0\0" + bytes(66_000))
    )
    remarks = open_original(tmp_path / "a.webp").save(tmp_path / "b.jpg", format="jpg")
    assert {"XMP: not kept in JPEG", "EXIF: not kept in JPEG"} <= {*remarks}


def test_png_thumbnails_show_the_fill(tmp_path: Path) -> None:
    thumbnail = encoded(smooth(size=(28, 20)), "JPEG")
    magenta = Image.new("RGB", (56, 40), (200, 0, 200))
    (tmp_path / "a.png").write_bytes(encoded(magenta, "PNG", exif=exif_with_thumbnail(thumbnail)))
    open_original(tmp_path / "a.png").save(tmp_path / "b.png")
    new = (tmp_path / "b.png").read_bytes()
    drawn = Image.open(BytesIO(new[new.index(b"\xff\xd8\xff") :]))
    assert drawn.size == (28, 20) and abs(np.asarray(drawn, np.int32) - (200, 0, 200)).max() < 12
