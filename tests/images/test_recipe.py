from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vae_cli.images.decode import open_image
from vae_cli.images.modes import to_array
from vae_cli.images.recipe import ImageRecipe, fit_to

WHITE = (255, 255, 255)


def test_right_size_is_left_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    for fit in ("crop", "pad", "stretch"):
        assert fit_to(pixels, (5, 7), fit) is pixels
    with pytest.raises(ValueError, match="fit"):
        fit_to(pixels, (5, 7), "zoom")


@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(1, 20), st.integers(1, 20),
    st.sampled_from(["crop", "pad", "stretch"]), st.sampled_from([1, 3]),
)  # fmt: skip
def test_any_size_fits(height: int, width: int, to_height: int, to_width: int, fit: str, channels: int) -> None:
    pixels = np.full((height, width, channels), 100, np.uint8)
    result = fit_to(pixels, (to_height, to_width), fit, (100, 100, 100))
    assert result.shape == (to_height, to_width, channels) and result.dtype == np.uint8
    assert (result == 100).all()


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_extreme_shapes(size: tuple[int, int], fit: str) -> None:
    assert fit_to(np.zeros((*size, 3), np.uint8), (64, 64), fit).shape == (64, 64, 3)


def test_crop_keeps_the_centre_pad_keeps_all() -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, :20], pixels[:, 20:40], pixels[:, 40:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    crop = fit_to(pixels, (10, 10), "crop")
    assert (crop[:, 3:-3] == (0, 255, 0)).all() and (crop[:, 0, 1] > 128).all()
    pad = fit_to(pixels, (30, 30), "pad", (9, 9, 9))
    assert (pad[:10] == 9).all() and (pad[20:] == 9).all()
    assert pad[15, 2].tolist() == [255, 0, 0] and pad[15, 27].tolist() == [0, 0, 255]
    assert fit_to(pixels[..., :1], (30, 30), "pad", WHITE)[0, 0, 0] == 255


def test_shrinking_is_antialiased() -> None:
    stripes = np.tile(np.array([[0], [255]], np.uint8), (32, 64))[..., None]
    assert np.abs(fit_to(stripes, (8, 8), "crop").astype(int) - 127).max() < 12


def test_big_jpegs_are_decoded_reduced_and_look_the_same(tmp_path: Path) -> None:
    y, x = np.mgrid[0:800, 0:1200]
    picture = np.stack([x * 255 // 1200, y * 255 // 800, (x + y) * 255 // 2000], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "a.jpg", quality=95, exif=exif)
    assert max(open_image(tmp_path / "a.jpg", at_least=(32, 32)).size) < 400
    reduced = ImageRecipe((32, 32), 3, "crop", WHITE).decode(tmp_path / "a.jpg")
    exact = fit_to(to_array(open_image(tmp_path / "a.jpg"), channels=3), (32, 32), "crop")
    assert np.abs(reduced.astype(int) - exact).max() <= 6
