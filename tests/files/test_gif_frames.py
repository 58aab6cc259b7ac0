"""GIF files: only the first frame's pixels are replaced, and what is transparent stays so."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from originals import HEIGHT, WIDTH, encoded, noise, refilled, shown
from PIL import Image

from vae_cli.errors import DataError
from vae_cli.files import gif_frames
from vae_cli.images.decode import open_image


def palette_image(num_colours: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Image.Image:
    image = Image.fromarray(noise(*size, below=num_colours), "P")
    image.putpalette(noise(num_colours, 3).tobytes())
    return image


def small_frame(content: bytes, left: int, top: int, canvas: tuple[int, int] = (WIDTH + 9, HEIGHT + 11)) -> bytes:
    """The GIF with its first frame at that place of a larger canvas."""
    frame = content.index(b",\0\0\0\0")
    data = bytearray(content)
    struct.pack_into("<2H", data, 6, *canvas)
    struct.pack_into("<2H", data, frame + 1, left, top)
    return bytes(data)


@pytest.mark.parametrize("num_colours", [3, 5, 16, 200, 256])
@pytest.mark.parametrize("transparent", [None, 0, "last"])
@pytest.mark.parametrize("interlace", [0, 1])
def test_palette_and_transparency_stay(
    tmp_path: Path, num_colours: int, transparent: int | str | None, interlace: int
) -> None:
    number = num_colours - 1 if transparent == "last" else transparent
    options = {} if number is None else {"transparency": number}
    content = encoded(
        palette_image(num_colours), "GIF", optimize=False, interlace=interlace, comment=b"mine", **options
    )
    before, after, hole, remarks = refilled(tmp_path / "a.gif", content)
    new = (tmp_path / "out.gif").read_bytes()
    pixels = content.index(b",\0\0\0\0") + 10
    assert new[:pixels] == content[:pixels] and not remarks
    np.testing.assert_array_equal(shown(before)[~hole], shown(after)[~hole])
    assert (shown(before)[hole] != shown(after)[hole]).any()
    assert after.image.info.get("transparency") == number and after.image.info["comment"] == b"mine"
    if number is not None:
        clear = np.asarray(before.image) == number
        np.testing.assert_array_equal(clear, np.asarray(after.image) == number)


@pytest.mark.parametrize("num_colours", [2, 16, 256])
def test_other_frames_stay(tmp_path: Path, num_colours: int) -> None:
    frames = [palette_image(num_colours).rotate(angle) for angle in (0, 90, 180)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=[10, 20, 30], loop=3)
    _, after, _, remarks = refilled(tmp_path / "a.gif", content)
    new = (tmp_path / "out.gif").read_bytes()
    second = content.index(b"!\xf9\x04", content.index(b",\0\0\0\0"))
    assert new.endswith(content[second:]) and after.num_frames == 3
    assert remarks == ("only the first frame is changed, the others are as they were",)
    stripped = gif_frames.without_metadata(content, b"")
    assert Image.open(BytesIO(stripped)).n_frames == 3 and Image.open(BytesIO(stripped)).info["loop"] == 3


@pytest.mark.parametrize("num_colours", [2, 16, 250])
@pytest.mark.parametrize("transparent", [None, 1])
@pytest.mark.parametrize("place", [(0, 0), (9, 11), (4, 0), (0, 5)])
def test_around_a_small_frame_it_is_transparent(
    tmp_path: Path, num_colours: int, transparent: int | None, place: tuple[int, int]
) -> None:
    options = {} if transparent is None else {"transparency": transparent}
    content = small_frame(encoded(palette_image(num_colours), "GIF", optimize=False, **options), *place)
    before, after, hole, _ = refilled(tmp_path / "a.gif", content)
    left, top = place
    around = np.ones((HEIGHT + 11, WIDTH + 9), bool)
    around[top : top + HEIGHT, left : left + WIDTH] = False
    assert (before.display_array(3, (9, 8, 7))[around] == (9, 8, 7)).all(), "what the model sees"
    assert (np.asarray(open_image(tmp_path / "a.gif").convert("RGBA"))[around, 3] == 0).all(), "in training, too"
    np.testing.assert_array_equal(shown(before)[~hole], shown(after)[~hole])
    assert (after.display_array(3, (9, 8, 7))[around] == (9, 8, 7)).all()


@pytest.mark.parametrize("transparent", [None, 3])
def test_a_fill_outside_the_frame_is_seen(tmp_path: Path, transparent: int | None) -> None:
    """The frame grows, or the file is written anew with one more colour where none is transparent."""
    options = {} if transparent is None else {"transparency": transparent}
    content = small_frame(encoded(palette_image(16, (4, 5)), "GIF", optimize=False, **options), 0, 0)
    before, after, hole, _ = refilled(tmp_path / "a.gif", content, opaque=True)
    assert (after.display_array(3, (9, 8, 7))[hole] != (9, 8, 7)).any(-1).all()
    np.testing.assert_array_equal(shown(before)[~hole], shown(after)[~hole])


def test_a_damaged_later_frame_is_no_fault_of_the_first(tmp_path: Path) -> None:
    frames = [palette_image(16).rotate(angle) for angle in (0, 180)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    before, after, hole, _ = refilled(tmp_path / "a.gif", content[: 3 * len(content) // 4])
    np.testing.assert_array_equal(shown(before)[~hole], shown(after)[~hole])


def test_an_end_that_is_missing_is_no_fault_of_the_frame(tmp_path: Path) -> None:
    content = encoded(palette_image(16), "GIF", optimize=False)
    before, after, hole, _ = refilled(tmp_path / "a.gif", content[:-2])
    np.testing.assert_array_equal(shown(before)[~hole], shown(after)[~hole])


def test_a_frame_that_is_cut_off_is_called_so(tmp_path: Path) -> None:
    content = encoded(palette_image(16), "GIF", optimize=False)
    with pytest.raises(DataError, match="cut off"):
        refilled(tmp_path / "a.gif", content[: 3 * len(content) // 4])


def test_what_another_format_cannot_keep_is_named(tmp_path: Path) -> None:
    content = encoded(Image.new("P", (4, 4)), "GIF", save_all=True, append_images=[Image.new("P", (4, 4), 1)], loop=3)
    xmp = b"\x21\xff\x0bXMP DataXMP\3<a>\0"
    assert gif_frames.other_metadata(content) == ()
    assert gif_frames.other_metadata(content[:-1] + xmp + xmp.replace(b"XMP Data", b"ABC Data") + b";") == (
        "XMP", "application data",
    )  # fmt: skip


def test_no_fill_becomes_a_number_that_the_palette_of_a_grey_gif_lacks(tmp_path: Path) -> None:
    """Pillow hides a palette that is a ramp: numbers behind its end, too, would come back as they were written."""
    image = Image.fromarray(noise(HEIGHT, WIDTH, below=16), "P")
    image.putpalette(np.repeat(np.arange(16), 3).tolist())
    _, after, hole, remarks = refilled(tmp_path / "a.gif", encoded(image, "GIF", optimize=False))
    assert not remarks and (np.asarray(after.image)[hole] == 15).all()


@pytest.mark.parametrize("opaque", [True, False])
def test_the_transparent_number_of_a_grey_gif(tmp_path: Path, opaque: bool) -> None:
    pixels = noise(HEIGHT, WIDTH)
    pixels[:15, :20] = key = 97  # of all greys the nearest to the fill
    content = encoded(Image.fromarray(pixels), "GIF", transparency=key, optimize=False)
    before, after, hole, _ = refilled(tmp_path / "a.gif", content, opaque=opaque)
    was_clear, is_clear = (np.asarray(each.image) == key for each in (before, after))
    assert was_clear[hole].any()
    np.testing.assert_array_equal(is_clear, was_clear & ~hole if opaque else was_clear)
