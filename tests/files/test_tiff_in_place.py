"""TIFF scans of 48 and 64 bits: whatever their layout, nothing but the hole changes in the file. An independent
library writes them and reads what comes out."""

import functools
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sixteen_bit_files import opened

from vae_cli.errors import DataError
from vae_cli.files.originals import open_original
from vae_cli.images.decode import open_image, probe
from vae_cli.images.orientation import as_displayed

pytest.importorskip("imagecodecs")

HEIGHT, WIDTH = 70, 90
EXTRA_SAMPLES = {2: [2], 3: None, 4: [2], 5: [2, 0]}
PRIVATE = (65000, 2, 0, "a scanner's own words", True)


def samples(num_samples: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Noise on a ramp: every bit of it counts, and no pixel equals its neighbour."""
    noise = np.random.default_rng(num_samples).integers(0, 5000, (*size, num_samples))
    return (noise + np.arange(size[1])[:, None] * 600).astype(np.uint16)


def scan(path: Path, pixels: np.ndarray, *, order: str = "<", big: bool = False, **options: Any) -> Path:
    """A TIFF whose first page is the picture, [H, W, S], and whose second is another one."""
    num_samples = pixels.shape[2]
    is_planar = options.get("planarconfig") == "separate"
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as file:
        file.write(
            np.moveaxis(pixels, -1, 0) if is_planar else pixels,
            photometric=options.pop("photometric", "minisblack" if num_samples == 2 else "rgb"),
            extrasamples=options.pop("extrasamples", EXTRA_SAMPLES[num_samples]),
            resolution=(300, 600),
            description="negative 7",
            metadata=None,
            iccprofile=b"a profile",
            extratags=[PRIVATE, *options.pop("extratags", ())],
            **options,
        )
        file.write(
            samples(3, (30, 40)), photometric="rgb", compression="lzw", description="the next page", metadata=None
        )
    return path


def segments(path: Path) -> list[tuple[int, int]]:
    """(position, number of bytes) of each strip or tile of the first page."""
    with tifffile.TiffFile(path) as file:
        return list(zip(file.pages[0].dataoffsets, file.pages[0].databytecounts, strict=True))


def hole_of(size: tuple[int, int]) -> np.ndarray:
    hole = np.zeros(size, bool)
    hole[5:17, 30:52] = True
    return hole


def filled(path: Path, out: Path, *, value: float = 100.25, opaque_hole: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(first page as another library reads it, [H, W, S]; hole as stored) after filling with a grey."""
    original = opened(path)
    hole = hole_of(original.display_size)
    fill = np.full((*hole.shape, 3), value, np.float32)
    (remark,) = original.with_fill(fill, hole, opaque_hole=opaque_hole).save(out, overwrite=True)
    assert "only one page is changed" in remark
    with tifffile.TiffFile(out) as file:
        page = file.pages[0].asarray()
        is_planar = file.pages[0].planarconfig == 2
    return np.moveaxis(page, 0, -1) if is_planar else page, hole


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"order": ">"},
    {"big": True},
    {"big": True, "order": ">", "tile": (32, 48), "compression": "zlib", "predictor": True},
    {"compression": "zlib"},
    {"compression": "zlib", "predictor": True, "order": ">", "rowsperstrip": 16},
    {"compression": "lzw", "rowsperstrip": 7},
    {"compression": "lzw", "predictor": True, "order": ">"},
    {"compression": "lzw", "predictor": True, "tile": (16, 16)},
    {"compression": "packbits", "rowsperstrip": 8},
    {"compression": "zstd", "predictor": True},
    {"compression": "lzma"},
    {"planarconfig": "separate"},
    {"planarconfig": "separate", "compression": "lzw", "predictor": True, "rowsperstrip": 9, "order": ">"},
    {"planarconfig": "separate", "compression": "zlib", "tile": (32, 48)},
]


@pytest.mark.parametrize("num_samples", [2, 3, 4, 5])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(map(str, layout.values())) or "plain")
def test_only_the_hole_changes(tmp_path: Path, layout: dict[str, Any], num_samples: int) -> None:
    pixels = samples(num_samples)
    path = scan(tmp_path / "a.tif", pixels, **layout)
    after, hole = filled(path, tmp_path / "b.tif")
    num_colours = 1 if num_samples == 2 else 3
    np.testing.assert_array_equal(after[~hole], pixels[~hole])
    assert (after[hole][:, :num_colours] == round(100.25 * 257)).all(), "a fill of 16 bits, not of 8"
    np.testing.assert_array_equal(after[hole][:, num_colours:], pixels[hole][:, num_colours:])
    with tifffile.TiffFile(path) as one, tifffile.TiffFile(tmp_path / "b.tif") as other:
        assert len(other.pages) == 2
        np.testing.assert_array_equal(one.pages[1].asarray(), other.pages[1].asarray())
        moved = {"StripOffsets", "StripByteCounts", "TileOffsets", "TileByteCounts"}
        for page, new in zip(one.pages, other.pages, strict=True):
            for tag in page.tags.values():
                assert tag.name in moved or new.tags[tag.code].value == tag.value, tag.name
    if "compression" not in layout:
        assert path.stat().st_size == (tmp_path / "b.tif").stat().st_size
        old, new = (np.frombuffer(item.read_bytes(), np.uint8) for item in (path, tmp_path / "b.tif"))
        assert np.count_nonzero(old != new) <= hole.sum() * num_colours * 2


def test_strips_without_a_hole_stay_where_they_are(tmp_path: Path) -> None:
    path = scan(tmp_path / "a.tif", samples(3), compression="lzw", rowsperstrip=10)
    filled(path, tmp_path / "b.tif")
    before, after = segments(path), segments(tmp_path / "b.tif")
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False] + 5 * [True]
    old, new = path.read_bytes(), (tmp_path / "b.tif").read_bytes()
    for position, num_bytes in before[2:]:
        assert old[position : position + num_bytes] == new[position : position + num_bytes]


def test_the_hole_takes_back_the_room_of_what_was_there(tmp_path: Path) -> None:
    path = scan(tmp_path / "a.tif", samples(3), compression="lzw")
    original = open_original(path)
    everywhere = np.ones(original.display_size, bool)
    original.with_fill(np.full((*everywhere.shape, 3), 9, np.float32), everywhere).save(tmp_path / "b.tif")
    assert (tmp_path / "b.tif").stat().st_size == path.stat().st_size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, orientation: int) -> None:
    pixels = samples(3)
    path = scan(tmp_path / "a.tif", pixels, extratags=[(274, 3, 1, orientation)], compression="zlib")
    original = open_original(path)
    shown = as_displayed(pixels, orientation)
    np.testing.assert_array_equal(original.display_array(3), shown)
    assert original.display_size == probe(path)[1] == shown.shape[:2]
    hole = hole_of(original.display_size)
    original.with_fill(np.full((*hole.shape, 3), 50, np.float32), hole).save(tmp_path / "b.tif")
    after = open_original(tmp_path / "b.tif")
    wanted = shown.copy()
    wanted[hole] = 50 * 257
    np.testing.assert_array_equal(after.display_array(3), wanted)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].tags[274].value == orientation


def test_premultiplied_alpha(tmp_path: Path) -> None:
    pixels = samples(4)
    pixels[..., 3] = 65535 // 5
    pixels[..., :3] //= 5
    path = scan(tmp_path / "a.tif", pixels, extrasamples=[1])
    shown = open_original(path).display_array(3, (255, 0, 0))
    np.testing.assert_allclose(shown[..., 0], pixels[..., 0] + 65535 * 4 / 5, atol=1)
    np.testing.assert_array_equal(shown[..., 1:], pixels[..., 1:3])
    after, hole = filled(path, tmp_path / "b.tif")
    assert (after[hole] == [round(100.25 * 257 / 5)] * 3 + [13107]).all()
    after, hole = filled(path, tmp_path / "b.tif", opaque_hole=True)
    assert (after[hole] == [round(100.25 * 257)] * 3 + [65535]).all()


def test_a_sample_of_unknown_meaning_hides_nothing(tmp_path: Path) -> None:
    pixels = samples(4)
    path = scan(tmp_path / "a.tif", pixels, extrasamples=[0])
    np.testing.assert_array_equal(open_original(path).display_array(3), pixels[..., :3])
    after, _ = filled(path, tmp_path / "b.tif", opaque_hole=True)
    np.testing.assert_array_equal(after[..., 3], pixels[..., 3])


def test_a_strip_that_two_pages_share_is_not_written_over(tmp_path: Path) -> None:
    pixels = samples(3)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for _ in range(2):
            file.write(pixels, photometric="rgb", rowsperstrip=HEIGHT)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[1].tags["StripOffsets"].overwrite(file.pages[0].dataoffsets)
    after, hole = filled(path, tmp_path / "b.tif")
    assert (after[hole] != pixels[hole]).any()
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        np.testing.assert_array_equal(file.pages[1].asarray(), pixels)


def test_the_second_fill_of_a_file_that_the_first_has_overwritten(tmp_path: Path) -> None:
    pixels = samples(3)
    path = scan(tmp_path / "a.tif", pixels, compression="lzw", rowsperstrip=5)
    original, hole = open_original(path), hole_of((HEIGHT, WIDTH))
    first = np.full((HEIGHT, WIDTH, 3), 10, np.float32)
    original.with_fill(first, np.roll(hole, 20, axis=0)).save(path, overwrite=True)
    original.with_fill(first, hole).save(tmp_path / "b.tif")
    after = tifffile.imread(tmp_path / "b.tif", key=0)
    np.testing.assert_array_equal(after[~hole], pixels[~hole])
    assert (after[hole] == 10 * 257).all()
    scan(path, samples(4))
    with pytest.raises(DataError, match=r"a\.tif: has changed"):
        original.save(tmp_path / "c.tif")
    assert not (tmp_path / "c.tif").exists()


def test_what_is_not_read_is_refused_by_name(tmp_path: Path) -> None:
    half, wide, signed = (np.zeros((4, 5, 3), kind) for kind in ("f2", "u4", "i2"))
    palette = {"photometric": "palette", "colormap": np.zeros((3, 65536), "u2")}
    for number, (pixels, options, reason) in enumerate([
        (half, {}, "floating-point"), (wide, {}, "32-bit image"), (signed, {}, "signed numbers"),
        (signed.astype("i1"), {}, "signed numbers"),
        (half[..., 0].astype("u2"), palette, r"cannot be read \(1 × 16 bits, palette"),
        (samples(3), {"compression": "jpeg2000"}, r"cannot be read \(3 × 16 bits, rgb, jpeg2000"),
    ]):  # fmt: skip
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, pixels, **{"photometric": "rgb"} | options)
        with pytest.raises(DataError, match=rf"{path.name}: .*{reason}"):
            open_original(path)
        with pytest.raises(DataError):
            open_image(path)


def test_unpacked_colours_at_half_the_resolution_are_not_called_cut_off(tmp_path: Path) -> None:
    tifffile.imwrite(path := tmp_path / "a.tif", np.zeros((4, 6, 3), "u1"), photometric="ycbcr")
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages.first.tags[530].overwrite((2, 2))
    path.write_bytes(path.read_bytes()[: segments(path)[0][0] + 36])
    with pytest.raises(DataError, match=r"a\.tif: .*cannot be read \(3 × 8 bits, ycbcr, none"):
        open_original(path)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_cut_off_files(tmp_path: Path, compression: str | None, tile: tuple[int, int] | None) -> None:
    content = scan(tmp_path / "a.tif", samples(3), compression=compression, tile=tile).read_bytes()
    position, num_bytes = segments(tmp_path / "a.tif")[-1]
    for end in (9, 40, position + num_bytes // 2):
        (tmp_path / "a.tif").write_bytes(content[:end])
        with pytest.raises(DataError, match=r"a\.tif: "):
            open_original(tmp_path / "a.tif")


@pytest.mark.parametrize("tag", [256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317])
@pytest.mark.parametrize(("place", "change"), [(4, bytes(4)), (0, b"\xff\xff")], ids=["without values", "missing"])
def test_damaged_tags(tmp_path: Path, tag: int, place: int, change: bytes) -> None:
    path = scan(tmp_path / "a.tif", samples(3), compression="zlib", predictor=True)
    with tifffile.TiffFile(path) as file:
        position = file.pages[0].tags[tag].offset + place
    with path.open("r+b") as stream:
        stream.seek(position)
        stream.write(change)
    for job in (probe, refill):
        try:
            job(path)
        except DataError as error:
            assert "\n" not in str(error)


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_memory_is_not_taken_for_what_the_file_cannot_hold(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, samples(3, (1, 13)), photometric="rgb", compression=compression)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("ImageLength", "RowsPerStrip"):
            file.pages[0].tags[name].overwrite(13_000_000, dtype="I")
    with little_memory(), pytest.raises(DataError, match="cut off"):
        open_original(path)


@pytest.mark.parametrize("compression", ["zlib", "lzma", "lzw"])
def test_a_strip_may_hold_more_than_it_needs(tmp_path: Path, compression: str) -> None:
    """Some writers fill up the last strip; and this one is a bomb."""
    pixels = samples(3)
    path = scan(tmp_path / "a.tif", pixels, compression=compression, rowsperstrip=16)
    with tifffile.TiffFile(path, mode="r+") as file:
        page, end = file.pages[0], file.filehandle.size
        data = tifffile.TIFF.COMPRESSORS[page.compression](pixels[64:].tobytes() + bytes(50_000_000))
        file.filehandle.seek(end)
        file.filehandle.write(data)
        page.tags["StripOffsets"].overwrite([*page.dataoffsets[:-1], end], dtype="I")
        page.tags["StripByteCounts"].overwrite([*page.databytecounts[:-1], len(data)], dtype="I")
    with little_memory():
        np.testing.assert_array_equal(open_original(path).display_array(3), pixels)


FUZZED: list[dict[str, Any]] = [LAYOUTS[number] for number in (0, 3, 5, 7, 9, 10, 11, 13)]


@functools.cache
def whole(number: int) -> bytes:
    """The bytes of a small scan in one of the layouts."""
    with tempfile.TemporaryDirectory() as folder:
        return scan(Path(folder) / "a.tif", samples(4, (20, 24)), **FUZZED[number]).read_bytes()


@pytest.mark.parametrize("number", range(len(FUZZED)))
@settings(max_examples=80)
@given(data=st.data())
def test_any_bytes_are_filled_or_raise_data_error(
    tmp_path_factory: pytest.TempPathFactory, number: int, data: st.DataObject
) -> None:
    content = bytearray(whole(number))
    for _ in range(data.draw(st.integers(1, 4))):
        last = 400 if data.draw(st.booleans()) else len(content) - 1  # the directory is at the beginning
        content[data.draw(st.integers(0, last))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path_factory.getbasetemp() / "fuzz.tif"
    path.write_bytes(bytes(content))
    for job in (probe, refill):
        try:
            job(path)
        except DataError as error:
            assert "\n" not in str(error)


def refill(path: Path) -> None:
    original = open_original(path)
    hole = np.zeros(original.display_size, bool)
    hole[0, 0] = True
    original.with_fill(np.zeros((*hole.shape, 3), np.float32), hole).save(path.with_name("out.tif"), overwrite=True)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "jpeg"])
@pytest.mark.parametrize("is_longer", [True, False])
def test_nothing_of_a_filled_strip_stays_in_the_file(tmp_path: Path, compression: str, is_longer: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    flat = np.full_like(noise, 77)
    before, after = (flat, noise) if is_longer else (noise, flat)
    path, out = tmp_path / "a.tif", tmp_path / "b.tif"
    tifffile.imwrite(path, before, photometric="rgb", compression=compression, rowsperstrip=8)
    original = open_original(path)
    original.with_fill(after.astype(np.float32), np.ones((32, 48), bool)).save(out)
    old, new, kept = path.read_bytes(), bytearray(out.read_bytes()), segments(out)
    assert (tifffile.imread(out) == after).all()
    for position, num_bytes in kept:
        new[position : position + num_bytes] = bytes(num_bytes)
    for position, num_bytes in segments(path):
        assert any(old[position : position + num_bytes])
        assert not any(new[position : position + num_bytes])


def test_thumbnails_show_the_fill(tmp_path: Path) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "b.tif"
    Image.new("RGB", (16, 16), "red").save(thumbnail := BytesIO(), "JPEG", quality=100)
    photoshop = b"8BIM\x04\x0c" + thumbnail.getvalue() + bytes(500)
    xmp = b"<x><xmp:Thumbnails>c2VjcmV0</xmp:Thumbnails></x>"
    tags = [(34377, 7, len(photoshop), photoshop, True), (700, 7, len(xmp), xmp, True)]
    pixels = np.full((64, 64, 3), (255, 0, 0), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", extratags=tags)
    hole = np.ones((64, 64), bool)
    open_original(path).with_fill(np.full(pixels.shape, (0, 0, 255), np.float32), hole).save(out)
    with tifffile.TiffFile(out) as file:
        new_photoshop, new_xmp = (file.pages[0].tags[code].value for code in (34377, 700))
    shown = Image.open(BytesIO(new_photoshop[6:])).getpixel((8, 8))
    assert len(new_photoshop) == len(photoshop) and shown[2] > 200 and shown[0] < 50
    assert len(new_xmp) == len(xmp) and b"c2VjcmV0" not in new_xmp
