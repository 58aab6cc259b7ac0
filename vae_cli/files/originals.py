"""Images as the user stored them, written back with nothing changed but the pixels of a hole.

`open_original` keeps the stored mode, depth and orientation; `Original.display_array` is what a model sees and
`Original.with_fill` takes its answer back. How files are written is in `original_files`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from vae_cli.errors import DataError
from vae_cli.files import formats
from vae_cli.files.changed_in_place import DeepOriginal, deep_format, deep_size, open_deep
from vae_cli.files.stored_values import SIXTEEN_BIT_MODES, stored_values
from vae_cli.images.decode import (
    bad_bytes_are_data_errors,
    inverted,
    is_negative,
    open_image,
    orientation_of,
    probe,
    to_array,
)
from vae_cli.images.orientation import as_displayed, as_stored, displayed_image, inverse_of

_FILLABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", *SIXTEEN_BIT_MODES)


@dataclass(frozen=True)
class Original:
    """The first frame of an image file as stored: not rotated, in its own mode and depth.

    `facts` are what the file's format needs for writing it alike (see `formats.facts_of`).
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
        return self.mode in SIXTEEN_BIT_MODES

    @property
    def has_transparency(self) -> bool:
        """Whether alpha, a palette or a key colour lets a background show."""
        return self.image.has_transparency_data

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
        pixels[stored_hole] = stored_values(self.image, colours, pixels[stored_hole], opaque_hole)
        image = self.image.copy()  # keeps palette and info
        image.frombytes(pixels.tobytes(), "raw", "1;8" if self.mode == "1" else self.mode)
        return replace(self, image=image)

    def with_text(self, key: str, value: str) -> "Original":
        """The same with one more text chunk, in formats that have such."""
        return replace(self, facts={**self.facts, "text": {**self.facts.get("text", {}), key: value}})

    def save(self, path: Path, *, format: str = "keep", overwrite: bool = False) -> tuple[str, ...]:
        """Write the image atomically, by default in the format it came in; returns remarks for the user.

        Raises ConfigError when path exists or the format is unknown, DataError when the format cannot hold the
        image, WriteError when the disk refuses.
        """
        return formats.save(self, path, format=format, overwrite=overwrite)


AnyOriginal = Original | DeepOriginal


def open_original(path: Path) -> AnyOriginal:
    """Read an image file as stored. Raises DataError naming the file when it cannot be kept bit for bit."""
    try:
        if file_format := deep_format(path):
            return open_deep(path, file_format)
        probe(path)  # refuses what Pillow would silently reduce
        with bad_bytes_are_data_errors(), Image.open(path) as image:
            if image.format != "TIFF":  # of which the orientation is known only before
                image.load()  # or else PNG's metadata would swallow that its pixels are damaged
            orientation, image_format = orientation_of(image), image.format or ""
            facts = formats.facts_of(image, path)
            image.load()
            stored = _as_in_file(image, orientation)
            stored = inverted(stored) if is_negative(image) else stored  # as 8 bits are, and written with black as 0
            num_frames = getattr(image, "n_frames", 1)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if stored.mode not in _FILLABLE_MODES:
        raise DataError(f"{path}: images of mode {stored.mode} cannot be filled; convert it to PNG or TIFF first")
    return Original(path, stored, orientation, image_format, num_frames, facts)


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) as displayed of what `open_original` opens, from the header alone. Raises DataError."""
    file_format = deep_format(path)
    return deep_size(path, file_format) if file_format else probe(path)[1]


def shown_image(path: Path) -> Image.Image:
    """What `open_original` opens, as displayed and with at most 8 bits of each colour. Raises DataError."""
    file_format = deep_format(path)
    return open_deep(path, file_format).picture.reduced() if file_format else open_image(path)


def _as_in_file(image: Image.Image, orientation: int) -> Image.Image:
    """A plain copy of a loaded image, as stored: Pillow alone rotates TIFF files on loading."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return displayed_image(image, inverse_of(orientation)).copy()
    return image.copy()
