"""No small copy of the picture in its metadata shows what was filled."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from originals import encoded, refilled, smooth
from PIL import ExifTags, Image
from test_jpeg_segments import PHOTOSHOP, with_segments

from vae_cli.errors import DataError
from vae_cli.files.jpeg_segments import segments
from vae_cli.files.thumbnails import with_redrawn_jpegs, with_redrawn_thumbnail, without_xmp_thumbnails

GREEN = Image.new("RGB", (56, 40), (0, 200, 0))
OLD = smooth(size=(28, 20))


def exif(thumbnail: bytes, *, order: str = "<", strips: bool = False, maker_note: bytes = b"") -> bytes:
    """EXIF data with a thumbnail in its second directory, as JPEG or as the only strip of pixels."""
    place, length = (273, 279) if strips else (513, 514)
    data_at = 8 + 2 + 12 * 2 + 4 + 2 + 12 * 2 + 4
    entries = [(271, 2, 4, int.from_bytes(b"cam\0", "little" if order == "<" else "big")),
               (37500, 7, len(maker_note), data_at + len(thumbnail))]  # fmt: skip
    first = struct.pack(f"{order}H", 2) + b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    second = struct.pack(f"{order}H", 2) + struct.pack(f"{order}HHII", place, 4, 1, data_at)
    second += struct.pack(f"{order}HHII", length, 4, 1, len(thumbnail)) + bytes(4)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return b"Exif\0\0" + head + first + struct.pack(f"{order}I", 8 + 2 + 24 + 4) + second + thumbnail + maker_note


def jpegs_in(data: bytes) -> list[tuple[tuple[int, int], np.ndarray]]:
    """Size and mean colour of each."""
    found = [Image.open(BytesIO(b"\xff\xd8\xff" + part)) for part in data.split(b"\xff\xd8\xff")[1:]]
    return [(image.size, np.asarray(image.convert("RGB")).mean((0, 1))) for image in found]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_exif_thumbnail_and_makers_preview(order: str, mode: str) -> None:
    large = encoded(smooth(mode, (320, 240)), "JPEG")
    old = exif(encoded(OLD.convert(mode), "JPEG"), order=order, maker_note=b"Maker" + large + b"more")
    for data in (old, old[6:]):  # WebP and PNG have it without "Exif"
        new = with_redrawn_thumbnail(data, GREEN)
        assert len(new) == len(data) and new.endswith(b"more")
        tags = Image.Exif()
        tags.load(new)
        assert tags[271] == "cam" and tags.get_ifd(ExifTags.IFD.IFD1)[513] > 0
        for (size, colour), wanted in zip(jpegs_in(new), [OLD.size, (320, 240)], strict=True):
            mean = (0, 200, 0) if mode == "RGB" else (117, 117, 117)
            assert size == wanted and abs(colour - mean).max() < 45  # bars where the aspect ratio is another


def test_a_thumbnail_larger_than_any_is_blanked() -> None:
    large = encoded(smooth("L", (2000, 1000)), "JPEG")
    assert with_redrawn_jpegs(b"Maker" + large + b"more", GREEN) == b"Maker" + bytes(len(large)) + b"more"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["strips", "damaged", "tiny"])
def test_a_thumbnail_that_cannot_be_drawn_is_dropped(order: str, kind: str) -> None:
    """One of raw pixels; one that is no picture any more; one with too few bytes for another."""
    jpeg = encoded(OLD, "JPEG")
    old = {
        "strips": bytes([200, 0, 200]) * 560,
        "damaged": jpeg[:400],
        "tiny": encoded(Image.new("RGB", (28, 20)), "JPEG", quality=1),
    }[kind]
    if kind == "tiny":  # whatever is drawn has more detail than one colour
        new = with_redrawn_thumbnail(exif(old, order=order), Image.effect_noise((56, 40), 90).convert("RGB"))
    else:
        new = with_redrawn_thumbnail(exif(old, order=order, strips=kind == "strips"), GREEN)
    tags = Image.Exif()
    tags.load(new)
    assert tags[271] == "cam" and not tags.get_ifd(ExifTags.IFD.IFD1)
    assert old not in new and new.endswith(bytes(len(old)))


@pytest.mark.parametrize(
    "data", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\1\0", bytes(99)]
)
def test_what_is_no_exif_stays(data: bytes) -> None:
    assert with_redrawn_thumbnail(data, GREEN) == data


def test_bytes_that_only_begin_like_a_picture_stay() -> None:
    data = b"\xff\xd8\xff\xe1\0\x04ab" + bytes(40) + b"\xff\xd8\xff\xd8\xff"
    assert with_redrawn_jpegs(data, GREEN) == data


def test_xmp_thumbnails_become_blanks() -> None:
    data = b"<a><xmp:Thumbnails> <rdf:Alt>base64</rdf:Alt>\n</xmp:Thumbnails><b/><xmp:ThumbnailsNot/></a>"
    new = without_xmp_thumbnails(data)
    assert len(new) == len(data) and new.split() == [b"<a>", b"<b/><xmp:ThumbnailsNot/></a>"]


@pytest.mark.parametrize("kind", ["jpg", "webp", "avif", "photoshop", "jfxx", "jfif"])
def test_files_show_the_fill(tmp_path: Path, kind: str) -> None:
    """Every thumbnail is drawn from the filled picture, in which a quarter of the middle is another colour."""
    old = encoded(OLD, "JPEG", quality=95)
    magenta = Image.new("RGB", (56, 40), (200, 0, 200))
    if kind in ("jpg", "webp", "avif"):
        file_format = {"jpg": "JPEG"}.get(kind, kind.upper())
        content = encoded(magenta, file_format, exif=exif(encoded(OLD, "JPEG", quality=100)))
    elif kind == "photoshop":
        resource = struct.pack(">4sHHI", b"8BIM", 1036, 0, 28 + len(old)) + bytes(28) + old
        content = with_segments(encoded(magenta, "JPEG"), (0xED, PHOTOSHOP + resource))
    elif kind == "jfxx":
        content = with_segments(encoded(magenta, "JPEG"), (0xE0, b"JFXX\0\x10" + old))
    else:
        empty, full = b"\0\x10JFIF\0\1\1\0\0\1\0\1\0\0", b"\0\x1cJFIF\0\1\1\0\0\1\0\1\2\2" + bytes([200, 0, 200]) * 4
        content = encoded(magenta, "JPEG").replace(empty, full)
        assert content.count(full) == 1
        refilled(tmp_path / "a.jpg", content)
        assert b"JFIF\0\1\1\0\0\1\0\1\0\0\xff" in (tmp_path / "out.jpg").read_bytes()
        return
    suffix = kind if kind in ("webp", "avif") else "jpg"
    refilled(tmp_path / f"a.{suffix}", content)
    new = (tmp_path / f"out.{suffix}").read_bytes()
    part = new[2:] if suffix == "jpg" else new
    part = part[part.index(b"\xff\xd8\xff") :]
    thumbnail = np.asarray(Image.open(BytesIO(part)))
    assert thumbnail.shape == (20, 28, 3)
    assert abs(thumbnail[7, 10].astype(int) - (200, 100, 50)).max() < 40
    assert abs(thumbnail[17, 25].astype(int) - (200, 0, 200)).max() < 40


def test_metadata_of_nothing_but_beginnings_take_no_hours() -> None:
    """A stranger's file may hold a million beginnings of a thumbnail, and the end of none."""
    opening = b"<xmp:Thumbnails>"
    old = opening + b"old</xmp:Thumbnails>" + opening * (1 << 17)
    new = without_xmp_thumbnails(old)
    num_whole = len(opening + b"old</xmp:Thumbnails>")
    assert new == b" " * num_whole + old[num_whole:]
    with pytest.raises(DataError, match="too many beginnings"):
        with_redrawn_jpegs(b"\xff\xd8\xff\xd9" * (1 << 16), GREEN)
    few = b"\xff\xd8\xff\xd9" * 10 + encoded(OLD, "JPEG")
    assert with_redrawn_jpegs(few, GREEN) != few


XMP = b"<a><xmp:Thumbnails>%s</xmp:Thumbnails></a>" % (b"base64 " * 99)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_xmp_in_several_segments_shows_nothing_of_what_was_there(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Each says itself where it belongs, and they may come in any order."""
    head = b"http://ns.adobe.com/xmp/extension/\0" + bytes(32)
    parts = [head + struct.pack(">2I", len(XMP), start) + XMP[start : start + 300] for start in (0, 300, 600)]
    content = with_segments(encoded(smooth(), "JPEG"), *((0xE1, parts[number]) for number in order))
    assert content.count(b"base64") > 90
    refilled(tmp_path / "a.jpg", content)
    new = [segment.data for segment in segments((tmp_path / "out.jpg").read_bytes())]
    found = [data for data in new if data.startswith(head)]
    assert [data[: len(head) + 8] for data in found] == [parts[number][: len(head) + 8] for number in order]
    whole = b"".join(found[order.index(number)][len(head) + 8 :] for number in range(3))
    assert whole.split() == [b"<a>", b"</a>"] and len(whole) == len(XMP)


@pytest.mark.parametrize("is_in_pieces", [False, True])
def test_xmp_of_a_gif_shows_nothing_of_what_was_there(tmp_path: Path, is_in_pieces: bool) -> None:
    """As it is, before bytes that lead to its end whatever is taken for a length; or in pieces with their lengths. What
    follows it is found again."""
    pieces = [XMP[start : start + 200] for start in range(0, len(XMP), 200)]
    data = XMP + b"\1" + bytes(range(255, -1, -1))
    if is_in_pieces:
        data = b"".join(bytes([len(piece)]) + piece for piece in pieces)
    old = smooth("P")
    content = encoded(old, "GIF", save_all=True, append_images=[old.rotate(180)])
    second = content.index(b"!\xf9", content.index(b",\0\0\0\0"))
    between = b"!\xff\x0bXMP DataXMP" + data + b"\0" + b"!\xfe\4mine\0"
    refilled(tmp_path / "a.gif", content[:second] + between + content[second:])
    new = (tmp_path / "out.gif").read_bytes()
    assert b"base64" not in new and b"<a>" in new and b"</a>" in new
    with Image.open(tmp_path / "out.gif") as image:
        assert image.n_frames == 2
        image.seek(1)
        assert image.info["comment"] == b"mine"
