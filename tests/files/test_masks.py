from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vae_cli.errors import ConfigError, DataError
from vae_cli.files.masks import cuts_blocks, dilate, hole_from_alpha, hole_from_color, read_hole
from vae_cli.images.colours import parse_color
from vae_cli.images.image_ref import ImageRef


def square(mode: str, ink: object, paper: object) -> Image.Image:
    """8 x 8 with a block of ink at rows 2-3, columns 4-6."""
    image = Image.new(mode, (8, 8), paper)  # type: ignore[arg-type]
    image.paste(Image.new(mode, (3, 2), ink), (4, 2))  # type: ignore[arg-type]
    return image


BLOCK = np.zeros((8, 8), bool)
BLOCK[2:4, 4:7] = True


@pytest.mark.parametrize(
    ("mode", "ink", "paper"),
    [
        ("L", 255, 0),
        ("L", 128, 127),
        ("1", 1, 0),
        ("RGB", (255, 255, 255), (0, 0, 0)),
        ("I;16", 65535, 0),
        ("I;16", 40000, 20000),
        ("LA", (0, 255), (0, 0)),
        ("RGBA", (0, 0, 0, 255), (0, 0, 0, 0)),
        ("RGBA", (0, 0, 0, 255), (255, 255, 255, 0)),
        ("RGBA", (255, 255, 255, 255), (0, 0, 0, 0)),
        ("RGBA", (255, 255, 255, 255), (255, 255, 255, 0)),
        ("RGBA", (255, 255, 255, 255), (0, 0, 0, 255)),
        ("CMYK", (0, 0, 0, 0), (0, 0, 0, 255)),
    ],
)
def test_white_or_drawn_is_the_hole(mode: str, ink: object, paper: object) -> None:
    np.testing.assert_array_equal(read_hole(square(mode, ink, paper), (8, 8)), BLOCK)


def test_palette_mask(tmp_path: Path) -> None:
    palette = Image.fromarray(BLOCK.astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_hole(tmp_path / "m.png", (8, 8)), BLOCK)


def test_orientation_of_the_mask_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.rot90(np.pad(BLOCK, ((0, 0), (0, 4))), 1)
    Image.fromarray(np.ascontiguousarray(stored).astype(np.uint8) * 255).save(tmp_path / "m.png", exif=exif)
    np.testing.assert_array_equal(read_hole(tmp_path / "m.png", (8, 12)), np.pad(BLOCK, ((0, 0), (0, 4))))


def test_same_aspect_ratio_is_scaled_by_nearest_neighbour() -> None:
    mask = square("L", 255, 0)
    np.testing.assert_array_equal(read_hole(mask, (16, 16)), BLOCK.repeat(2, 0).repeat(2, 1))
    assert read_hole(mask, (1000, 1009)).shape == (1000, 1009)
    for size in ((8, 9), (1000, 1011), (16, 8)):
        with pytest.raises(DataError, match="aspect"):
            read_hole(mask, size)


def test_empty_and_full_masks_fail() -> None:
    with pytest.raises(DataError, match="it holds 127, and white"):
        read_hole(Image.new("L", (8, 8), 127), (8, 8))
    with pytest.raises(DataError, match=r"whole image.*: it holds 255"):
        read_hole(Image.new("L", (8, 8), 255), (8, 8))
    with pytest.raises(DataError, match="whole image"):
        read_hole(square("L", 255, 0), (8, 8), dilate_pixels=8)
    with pytest.raises(DataError, match="empty after inversion"):
        read_hole(Image.new("L", (8, 8), 255), (8, 8), invert=True)


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "LA", "PA", "RGB", "RGBA", "1"])
def test_the_value_of_the_hole(mode: str, tmp_path: Path) -> None:
    """Of 0/1 masks and label maps, whatever they look like: the palette shows every class in black."""
    mask = Image.fromarray(BLOCK.astype(np.uint16 if mode == "I;16" else np.uint8))
    if mode in ("P", "PA"):
        mask = Image.fromarray(BLOCK.astype(np.uint8))
        mask.putpalette([0, 0, 0] * 256)
    mask = Image.fromarray(BLOCK) if mode == "1" else mask if mask.mode == mode else mask.convert(mode)
    np.testing.assert_array_equal(read_hole(mask, (8, 8), value=1), BLOCK)
    np.testing.assert_array_equal(read_hole(mask, (16, 16), value=0), ~BLOCK.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(read_hole(mask, (8, 8), value=1, invert=True), ~BLOCK)
    if mode != "1":
        with pytest.raises(DataError, match=r"it holds 0, 1, and white .128 or more. is the hole; --mask-value 1 "):
            read_hole(mask, (8, 8))
        with pytest.raises(DataError, match="it holds 0, 1, and white"):
            read_hole(mask, (8, 8), invert=True)
    with pytest.raises(DataError, match=r"the mask is empty: it holds 0, 1$"):
        read_hole(mask, (8, 8), value=7)


def test_the_message_tells_what_a_label_map_holds() -> None:
    labels = np.zeros((8, 8), np.uint16)
    labels[0, :3] = 5, 15, 20
    with pytest.raises(DataError, match=r"it holds 0, 5, 15, 20, and white .*--mask-value N makes it what is N"):
        read_hole(Image.fromarray(labels.astype(np.uint8)), (8, 8))
    assert read_hole(Image.fromarray(labels * 1000), (8, 8), value=15000).sum() == 1
    with pytest.raises(DataError, match="it holds 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 to 63, and"):
        read_hole(Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)), (8, 8))
    coloured = square("RGB", (1, 0, 0), (0, 0, 0))
    with pytest.raises(DataError, match="in colour; --mask-value"):
        read_hole(coloured, (8, 8), value=1)
    with pytest.raises(DataError, match="it holds colours, the brightest of brightness 0, and white"):
        read_hole(coloured, (8, 8))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("value", [None, 255])
def test_masks_turned_by_their_orientation(suffix: str, value: int | None, tmp_path: Path) -> None:
    exif, shown = Image.Exif(), np.pad(BLOCK, ((0, 8), (0, 0))).repeat(8, 0).repeat(8, 1)
    exif[0x0112] = 8
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(shown, -1)).astype(np.uint8) * 255)
    options = {"lossless": True} if suffix == "webp" else {"quality": 100} if suffix == "jpg" else {}
    stored.save(tmp_path / f"m.{suffix}", exif=exif, **options)
    np.testing.assert_array_equal(read_hole(tmp_path / f"m.{suffix}", shown.shape, value=value), shown)


def test_invert_comes_before_dilation() -> None:
    hole = read_hole(square("L", 255, 0), (8, 8), invert=True)
    np.testing.assert_array_equal(hole, ~BLOCK)
    grown = read_hole(square("L", 255, 0), (8, 8), dilate_pixels=1)
    assert grown[1:5, 3:8].all() and grown.sum() == 20


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 14), st.integers(0, 99))
def test_dilation_by_definition(height: int, width: int, num_pixels: int, seed: int) -> None:
    hole = np.random.default_rng(seed).random((height, width)) < 0.1
    expected = np.zeros_like(hole)
    for row, column in np.argwhere(hole):
        top, left = max(0, row - num_pixels), max(0, column - num_pixels)
        expected[top : row + num_pixels + 1, left : column + num_pixels + 1] = True
    np.testing.assert_array_equal(dilate(hole, num_pixels), expected)


def test_hole_from_color() -> None:
    image = square("RGB", (255, 0, 255), (250, 0, 255))
    np.testing.assert_array_equal(hole_from_color(image, "#ff00ff"), BLOCK)
    with pytest.raises(DataError, match="whole image"):
        hole_from_color(Image.new("RGB", image.size, "magenta"), "#f0f")
    with pytest.raises(DataError, match="no pixel has the colour"):
        hole_from_color(image, "lime")
    palette = square("RGB", (255, 0, 255), (0, 0, 9)).convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(hole_from_color(palette, "magenta"), BLOCK)
    transparent = square("RGBA", (255, 0, 255, 0), (0, 0, 9, 255))
    np.testing.assert_array_equal(hole_from_color(transparent, "#ff00ff"), BLOCK)
    keyed = square("RGB", (255, 0, 255), (0, 0, 9))
    keyed.info["transparency"] = (255, 0, 255)
    np.testing.assert_array_equal(hole_from_color(keyed, "#ff00ff"), BLOCK)
    palette.info["transparency"] = palette.getpixel((4, 2))
    np.testing.assert_array_equal(hole_from_color(palette, "magenta"), BLOCK)


def test_hole_from_alpha() -> None:
    np.testing.assert_array_equal(hole_from_alpha(square("RGBA", (1, 2, 3, 127), (1, 2, 3, 128))), BLOCK)
    np.testing.assert_array_equal(hole_from_alpha(square("LA", (1, 0), (1, 255))), BLOCK)
    with pytest.raises(DataError, match="no transparency"):
        hole_from_alpha(square("RGB", (0, 0, 0), (1, 1, 1)))
    with pytest.raises(DataError, match="no pixel is transparent"):
        hole_from_alpha(Image.new("RGBA", (4, 4), (0, 0, 0, 255)))


def test_unreadable_mask_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"nothing")
    with pytest.raises(DataError):
        read_hole(tmp_path / "m.png", (8, 8))


@pytest.mark.parametrize(
    ("text", "colour"), [("#f0f", (255, 0, 255)), ("#ff8000", (255, 128, 0)), ("White", (255, 255, 255))]
)
def test_colours(text: str, colour: tuple[int, int, int]) -> None:
    assert parse_color(text) == colour


@pytest.mark.parametrize("text", ["", "#ff", "nocolour", "#ff00ff80", "255,0,0"])
def test_bad_colours(text: str) -> None:
    with pytest.raises(ConfigError, match="colour"):
        parse_color(text)


def test_an_unreadable_mask_is_blamed_itself(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_text("no picture")
    with pytest.raises(DataError, match=r"its mask m\.png: "):
        read_hole(ImageRef("m.png", tmp_path / "m.png"), (8, 8))


def test_the_transparent_grey_of_16_bits(tmp_path: Path) -> None:
    Image.fromarray(np.array([[300, 40000, 65535]], np.uint16)).save(tmp_path / "a.png", transparency=300)
    with Image.open(tmp_path / "a.png") as image:
        assert hole_from_alpha(image).tolist() == [[True, False, False]]
        assert hole_from_color(image, "#ffffff").tolist() == [[False, False, True]]
        assert hole_from_color(image, "#010101").tolist() == [[True, False, False]], "what transparency hides"
    assert read_hole(ImageRef("a.png", tmp_path / "a.png"), (1, 3)).tolist() == [[False, True, True]]


def test_holes_that_cut_blocks_of_a_jpeg() -> None:
    hole = np.zeros((20, 24), bool)
    hole[8:16, :8] = hole[16:, 16:] = True
    assert not cuts_blocks(hole), "whole blocks, the last ones cut off by the edge"
    hole[0, 9] = True
    assert cuts_blocks(hole)
