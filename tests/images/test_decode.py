import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sixteen_bit_files import stored

from vae_cli.errors import DataError
from vae_cli.images import decode as decode_module
from vae_cli.images.decode import open_image, probe
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.modes import is_grey, to_array
from vae_cli.images.recipe import ImageRecipe
from vae_cli.images.samples import Samples

WHITE = (255, 255, 255)


def png_16_bit(colour_type: int, channels: int, size: tuple[int, int] = (2, 3), value: int = 40000) -> bytes:
    """A 16-bit PNG of one value, which Pillow cannot write in colour."""
    row = b"\0" + struct.pack(">H", value) * (size[1] * channels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size[1], size[0], 16, colour_type, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(row * size[0]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def tiff(bits: int, samples: int, pixels: bytes, size: tuple[int, int] = (1, 2)) -> bytes:
    """A little-endian baseline TIFF with one strip."""
    photometric = 2 if samples == 3 else 1
    entries = [(256, size[1]), (257, size[0]), (259, 1), (262, photometric), (277, samples), (278, size[0])]
    end = 8 + 2 + 12 * (len(entries) + 3) + 4
    fields = [(tag, 3, 1, struct.pack("<HH", value, 0)) for tag, value in entries]
    inline = struct.pack("<HH", bits, 0) if samples == 1 else struct.pack("<I", end)
    strip = ((273, end + 8), (279, len(pixels)))
    fields += [(258, 3, samples, inline), *((tag, 4, 1, struct.pack("<I", value)) for tag, value in strip)]
    directory = b"".join(struct.pack("<HHI", tag, kind, count) + data for tag, kind, count, data in sorted(fields))
    extra = struct.pack("<4H", bits, bits, bits, bits)
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + directory + b"\0\0\0\0" + extra + pixels


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


# ---- the decoding table


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_grey_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.array([[0, 40000, 65535]], np.uint16)).save(path)
    assert to_array(open_image(path), channels=1).ravel().tolist() == [0, 156, 255]


def test_other_depths_of_grey_use_their_own_range(tmp_path: Path) -> None:
    pgm = saved(tmp_path / "a.pgm", b"P5 3 1 4095\n" + struct.pack(">3H", 0, 2048, 4095))
    assert to_array(open_image(pgm), channels=1).ravel().tolist() == [0, 128, 255]
    twelve = saved(tmp_path / "a.tif", tiff(12, 1, bytes([0x00, 0x0F, 0xFF])))
    assert to_array(open_image(twelve), channels=1).ravel().tolist() == [0, 255]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_colour_is_scaled(tmp_path: Path, suffix: str) -> None:
    stored(tmp_path / f"a.{suffix}", Samples(np.array([[[0, 40000, 65535]]], np.uint16), 3))
    assert to_array(open_image(tmp_path / f"a.{suffix}"), channels=3).ravel().tolist() == [0, 156, 255]
    assert probe(tmp_path / f"a.{suffix}") == ("RGB", (1, 1))


def test_16_bit_colour_of_other_formats_fails_by_name(tmp_path: Path) -> None:
    deep = [
        saved(tmp_path / "a.ppm", b"P6 1 1 65535\n" + bytes(6)),
        saved(tmp_path / "b.ppm", b"P3 1 1 300\n1 2 3\n"),
    ]
    jpeg2000 = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG2000", no_jp2=True))
    for component in range(3):
        jpeg2000[2 + 40 + 3 * component] = 15  # depth minus one
    deep.append(saved(tmp_path / "a.jp2", bytes(jpeg2000)))
    for path in deep:
        with pytest.raises(DataError, match="16-bit colour"):
            open_image(path)


@pytest.mark.parametrize("is_bare", [True, False])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_signed_jpeg_2000_fails_by_name(mode: str, is_bare: bool, tmp_path: Path) -> None:
    content = bytearray(encoded(Image.new(mode, (8, 8)), "JPEG2000", no_jp2=is_bare))
    last_depth = content.index(b"\xff\x4f\xff\x51") + 42 + 3 * (len(mode) - 1)
    assert content[last_depth] == 7
    content[last_depth] |= 0x80
    with pytest.raises(DataError, match="signed"):
        open_image(saved(tmp_path / "a.jp2", bytes(content)))


def test_float_and_32_bit_fail_by_name(tmp_path: Path) -> None:
    Image.new("F", (2, 2), 0.5).save(tmp_path / "f.tif")
    Image.new("I", (2, 2), 5).save(tmp_path / "i.tif")
    with pytest.raises(DataError, match="floating-point"):
        open_image(tmp_path / "f.tif")
    with pytest.raises(DataError, match="32-bit"):
        open_image(tmp_path / "i.tif")
    with pytest.raises(DataError, match="floating-point"):
        to_array(Image.new("F", (2, 2), 0.5), channels=1)
    with pytest.raises(DataError, match="32-bit"):
        to_array(Image.new("I", (2, 2), 1 << 20), channels=1)


@pytest.mark.parametrize("transparency", [0, b"\0\xff"])
def test_palette_with_transparency(tmp_path: Path, transparency: object) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=transparency)
    array = to_array(open_image(tmp_path / "a.png"), channels=3, background=(9, 8, 7))
    assert array[0].tolist() == [[9, 8, 7], [0, 0, 255]]


@pytest.mark.parametrize(("mode", "key"), [("RGB", (1, 2, 3)), ("L", 7)])
def test_colour_key_transparency(tmp_path: Path, mode: str, key: object) -> None:
    Image.new(mode, (2, 2), key).save(tmp_path / "a.png", transparency=key)  # type: ignore[arg-type]
    assert (to_array(open_image(tmp_path / "a.png"), channels=3) == 255).all()


def test_the_transparent_grey_of_16_bits(tmp_path: Path) -> None:
    Image.fromarray(np.array([[300, 40000]], np.uint16)).save(tmp_path / "a.png", transparency=300)
    image = open_image(tmp_path / "a.png")
    assert to_array(image, channels=3, background=(9, 8, 7)).tolist() == [[[9, 8, 7], [156, 156, 156]]]
    assert to_array(image, channels=1).ravel().tolist() == [255, 156]
    assert is_grey(image) and not is_grey(image, (9, 8, 7))


def test_16_bit_grey_that_counts_from_white(tmp_path: Path) -> None:
    values = np.array([[0, 40000, 65535]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    assert to_array(open_image(tmp_path / "a.tif"), channels=1).ravel().tolist() == [255, 99, 0]
    tifffile.imwrite(tmp_path / "b.tif", (values >> 8).astype(np.uint8), photometric="miniswhite")
    assert to_array(open_image(tmp_path / "b.tif"), channels=1).ravel().tolist() == [255, 99, 0], "as with 8 bits"
    tifffile.imwrite(tmp_path / "c.tif", values, photometric="miniswhite", byteorder=">")
    assert to_array(open_image(tmp_path / "c.tif"), channels=1).ravel().tolist() == [255, 99, 0]


# ---- files


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    """The white corner belongs at the upper left of an image of 16 x 32."""
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :8] = 255
    undo: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.T, 6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T, 8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    stored = undo[orientation](upright) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    image = open_image(path)
    assert image.size == (32, 16) and probe(path)[1] == (16, 32)
    array = to_array(image, channels=1)[..., 0]
    assert array[:6, :6].mean() > 200 and array[10:, :].mean() < 30 and array[:, 12:].mean() < 30


def test_damaged_exif_does_not_lose_the_picture(tmp_path: Path) -> None:
    Image.new("RGB", (4, 6)).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff garbage")
    assert open_image(tmp_path / "a.jpg").size == (4, 6)
    assert probe(tmp_path / "a.jpg") == ("RGB", (6, 4))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_frame_of_animations(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    assert to_array(open_image(tmp_path / f"a.{suffix}"), channels=3)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"hello, I am no image at all", "no image"), (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no image")],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        open_image(saved(tmp_path / "a.png", content))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif"])
def test_truncated_files(tmp_path: Path, draw: Callable[..., Path], suffix: str) -> None:
    path = draw(tmp_path / f"a.{suffix}", (64, 64))
    saved(path, path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError):
        open_image(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        open_image(tmp_path / "a.png")
    with pytest.raises(DataError, match="directory"):
        open_image(tmp_path)


def test_bomb(tmp_path: Path, draw: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = draw(tmp_path / "a.png", (40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(path).size == (40, 40), "up to twice the limit Pillow only warns"
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(DataError, match="more than 200 pixels"):
            open_image(path)


def test_heic_content_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "can_read_heif", lambda: False)
    for name, content in (("a.heic", b"x"), ("renamed.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1")):
        with pytest.raises(DataError, match="pillow-heif"):
            open_image(saved(tmp_path / name, content))


def test_zip_members_and_their_troubles(tmp_path: Path, draw: Callable[..., Path]) -> None:
    content = draw(tmp_path / "a.png").read_bytes()
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.png", content)
        archive.writestr("bad.png", content)
        archive.writestr("secret.png", content)
    raw = bytearray(path.read_bytes())
    start = raw.index(b"bad.png") + len("bad.png")
    raw[start + 50] ^= 0xFF
    raw[raw.index(b"secret.png") - 30 + 6] |= 1  # encrypted, in the local header
    raw[raw.rindex(b"secret.png") - 46 + 8] |= 1  # and in the directory
    path.write_bytes(raw)
    assert open_image(ImageRef("good.png", path, member="good.png")).size == (8, 8)
    for name, reason in (("bad.png", "CRC"), ("secret.png", "encrypted"), ("gone.png", "damaged")):
        with pytest.raises(DataError, match=reason):
            open_image(ImageRef(name, path, member=name))


def test_no_warnings_and_filters_survive_threads(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8))
    image.putpalette([0, 0, 0, 0, 0, 255])
    image.save(tmp_path / "a.png", transparency=b"\0\xff")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: to_array(open_image(tmp_path / "a.png"), channels=3), range(99)))
    assert list(warnings.filters) == before


VALID = {
    "PNG": encoded(Image.radial_gradient("L").resize((9, 7)).convert("RGBA"), "PNG"),
    "PNG palette": encoded(Image.radial_gradient("L").resize((9, 7)).convert("P"), "PNG", transparency=b"\0\1"),
    "PNG 16": png_16_bit(0, 1),
    "JPEG": encoded(Image.radial_gradient("L").resize((9, 7)).convert("RGB"), "JPEG", exif=Image.Exif()),
    "JPEG CMYK": encoded(Image.new("CMYK", (9, 7)), "JPEG"),
    "GIF": encoded(Image.radial_gradient("L").resize((9, 7)), "GIF"),
    "WEBP": encoded(Image.radial_gradient("L").resize((9, 7)), "WEBP"),
    "BMP": encoded(Image.radial_gradient("L").resize((9, 7)), "BMP"),
    "TIFF": encoded(Image.radial_gradient("L").resize((9, 7)), "TIFF"),
    "TIFF LZW": encoded(Image.radial_gradient("L").resize((9, 7)), "TIFF", compression="tiff_lzw"),
    "PPM": encoded(Image.radial_gradient("L").resize((9, 7)), "PPM"),
    "PPM plain": b"P3 2 1 255\n1 2 3 4 5 6\n",
    "AVIF": encoded(Image.new("RGB", (9, 7)), "AVIF"),
    "JPEG2000": encoded(Image.radial_gradient("L").resize((9, 7)), "JPEG2000"),
}


@pytest.mark.parametrize("kind", VALID)
@settings(max_examples=60)
@given(data=st.data())
def test_any_bytes_decode_or_raise_data_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    content = bytearray(VALID[kind])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = saved(tmp_path_factory.getbasetemp() / "fuzz.img", bytes(content))
    for job in (probe, ImageRecipe((4, 4), 3, "crop", WHITE).decode):
        try:
            job(path)
        except DataError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("kind", VALID)
def test_the_unharmed_files_decode(tmp_path: Path, kind: str) -> None:
    array = ImageRecipe((4, 5), 1, "stretch", WHITE).decode(saved(tmp_path / "a.img", VALID[kind]))
    assert array.shape == (4, 5, 1)
