"""Smaller copies of a page in its own TIFF file: no pages of their own, and never left with what was filled."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from vae_cli.errors import DataError
from vae_cli.files.originals import open_original
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.decode import num_pages, open_image, probe

SIZE = (32, 48)
HOLE = np.zeros(SIZE, bool)
HOLE[8:16, 16:24] = True


def picture() -> np.ndarray:
    """Smooth, and white in the hole."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    pixels = np.stack([rows * 4, columns * 3, rows + columns], axis=-1).astype(np.uint8)
    pixels[HOLE] = 255
    return pixels


def write(path: Path, place: str, **options: Any) -> Path:
    """Two pages, the first with a preview of half its size below it or behind it."""
    pixels = picture()
    preview = {"photometric": "rgb", "subfiletype": 1, **options}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, photometric="rgb", subifds=int(place == "below"), metadata=None)
        file.write(pixels[::2, ::2], metadata=None, **preview)
        file.write(255 - pixels, photometric="rgb", metadata=None)
    return path


def refilled(path: Path, **options: Any) -> tuple[Path, tuple[str, ...]]:
    filled = open_original(path).with_fill(np.full((*SIZE, 3), (10, 20, 30), np.float32), HOLE)
    return path.with_name("out.tif"), filled.save(path.with_name("out.tif"), **options)


@pytest.mark.parametrize("place", ["below", "behind"])
@pytest.mark.parametrize("compression", [None, "lzw", "jpeg"])
def test_a_preview_shows_the_fill(tmp_path: Path, place: str, compression: str | None) -> None:
    path = write(tmp_path / "a.tif", place, compression=compression)
    assert num_pages(path) == 2
    out, remarks = refilled(path)
    assert any("drawn anew" in remark for remark in remarks) == (compression == "jpeg")
    with tifffile.TiffFile(path) as old, tifffile.TiffFile(out) as new:
        before, after = (file.pages.first.pages[0] if place == "below" else file.pages[1] for file in (old, new))
        was, now = before.asarray().astype(int), after.asarray().astype(int)
        assert after.is_reduced and now.shape == was.shape
        assert np.abs(now[5:7, 9:11] - (10, 20, 30)).max() <= 1, "in the hole"
        outside = np.abs(now - was)[:, 16:]
        assert outside.max() <= (8 if compression == "jpeg" else 0)
        np.testing.assert_array_equal(new.pages[-1].asarray(), 255 - picture())
    assert b"\xff" * 24 not in out.read_bytes()[: path.stat().st_size].replace((255 - picture()).tobytes(), b""), (
        "no old byte of the hole stays"
    )


def test_a_reduced_page_is_no_page(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", "behind")
    np.testing.assert_array_equal(np.asarray(open_image(path, page=1)), 255 - picture())
    assert probe(path, 1) == ("RGB", SIZE)
    filled = open_original(path, 1).with_fill(np.full((*SIZE, 3), 9, np.float32), HOLE)
    filled.save(tmp_path / "b.tif")
    with tifffile.TiffFile(path) as old, tifffile.TiffFile(tmp_path / "b.tif") as new:
        for number in (0, 1):
            np.testing.assert_array_equal(new.pages[number].asarray(), old.pages[number].asarray())
        assert (new.pages[2].asarray()[HOLE] == 9).all()


def test_nothing_is_said_of_what_is_stripped(tmp_path: Path) -> None:
    pixels = picture()
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(pixels, photometric="rgb", subifds=2, extratags=[(37724, 7, 6, b"layers", True)], metadata=None)
        file.write(pixels, photometric="rgb", metadata=None)
        file.write(pixels[::2, ::2], photometric="rgb", compression="jpeg", subfiletype=1, metadata=None)
    assert len(refilled(tmp_path / "a.tif")[1]) == 3
    assert refilled(tmp_path / "a.tif", strip=True, overwrite=True)[1] == ()


def test_the_mask_of_a_preview_is_none(tmp_path: Path) -> None:
    """As in cloud-optimised GeoTIFFs, which hold smaller copies of a page and of what is to be seen of it."""
    path, mask = tmp_path / "a.tif", np.eye(SIZE[0] // 2, SIZE[1] // 2) > 0
    with tifffile.TiffWriter(path) as file:
        file.write(picture(), photometric="rgb", metadata=None)
        file.write(picture()[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        file.write(mask, photometric="mask", subfiletype=5, metadata=None)
    out, remarks = refilled(path)
    with tifffile.TiffFile(out) as new:
        assert (new.pages[2].photometric.name, remarks) == ("MASK", ())
        np.testing.assert_array_equal(new.pages[2].asarray(), mask)


def test_layers_that_another_program_shows_instead_are_told(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", picture(), photometric="rgb", extratags=[(37724, 7, 9, b"of layers", True)])
    assert refilled(tmp_path / "a.tif")[1] == (
        "its layers, which Photoshop shows instead of the picture, are as they were",
    )


def test_what_is_below_a_page_and_no_preview_is_told(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(picture(), photometric="rgb", subifds=1)
        file.write(picture()[..., 0], photometric="minisblack")
    _, remarks = refilled(tmp_path / "a.tif")
    assert "other pictures in its file (SubIFDs) are as they were" in remarks


def test_stripping_keeps_every_page_and_no_preview(tmp_path: Path) -> None:
    out, _ = refilled(write(tmp_path / "a.tif", "below"), strip=True)
    with tifffile.TiffFile(out) as file:
        assert len(file.pages) == 2 and file.pages.first.pages is None
        assert (file.pages[0].asarray()[HOLE] == (10, 20, 30)).all()
        np.testing.assert_array_equal(file.pages[1].asarray(), 255 - picture())


def test_a_damaged_preview_does_not_lose_the_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", "behind", compression="lzw")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[1].tags["StripOffsets"].overwrite(path.stat().st_size * 2)
    out, remarks = refilled(path)
    assert "a preview in its file is damaged, and as it was" in remarks
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[1].tags["ImageWidth"].overwrite(60000)
        file.pages[1].tags["ImageLength"].overwrite(60000)
    _, remarks = refilled(path, overwrite=True)
    assert "a preview in its file is damaged, and as it was" in remarks
    np.testing.assert_array_equal(tifffile.imread(out, key=0)[HOLE][0], (10, 20, 30))


def test_a_smaller_copy_that_claims_to_be_larger_is_not_drawn(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", "behind", compression="jpeg")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[1].tags["ImageWidth"].overwrite(200_000)
    out, remarks = refilled(path)
    assert "a preview in its file is damaged, and as it was" in remarks
    assert out.stat().st_size < 2 * path.stat().st_size


def test_absurdly_many_previews_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(picture(), photometric="rgb", metadata=None)
        for _ in range(70):
            file.write(picture()[:2, :2], photometric="rgb", subfiletype=1, metadata=None)
    with pytest.raises(DataError, match="70 smaller copies"):
        refilled(tmp_path / "a.tif")


def directory(tags: list[tuple[int, int, int, int]], following: int) -> bytes:
    packed = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<H", len(tags)) + packed + struct.pack("<I", following)


ONE_PIXEL = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
             (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 1, 1)]  # fmt: skip
HEAD = b"II*\0" + struct.pack("<I", 16) + bytes(8)


def test_one_preview_named_a_thousand_times_is_not_read_as_often(tmp_path: Path) -> None:
    """A file of 8 kB would take a second and 10 MB for each thousand."""
    num, sub = 1000, HEAD + bytes(2 + 12 * 10 + 4)
    content = HEAD + directory([*ONE_PIXEL, (330, 4, num, len(sub))], 0) + struct.pack("<I", len(sub) + 4 * num) * num
    path = tmp_path / "a.tif"
    path.write_bytes(content + directory([(254, 4, 1, 1), *ONE_PIXEL], 0))
    assert num_pages(path) == 1 and open_image(path).size == (1, 1)
    original = open_original(path).with_fill(np.zeros((1, 1, 3), np.float32), np.ones((1, 1), bool))
    with pytest.raises(DataError, match="overlaps"):
        original.save(tmp_path / "out.tif")


def test_pages_that_lie_over_one_another_are_not_all_read(tmp_path: Path) -> None:
    """Each would have 256 damaged tags, of which decoders say something each time."""
    start, num = len(HEAD) + 2 + 12 * 9 + 4, 700
    pointers = start + 2 + 12 * 256
    content = HEAD + directory(ONE_PIXEL, start) + struct.pack("<H", 256) * ((pointers - start) // 2)
    content += b"".join(struct.pack("<I", start + 4 * number) for number in range(1, num)) + bytes(12 * 256)
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with bad_bytes_are_data_errors() as heard:
        assert num_pages(path) < 5
        with pytest.raises(DataError, match="overlap"):
            open_image(path, page=600)
    assert 0 < len(heard) <= 100
