"""16-bit colour as a whole: from one format to the other, what cannot be had, and what masks see of it."""

import errno
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from sixteen_bit_files import opened, stored

from vae_cli.errors import ConfigError, DataError, WriteError
from vae_cli.files import png_in_place, tiff_in_place
from vae_cli.files.originals import InPlaceOriginal
from vae_cli.images.decode import open_image
from vae_cli.images.samples import Samples, to_image

SIZE = (37, 53)


def picture(num_samples: int, **facts: object) -> Samples:
    pixels = np.random.default_rng(5).integers(0, 65536, (*SIZE, num_samples)).astype(np.uint16)
    alpha = "straight" if num_samples in (2, 4) else None
    return Samples(pixels, **{"num_colours": 3 if num_samples > 2 else 1, "alpha": alpha, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize("num_samples", [2, 3, 4])
@pytest.mark.parametrize(("suffix", "other"), [("png", "tif"), ("tif", "png")])
def test_one_format_becomes_the_other(tmp_path: Path, suffix: str, other: str, num_samples: int) -> None:
    described = {"orientation": 6, "icc_profile": b"a profile", "dots_per_inch": (300.0, 600.0)}
    path = stored(tmp_path / f"a.{suffix}", picture(num_samples, **described))
    assert opened(path).format == {"png": "PNG", "tif": "TIFF"}[suffix]
    assert opened(path).with_text("seed", "1").save(tmp_path / f"b.{other}", format=other) == ()
    before, after = opened(path), opened(tmp_path / f"b.{other}")
    np.testing.assert_array_equal(before.pixels, after.pixels)
    assert (after.orientation, after.icc_profile, after.alpha) == (6, b"a profile", before.alpha)
    assert after.dots_per_inch == pytest.approx((300, 600), abs=0.02)
    if other == "tif":  # and another library agrees
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), before.pixels)


@pytest.mark.parametrize(
    ("shown", "wanted", "reason"),
    [
        (picture(3), "jpg", "16-bit colour cannot be stored as JPEG"),
        (picture(3), "webp", "16-bit colour cannot be stored as WEBP"),
        (picture(4, alpha="premultiplied"), "png", "premultiplied"),
        (picture(4, alpha=None), "png", "unnamed samples"),
    ],
)
def test_what_a_format_cannot_hold(tmp_path: Path, shown: Samples, wanted: str, reason: str) -> None:
    source = tiff_in_place.TiffSource(tmp_path / "a", shown.pixels, (0, 0), 1)
    with pytest.raises(DataError, match=rf"a: .*{reason}.*--format"):
        InPlaceOriginal(**vars(shown), path=tmp_path / "a", source=source).save(tmp_path / "b", format=wanted)
    assert not (tmp_path / "b").exists()


def test_existing_and_unknown_outputs(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.png", picture(3))
    content = path.read_bytes()
    with pytest.raises(ConfigError, match="--overwrite"):
        opened(path).save(path)
    with pytest.raises(ConfigError, match="--format xyz"):
        opened(path).save(tmp_path / "b", format="xyz")
    assert path.read_bytes() == content


def test_wrong_sizes_are_a_callers_mistake() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        picture(3).with_fill(np.zeros((*SIZE[::-1], 3), np.float32), np.zeros(SIZE[::-1], bool))


def test_fills_keep_sixteen_bits() -> None:
    fill = np.random.default_rng(0).uniform(0, 255, (*SIZE, 3)).astype(np.float32)
    everywhere = np.ones(SIZE, bool)
    for orientation in range(1, 9):
        shown = picture(3, orientation=orientation)
        hole = np.ones(shown.display_size, bool)
        turned = fill if shown.display_size == SIZE else fill.swapaxes(0, 1)
        np.testing.assert_array_equal(shown.with_fill(turned, hole).display_array(3), np.rint(turned * 257))
    same = picture(4).pixels[..., :3].astype(np.float32) * np.float32(255 / 65535)  # as `denoise` gives it back
    np.testing.assert_array_equal(picture(4).with_fill(same, everywhere).pixels, picture(4).pixels)


def test_samples_of_eight_bits() -> None:
    deep = picture(4)
    shown = Samples((deep.pixels >> 8).astype(np.uint8), 3, alpha="premultiplied")
    assert shown.display_array(1).dtype == np.uint8
    opaque = Samples(shown.pixels[..., :3], 3)
    assert np.shares_memory(opaque.display_array(3), shown.pixels)
    share = shown.pixels[..., 3:] / 255
    wanted = (shown.pixels[..., :3] + np.array([0, 128, 255]) * (1 - share)).clip(0, 255)
    np.testing.assert_allclose(shown.display_array(3, (0, 128, 255)), wanted, atol=0.51)
    everywhere, fill = np.ones(SIZE, bool), np.random.default_rng(0).uniform(0, 255, (*SIZE, 3)).astype(np.float32)
    np.testing.assert_array_equal(opaque.with_fill(fill, everywhere).pixels, np.rint(fill))
    filled = shown.with_fill(fill, everywhere, opaque_hole=True).pixels
    np.testing.assert_array_equal(filled[..., :3], np.rint(fill))
    assert (filled[..., 3] == 255).all()
    np.testing.assert_array_equal(np.asarray(to_image(opaque)), opaque.pixels)


def test_what_a_model_sees() -> None:
    shown = picture(4)
    share = shown.pixels[..., 3:] / 65535
    wanted = shown.pixels[..., :3] * share + np.array([0, 128, 255]) * 257 * (1 - share)
    np.testing.assert_allclose(shown.display_array(3, (0, 128, 255)), wanted, atol=0.51)
    grey = shown.display_array(1, (0, 128, 255))
    np.testing.assert_allclose(grey, wanted @ np.array([[0.299], [0.587], [0.114]]), atol=0.51)
    plain = picture(3)
    assert np.shares_memory(plain.display_array(3), plain.pixels), "large scans are not copied"
    of_grey = picture(2, alpha=None)
    np.testing.assert_array_equal(of_grey.display_array(3), np.repeat(of_grey.pixels[..., :1], 3, axis=2))


@pytest.mark.parametrize(("num_samples", "mode"), [(2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_masks_see_eight_bits(tmp_path: Path, num_samples: int, mode: str) -> None:
    shown = picture(num_samples, orientation=6)
    image = open_image(stored(tmp_path / "a.tif", shown))
    assert (image.mode, image.size) == (mode, SIZE)
    wanted = np.rint(np.rot90(shown.pixels, -1) / 257)
    np.testing.assert_array_equal(np.asarray(image), wanted)
    Image.new("RGB", (3, 2)).save(tmp_path / "b.png")
    assert open_image(tmp_path / "b.png").size == (3, 2)


def test_a_transparent_colour_is_transparent_to_masks() -> None:
    shown = picture(3)
    keyed = picture(3, key_colour=tuple(int(value) for value in shown.pixels[0, 0]))
    alpha = np.asarray(to_image(keyed))[..., 3]
    assert alpha[0, 0] == 0 and np.count_nonzero(alpha == 255) == alpha.size - 1


@pytest.mark.parametrize("wanted", ["png", "tif"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_full_disk_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, wanted: str
) -> None:
    path = stored(tmp_path / f"a.{suffix}", picture(3))
    original = opened(path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for owner in (png_in_place, tiff_in_place):
        monkeypatch.setattr(owner, "write_new", full)
    monkeypatch.setattr(type(original.source), "write", full)
    with pytest.raises(WriteError, match="No space left"):
        original.save(tmp_path / f"b.{wanted}", format=wanted)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
