"""JPEG files: the pixels are encoded as they were, and every other byte stays."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from originals import encoded, noise, refilled, smooth
from PIL import Image

from vae_cli.files.jpeg_segments import segments
from vae_cli.images.decode import open_image

XMP = b"http://ns.adobe.com/xap/1.0/\0"
PHOTOSHOP = b"Photoshop 3.0\0"
IPTC = PHOTOSHOP + b"8BIM\x04\x04\0\0\0\0\0\x0d\x1c\x02\x78\0\x08A captio"
SEGMENTS = {
    "IPTC": [(0xED, IPTC)],
    "two of Photoshop's": [(0xED, IPTC), (0xED, PHOTOSHOP + b"8BIM\x04\x05\0\0\0\0\0\x01\0\0")],
    "extended XMP": [(0xE1, XMP + b"<x:xmpmeta/>"), (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 48)],
    "thermal": [(0xE1, b"FLIR\0\1\0\0" + bytes(500))],
    "large": [(0xEB, bytes(65533)), (0xE2, b"ICC_PROFILE\0\1\1" + bytes(300))],
    "depth and content credentials": [(0xEB, b"JP\0\1jumb"), (0xE5, b"depth"), (0xE8, b"SPIFF\0")],
    "comments": [(0xFE, b"one"), (0xFE, b"two\xff\xd9")],
}


def with_segments(jpeg: bytes, *added: tuple[int, bytes], jfif: bool = True) -> bytes:
    start = 4 + int.from_bytes(jpeg[4:6], "big")  # behind JFIF
    packed = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in added)
    return jpeg[: start if jfif else 2] + packed + jpeg[start:]


def metadata(jpeg: bytes) -> list[tuple[int, bytes]]:
    return [(segment.marker, segment.data) for segment in segments(jpeg) if segment.is_metadata]


def out(folder: Path) -> bytes:
    return (folder / "out.jpg").read_bytes()


@pytest.mark.parametrize("kind", SEGMENTS)
@pytest.mark.parametrize("jfif", [True, False])
def test_segments_stay_in_their_order(tmp_path: Path, kind: str, jfif: bool) -> None:
    content = with_segments(encoded(smooth(), "JPEG"), *SEGMENTS[kind], jfif=jfif)
    refilled(tmp_path / "a.jpg", content)
    assert metadata(out(tmp_path)) == metadata(content)
    assert len(metadata(content)) == len(SEGMENTS[kind]) + jfif


@pytest.mark.parametrize("behind", [b"\0\0\0\x18ftypmp42 a film", b"\xff\xd8\xff\xe0 a gain map \xff\xd9", b"\xff" * 9])
def test_what_follows_the_picture_stays_and_is_said(tmp_path: Path, behind: bytes) -> None:
    for name, options in (("baseline", {}), ("progressive", {"progressive": True})):
        *_, remarks = refilled(tmp_path / "a.jpg", encoded(smooth(), "JPEG", **options) + behind)
        assert out(tmp_path).endswith(b"\xff\xd9" + behind), name
        assert len(remarks) == 2 and "what follows the picture" in remarks[1]
    assert len(refilled(tmp_path / "a.jpg", encoded(smooth(), "JPEG") + bytes(7))[3]) == 1, "padding"


@pytest.mark.parametrize("exif", [None, {271: "a camera"}, {282: 300.0, 283: 300.0, 296: 2}])
@pytest.mark.parametrize("dpi", [(0, 0), (72, 72), (300, 200)])
def test_no_resolution_is_made_up(tmp_path: Path, dpi: tuple[int, int], exif: dict[int, object] | None) -> None:
    tags = Image.Exif()
    tags.update(exif or {})
    content = encoded(smooth(), "JPEG", dpi=dpi, **({"exif": tags} if exif else {}))
    before, *_ = refilled(tmp_path / "a.jpg", content)
    assert metadata(out(tmp_path)) == metadata(content)
    assert before.image.info.get("dpi") == (dpi if dpi[0] else (300, 300) if exif and 282 in exif else None)


def adobe_free(jpeg: bytes) -> bytes:
    return jpeg[:2] + jpeg[jpeg.index(b"\xff\xdb") :]


COLOURS = {
    "grey": encoded(smooth("L"), "JPEG"),
    "rgb": encoded(smooth(), "JPEG", keep_rgb=True),
    "rgb without a marker": adobe_free(encoded(smooth(), "JPEG", keep_rgb=True)),
    "ycc without a marker": adobe_free(encoded(smooth(), "JPEG")),
    "cmyk": encoded(smooth("CMYK"), "JPEG"),
    "cmyk without a marker": adobe_free(encoded(smooth("CMYK"), "JPEG")),
}
COLOURS["ycck"] = COLOURS["cmyk"].replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2")


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("kind", COLOURS)
def test_colours_come_back_as_they_were_stored(tmp_path: Path, kind: str, strip: bool) -> None:
    """Also for programs that, unlike Pillow, heed whether there is Adobe's marker."""
    before, after, hole, remarks = refilled(tmp_path / "a.jpg", COLOURS[kind], strip=strip)
    old, new = (np.asarray(item.image, np.int32) for item in (before, after))
    hole[4:28, 8:36] = True  # the blocks around it
    assert before.image.mode == after.image.mode and abs(old - new)[~hole].mean() < 3
    assert [(marker, data[:11]) for marker, data in metadata(out(tmp_path))] == [
        (marker, data[:11]) for marker, data in metadata(COLOURS[kind])
    ]
    assert Image.open(tmp_path / "out.jpg").info.get("adobe_transform") in (None, 0)
    assert remarks == ("re-encoded (JPEG is lossy)",)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("tables", [[[3] * 64], [[3] * 64, [5] * 64], [[3] * 64, [5] * 64, [300] * 64]])
def test_tables_and_sampling_stay(tmp_path: Path, subsampling: int, tables: list[list[int]]) -> None:
    content = encoded(smooth(), "JPEG", qtables=tables, subsampling=subsampling)
    refilled(tmp_path / "a.jpg", content)
    old, new = Image.open(BytesIO(content)), Image.open(tmp_path / "out.jpg")
    assert [(sides, new.quantization[table]) for *sides, table in new.layer] == [
        (sides, old.quantization[table]) for *sides, table in old.layer
    ]


def test_a_rare_sampling_is_not_kept_and_that_is_said(tmp_path: Path) -> None:
    """Colours of half the height, as of a picture that was turned with colours of half the width."""
    content = encoded(smooth(size=(48, 48)), "JPEG", subsampling=1)
    sampling = content.index(b"\xff\xc0") + 11
    assert content[sampling] == 0x21
    *_, remarks = refilled(tmp_path / "a.jpg", content[:sampling] + b"\x12" + content[sampling + 1 :])
    assert remarks == ("re-encoded (JPEG is lossy)", "its colours, of a rare resolution, are stored at the full one")


@pytest.mark.parametrize("kind", [0x000000, 0x020002, 0x010001])
def test_further_pictures_are_found_where_they_are(tmp_path: Path, kind: int) -> None:
    """A multi-picture file; one of its pictures may be a preview (0x01....), which is drawn anew."""
    second = smooth(size=(28, 20)).rotate(180)
    content = encoded(smooth(), "MPO", save_all=True, append_images=[second])
    second_entry = content.index(b"MPF\0") + 4 + 50 + 16  # behind the directory's own head and the first entry
    content = content[:second_entry] + struct.pack("<I", kind) + content[second_entry + 4 :]
    refilled(tmp_path / "a.jpg", with_segments(content, (0xE5, b"before it"), (0xE0, b"JFXX\0\x11to be left out")))
    old, new = Image.open(BytesIO(content)), Image.open(tmp_path / "out.jpg")
    assert (old.n_frames, new.n_frames) == (2, 2)
    old.seek(1)
    new.seek(1)
    shown = np.asarray(new, np.int32)
    if kind == 0x010001:
        wanted = Image.open(tmp_path / "out.jpg").resize((28, 20))
        assert shown.shape == (20, 28, 3) and abs(shown - np.asarray(wanted, np.int32)).mean() < 12
    else:
        np.testing.assert_array_equal(shown, np.asarray(old))


@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_jpeg(tmp_path: Path, channels: int) -> None:
    """Read at any size, and written as a fine lossy one, since nothing here can write it."""
    codecs = pytest.importorskip("imagecodecs")
    pixels = noise(40, 56, channels).squeeze()
    content = codecs.jpeg8_encode(pixels, lossless=True)
    before, after, hole, remarks = refilled(tmp_path / "a.jpg", content)
    np.testing.assert_array_equal(np.asarray(before.image), pixels)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.jpg", at_least=(4, 4))), pixels)
    assert remarks == ("re-encoded (JPEG is lossy)",) and after.image.mode == before.image.mode
    assert abs(np.asarray(after.image, np.int32) - pixels)[~hole].mean() < 6
