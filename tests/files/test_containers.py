"""WebP, JPEG 2000 and AVIF files: what surrounds the pixels stays."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from originals import HEIGHT, WIDTH, encoded, noise, refilled, shown, smooth
from PIL import Image

from vae_cli.errors import DataError
from vae_cli.files.containers import avif_facts, webp_without_metadata
from vae_cli.files.originals import open_original
from vae_cli.images.decode import open_image
from vae_cli.images.jpeg2000 import boxes

LOSSLESS = {"lossless": True, "exact": True}
DESCRIBED = {"icc_profile": b"profile of odd length", "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0", "xmp": b"<x/>"}


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 12
    while place < len(content):
        kind, size = struct.unpack_from("<4sI", content, place)
        found.append((kind, content[place + 8 : place + 8 + size]))
        place += 8 + size + size % 2
    return found


def riff(parts: list[tuple[bytes, bytes]]) -> bytes:
    content = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in parts)
    return b"RIFF" + struct.pack("<I", len(content) + 4) + b"WEBP" + content


@pytest.mark.parametrize("described", [False, True])
@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp(tmp_path: Path, mode: str, lossless: bool, described: bool) -> None:
    image = smooth()
    if mode == "RGBA":
        image.putalpha(Image.fromarray(noise(HEIGHT, WIDTH)))
    content = encoded(image, "WEBP", **(LOSSLESS if lossless else {}), **(DESCRIBED if described else {}))
    if described:
        content = riff([*chunks(content), (b"ODD ", b"of somebody else")])
    before, after, hole, remarks = refilled(tmp_path / "a.webp", content)
    old, new = chunks(content), chunks((tmp_path / "out.webp").read_bytes())
    pixels = (b"VP8 ", b"VP8L", b"ALPH")
    assert [part for part in old if part[0] not in pixels] == [part for part in new if part[0] not in pixels]
    assert [kind for kind, _ in old] == [kind for kind, _ in new]
    assert remarks == (() if lossless else ("re-encoded (WEBP is lossy)",))
    if lossless:
        np.testing.assert_array_equal(np.asarray(before.image)[~hole], np.asarray(after.image)[~hole])
    elif mode == "RGBA":
        np.testing.assert_array_equal(np.asarray(before.image)[..., 3], np.asarray(after.image)[..., 3])


def test_what_follows_a_webp_is_no_part_of_it(tmp_path: Path) -> None:
    content = encoded(smooth(), "WEBP", **LOSSLESS)
    *_, remarks = refilled(tmp_path / "a.webp", content + b"FILM OF THE SAME SCENE")
    new = (tmp_path / "out.webp").read_bytes()
    end = 8 + int.from_bytes(new[4:8], "little")
    assert (new[end:], [kind for kind, _ in chunks(new[:end])]) == (
        b"FILM OF THE SAME SCENE", [kind for kind, _ in chunks(content)],
    )  # fmt: skip
    said = open_original(tmp_path / "a.webp").save(tmp_path / "b.png", format="png")
    assert (remarks, said) == ((), ("what follows the picture: not kept in PNG",))


@pytest.mark.parametrize("frame_size", [(WIDTH, HEIGHT), (20, 16)])
def test_other_frames_of_a_webp_stay(tmp_path: Path, frame_size: tuple[int, int]) -> None:
    frames = [smooth().rotate(angle) for angle in (0, 90, 180)]
    content = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=[70, 80, 90], **LOSSLESS)
    if frame_size != (WIDTH, HEIGHT):  # the first frame is smaller than the canvas, and lies to the right
        small = chunks(encoded(smooth("RGBA", frame_size), "WEBP", **LOSSLESS))
        pixels = b"".join(
            kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in small[-1:]
        )
        parts = chunks(content)
        first = next(number for number, (kind, _) in enumerate(parts) if kind == b"ANMF")
        sides = b"".join((side - 1).to_bytes(3, "little") for side in frame_size)
        parts[first] = b"ANMF", b"\x0a\0\0\x02\0\0" + sides + parts[first][1][12:16] + pixels
        content = riff(parts)
    before, after, hole, remarks = refilled(tmp_path / "a.webp", content)
    assert remarks == ("only the first frame is changed, the others are as they were",) and after.num_frames == 3
    np.testing.assert_array_equal(shown(before)[~hole], shown(after)[~hole])
    old, new = Image.open(BytesIO(content)), Image.open(tmp_path / "out.webp")
    for number in (1, 2):
        old.seek(number)
        new.seek(number)
        np.testing.assert_array_equal(np.asarray(old.convert("RGBA"))[~hole], np.asarray(new.convert("RGBA"))[~hole])
    assert Image.open(BytesIO(webp_without_metadata(content, b""))).n_frames == 3


def jp2(image: Image.Image, *added: tuple[bytes, bytes], order: list[tuple[int, int, int]] | None = None) -> bytes:
    """Lossless, with more boxes, and with a definition of its channels where that is given."""
    content = b""
    for kind, data in boxes(encoded(image, "JPEG2000", irreversible=False)):
        if kind == b"jp2h":
            parts = [part for part in boxes(data) if part[0] != b"cdef"]
            if order:
                entries = b"".join(struct.pack(">HHH", *entry) for entry in order)
                parts.append((b"cdef", struct.pack(">H", len(order)) + entries))
            data = b"".join(packed(*part) for part in parts)
        content += b"".join(packed(*box) for box in added) * (kind == b"jp2c") + packed(kind, data)
    return content + packed(b"xml ", b"<behind/>")


def packed(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data) + 8, kind) + data


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_boxes_stay(tmp_path: Path, mode: str) -> None:
    image = smooth(mode)
    content = jp2(image, (b"uuid", bytes(16) + b"GeoJP2"), (b"res ", b""))
    before, after, hole, remarks = refilled(tmp_path / "a.jp2", content)
    new = (tmp_path / "out.jp2").read_bytes()
    assert [box for box in boxes(new) if box[0] != b"jp2c"] == [box for box in boxes(content) if box[0] != b"jp2c"]
    np.testing.assert_array_equal(np.asarray(before.image), np.asarray(image))
    np.testing.assert_array_equal(np.asarray(before.image)[~hole], np.asarray(after.image)[~hole])
    assert not remarks
    refilled(tmp_path / "a.jp2", content, strip=True)
    assert [kind for kind, _ in boxes((tmp_path / "out.jp2").read_bytes())] == [b"jP  ", b"ftyp", b"jp2h", b"jp2c"]


@pytest.mark.parametrize(
    ("mode", "bands"),
    [("RGB", (2, 1, 0)), ("RGB", (1, 2, 0)), ("RGBA", (3, 0, 1, 2)), ("RGBA", (2, 1, 0, 3)), ("LA", (1, 0))],
)
def test_channels_in_another_order(tmp_path: Path, mode: str, bands: tuple[int, ...]) -> None:
    """bands: for each channel of the file which band of the picture it is."""
    image = Image.frombytes(mode, (WIDTH, HEIGHT), noise(HEIGHT, WIDTH, len(mode)).tobytes())
    stored = Image.merge(mode, [image.split()[band] for band in bands])
    alpha = len(mode) - 1 if "A" in mode else None
    order = [(number, 1, 0) if band == alpha else (number, 0, band + 1) for number, band in enumerate(bands)]
    before, after, hole, _ = refilled(tmp_path / "a.jp2", jp2(stored, order=order))
    np.testing.assert_array_equal(np.asarray(before.image), np.asarray(image))
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.jp2")), np.asarray(image))
    np.testing.assert_array_equal(np.asarray(before.image)[~hole], np.asarray(after.image)[~hole])
    assert (np.asarray(after.image)[hole][:, 0] == (200 if mode != "LA" else 124)).all()
    with Image.open(tmp_path / "out.jp2") as raw:  # as stored: Pillow does not heed the order
        np.testing.assert_array_equal(np.asarray(raw)[~hole], np.asarray(stored)[~hole])


def test_palette_of_a_jpeg_2000(tmp_path: Path) -> None:
    indices, colours = noise(HEIGHT, WIDTH, below=16), noise(16, 3)
    parts = {b"pclr": struct.pack(">HB3B", 16, 3, 7, 7, 7) + colours.tobytes(),
             b"cmap": b"".join(struct.pack(">HBB", 0, 1, column) for column in range(3))}  # fmt: skip
    content = b""
    for kind, data in boxes(encoded(Image.fromarray(indices), "JPEG2000", irreversible=False)):
        if kind == b"jp2h":
            head = [(part, value) for part, value in boxes(data) if part == b"ihdr"]
            data = b"".join(
                packed(*part) for part in (*head, (b"colr", b"\1\0\0" + struct.pack(">I", 16)), *parts.items())
            )
        content += packed(kind, data)
    before, after, hole, remarks = refilled(tmp_path / "a.jp2", content)
    assert before.image.mode == after.image.mode == "P" and not remarks
    np.testing.assert_array_equal(before.display_array(3), colours[indices])
    np.testing.assert_array_equal(np.asarray(after.image)[~hole], indices[~hole])


def test_profile_and_bare_code_stream_of_jpeg_2000(tmp_path: Path) -> None:
    content = b""
    for kind, data in boxes(encoded(smooth(), "JPEG2000", irreversible=False)):
        parts = (
            [(part, b"\2\0\0profile" if part == b"colr" else value) for part, value in boxes(data)]
            if kind == b"jp2h"
            else []
        )
        content += packed(kind, b"".join(packed(*part) for part in parts) or data)
    _, after, *_ = refilled(tmp_path / "a.jp2", content)
    assert after.image.info["icc_profile"] == b"profile"
    refilled(tmp_path / "a.jp2", encoded(smooth(), "JPEG2000", no_jp2=True))
    assert (tmp_path / "out.jp2").read_bytes().startswith(b"\xff\x4f\xff\x51")


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_deep_avif_is_refused_by_name(tmp_path: Path, bits: int) -> None:
    codecs = pytest.importorskip("imagecodecs")
    pixels = np.random.default_rng(0).integers(0, 1 << bits, (16, 24, 3)).astype(np.uint8 if bits == 8 else np.uint16)
    (tmp_path / "a.avif").write_bytes(codecs.avif_encode(pixels, bitspersample=bits))
    for opener in (open_image, open_original):
        if bits == 8:
            opener(tmp_path / "a.avif")
        else:
            with pytest.raises(DataError, match=f"{bits}-bit colour"):
                opener(tmp_path / "a.avif")


@pytest.mark.parametrize("bits", [12])
def test_deep_jpeg_is_refused_by_name(tmp_path: Path, bits: int) -> None:
    codecs = pytest.importorskip("imagecodecs")
    pixels = np.random.default_rng(0).integers(0, 1 << bits, (16, 24)).astype(np.uint16)
    for content in (codecs.jpeg8_encode(pixels, bitspersample=bits), codecs.ljpeg_encode(pixels, bitspersample=bits)):
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(DataError, match=f"{bits}-bit"):
            open_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_avif_says_of_its_colours_what_it_said(tmp_path: Path, subsampling: str) -> None:
    content = encoded(smooth(), "AVIF", subsampling=subsampling, **DESCRIBED)
    place = content.index(b"colrnclx") + 8
    content = content[:place] + struct.pack(">HH", 12, 4) + content[place + 4 :]  # Display P3, gamma 2.2
    _, after, _, remarks = refilled(tmp_path / "a.avif", content)
    new = (tmp_path / "out.avif").read_bytes()
    assert b"colrnclx" + struct.pack(">HH", 12, 4) in new
    flags = [part.partition(b"av1C")[2][2] & 0x0C for part in (content, new)]
    assert flags[0] == flags[1] and remarks == ("re-encoded (AVIF is lossy)",)
    assert {after.image.info[key] for key in ("icc_profile", "xmp")} == {b"profile of odd length", b"<x/>"}


@pytest.mark.parametrize(("primaries", "is_lost"), [(1, False), (2, False), (12, True)])
def test_other_formats_do_not_know_the_primaries_of_an_avif(tmp_path: Path, primaries: int, is_lost: bool) -> None:
    content = encoded(smooth(), "AVIF")
    place = content.index(b"colrnclx") + 8
    (tmp_path / "a.avif").write_bytes(content[:place] + struct.pack(">H", primaries) + content[place + 2 :])
    remarks = open_original(tmp_path / "a.avif").save(tmp_path / "b.png", format="png")
    assert remarks == (("colour primaries: not kept in PNG",) if is_lost else ())


def items(*kinds: bytes) -> bytes:
    """The boxes of an AVIF file that list its items."""
    infe = b"".join(
        struct.pack(">I4sIHH4sB", 21, b"infe", 0x2000000, number, 0, kind, 0) for number, kind in enumerate(kinds)
    )
    iinf = struct.pack(">I4sIH", 14 + len(infe), b"iinf", 0, len(kinds)) + infe
    return struct.pack(">I4sI", 12 + len(iinf), b"meta", 0) + iinf


@pytest.mark.parametrize(("kinds", "names"), [
    ((b"av01", b"av01", b"Exif", b"mime"), ()), ((b"grid", b"av01", b"av01", b"av01"), ()),
    ((b"av01", b"av01", b"av01"), ("further pictures (a depth map, say)",)),
    ((b"av01", b"tmap", b"mime", b"mime", b"uri "), ("further descriptions", "gain map", "item uri ")), ((), ()),
])  # fmt: skip
def test_what_an_avif_holds_beside_its_picture_is_named(kinds: tuple[bytes, ...], names: tuple[str, ...]) -> None:
    assert avif_facts(items(*kinds), 2)["extras"] == names


def test_what_another_format_cannot_keep_is_named(tmp_path: Path) -> None:
    chunk, webp = b"abcd\2\0\0\0xx", encoded(smooth(), "WEBP", lossless=True)
    cases = {"webp": (webp[:4] + struct.pack("<I", len(webp) - 8 + len(chunk)) + webp[8:] + chunk, "chunk abcd"),
             "ppm": (b"P6 # by hand\n1 1 255\n\1\2\3", "comment")}  # fmt: skip
    for suffix, (content, name) in cases.items():
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(content)
        assert open_original(path).save(tmp_path / f"{suffix}.png", format="png") == (f"{name}: not kept in PNG",)


def test_texts_beyond_ascii_come_into_a_tiff(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[315] = "Größe".encode()
    smooth().save(tmp_path / "a.webp", exif=exif, lossless=True)
    assert open_original(tmp_path / "a.webp").save(tmp_path / "a.tif", format="tif") == ()
    assert "Größe".encode() in (tmp_path / "a.tif").read_bytes()
