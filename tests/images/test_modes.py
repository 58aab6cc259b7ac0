"""Every Pillow mode as grey or RGB of 8 bits."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from vae_cli.images.modes import is_grey, to_array


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N", "I"])
def test_16_bit_grey_is_scaled_not_clipped(mode: str) -> None:
    values = np.array([[0, 40000, 65535, 128]])
    image = Image.new(mode, (4, 1))
    for column, value in enumerate(values[0].tolist()):
        image.putpixel((column, 0), value)
    array = to_array(image, channels=3)
    assert array[0, :, 0].tolist() == [0, 156, 255, 0]
    assert (array == array[..., :1]).all() and is_grey(image)


@pytest.mark.parametrize(
    ("mode", "colour", "on_red"),
    [
        ("RGBA", (10, 20, 30, 0), [255, 0, 0]),
        ("RGBA", (10, 20, 30, 255), [10, 20, 30]),
        ("RGBA", (0, 0, 0, 128), [127, 0, 0]),
        ("RGBa", (0, 0, 0, 0), [255, 0, 0]),
        ("LA", (200, 0), [255, 0, 0]),
        ("LA", (200, 255), [200, 200, 200]),
        ("La", (0, 0), [255, 0, 0]),
        ("PA", (0, 0), [255, 0, 0]),
    ],
)
def test_alpha_is_composited(mode: str, colour: tuple[int, ...], on_red: list[int]) -> None:
    image = Image.new(mode, (2, 2), colour)
    assert to_array(image, channels=3, background=(255, 0, 0))[0, 0].tolist() == on_red
    if colour[-1] == 0:
        assert (to_array(image, channels=3) == 255).all(), "white is the default background"
        assert (to_array(image, channels=1) == 255).all()


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), [255, 0, 0]),
        ("1", 1, [255, 255, 255]),
        ("L", 77, [77, 77, 77]),
        ("YCbCr", (77, 128, 128), [77, 77, 77]),
        ("HSV", (0, 255, 255), [255, 0, 0]),
        ("RGBX", (1, 2, 3, 0), [1, 2, 3]),
    ],
)
def test_modes_without_alpha(mode: str, colour: object, expected: list[int]) -> None:
    array = to_array(Image.new(mode, (3, 2), colour), channels=3)  # type: ignore[arg-type]
    assert array.shape == (2, 3, 3) and array.dtype == np.uint8
    assert array[0, 0].tolist() == expected
    assert to_array(Image.new(mode, (3, 2)), channels=1).shape == (2, 3, 1)


def test_lab() -> None:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(Image.new("RGB", (2, 2), (200, 30, 60)), srgb, lab, outputMode="LAB")
    assert image is not None and image.mode == "LAB"
    assert np.abs(to_array(image, channels=3)[0, 0].astype(int) - [200, 30, 60]).max() <= 3
    assert to_array(image, channels=1).shape == (2, 2, 1)


def test_grey_to_one_channel_is_exact() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(ramp)
    np.testing.assert_array_equal(to_array(image.convert("RGB"), channels=1)[..., 0], ramp)
    with pytest.raises(ValueError, match="channels"):
        to_array(image, channels=2)


def test_is_grey() -> None:
    assert is_grey(Image.new("L", (2, 2))) and is_grey(Image.new("1", (2, 2))) and is_grey(Image.new("RGB", (2, 2), 0))
    assert not is_grey(Image.new("RGB", (2, 2), (1, 2, 1)))
    palette = Image.new("RGB", (2, 2), (9, 9, 9)).convert("P")
    assert is_grey(palette)
    transparent = Image.new("LA", (2, 2), (9, 0))
    assert is_grey(transparent) and not is_grey(transparent, (255, 0, 0))
