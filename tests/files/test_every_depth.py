"""TIFF and PNG of every depth, kind and layout: the hole changes, and what describes the picture does not. The files
are written byte by byte here, or by other libraries, and read again by those."""

import struct
import tracemalloc
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from vae_cli.errors import DataError
from vae_cli.files import tiff_in_place, tiff_pages
from vae_cli.files.originals import InPlaceOriginal, open_original
from vae_cli.images.decode import num_pages, open_image
from vae_cli.images.modes import to_array
from vae_cli.images.orientation import as_displayed, as_stored
from vae_cli.images.tiff import directories

HEIGHT, WIDTH = 22, 27
SIZE = (HEIGHT, WIDTH)


def numbers(bits: int, num_samples: int = 1, size: tuple[int, int] = SIZE) -> np.ndarray:
    """[H, W, S] random numbers of so many bits."""
    kind = np.uint8 if bits <= 8 else np.uint16
    return np.random.default_rng(bits * 10 + num_samples).integers(0, 1 << bits, (*size, num_samples)).astype(kind)


def bit_rows(pixels: np.ndarray, bits: int, order: str = ">") -> list[bytes]:
    """Each row [W, S] of the samples as both formats store it: from the highest bit on, in whole bytes."""
    if bits in (8, 16):
        return [row.astype(f"{order}u{bits // 8}").tobytes() for row in pixels]
    texts = ("".join(f"{value:0{bits}b}" for value in row.ravel()) for row in pixels)
    return [int(text + "0" * (-len(text) % 8), 2).to_bytes((len(text) + 7) // 8, "big") for text in texts]


def tiff(path: Path, tags: Mapping[int, int | tuple[int, ...] | bytes], data: bytes, *, order: str = "<") -> Path:
    """A TIFF of one strip with such tags: numbers are stored as SHORT, or LONG where they have to be, bytes as text."""
    entries, extra = [], b""
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    for code, value in sorted({**tags, 273: 0, 279: len(data)}.items()):
        values = value if isinstance(value, tuple | bytes) else (value,)
        letter = "s" if isinstance(values, bytes) else "I" if max(values) > 65535 or code in (273, 279) else "H"
        packed = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{letter}", *values)
        kind = {"s": 2, "H": 3, "I": 4}[letter]
        if code == 273:
            position = len(entries)
        if len(packed) > 4:
            offset, extra = start + len(extra), extra + packed + b"\0" * (len(packed) % 2)
            packed = struct.pack(f"{order}I", offset)
        entries.append(struct.pack(f"{order}HHI", code, kind, len(values)) + packed.ljust(4, b"\0"))
    entries[position] = struct.pack(f"{order}HHII", 273, 4, 1, start + len(extra))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    path.write_bytes(head + b"".join(entries) + bytes(4) + extra + data)
    return path


def grey(bits: int, **more: Any) -> dict[int, Any]:
    return {256: WIDTH, 257: HEIGHT, 258: bits, 259: 1, 262: 1, 277: 1, 278: HEIGHT} | {
        int(code[1:]): value for code, value in more.items()
    }


def png(
    path: Path,
    pixels: np.ndarray,
    bits: int,
    colour_type: int,
    *chunks: tuple[bytes, bytes],
    interlaced: bool = False,
    tail: bytes = b"",
) -> Path:
    """A PNG without filters, with a comment behind its pixels and `tail` behind its end."""
    height, width = pixels.shape[:2]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [pixels[top::down, left::across] for top, left, down, across in passes] if interlaced else [pixels]
    rows = b"".join(b"\0" + row for part in parts if part.size for row in bit_rows(part, bits))
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced)
    after = (b"tEXt", b"Comment\0late"), (b"IEND", b"")
    everything = [name + body for name, body in ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), *after)]
    stored = [struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in everything]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(stored) + tail)
    return path


def chunks_of(path: Path) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """(name, data) of all chunks but the pixels, and what follows the last one."""
    content, position, found = path.read_bytes(), 8, []
    while not found or found[-1][0] != b"IEND":
        (size,) = struct.unpack_from(">I", content, position)
        found.append((content[position + 4 : position + 8], content[position + 8 : position + 8 + size]))
        position += size + 12
    return [chunk for chunk in found if chunk[0] != b"IDAT"], content[position:]


def opened(path: Path, page: int = 0) -> InPlaceOriginal:
    original = open_original(path, page)
    assert isinstance(original, InPlaceOriginal)
    return original


def refill(
    path: Path, *, value: float = 100.0, opaque_hole: bool = False
) -> tuple[InPlaceOriginal, InPlaceOriginal, np.ndarray]:
    """(before, after, the hole as stored) of filling a hole nearer to the top left corner with a grey; the result lies
    beside the file."""
    before = opened(path)
    hole = np.zeros(before.display_size, bool)
    hole[3:9, 4:15] = True
    fill = np.full((*hole.shape, 3), value, np.float32)
    notes = before.with_fill(fill, hole, opaque_hole=opaque_hole).save(
        path.with_name("b" + path.suffix), overwrite=True
    )
    after, stored_hole = opened(path.with_name("b" + path.suffix)), as_stored(hole, before.orientation)
    np.testing.assert_array_equal(before.pixels[~stored_hole], after.pixels[~stored_hole])
    assert (before.pixels[stored_hole] != after.pixels[stored_hole]).any() or before.key_colour
    assert not notes or "became" in notes[0], notes
    return before, after, stored_hole


def same_tags(before: Path, after: Path, *but: int) -> None:
    """No page says anything else than it did, as another library reads it."""
    with tifffile.TiffFile(before) as one, tifffile.TiffFile(after) as other:
        assert (one.byteorder, one.is_bigtiff, len(one.pages)) == (other.byteorder, other.is_bigtiff, len(other.pages))
        for old, new in zip(one.pages, other.pages, strict=True):
            facts = [{tag.code: (tag.dtype, tag.count, str(tag.value)) for tag in page.tags.values()
                      if tag.code not in (273, 279, 324, 325, *but)} for page in (old, new)]  # fmt: skip
            assert facts[0] == facts[1]


GREYS = [(bits, order, fill_order, photometric) for bits in (1, 2, 4, 7, 8, 12, 16)
         for order, fill_order, photometric in (("<", 1, 1), (">", 2, 0))]  # fmt: skip


@pytest.mark.parametrize(("bits", "order", "fill_order", "photometric"), GREYS)
def test_grey_tiffs(tmp_path: Path, bits: int, order: str, fill_order: int, photometric: int) -> None:
    pixels, white = numbers(bits), (1 << bits) - 1
    data = b"".join(bit_rows(pixels, bits, order))
    if fill_order == 2:
        data = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)
    path = tiff(
        tmp_path / "a.tif",
        grey(bits, _262=photometric, _266=fill_order, _270=b"Gr\xc3\xb6\xc3\x9fe\0"),
        data,
        order=order,
    )
    before, after, hole = refill(path)
    np.testing.assert_array_equal(before.pixels, pixels)
    seen = (pixels if photometric == 1 else white - pixels) / white
    full = 255 if bits <= 8 else 65535
    np.testing.assert_allclose(before.display_array(1), seen * full, atol=0.51)
    wanted = 100 / 255 * white
    np.testing.assert_allclose(after.pixels[hole], wanted if photometric == 1 else white - wanted, atol=0.51)
    same_tags(path, tmp_path / "b.tif")
    old, new = path.read_bytes(), (tmp_path / "b.tif").read_bytes()
    assert len(old) == len(new)
    assert sum(one != other for one, other in zip(old, new, strict=True)) <= hole.sum() * max(1, bits // 8) * (
        2 if bits == 12 else 1
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_tiffs(tmp_path: Path, bits: int) -> None:
    pixels = numbers(bits)
    entries = np.random.default_rng(bits).integers(0, 256, (1 << bits, 3))
    entries[1] = (101, 99, 100)
    pixels[3, 4] = 0
    table = tuple(int(value) * 257 for value in entries.T.ravel())
    path = tiff(tmp_path / "a.tif", grey(bits, _262=3, _320=table), b"".join(bit_rows(pixels, bits)))
    before, after, hole = refill(path)
    np.testing.assert_array_equal(before.display_array(3), entries[pixels[..., 0]])
    assert (after.pixels[hole] == 1).all(), "the nearest entry"
    same_tags(path, tmp_path / "b.tif")


KINDS: list[dict[str, Any]] = [
    {"photometric": "minisblack", "samples": 1},
    {"photometric": "minisblack", "samples": 2, "extrasamples": [2]},
    {"photometric": "rgb", "samples": 3},
    {"photometric": "rgb", "samples": 4, "extrasamples": [2]},
    {"photometric": "rgb", "samples": 4, "extrasamples": [1]},
    {"photometric": "rgb", "samples": 4, "extrasamples": [0]},
    {"photometric": "rgb", "samples": 5, "extrasamples": [0, 2]},
    {"photometric": "separated", "samples": 4},
    {"photometric": "separated", "samples": 5, "extrasamples": [0]},
    {"photometric": "cielab", "samples": 3},
]
LAYOUTS: list[dict[str, Any]] = [
    {},
    {"compression": "lzw", "predictor": True, "rowsperstrip": 5},
    {"compression": "zlib", "tile": (16, 16), "big": True},
    {"compression": "packbits", "order": ">", "rowsperstrip": 4},
    {"planarconfig": "separate", "compression": "zlib", "predictor": True, "rowsperstrip": 9},
]


def kinds_of(path: Path, kind: dict[str, Any], layout: dict[str, Any], **more: Any) -> np.ndarray:
    """The samples [H, W, S] of a TIFF of that kind and layout, with all sorts of tags."""
    options = {**kind, **layout, **more}
    num_samples, file_options = (
        options.pop("samples"),
        {"bigtiff": options.pop("big", False), "byteorder": options.pop("order", "<")},
    )
    pixels = stored = numbers(8, num_samples)
    if num_samples == 1:
        options.pop("planarconfig", None)
        stored = pixels[..., 0]
    elif options.get("planarconfig") == "separate":
        stored = np.moveaxis(pixels, -1, 0)
    tags = [
        (33550, 12, 3, (0.5, 0.5, 0.0), True), (42113, 2, 0, "-9999", True), (34377, 1, 8, b"8BIM\0\1\2\3", True),
        (33723, 4, 2, (7, 8), True), (297, 3, 2, (0, 1), True), (700, 1, 4, b"<x/>", True),
        (318, 5, 2, (1, 3, 1, 3), True), (65000, 2, 0, "private", True),
    ]  # fmt: skip
    with tifffile.TiffWriter(path, **file_options) as file:
        file.write(stored, extratags=tags, resolution=(300, 600), description="Größe 3 µm".encode(), metadata=None,
                   iccprofile=b"a profile", **options)  # fmt: skip
    return pixels


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(map(str, layout.values())) or "plain")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_kinds_and_layouts_of_tiffs(tmp_path: Path, kind: dict[str, Any], layout: dict[str, Any]) -> None:
    pixels = kinds_of(tmp_path / "a.tif", kind, layout)
    before, after, hole = refill(tmp_path / "a.tif")
    np.testing.assert_array_equal(before.pixels, pixels)
    np.testing.assert_array_equal(after.pixels[hole][:, before.num_colours :], pixels[hole][:, before.num_colours :])
    same_tags(tmp_path / "a.tif", tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        again, is_planar = file.pages.first.asarray(), file.pages.first.planarconfig == 2
    again = np.moveaxis(again, 0, -1) if is_planar else again.reshape(pixels.shape)
    np.testing.assert_array_equal(again, after.pixels, "another library sees the same")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_what_is_seen_of_tiffs(tmp_path: Path, kind: dict[str, Any]) -> None:
    path = tmp_path / "a.tif"
    pixels, extra = kinds_of(path, kind, {}), kind.get("extrasamples", [0])
    shown = opened(path).display_array(3, (0, 0, 0)).astype(float)
    if 1 in extra or extra == [0]:
        with Image.open(path) as image:
            wanted = to_array(image, channels=3).astype(float)
        wanted = pixels[..., :3] if 1 in extra else wanted
        np.testing.assert_allclose(shown, wanted, atol=1)
    else:
        colours = pixels[..., :1] if kind["samples"] == 2 else pixels[..., :3]
        wanted = np.broadcast_to(colours * (pixels[..., -1:] / 255), shown.shape)
        np.testing.assert_allclose(shown, wanted, atol=0.51)
        _, opaque, hole = refill(path, opaque_hole=True)
        assert (opaque.pixels[hole][:, -1] == 255).all()


def test_premultiplied_alpha_of_eight_bits(tmp_path: Path) -> None:
    pixels = numbers(8, 4)
    pixels[..., 3] = 51
    pixels[..., :3] //= 5
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[1])
    before, after, hole = refill(tmp_path / "a.tif", value=100)
    np.testing.assert_allclose(before.display_array(3, (255, 255, 255)), pixels[..., :3] + 204.0, atol=0.51)
    assert (after.pixels[hole] == [20, 20, 20, 51]).all()
    same_tags(tmp_path / "a.tif", tmp_path / "b.tif")


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("luma", [(299, 587, 114), (2126, 7152, 722)])
def test_ycbcr(tmp_path: Path, luma: tuple[int, int, int], planar: bool) -> None:
    """By the formulas of the TIFF standard, with the coefficients that the file gives."""
    pixels = numbers(8, 3)
    red, green, blue = (value / sum(luma) for value in luma)
    data = np.moveaxis(pixels, -1, 0).tobytes() if planar else pixels.tobytes()
    path = tmp_path / "a.tif"
    ratios = [
        (529, 5, 3, tuple(number for value in luma for number in (value, sum(luma))), True),
        (530, 3, 2, (1, 1), True),
    ]
    tifffile.imwrite(path, np.frombuffer(data, np.uint8).reshape(3, *SIZE) if planar else pixels, photometric="rgb",
                     planarconfig="separate" if planar else "contig", extratags=ratios, compression="lzw")  # fmt: skip
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags[262].overwrite(6)
    before, after, hole = refill(path, value=77)
    y, cb, cr = np.moveaxis(pixels.astype(float), -1, 0) - np.array([0, 128, 128])[:, None, None]
    r, b = y + cr * (2 - 2 * red), y + cb * (2 - 2 * blue)
    wanted = np.stack([r, (y - red * r - blue * b) / green, b], axis=-1).clip(0, 255)
    np.testing.assert_allclose(before.display_array(3), wanted, atol=0.6)
    assert (after.pixels[hole] == [77, 128, 128]).all()
    colour = np.float32([200, 30, 60])
    fill = np.broadcast_to(colour, (*SIZE, 3))
    np.testing.assert_allclose(
        before.with_fill(fill, hole).display_array(3)[hole], np.broadcast_to(colour, (hole.sum(), 3)), atol=3
    )
    same_tags(path, tmp_path / "b.tif")


@pytest.mark.parametrize(
    "compression", ["group3", "group4", "tiff_ccitt", "tiff_lzw", "packbits", "tiff_adobe_deflate"]
)
def test_faxes_and_other_pages_of_black_and_white(tmp_path: Path, compression: str) -> None:
    pixels = numbers(1, size=(40, 61))
    image = Image.fromarray(pixels[..., 0] * np.uint8(255)).convert("1")
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[278], info[297] = 16, (0, 1)
    image.save(tmp_path / "a.tif", compression=compression, tiffinfo=info)
    _, after, _ = refill(tmp_path / "a.tif", value=255)
    with Image.open(tmp_path / "b.tif") as image:
        assert image.mode == "1" and image.info["compression"] == compression
        np.testing.assert_array_equal(np.asarray(image)[..., None], after.display_array(1) > 0)
    same_tags(tmp_path / "a.tif", tmp_path / "b.tif")


@pytest.mark.parametrize(
    "options", [{"compression": "jpeg"}, {"compression": "jpeg", "photometric": "ycbcr", "tile": (16, 16)}]
)
def test_what_cannot_be_written_alike_is_stored_without_loss_and_said(tmp_path: Path, options: dict[str, Any]) -> None:
    ramp = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
    pixels, tag = np.stack([ramp, ramp, 255 - ramp], axis=-1), [(33550, 12, 3, (0.5, 0.5, 0.0), True)]
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(pixels, extratags=tag, description="a scan", metadata=None, **{"photometric": "rgb"} | options)
        file.write(pixels[..., 0], metadata=None)
    original = opened(path)
    hole = np.zeros((48, 64), bool)
    hole[5:9, 5:9] = True
    notes = original.with_fill(np.full((48, 64, 3), 9, np.float32), hole).save(tmp_path / "b.tif")
    assert "JPEG became lossless deflate" in notes[0] and "only one page" in notes[1]
    same_tags(path, tmp_path / "b.tif", *tiff_pages.STORAGE_TAGS)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].compression.name == "ADOBE_DEFLATE"
        again, other = file.pages[0].asarray(), file.pages[1].asarray()
    np.testing.assert_array_equal(again[~hole], original.pixels[~hole])
    assert (again[hole] == 9).all()
    np.testing.assert_array_equal(other, pixels[..., 0])


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    pixels, exif = numbers(8, 3), Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", exif=exif)
    before, after, _ = refill(tmp_path / f"a.{suffix}")
    assert before.orientation == after.orientation == orientation
    np.testing.assert_array_equal(before.display_array(3), as_displayed(pixels, orientation))
    assert (after.display_array(3)[3:9, 4:15] == 100).all()
    np.testing.assert_array_equal(to_array(open_image(tmp_path / f"b.{suffix}"), channels=3), after.display_array(3))
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / f"b.{suffix}")), after.display_array(3))


PNGS = [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (1, 3), (2, 3), (4, 3), (8, 3), (8, 4), (8, 6), (16, 6)]
NUM_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("bits", "colour_type"), PNGS)
def test_pngs_keep_every_chunk(tmp_path: Path, bits: int, colour_type: int, interlaced: bool) -> None:
    pixels, profile = numbers(bits, NUM_SAMPLES[colour_type]), zlib.compress(bytes(3_000_000))
    palette = np.random.default_rng(bits).integers(0, 256, (1 << min(bits, 8), 3)).astype(np.uint8)
    chunks = [
        (b"cICP", bytes([9, 16, 0, 1])), (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", struct.pack(">8I", *range(8))),
        (b"sBIT", bytes([1] * NUM_SAMPLES[colour_type])), (b"iCCP", b"mine\0\0" + profile),
        *([(b"PLTE", palette.tobytes())] if colour_type == 3 else []), (b"bKGD", bytes(2)),
        (b"pHYs", struct.pack(">IIB", 3, 4, 0)), (b"tIME", bytes([7, 230, 1, 2, 3, 4, 5])),
        (b"eXIf", b"MM\0*\0\0\0\x08\0\0\0\0\0\0"),
        (b"zTXt", b"long\0\0" + profile), (b"iTXt", "Autor\0\0\0de\0\0Zoë".encode()), (b"prVt", b"private"),
    ]  # fmt: skip
    path = png(tmp_path / "a.png", pixels, bits, colour_type, *chunks, interlaced=interlaced, tail=b"a video")
    before, after, hole = refill(path)
    np.testing.assert_array_equal(before.pixels, pixels)
    assert chunks_of(path) == chunks_of(tmp_path / "b.png")
    if colour_type == 3:
        np.testing.assert_array_equal(before.display_array(3), palette[pixels[..., 0]])
    else:
        wanted = 100 / 255 * ((1 << bits) - 1)
        np.testing.assert_allclose(after.pixels[hole][:, : before.num_colours], wanted, atol=0.51)
        np.testing.assert_array_equal(
            after.pixels[hole][:, before.num_colours :], pixels[hole][:, before.num_colours :]
        )


@pytest.mark.parametrize(("bits", "colour_type"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2)])
def test_a_transparent_colour_is_seen_and_kept(tmp_path: Path, bits: int, colour_type: int) -> None:
    pixels, white = numbers(bits, NUM_SAMPLES[colour_type]), (1 << bits) - 1
    key = round(100 / 255 * white)  # what the fill would be
    pixels[4, 5] = pixels[0, 0] = key
    above = 0 if bits == 16 else 1 << bits  # the standard says to look at the lower bits only
    chunk = struct.pack(f">{pixels.shape[2]}H", *[key + above] * pixels.shape[2])
    before, after, hole = refill(png(tmp_path / "a.png", pixels, bits, colour_type, (b"tRNS", chunk)))
    is_clear = (pixels == key).all(axis=2)
    shown = before.display_array(3, (255, 0, 0))
    full = np.iinfo(shown.dtype).max
    assert ((shown == [full, 0, 0]).all(axis=2) == is_clear).all()
    assert ((after.pixels == key).all(axis=2)[hole] == is_clear[hole]).all(), "no pixel becomes clear, none opaque"
    assert (np.asarray(open_image(tmp_path / "a.png").convert("RGBA"))[..., -1] == np.where(is_clear, 0, 255)).all()
    opaque = refill(tmp_path / "a.png", opaque_hole=True)[1]
    assert not (opaque.pixels == key).all(axis=2)[hole].any()


def test_palette_pngs_with_transparency(tmp_path: Path) -> None:
    pixels = np.full((*SIZE, 1), 1, np.uint8)
    pixels[3, 4] = 0
    chunks = (b"PLTE", bytes([200, 200, 200, 0, 0, 0, 190, 190, 190, 255, 0, 0])), (b"tRNS", b"\0")
    path = png(tmp_path / "a.png", pixels, 2, 3, *chunks)
    _, kept, hole = refill(path, value=200)
    assert kept.pixels[3, 4] == 0 and np.count_nonzero(kept.pixels[hole] == 2) == hole.sum() - 1
    assert (refill(path, value=200, opaque_hole=True)[1].pixels[hole] == 2).all()
    with pytest.raises(DataError, match=r"a\.png: damaged PNG \(its palette is missing\)"):
        open_original(png(path, pixels, 2, 3))


def two_pages(path: Path, **options: Any) -> list[np.ndarray]:
    pages = [numbers(8, 3), numbers(8, 3, (30, 26)), numbers(16, 1, (31, 20))]
    with tifffile.TiffWriter(path) as file:
        for page in pages:
            page = page[..., 0] if page.shape[2] == 1 else page
            file.write(page, photometric="rgb" if page.ndim == 3 else "minisblack", metadata=None, **options)
    return pages


@pytest.mark.parametrize("compression", [None, "lzw", "jpeg"])
def test_several_pages_at_once(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for number in range(3):
            file.write(numbers(8, 3, (32, 32 + 16 * number)), photometric="rgb", compression=compression, metadata=None)
    assert num_pages(path) == 3
    before, filled = [opened(path, number) for number in range(3)], []
    for original in before:
        hole = np.zeros(original.display_size, bool)
        hole[2:9, 3:7] = True
        filled.append(original.with_fill(np.full((*hole.shape, 3), 50, np.float32), hole))
    notes = filled[2].save(tmp_path / "b.tif", pages=[filled[0].page_change()])
    assert notes == (() if compression != "jpeg" else ("pixels stored as JPEG became lossless deflate",))
    after = [opened(tmp_path / "b.tif", number) for number in range(3)]
    for number in (0, 2):
        np.testing.assert_array_equal(after[number].pixels, filled[number].pixels)
    np.testing.assert_array_equal(after[1].pixels, before[1].pixels)
    with pytest.raises(DataError, match=r"a\.tif: has no page 4, only 3"):
        open_original(path, 3)
    with pytest.raises(DataError, match="leave out --format or --pages"):
        filled[2].save(tmp_path / "b.png", format="png", pages=[filled[0].page_change()])
    filled[2].save(tmp_path / "c.tif", pages=[filled[0].page_change()], strip=True)
    for number, page in enumerate((filled[0], before[1], filled[2])):
        np.testing.assert_array_equal(opened(tmp_path / "c.tif", number).display_array(3), page.display_array(3))


def test_of_several_pages_each_says_what_it_loses(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for compression in ("jpeg", None):
            file.write(numbers(8, 3, (32, 32)), photometric="rgb", compression=compression, metadata=None)
    hole, fill = np.eye(32, dtype=bool), np.zeros((32, 32, 3), np.float32)
    first, last = (opened(tmp_path / "a.tif", number).with_fill(fill, hole) for number in range(2))
    notes = last.save(tmp_path / "b.tif", pages=[first.page_change()])
    assert notes == ("pixels stored as JPEG became lossless deflate",)


def test_a_damaged_later_page_is_no_fault_of_the_first(tmp_path: Path) -> None:
    pages = two_pages(tmp_path / "a.tif", compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        second = file.pages[1].offset
    content = bytearray((tmp_path / "a.tif").read_bytes())
    for damage in (content[:second], content[:second] + b"\xff" * 40 + content[second + 40 :]):
        (tmp_path / "a.tif").write_bytes(damage)
        original = opened(tmp_path / "a.tif")
        np.testing.assert_array_equal(original.pixels, pages[0])
        original.with_fill(np.zeros((*SIZE, 3), np.float32), np.eye(*SIZE, dtype=bool)).save(
            tmp_path / "b.tif", overwrite=True
        )
        assert (tmp_path / "b.tif").read_bytes()[second : len(damage)] == damage[second:]


def test_pages_that_form_a_loop(tmp_path: Path) -> None:
    two_pages(tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        assert len(file.pages) == 3
        file.filehandle.seek(file.pages.next_page_offset)
        file.filehandle.write(file.pages.first.offset.to_bytes(4, "little"))
    with tifffile.TiffFile(tmp_path / "a.tif") as file, pytest.raises(DataError, match="loop"):
        list(directories(file))
    assert opened(tmp_path / "a.tif").pixels.shape == (*SIZE, 3)


def test_a_result_that_does_not_come_back_fails_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", numbers(8, 3), photometric="rgb", compression="zlib")
    original = opened(tmp_path / "a.tif")
    filled = original.with_fill(np.zeros((*SIZE, 3), np.float32), np.eye(*SIZE, dtype=bool))
    encoded = tiff_in_place.tiff_segments.encoded
    monkeypatch.setattr(tiff_in_place.tiff_segments, "encoded", lambda *given: encoded(*given[:2], given[2] ^ 1))
    with pytest.raises(DataError, match=r"a\.tif: the result does not come back"):
        filled.save(tmp_path / "b.tif")
    assert not (tmp_path / "b.tif").exists()


def test_tags_of_unexpected_types_are_kept(tmp_path: Path) -> None:
    odd = {"_282": 0, "_283": (1, 2, 3), "_274": b"x\0", "_297": 7, "_33723": (1 << 20, 5), "_34675": b"no profile\0"}
    path = tiff(tmp_path / "a.tif", grey(8, **odd), numbers(8).tobytes())
    before, _, _ = refill(path)
    assert before.orientation == 1
    same_tags(path, tmp_path / "b.tif")


def test_sparse_tiles_and_wrong_byte_counts(tmp_path: Path) -> None:
    """GDAL leaves out tiles without content, and some writers say too few bytes of what is not compressed."""
    pixels = numbers(8, 1, (32, 32))
    tifffile.imwrite(tmp_path / "a.tif", pixels[..., 0], tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        page = file.pages.first
        positions, sizes = list(page.dataoffsets), list(page.databytecounts)
        positions[0] = sizes[0] = 0
        page.tags[324].overwrite(positions)
        page.tags[325].overwrite(sizes)
    before, _, _ = refill(tmp_path / "a.tif")
    pixels[:16, :16] = 0
    np.testing.assert_array_equal(before.pixels, pixels)
    path = tiff(tmp_path / "c.tif", grey(8), numbers(8).tobytes())
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags[279].overwrite(5)
    np.testing.assert_array_equal(refill(path)[0].pixels, numbers(8))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_and_pictures_that_cannot_hold_what_they_say(tmp_path: Path, compression: str | None) -> None:
    content = bytearray(png(tmp_path / "a.png", numbers(8, 4), 8, 6).read_bytes())
    content[16:24] = struct.pack(">II", 12000, 12000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    tifffile.imwrite(tmp_path / "a.tif", numbers(8, 1)[..., 0], compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages.first.tags[name].overwrite(12000, dtype="I")
    for name in ("a.png", "a.tif"):
        tracemalloc.start()
        with pytest.raises(DataError, match=f"{name}: cut off"):
            open_original(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()
