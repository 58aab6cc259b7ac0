"""Images as the user stored them, written back with nothing changed but the pixels of a hole.

`open_original` keeps the stored mode, depth and orientation; `Original.display_array` is what a model sees and
`Original.with_fill` takes its answer back. How files are written is in `original_files`.
"""

import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

from vae_cli.data import original_files
from vae_cli.data.decode import probe, to_array
from vae_cli.data.original_files import displayed_image
from vae_cli.errors import DataError

_ORIENTATION_TAG = 274
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_FILLABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", *_SIXTEEN_BIT_MODES)
# What Pillow's plugins raise on bad bytes. Nothing wider: running out of memory is no fault of the file.
_BAD_BYTES = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError),
    *(EOFError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError),
)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_INVERSE_ORIENTATION = {6: 8, 8: 6}


@dataclass(frozen=True)
class Original:
    """The first frame of an image file as stored: not rotated, in its own mode and depth.

    `facts` are what the file's format needs for writing it alike (see `original_files.facts_of`).
    """

    path: Path
    image: Image.Image
    orientation: int
    format: str
    num_frames: int
    facts: Mapping[str, Any]

    @property
    def mode(self) -> str:
        return self.image.mode

    @property
    def info(self) -> Mapping[str | tuple[int, int], Any]:
        """Pillow's facts about the file: icc_profile, dpi, exif, transparency, ..."""
        return self.image.info

    @property
    def is_sixteen_bit(self) -> bool:
        return self.mode in _SIXTEEN_BIT_MODES

    @property
    def display_size(self) -> tuple[int, int]:
        """(height, width) after EXIF orientation."""
        width, height = self.image.size
        return (width, height) if self.orientation >= 5 else (height, width)

    def display_array(self, channels: int, background: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
        """[H, W, channels] as displayed: uint8, or uint16 at full precision for 16-bit grey."""
        if self.is_sixteen_bit:
            grey = as_displayed(np.asarray(self.image), self.orientation).astype(np.uint16)
            return np.repeat(grey[:, :, None], channels, axis=2)
        upright = displayed_image(self.image, self.orientation)
        return to_array(upright, channels=channels, background=background)

    def with_fill(self, fill: np.ndarray, hole: np.ndarray, *, opaque_hole: bool = False) -> "Original":
        """A copy whose hole pixels show `fill`; every other pixel keeps its stored value.

        fill: float32 [H, W, 1 or 3] in 0..255, hole: bool [H, W], both as displayed. Alpha is kept, or opaque in the
        hole. Palette images take the nearest entry of the same alpha. Raises ValueError when sizes differ.
        """
        if hole.shape != self.display_size or fill.shape[:2] != hole.shape:
            raise ValueError(f"fill {fill.shape} and hole {hole.shape} do not fit an image of {self.display_size}")
        stored_hole = as_stored(hole, self.orientation)
        colours = as_stored(fill, self.orientation)[stored_hole].astype(np.float32)  # [N, 1 or 3]
        pixels = np.array(self.image)
        pixels[stored_hole] = _stored_values(self.image, colours, pixels[stored_hole], opaque_hole)
        image = self.image.copy()  # keeps palette and info
        image.frombytes(pixels.tobytes(), "raw", "1;8" if self.mode == "1" else self.mode)
        return replace(self, image=image)

    def save(self, path: Path, *, format: str = "keep", overwrite: bool = False) -> tuple[str, ...]:
        """Write the image atomically, by default in the format it came in; returns remarks for the user.

        Raises ConfigError when path exists or the format is unknown, DataError when the format cannot hold the
        image, WriteError when the disk refuses.
        """
        return original_files.save(self, path, format=format, overwrite=overwrite)


def open_original(path: Path) -> Original:
    """Read an image file as stored. Raises DataError naming the file when it cannot be kept bit for bit."""
    try:
        probe(path)  # refuses what Pillow would silently reduce
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                orientation, image_format = _orientation(image), image.format or ""
                facts = original_files.facts_of(image, path)
                image.load()
                stored = _as_in_file(image, orientation)
                num_frames = getattr(image, "n_frames", 1)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except _BAD_BYTES as error:
        raise DataError(f"{path}: damaged or unsupported ({error or type(error).__name__})") from error
    if stored.mode not in _FILLABLE_MODES:
        raise DataError(f"{path}: images of mode {stored.mode} cannot be filled; convert it to PNG or TIFF first")
    return Original(path, stored, orientation, image_format, num_frames, facts)


def lossless_format(original: Original, format: str = "keep") -> bool:
    """Whether `original.save(..., format=format)` keeps every pixel value exactly."""
    return original_files.is_lossless(original, format)


def as_displayed(array: np.ndarray, orientation: int) -> np.ndarray:
    """A view of a stored [H, W, ...] array as EXIF orientation 1..8 asks to show it."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def as_stored(array: np.ndarray, orientation: int) -> np.ndarray:
    """Inverse of `as_displayed`."""
    return as_displayed(array, _INVERSE_ORIENTATION.get(orientation, orientation))


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    return orientation if orientation in range(1, 9) else 1


def _as_in_file(image: Image.Image, orientation: int) -> Image.Image:
    """A plain copy of a loaded image, as stored: Pillow alone rotates TIFF files on loading."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return displayed_image(image, _INVERSE_ORIENTATION.get(orientation, orientation)).copy()
    return image.copy()


def _stored_values(image: Image.Image, colours: np.ndarray, stored: np.ndarray, opaque_hole: bool) -> np.ndarray:
    """Values of `image`'s mode for colours float32 [N, 1 or 3] that replace `stored` [N] or [N, bands]."""
    if image.mode == "P":
        return _palette_indices(image, colours, stored, opaque_hole)
    if image.mode == "PA":
        values = stored.copy()
        values[:, 0] = _nearest(_palette(image)[:, :3], _as_rgb(colours))
    elif image.mode in ("LA", "RGBA", "RGBX"):
        values = stored.copy()
        values[:, :-1] = _round(_as_grey(colours)[:, None] if image.mode == "LA" else _as_rgb(colours))
    else:
        return _keep_key_colour(image, _opaque_values(image.mode, colours), stored, opaque_hole)
    if opaque_hole and image.mode != "RGBX":
        values[:, -1] = 255
    return values


def _opaque_values(mode: str, colours: np.ndarray) -> np.ndarray:
    """Values of a mode without alpha, [N] or [N, bands]."""
    if mode == "1":
        return _as_grey(colours) >= 128
    if mode == "L":
        return _round(_as_grey(colours))
    if mode in _SIXTEEN_BIT_MODES:
        return np.rint(_as_grey(colours) * 257).clip(0, 65535).astype(np.int32)
    rgb = _round(_as_rgb(colours))
    if mode == "RGB":
        return rgb
    strip = Image.fromarray(rgb[None])
    return np.asarray(_rgb_to_lab(strip) if mode == "LAB" else strip.convert(mode))[0]


def _keep_key_colour(image: Image.Image, values: np.ndarray, stored: np.ndarray, opaque_hole: bool) -> np.ndarray:
    """PNGs may declare one colour transparent: what had it keeps it (that is its alpha), no other pixel gets it."""
    key = image.info.get("transparency")
    if key is None or image.mode not in ("L", "RGB", "I;16"):
        return values
    values = values.astype(stored.dtype)
    has_key = (values == key).reshape(len(values), -1).all(axis=1)
    last = values[..., -1] if values.ndim == 2 else values
    last[has_key] = np.where(last[has_key] > 0, last[has_key] - 1, 1)
    if not opaque_hole:
        was_key = (stored == key).reshape(len(stored), -1).all(axis=1)
        values[was_key] = key
    return values


def _palette(image: Image.Image) -> np.ndarray:
    """uint8 [entries, 4], RGBA."""
    rgb = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    alpha = np.full(len(rgb), 255, np.uint8)
    transparency = image.info.get("transparency")
    if isinstance(transparency, int):
        alpha[transparency : transparency + 1] = 0
    elif isinstance(transparency, bytes):
        listed = np.frombuffer(transparency, np.uint8)[: len(alpha)]
        alpha[: len(listed)] = listed
    return np.column_stack([rgb, alpha])


def _palette_indices(image: Image.Image, colours: np.ndarray, stored: np.ndarray, opaque_hole: bool) -> np.ndarray:
    """[N] nearest entries among those that have each pixel's alpha, or the most opaque there is."""
    palette = _palette(image)
    alpha = palette[:, 3]
    wanted = np.full(len(stored), alpha.max()) if opaque_hole else alpha[stored.clip(max=len(alpha) - 1)]
    indices = stored.copy()
    for level in np.unique(wanted[wanted > 0]):  # without opaque_hole invisible pixels stay as they are
        entries, chosen = np.flatnonzero(alpha == level), wanted == level
        indices[chosen] = entries[_nearest(palette[entries, :3], _as_rgb(colours[chosen]))]
    return indices


def _nearest(entries: np.ndarray, rgb: np.ndarray, chunk: int = 65536) -> np.ndarray:
    """[N] row numbers of the entries [E, 3] nearest to rgb [N, 3]."""
    table = entries.astype(np.float32)
    rgb = rgb.clip(0, 255)
    found = [
        ((table**2).sum(1) - 2 * rgb[start : start + chunk] @ table.T).argmin(1)  # |e - c|² without |c|²
        for start in range(0, len(rgb), chunk)
    ]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _as_grey(colours: np.ndarray) -> np.ndarray:
    return colours[:, 0] if colours.shape[1] == 1 else colours @ _LUMA


def _as_rgb(colours: np.ndarray) -> np.ndarray:
    return np.repeat(colours, 3, axis=1) if colours.shape[1] == 1 else colours


def _round(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _rgb_to_lab(image: Image.Image) -> Image.Image:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    assert converted is not None  # only conversions in place return nothing
    return converted
