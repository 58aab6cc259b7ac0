"""BMP and PNM files: only the bytes of the hole change."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from originals import HEIGHT, WIDTH, encoded, noise, refilled, shown, smooth
from PIL import Image

from vae_cli.files.originals import open_original

MASKS = {"BGRA": (0xFF0000, 0xFF00, 0xFF, 0xFF000000), "RGBA": (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
         "ABGR": (0xFF000000, 0xFF0000, 0xFF00, 0xFF), "BGAR": (0xFF000000, 0xFF00, 0xFF, 0xFF0000),
         "XBGR": (0xFF000000, 0xFF0000, 0xFF00, 0), "BGXR": (0xFF000000, 0xFF00, 0xFF, 0)}  # fmt: skip


def bmp32(order: str, *, top_down: bool = False) -> bytes:
    """A BMP of four bytes a pixel, random, with a V5 header and bytes behind the pixels."""
    height = 2**32 - HEIGHT if top_down else HEIGHT
    info = struct.pack(
        "<IIIHHIIIIII4I", 124, WIDTH, height, 1, 32, 3, 4 * WIDTH * HEIGHT, 999, 888, 0, 0, *MASKS[order]
    )
    pixels = noise(HEIGHT, WIDTH, 4).tobytes()
    content = info.ljust(124, b"\0") + pixels + b"a profile"
    return struct.pack("<2sIHHI", b"BM", 14 + len(content), 0, 0, 138) + content


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("order", MASKS)
def test_bmp_with_four_bytes_a_pixel(tmp_path: Path, order: str, top_down: bool) -> None:
    content = bmp32(order, top_down=top_down)
    before, after, hole, remarks = refilled(tmp_path / "a.bmp", content)
    assert before.image.mode == ("RGBA" if "A" in order else "RGB") and not remarks
    np.testing.assert_array_equal(np.asarray(before.image)[~hole], np.asarray(after.image)[~hole])
    assert (np.asarray(after.image)[hole][:, :3] == (200, 100, 50)).all()
    new, stored_hole = (tmp_path / "out.bmp").read_bytes(), hole if top_down else hole[::-1]
    expected = np.frombuffer(content[138:-9], np.uint8).reshape(HEIGHT, WIDTH, 4).copy()
    for place, channel in enumerate(order):
        if channel in "RGB":
            expected[stored_hole, place] = (200, 100, 50)["RGB".index(channel)]
    assert new == content[:138] + expected.tobytes() + content[-9:]


def test_another_format_lacks_the_profile_of_a_bmp(tmp_path: Path) -> None:
    content = bmp32("BGXR")
    for kind, remarks in ((b"DEBM", ("ICC profile: not kept in PNG",)), (b"BGRs", ())):
        (tmp_path / "a.bmp").write_bytes(content[:70] + kind + content[74:])
        said = open_original(tmp_path / "a.bmp").save(tmp_path / "b.png", format="png", overwrite=True)
        assert tuple(remark for remark in said if "resolution" not in remark) == remarks


@pytest.mark.parametrize("mode", ["1", "P", "L", "RGB"])
def test_other_bmp_keep_their_head(tmp_path: Path, mode: str) -> None:
    content = encoded(smooth(mode, (WIDTH + 1, HEIGHT)), "BMP", dpi=(250, 100))
    before, after, hole, remarks = refilled(tmp_path / "a.bmp", content)
    place = int.from_bytes(content[10:14], "little")
    assert (tmp_path / "out.bmp").read_bytes()[:place] == content[:place] and not remarks
    np.testing.assert_array_equal(shown(before)[~hole], shown(after)[~hole])
    assert (shown(before)[hole] != shown(after)[hole]).any()


def test_bmp_of_four_bits_stays_so(tmp_path: Path) -> None:
    pixels, colours = noise(HEIGHT, WIDTH // 2), np.pad(noise(16, 3), ((0, 0), (0, 1))).tobytes()
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 4, 0, pixels.size, 0, 0, 16, 0)
    content = struct.pack("<2sIHHI", b"BM", 118 + pixels.size, 0, 0, 118) + head + colours + pixels.tobytes()
    before, after, hole, remarks = refilled(tmp_path / "a.bmp", content)
    new = (tmp_path / "out.bmp").read_bytes()
    assert (len(new), new[:118], remarks) == (len(content), content[:118], ())
    np.testing.assert_array_equal(np.asarray(before.image)[~hole], np.asarray(after.image)[~hole])


def test_no_fill_becomes_a_number_that_the_palette_of_a_grey_bmp_lacks(tmp_path: Path) -> None:
    pixels = noise(HEIGHT, WIDTH, below=16).tobytes()
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 0, len(pixels), 0, 0, 16, 0)
    palette = bytes(part for grey in range(16) for part in (grey, grey, grey, 0))
    content = struct.pack("<2sIHHI", b"BM", 118 + len(pixels), 0, 0, 118) + head + palette + pixels
    _, after, hole, remarks = refilled(tmp_path / "a.bmp", content)
    assert not remarks and (np.asarray(after.image)[hole] == 15).all()


@pytest.mark.parametrize("bits", [16, 8])
def test_what_bmp_cannot_keep_is_said(tmp_path: Path, bits: int) -> None:
    """16 bits a pixel, and 8 bits run-length coded."""
    rows = noise(HEIGHT, 2 * WIDTH) if bits == 16 else np.stack([np.full(HEIGHT, WIDTH), noise(HEIGHT)], 1)
    data = (
        rows.astype(np.uint8).tobytes()
        if bits == 16
        else b"".join(bytes(row) + b"\0\0" for row in rows.tolist()) + b"\0\1"
    )
    colours = np.pad(noise(256, 3), ((0, 0), (0, 1))).tobytes() if bits == 8 else b""
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, bits, int(bits == 8), len(data), 0, 0, 0, 0)
    start = 54 + len(colours)
    content = struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + head + colours + data
    before, after, hole, remarks = refilled(tmp_path / "a.bmp", content)
    assert remarks == (f"stored without compression and with {24 if bits == 16 else 8} bits a pixel",)
    np.testing.assert_array_equal(shown(before)[~hole], shown(after)[~hole])


@pytest.mark.parametrize("maximum", [1, 7, 15, 100, 254, 255, 256, 1000, 4095, 65534, 65535])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_pnm_keep_their_largest_value(tmp_path: Path, kind: str, maximum: int) -> None:
    if maximum > 255 and kind in ("P3", "P6"):
        pytest.skip("16-bit colour, which is kept in PNG and TIFF only")
    shape = (HEIGHT, WIDTH, 3) if kind in ("P3", "P6") else (HEIGHT, WIDTH)
    values = np.random.default_rng(1).integers(0, maximum + 1, shape)
    head = f"{kind}\n# a comment\n{WIDTH} {HEIGHT}\n{maximum}\n".encode()
    data = " ".join(map(str, values.ravel())).encode() if kind in ("P2", "P3") else None
    content = head + (data or values.astype("u1" if maximum < 256 else ">u2").tobytes())
    _, _, hole, remarks = refilled(tmp_path / "a.pnm.ppm", content)
    new = (tmp_path / "out.ppm").read_bytes()
    assert new.startswith(head) and not remarks
    stored = new[len(head) :]
    after = np.array(stored.split(), int) if data else np.frombuffer(stored, "u1" if maximum < 256 else ">u2")
    np.testing.assert_array_equal(after.reshape(shape)[~hole], values[~hole])
    wanted = np.array([200, 100, 50]) if len(shape) == 3 else np.array([0.299, 0.587, 0.114]) @ [200, 100, 50]
    assert abs(after.reshape(shape)[hole] - wanted / 255 * maximum).max() <= 0.5 + 1e-3 * maximum
    assert after.max() <= maximum


@pytest.mark.parametrize("kind", ["P1", "P4"])
def test_black_and_white(tmp_path: Path, kind: str) -> None:
    bits = noise(HEIGHT, WIDTH, below=2)
    head = f"{kind}\n#c\n{WIDTH} {HEIGHT}\n".encode()
    data = np.packbits(bits, axis=1).tobytes() if kind == "P4" else "".join(map(str, bits.ravel())).encode()
    before, after, hole, _ = refilled(tmp_path / "a.pbm", head + data)
    assert (tmp_path / "out.pbm").read_bytes().startswith(head)
    np.testing.assert_array_equal(np.asarray(before.image), bits == 0)
    np.testing.assert_array_equal(np.asarray(after.image)[~hole], bits[~hole] == 0)


@pytest.mark.parametrize(("kind", "maximum"), [("P1", 1), ("P2", 15), ("P5", 100), ("P5", 255), ("P5", 999)])
def test_pnm_keep_what_lies_among_and_behind_their_pixels(tmp_path: Path, kind: str, maximum: int) -> None:
    values = noise(HEIGHT, WIDTH, below=min(maximum, 255) + 1)
    head = f"{kind}\n{WIDTH} {HEIGHT}\n{maximum}\n".encode().replace(b"\n1\n", b"\n")
    if kind == "P5":
        content = head + values.astype(">u2" if maximum > 255 else "u1").tobytes() + b"P5\n# another picture\n"
    else:
        rows = (" ".join(map(str, row)).encode() for row in values.tolist())
        content = head + b"".join(row + b" # 9 more\n" for row in rows)
    *_, remarks = refilled(tmp_path / "a.pgm", content)
    new, above = (tmp_path / "out.pgm").read_bytes(), len(content) // 5  # of the hole
    assert (new[:above], new[-21:], new.count(b"# 9"), remarks) == (
        content[:above], content[-21:], content.count(b"# 9"), (),
    )  # fmt: skip
    refilled(tmp_path / "b.pgm", content, strip=True)
    assert b"more" not in (stripped := (tmp_path / "out.pgm").read_bytes()) and b"another" not in stripped


def test_stripped_pnm_have_no_comments(tmp_path: Path) -> None:
    content = b"P5\n#somebody\n%d %d\n#here\n100\n" % (WIDTH, HEIGHT) + noise(HEIGHT, WIDTH, below=101).tobytes()
    refilled(tmp_path / "a.pgm", content, strip=True)
    new = (tmp_path / "out.pgm").read_bytes()
    assert (
        new.startswith(b"P5\n%d %d\n100\n" % (WIDTH, HEIGHT)) and len(new) == len(b"P5\n56 40\n100\n") + HEIGHT * WIDTH
    )
    assert Image.open(BytesIO(new)).size == (WIDTH, HEIGHT)
