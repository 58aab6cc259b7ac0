"""PNG scans of 48 and 64 bits: full depth in, full depth out, and every chunk that describes the picture kept."""

import functools
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from sixteen_bit_files import opened

from vae_cli.errors import DataError
from vae_cli.files.originals import InPlaceOriginal, open_original
from vae_cli.images.decode import probe
from vae_cli.images.orientation import as_displayed

HEIGHT, WIDTH = 21, 26
COLOUR_TYPES = {2: 4, 3: 2, 4: 6}
Chunk = tuple[bytes, bytes]


def samples(num_samples: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return np.random.default_rng(num_samples).integers(0, 65536, (*size, num_samples)).astype(np.uint16)


def png(pixels: np.ndarray, *chunks: Chunk, after: tuple[Chunk, ...] = (), interlaced: bool = False) -> bytes:
    """A PNG written by the letter of the standard, without filters."""
    height, width, num_samples = pixels.shape
    stored = pixels.astype(">u2")
    # the seven passes of Adam7: first row and column, and their steps
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [stored[top::down, left::across] for top, left, down, across in passes] if interlaced else [stored]
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[num_samples], 0, 0, interlaced)
    data = zlib.compress(rows)
    pieces = [(b"IDAT", data[:100]), (b"IDAT", data[100:])]
    everything = [(b"IHDR", header), *chunks, *pieces, *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in everything
    )


def chunks_of(path: Path) -> list[Chunk]:
    """(name, data) of all chunks, their checksums verified; adjacent IDAT as one."""
    content, position, found = path.read_bytes(), 8, []
    while position < len(content):
        (size,) = struct.unpack_from(">I", content, position)
        name, data = content[position + 4 : position + 8], content[position + 8 : position + 8 + size]
        assert struct.unpack_from(">I", content, position + 8 + size)[0] == zlib.crc32(name + data)
        if not (name == b"IDAT" and found[-1][0] == b"IDAT"):
            found.append((name, data))
        position += size + 12
    return found


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def hole_of(size: tuple[int, int]) -> np.ndarray:
    hole = np.zeros(size, bool)
    hole[2:7, 3:12] = True
    return hole


def filled(path: Path, value: float = 100.25) -> InPlaceOriginal:
    original = opened(path)
    hole = hole_of(original.display_size)
    return original.with_fill(np.full((*hole.shape, 3), value, np.float32), hole)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("num_samples", [2, 3, 4])
def test_only_the_hole_changes(tmp_path: Path, num_samples: int, interlaced: bool) -> None:
    pixels = samples(num_samples)
    path = saved(tmp_path / "a.png", png(pixels, interlaced=interlaced))
    np.testing.assert_array_equal(opened(path).pixels, pixels)
    assert filled(path).save(tmp_path / "b.png") == ()
    after, hole = opened(tmp_path / "b.png").pixels, hole_of((HEIGHT, WIDTH))
    num_colours = 1 if num_samples == 2 else 3
    np.testing.assert_array_equal(after[~hole], pixels[~hole])
    assert (after[hole][:, :num_colours] == round(100.25 * 257)).all(), "a fill of 16 bits, not of 8"
    np.testing.assert_array_equal(after[hole][:, num_colours:], pixels[hole][:, num_colours:])


@pytest.mark.parametrize("num_samples", [2, 3, 4])
def test_another_library_reads_the_same(tmp_path: Path, num_samples: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    ramp = np.arange(200)[:, None, None] * 300 + np.arange(150)[None, :, None] * 7 + np.arange(num_samples) * 1000
    pixels = (ramp + samples(num_samples, (200, 150)) % 99).astype(
        np.uint16
    )  # where every filter is the best somewhere
    pixels[50:60] = 0
    path = saved(tmp_path / "a.png", imagecodecs.png_encode(pixels))
    np.testing.assert_array_equal(opened(path).pixels, pixels)
    opened(path).save(tmp_path / "b.png")
    np.testing.assert_array_equal(imagecodecs.png_decode((tmp_path / "b.png").read_bytes()), pixels)
    assert (tmp_path / "b.png").stat().st_size < 1.1 * path.stat().st_size


def test_chunks_are_kept_in_their_place(tmp_path: Path) -> None:
    before = [
        (b"gAMA", (45455).to_bytes(4, "big")),
        (b"iCCP", b"mine\0\0" + zlib.compress(b"a profile")),
        (b"pHYs", struct.pack(">IIB", 11811, 23622, 1)),
        (b"tEXt", b"Title\0negative 7"),
        (b"tEXt", b"seed\0 3"),
        (b"prVt", b"private"),
    ]
    after = ((b"tEXt", b"Comment\0late"), (b"eXIf", exif(6)))
    path = saved(tmp_path / "a.png", png(samples(3), *before, after=after))
    assert filled(path).with_text("seed", "11").save(tmp_path / "b.png") == ("its own text 'seed' is replaced",)
    assert filled(tmp_path / "b.png").with_text("seed", "11").save(tmp_path / "c.png") == ()
    kept = [chunk for chunk in before if chunk[1] != b"seed\0 3"]
    written = chunks_of(tmp_path / "b.png")
    assert [chunk for chunk in written if chunk[0] not in (b"IHDR", b"IDAT", b"IEND")] == [
        *kept, (b"tEXt", b"seed\x0011"), *after
    ]  # fmt: skip
    assert [name for name, _ in written].index(b"IDAT") == len(kept) + 2
    with Image.open(tmp_path / "b.png") as image:
        assert image.text["seed"] == "11" and image.info["icc_profile"] == b"a profile"


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[274] = orientation
    return tags.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, orientation: int) -> None:
    pixels = samples(3)
    path = saved(tmp_path / "a.png", png(pixels, (b"eXIf", exif(orientation))))
    shown = as_displayed(pixels, orientation)
    original = opened(path)
    np.testing.assert_array_equal(original.display_array(3), shown)
    assert original.display_size == probe(path)[1] == shown.shape[:2]
    filled(path, 50).save(tmp_path / "b.png")
    wanted = shown.copy()
    wanted[hole_of(shown.shape[:2])] = 50 * 257
    np.testing.assert_array_equal(opened(tmp_path / "b.png").display_array(3), wanted)


def test_one_transparent_colour(tmp_path: Path) -> None:
    pixels = samples(3)
    key = (25764, 25764, 25764)  # what the fill would be
    pixels[0, 0] = pixels[3, 4] = key
    path = saved(tmp_path / "a.png", png(pixels, (b"tRNS", struct.pack(">3H", *key))))
    shown = opened(path).display_array(3, (255, 0, 0))
    assert shown[0, 0].tolist() == shown[3, 4].tolist() == [65535, 0, 0]
    assert np.count_nonzero((shown != pixels).any(axis=2)) == 2
    filled(path, 25764 / 257).save(tmp_path / "b.png")
    after, hole = opened(tmp_path / "b.png").pixels, hole_of((HEIGHT, WIDTH))
    is_clear = (after == key).all(axis=2)
    assert np.argwhere(is_clear).tolist() == [[0, 0], [3, 4]]
    assert np.abs(after[hole].astype(int) - 25764).max() == 1


def test_the_first_frame_of_an_animation_is_changed_and_the_others_are_kept(tmp_path: Path) -> None:
    control = struct.pack(">IIIIIHHBB", 0, WIDTH, HEIGHT, 0, 0, 1, 10, 0, 0)
    frames = (b"acTL", struct.pack(">II", 2, 0)), (b"fcTL", control)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in samples(3).astype(">u2")))
    second = (b"fcTL", b"\0\0\0\1" + control[4:]), (b"fdAT", b"\0\0\0\2" + rows)
    path = saved(tmp_path / "a.png", png(samples(3), *frames, after=second))
    (remark,) = filled(path).save(tmp_path / "b.png")
    assert "only the first frame is changed" in remark
    assert [chunk for chunk in chunks_of(tmp_path / "b.png") if chunk[0] not in (b"IHDR", b"IDAT", b"IEND")] == [
        *frames, *second
    ]  # fmt: skip
    (tmp_path / "c.tif").write_bytes(b"")
    assert filled(path).save(tmp_path / "c.tif", format="tiff", overwrite=True) == ("only the first frame is kept",)


@pytest.mark.parametrize("num_samples", [2, 3, 4])
def test_cut_off_files(tmp_path: Path, num_samples: int) -> None:
    content = png(samples(num_samples))
    for end in (9, 30, 60, len(content) // 2, len(content) - 20, len(content) - 12):
        with pytest.raises(DataError, match=r"a\.png: "):
            open_original(saved(tmp_path / "a.png", content[:end]))


@functools.cache
def whole(num_samples: int, interlaced: bool) -> bytes:
    key = ((b"tRNS", bytes(6)),) if num_samples == 3 else ()
    described = (b"iCCP", b"p\0\0" + zlib.compress(b"a profile")), (b"eXIf", exif(6)), (b"pHYs", bytes(9))
    return png(samples(num_samples, (9, 11)), *key, *described, interlaced=interlaced)


@pytest.mark.parametrize(("num_samples", "interlaced"), [(2, False), (3, False), (3, True), (4, False)])
@settings(max_examples=80)
@given(data=st.data())
def test_any_bytes_are_filled_or_raise_data_error(
    tmp_path_factory: pytest.TempPathFactory, num_samples: int, interlaced: bool, data: st.DataObject
) -> None:
    content = bytearray(whole(num_samples, interlaced))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    if data.draw(st.booleans()):  # right checksums let more through
        content = bytearray(with_checksums(bytes(content)))
    path = saved(tmp_path_factory.getbasetemp() / "fuzz.png", bytes(content))
    for job in (probe, refill):
        try:
            job(path)
        except DataError as error:
            assert "\n" not in str(error)


def with_checksums(content: bytes) -> bytes:
    fixed, position = bytearray(content), 8
    while position + 12 <= len(fixed):
        (size,) = struct.unpack_from(">I", fixed, position)
        end = position + 8 + size
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(bytes(fixed[position + 4 : end])))
        position = end + 4
    return bytes(fixed)


def refill(path: Path) -> None:
    original = open_original(path)
    hole = np.zeros(original.display_size, bool)
    hole[0, 0] = True
    original.with_fill(np.zeros((*hole.shape, 3), np.float32), hole).save(path.with_name("out.png"), overwrite=True)


@pytest.mark.parametrize(("wanted", "name"), [("jpg", "JPEG"), ("tif", "TIFF"), ("png", "PNG")])
def test_another_format_names_the_chunks_that_it_lacks(tmp_path: Path, wanted: str, name: str) -> None:
    """But for those that say the usual."""
    info = PngImagePlugin.PngInfo()
    for chunk in (b"gAMA", b"sRGB", b"tIME", b"tIME"):
        info.add(chunk, b"\0\0\xb1\x8f")
    Image.new("RGB", (9, 8)).save(tmp_path / "a.png", pnginfo=info)
    remarks = open_original(tmp_path / "a.png").save(tmp_path / f"b.{wanted}", format=wanted)
    said = [remark for remark in remarks if "not kept" in remark]
    assert said == [f"chunk {each}: not kept in {name}" for each in ("gAMA", "tIME") if wanted != "png"]
