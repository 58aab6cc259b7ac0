"""What a model has made of a picture goes back into the original, and what did not change stays as it was."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vae_cli.files.originals import open_original
from vae_cli.files.write_back import own_colours, with_changes

WHITE = (255, 255, 255)


def opened(path: Path, image: Image.Image) -> Any:
    image.save(path)
    original = open_original(path)
    return original, original.display_array(3, WHITE)


def test_half_transparent_pixels_stay_and_opaque_ones_change(tmp_path: Path) -> None:
    pixels = np.full((6, 8, 4), (200, 40, 40, 255), np.uint8)
    pixels[:, :3, 3] = 128
    original, shown = opened(tmp_path / "a.png", Image.fromarray(pixels))
    after = with_changes(original, shown, shown + np.float32(10), WHITE).pixels
    assert np.array_equal(after[:, :3], pixels[:, :3])
    assert (after[:, 3:, :3] == pixels[:, 3:, :3] + 10).all() and (after[:, 3:, 3] == 255).all()


@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "P", "L", "1"])
def test_without_a_change_nothing_is_touched(tmp_path: Path, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    image = Image.fromarray(noise, "CMYK") if mode == "CMYK" else Image.fromarray(noise, "RGBA").convert(mode)
    original, shown = opened(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), image)
    same = with_changes(original, shown, shown.astype(np.float32), WHITE)
    assert np.array_equal(same.pixels, original.pixels)


@pytest.mark.parametrize(("mode", "alpha"), [("RGBA", 128), ("RGBA", 30), ("LA", 128), ("RGBA", 255), ("RGBA", 0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_fill_looks_as_wanted_through_half_transparent_pixels(
    tmp_path: Path, mode: str, alpha: int, channels: int
) -> None:
    background, hole = (0, 200, 100), np.zeros((6, 8), bool)
    hole[2:4, 3:6] = True
    image = Image.new("RGBA", (8, 6), (90, 90, 90, alpha))
    original, _ = opened(tmp_path / "a.png", image.convert(mode))
    wanted = original.display_array(channels, background).astype(np.float32)
    pixels = own_colours(original, wanted, hole, background)
    shown = original.with_fill(pixels, hole).display_array(channels, background).astype(np.float32)
    np.testing.assert_allclose(shown, wanted, atol=1.5)
    if alpha > 0:
        np.testing.assert_allclose(pixels[hole], 90, atol=255 / alpha, err_msg="something of the background")
    assert (pixels[~hole] == wanted[~hole]).all()


def test_colours_take_over_the_brightness_of_a_grey_models_change(tmp_path: Path) -> None:
    pixels = np.full((6, 8, 3), (200, 40, 90), np.uint8)
    original, _ = opened(tmp_path / "a.png", Image.fromarray(pixels))
    grey = original.display_array(1, WHITE)
    after = with_changes(original, grey, grey + np.float32(10), WHITE).pixels
    assert (after == pixels + 10).all()
