"""Pictures in every form that the API takes, and arrays that show and save themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vae_cli.api.images import Images, hole_in, pictures_in
from vae_cli.errors import ConfigError, DataError
from vae_cli.images.colours import WHITE

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
GREY = COLOUR[:, :, :1].copy()


def one(images: object, channels: int | None = 3) -> np.ndarray:
    (picture,) = pictures_in(images, channels=channels, background=WHITE)  # type: ignore[arg-type]
    return picture


def test_every_form_of_one_picture_is_the_same_array(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR)
    image.save(tmp_path / "a.png")
    tensor = torch.from_numpy(COLOUR).permute(2, 0, 1)
    forms = (image, COLOUR, COLOUR[None], [COLOUR], COLOUR / 255, COLOUR.astype(np.float32) / 255, tensor, tensor[None],
             tensor / 255, tmp_path / "a.png", str(tmp_path / "a.png"), tmp_path)  # fmt: skip
    for form in forms:
        found = one(form)
        assert found.dtype == np.uint8 and np.array_equal(found, COLOUR), type(form)


def test_channels_are_the_model_s_or_the_picture_s_own() -> None:
    assert np.array_equal(one(GREY[:, :, 0]), np.repeat(GREY, 3, axis=2))
    assert np.array_equal(one(GREY, channels=None), GREY) and one(COLOUR, channels=None).shape[2] == 3
    luma = np.asarray(Image.fromarray(COLOUR).convert("L"))
    assert np.array_equal(one(COLOUR, channels=1)[:, :, 0], luma)
    clear = np.dstack([COLOUR, np.zeros((6, 5), np.uint8)])
    assert (one(clear) == 255).all(), "what is transparent shows the background"


def test_many_pictures_in_one_call(tmp_path: Path) -> None:
    assert len(pictures_in([COLOUR, Image.fromarray(COLOUR)], channels=3, background=WHITE)) == 2
    assert len(pictures_in(np.stack([COLOUR] * 4), channels=3, background=WHITE)) == 4
    for name in ("b.png", "a.png"):
        Image.fromarray(COLOUR if name == "a.png" else 255 - COLOUR).save(tmp_path / name)
    first, second = pictures_in(tmp_path, channels=3, background=WHITE)
    assert np.array_equal(first, COLOUR) and np.array_equal(second, 255 - COLOUR)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    deep = (np.arange(30, dtype=np.uint16) * 2000).reshape(6, 5)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for form in (deep, tmp_path / "deep.png"):
        assert np.array_equal(one(form, channels=1)[:, :, 0], deep)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(np.zeros((2, 3, 4, 5, 1)), "shape"), (np.zeros((4, 4, 2), np.uint8), "shape"), (COLOUR.astype(float), "0..1"),
     (COLOUR.astype(np.int64), "int64"), (np.full((4, 4), np.nan), "0..1"), (torch.zeros(4, 4), "tensor"), (7, "int"),
     ([], "no picture"), (np.zeros((0, 4, 4, 3), np.uint8), "shape")],
)  # fmt: skip
def test_what_is_no_picture_is_refused(wrong: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        one(wrong)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.png"):
        one(tmp_path / "none.png")


def test_masks_in_every_form(tmp_path: Path) -> None:
    hole = np.zeros((6, 5), bool)
    hole[1:3, 2:4] = True
    white = hole.astype(np.uint8) * 255
    Image.fromarray(white).save(tmp_path / "mask.png")
    tensor = torch.from_numpy(hole)
    for form in (hole, white, white[..., None], hole.astype(float), tensor, tensor[None],
                 Image.fromarray(white), tmp_path / "mask.png", str(tmp_path / "mask.png")):  # fmt: skip
        assert np.array_equal(hole_in(form, (6, 5)), hole), type(form)
    with pytest.raises(DataError, match="empty"):
        hole_in(np.zeros((6, 5), bool), (6, 5))
    with pytest.raises(DataError, match="aspect"):
        hole_in(hole, (9, 5))


def test_images_are_an_array_that_shows_and_saves_itself(tmp_path: Path) -> None:
    images = Images([COLOUR, 255 - COLOUR, COLOUR])
    assert isinstance(images, np.ndarray) and images.shape == (3, 6, 5, 3) and images.dtype == np.uint8
    assert [image.size for image in images.to_pil()] == [(5, 6)] * 3
    assert np.array_equal(np.asarray(images.to_pil()[1]), 255 - COLOUR)
    assert images.grid(num_columns=3).size == (3 * 5 + 2 * 2, 6)
    png = images._repr_png_()
    assert png is not None and png.startswith(b"\x89PNG") and images[0]._repr_png_() is not None
    assert images.save(tmp_path / "grid.png") == [tmp_path / "grid.png"]
    assert [path.name for path in images.save(tmp_path / "each")] == ["000000.png", "000001.png", "000002.png"]
    with Image.open(tmp_path / "each" / "000001.png") as second:
        assert np.array_equal(np.asarray(second), 255 - COLOUR)
    with pytest.raises(ConfigError, match="exists"):
        images.save(tmp_path / "grid.png")
    images.save(tmp_path / "grid.png", overwrite=True)


def test_pictures_of_different_sizes_are_no_array() -> None:
    with pytest.raises(DataError, match="differ in size"):
        Images([COLOUR, COLOUR[:4]])
