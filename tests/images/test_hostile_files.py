"""Files that claim too much, never end, are of odd kinds or make decoders talk: each fails alone, and does no harm."""

import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageFile, PngImagePlugin

from vae_cli.errors import DataError
from vae_cli.files.originals import open_original
from vae_cli.images import bounds
from vae_cli.images.decode import open_image, probe
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.modes import to_array

HUGE = 13000
READERS = (open_image, probe, open_original)


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    stream = BytesIO()
    (image or Image.radial_gradient("L").resize((9, 7))).save(stream, kind, **options)
    return stream.getvalue()


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert content.count(old) == 1
    return content.replace(old, new)


def png(
    *, size: int, bits: int = 8, colour_type: int = 2, body: bytes = b"", chunks: tuple[tuple[bytes, bytes], ...] = ()
) -> bytes:
    """Whatever its body holds."""
    header = struct.pack(">IIBBBBB", size, size, bits, colour_type, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(body)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def huge_tiff(**options: object) -> bytes:
    content = encoded("TIFF", **options)
    for tag in (256, 257, 278):  # width, height, rows of a strip
        entry = content.index(struct.pack("<H", tag), 8)
        content = content[: entry + 2] + struct.pack("<HII", 4, 1, HUGE) + content[entry + 12 :]
    return content


HOLLOW = {
    "png": png(size=HUGE),
    "png16": png(size=HUGE, bits=16),
    "tif": huge_tiff(),
    "tif deflate": huge_tiff(compression="tiff_adobe_deflate"),
    "jpg": replaced(encoded("JPEG"), struct.pack(">HH", 7, 9), struct.pack(">HH", HUGE, HUGE)),
    "bmp": replaced(encoded("BMP"), struct.pack("<ii", 9, 7), struct.pack("<ii", HUGE, HUGE)),
    "ppm": b"P6 13000 13000 255\n" + bytes(100),
    "gif": replaced(encoded("GIF"), b"GIF87a" + struct.pack("<HH", 9, 7), b"GIF87a" + struct.pack("<HH", HUGE, HUGE)),
    "gif of more canvas than is free": replaced(
        encoded("GIF"), b"GIF87a" + struct.pack("<HH", 9, 7), b"GIF87a" + struct.pack("<HH", 8201, 6666)
    ),
}


@pytest.mark.parametrize("kind", HOLLOW)
def test_a_small_file_cannot_claim_a_huge_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """It is refused by every reader before memory is taken for its pixels."""
    path = tmp_path / "a.img"
    path.write_bytes(HOLLOW[kind])
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.exit("memory was taken"))
    for reader in READERS[2:] if kind == "png16" else READERS:
        with pytest.raises(DataError, match=r"claims [\d,]+ MB"):
            reader(path)


def test_sound_pictures_of_one_colour_are_no_bombs(tmp_path: Path) -> None:
    """However few bytes they take."""
    blank = Image.new("1", (1250, 1750))
    files = {
        "a.png": encoded("PNG", blank, optimize=True), "b.png": encoded("PNG", blank.convert("RGB"), optimize=True),
        "c.tif": encoded("TIFF", blank, compression="group4"), "d.gif": encoded("GIF", blank),
        "e.jpg": encoded("JPEG", blank.convert("L"), progressive=True),
        "f.webp": encoded("WEBP", Image.new("RGB", (600, 800)), lossless=True, quality=0, method=0),
        "g.png": encoded("PNG", blank.convert("P"), bits=2), "h.gif": encoded("GIF", Image.new("P", (9000, 9000))),
        "i.tif": encoded("TIFF", Image.new("L", (4000, 4000)), compression="tiff_lzw"),
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert probe(tmp_path / name)[1] in ((1750, 1250), (800, 600), (9000, 9000), (4000, 4000))


def test_memory_is_asked_for_before_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG"))
    monkeypatch.setattr(bounds, "free_memory", lambda: 100 << 20)
    assert open_image(path).size == (9, 7)
    monkeypatch.setattr(bounds, "BYTES_A_PIXEL", 1 << 22)
    with pytest.raises(DataError, match=r"needs about 0\.3 GB of memory, and 0\.1 are free"):
        open_image(path)
    monkeypatch.undo()
    free = bounds.free_memory()
    assert free is None or 0 < free < 1 << 50


def test_threads_share_a_budget_and_the_largest_goes_alone() -> None:
    budget, lock, in_use, seen = bounds._Budget(), threading.Lock(), 0, set[tuple[int, int]]()
    budget._most = 10

    def take(num: int) -> None:
        nonlocal in_use
        with budget.taken(num):
            with lock:
                in_use += num
            threading.Event().wait(0.002)
            with lock:
                seen.add((num, in_use))
                in_use -= num

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [4, 6, 3, 25, 1, 9, 25, 2] * 4))
    assert {in_use for num, in_use in seen if num == 25} == {25} and {num for num, _ in seen} == {1, 2, 3, 4, 6, 9, 25}
    assert max(in_use for num, in_use in seen if num != 25) in range(6, 11), "several at once, and never too much"


# ---- what is no file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_pipes_and_devices_are_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(pipe, bytes(4096))  # so that a reader would find something, and not wait
        for reader in READERS:
            for each in (path, Path("/dev/zero")):
                with pytest.raises(DataError, match="not a regular file"):
                    reader(each)
        assert len(os.read(pipe, 8192)) == 4096
    finally:
        os.close(pipe)


# ---- zips


def zipped(tmp_path: Path, patch: Callable[[bytearray, int, int], None]) -> Path:
    """A zip of one picture whose two headers, in the file and in its directory, are patched."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", encoded("PNG"))
    content = bytearray(path.read_bytes())
    patch(content, content.index(b"PK\3\4"), content.index(b"PK\1\2"))
    path.write_bytes(content)
    return path


def test_members_that_would_fill_the_memory_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def enlarge(content: bytearray, local: int, central: int) -> None:
        content[local + 22 : local + 26] = content[central + 24 : central + 28] = struct.pack("<I", 300 << 20)

    path = zipped(tmp_path, enlarge)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.exit("it was read"))
    with pytest.raises(DataError, match="larger than 256 MiB"):
        open_image(ImageRef("a.png", path, member="a.png"))


def test_the_way_in_which_a_member_is_packed_is_named(tmp_path: Path) -> None:
    def repack(content: bytearray, local: int, central: int) -> None:
        content[local + 8] = content[central + 10] = 9  # deflate64

    path = zipped(tmp_path, repack)
    with pytest.raises(DataError, match=r"packed in its zip in a way .*deflate64.*zip it anew"):
        open_image(ImageRef("a.png", path, member="a.png"))


# ---- sound files, and right reasons


@pytest.mark.parametrize("where", ["zTXt", "iTXt", "ICC"])
def test_png_files_with_megabytes_of_text_or_profile(tmp_path: Path, where: str) -> None:
    info, long = PngImagePlugin.PngInfo(), "workflow " * 300_000
    if where == "zTXt":
        info.add_text("prompt", long, zip=True)
    elif where == "iTXt":
        info.add_itxt("prompt", long, zip=True)
    icc = long.encode() if where == "ICC" else None
    (tmp_path / "a.png").write_bytes(encoded("PNG", Image.new("L", (4, 4), 77), pnginfo=info, icc_profile=icc))
    assert to_array(open_image(tmp_path / "a.png"), channels=1)[0, 0, 0] == 77
    assert open_original(tmp_path / "a.png").display_size == (4, 4)


@pytest.mark.parametrize("colours", [(), ((b"PLTE", b""),)])
def test_a_palette_image_without_its_palette(tmp_path: Path, colours: tuple[tuple[bytes, bytes], ...]) -> None:
    (tmp_path / "a.png").write_bytes(png(size=1, colour_type=3, body=b"\0\0", chunks=colours))
    for reader in (open_image, open_original):
        with pytest.raises(DataError, match="palette"):
            reader(tmp_path / "a.png")


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_signed_numbers_are_refused_by_name(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), dtype))
    for reader in (open_image, probe):
        with pytest.raises(DataError, match="signed numbers"):
            reader(tmp_path / "a.tif")


def test_sound_files_of_unusual_kinds_are_not_called_damaged(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    colours = np.zeros((3, 65536), np.uint16)
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((4, 4), np.uint16), photometric="palette", colormap=colours)
    odd = bytearray(encoded("BMP", Image.new("RGB", (2, 2))))
    odd[30] = 5  # PNG inside a BMP
    (tmp_path / "c.bmp").write_bytes(odd)
    assert open_image(tmp_path / "a.tif").mode == "L"
    for name, reason in (("b.tif", "1 × 16 bits, palette"), ("c.bmp", "compression")):
        with pytest.raises(DataError, match=reason) as caught:
            open_image(tmp_path / name)
        assert "16-bit grey" not in str(caught.value) and "no image" not in str(caught.value)


# ---- decoders


@pytest.mark.parametrize("error", [
    KeyError("x"), SystemError("x"), RecursionError("x"), MemoryError(), ImageCms.PyCMSError("x"), zlib.error("x"),
    struct.error("x"), OverflowError("x"), NameError("x"), SyntaxError("x"), StopIteration(),
    tifffile.TiffFileError("x"),
], ids=lambda error: type(error).__name__)  # fmt: skip
def test_no_error_of_a_decoder_leaves_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))

    def fail(self: object) -> None:
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    for reader in (open_image, open_original):
        with pytest.raises(DataError, match="memory" if isinstance(error, MemoryError) else "damaged"):
            reader(tmp_path / "a.png")


def test_what_libtiff_says_belongs_to_its_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    content = bytearray(encoded("TIFF", Image.fromarray(noise), compression="tiff_adobe_deflate"))
    content[500] ^= 0x55
    (tmp_path / "a.tif").write_bytes(content)
    (tmp_path / "b.tif").write_bytes(encoded("TIFF", compression="tiff_adobe_deflate"))

    def reason(name: str) -> str:
        try:
            return str(open_image(tmp_path / name).size)
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        bad, good = (list(pool.map(reason, [name] * 20)) for name in ("a.tif", "b.tif"))
    assert set(good) == {"(9, 7)"} and len(set(bad)) == 1 and "ZIPDecode" in bad[0]
    assert capfd.readouterr() == ("", "")
