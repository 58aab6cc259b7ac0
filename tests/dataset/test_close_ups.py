"""Close-ups: where they are cut, how close they are, and that they come with what the file shows there."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vae_cli.dataset.close_ups import LEAST_ZOOM, decode_patches, load_patches, patch_boxes, sources, zoom_of
from vae_cli.dataset.image_statistics import picture_sizes
from vae_cli.dataset.scan import scan
from vae_cli.images.colours import WHITE
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.recipe import ImageRecipe

Draw = Callable[..., Path]
sides = st.integers(1, 3000)


def recipe(side: int, channels: int) -> ImageRecipe:
    return ImageRecipe((side, side), channels, "crop", WHITE)


def ramp(path: Path, size: tuple[int, int], **saving: object) -> ImageRef:
    """Red grows by one from row to row, green from column to column."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(size[0])[:, None], np.arange(size[1])
    Image.fromarray(pixels).save(path, **saving)
    return ImageRef(path.name, path)


def test_zoom_counts_halvings() -> None:
    assert zoom_of(1.0, (256, 256), (64, 64)) == 2
    assert zoom_of(4.0, (256, 256), (64, 64)) == 0
    assert zoom_of(2.0, (256, 1024), (64, 64)) == 1, "the whole is what the smaller side allows"
    assert zoom_of(1.0, (100, 20), (64, 64)) == 0, "a small picture is never seen closer than whole"


@given(sides, sides, st.integers(1, 16))
def test_patches_lie_inside_and_are_as_close_as_they_say(height: int, width: int, num: int) -> None:
    boxes, zooms = patch_boxes("cat/ä.jpg", (height, width), (32, 48), num)
    assert len(boxes) == len(zooms) == num
    most = zoom_of(1.0, (height, width), (32, 48))
    for (left, top, right, bottom), zoom in zip(boxes, zooms, strict=True):
        assert 0 <= left < right <= width + 1e-6 and 0 <= top < bottom <= height + 1e-6
        assert (bottom - top) / (right - left) == pytest.approx(32 / 48, rel=1e-6)
        if most > LEAST_ZOOM:
            assert LEAST_ZOOM <= zoom <= most + 1e-9
            assert zoom_of((bottom - top) / 32, (height, width), (32, 48)) == pytest.approx(zoom, abs=1e-6)
        else:
            assert zoom == 0


def test_patches_follow_from_the_id_and_cover_all_scales() -> None:
    boxes, zooms = patch_boxes("a.jpg", (1024, 1024), (64, 64), 8)
    assert (boxes, zooms) == patch_boxes("a.jpg", (1024, 1024), (64, 64), 8)
    assert boxes != patch_boxes("b.jpg", (1024, 1024), (64, 64), 8)[0]
    assert zooms == sorted(zooms) and zooms[0] < 1 and zooms[-1] > 3.5
    many = [patch_boxes(str(number), (640, 640), (64, 64), 1)[0][0] for number in range(400)]
    centres = np.array([((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in many])
    assert (abs(centres.mean(0) - 320) < 30).all() and (centres.std(0) > 60).all(), "they lie anywhere"


def test_patches_show_what_the_file_shows_there(tmp_path: Path) -> None:
    ref = ramp(tmp_path / "a.png", (200, 250))
    patches = decode_patches(ref, recipe(16, 3), 6)
    boxes, _ = patch_boxes("a.png", (200, 250), (16, 16), 6)
    assert patches.shape == (6, 16, 16, 3) and patches.dtype == np.uint8
    for patch, (left, top, right, bottom) in zip(patches, boxes, strict=True):
        assert patch[..., 0].mean() == pytest.approx((top + bottom - 1) / 2, abs=1)
        assert patch[..., 1].mean() == pytest.approx((left + right - 1) / 2, abs=1)
        assert float(patch[-1, 0, 0]) - float(patch[0, 0, 0]) == pytest.approx((bottom - top) * 15 / 16, abs=3)


def test_patches_are_cut_from_the_picture_as_displayed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    ref = ramp(tmp_path / "turned.png", (100, 200), exif=exif)
    loaded = load_patches([ref], picture_sizes([ref]), 4, recipe(16, 3))
    upright = np.rot90(np.asarray(Image.open(ref.path)), -1)
    boxes, zooms = patch_boxes("turned.png", (200, 100), (16, 16), 4)
    for patch, (left, top, right, bottom) in zip(loaded.pixels, boxes, strict=True):
        part = upright[round(top) : round(bottom), round(left) : round(right)]
        np.testing.assert_allclose(patch.mean((0, 1)), part.mean((0, 1)), atol=2)
    assert loaded.zooms is not None and loaded.zooms.tolist() == pytest.approx(zooms)


def test_loaded_patches_know_their_image_and_come_from_the_cache(tmp_path: Path, draw: Draw, cache: Path) -> None:
    for number, side in enumerate((64, 8, 40)):
        draw(tmp_path / f"data/{number}.png", (side, side), seed=number)
    (tmp_path / "data/broken.png").write_bytes(b"\x89PNG cut off")
    refs = scan(tmp_path / "data").images
    sizes = picture_sizes(refs)
    assert sizes == [(64, 64), (8, 8), (40, 40), None]
    first = load_patches(refs, sizes, 3, recipe(8, 1))
    assert first.pixels.shape == (9, 8, 8, 1) and first.labels.tolist() == [-1] * 9
    assert first.ids == ("0.png",) * 3 + ("1.png",) * 3 + ("2.png",) * 3
    assert first.zooms is not None and (first.zooms > 0).tolist() == [True] * 3 + [False] * 3 + [True] * 3
    stamps = {path: path.stat().st_ino for path in cache.iterdir()}
    again = load_patches(refs, sizes, 3, recipe(8, 1))
    np.testing.assert_array_equal(again.pixels, first.pixels)
    assert {path: path.stat().st_ino for path in cache.iterdir()} == stamps
    expected = first.pixels[:].copy()
    next(cache.glob("*.u8")).write_bytes(bytes(first.pixels.nbytes))
    np.testing.assert_array_equal(first.pixels[[7, 0]], expected[[7, 0]], "decoded anew, as the entry is damaged")
    assert len(load_patches(refs, sizes, 2, recipe(8, 1)).pixels) == 6


def test_the_same_file_under_another_id_is_cut_elsewhere(tmp_path: Path, draw: Draw, cache: Path) -> None:
    path = draw(tmp_path / "data/sub/a.png", (64, 64))
    one, other = (load_patches([ImageRef(name, path)], [(64, 64)], 2, recipe(8, 3)) for name in ("a.png", "sub/a.png"))
    assert not np.array_equal(one.pixels, other.pixels)


def test_few_images_give_many_patches_each_and_many_a_few() -> None:
    large, small = (400, 400), (70, 60)
    assert sources([large] * 10, (64, 64), 8000) == (list(range(10)), 64)
    assert sources([large] * 10, (64, 64), 200) == (list(range(10)), 20)
    chosen, num = sources([large] * 1000, (64, 64), 8000)
    assert num == 16 and len(chosen) == 500 and chosen[0] == 0 and chosen[-1] == 999
    assert sources([small, large, None, large], (64, 64), 100)[0] == [1, 3], "only from those far larger than the model"
    assert sources([small, None], (64, 64), 10) == sources([], (64, 64), 10) == ([], 0)


def test_huge_images_are_decoded_less_often() -> None:
    """A hundred of 24 megapixels would take minutes."""
    chosen, num = sources([(4000, 6000)] * 500, (64, 64), 8000)
    assert len(chosen) == 83 and num == 64
    assert sources([(4000, 6000)], (64, 64), 10) == ([0], 10), "but one of them always"
