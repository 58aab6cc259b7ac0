"""Images that Pillow reads and writes, with nothing changed but the pixels of a hole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin

from vae_cli.errors import DataError
from vae_cli.files import pillow_formats
from vae_cli.files.pillow_formats import StoredImage
from vae_cli.files.stored_values import SIXTEEN_BIT_MODES, stored_values
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.colours import WHITE, Colour
from vae_cli.images.decode import probe
from vae_cli.images.modes import inverted, is_negative, to_array
from vae_cli.images.orientation import (
    as_displayed,
    as_stored,
    displayed_image,
    displayed_size,
    inverse_of,
    orientation_of,
)

_FILLABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", *SIXTEEN_BIT_MODES)


class PillowOriginal(StoredImage):
    """An `originals.Original` that is read and written by Pillow."""

    @property
    def has_transparency(self) -> bool:
        return self.image.has_transparency_data

    @property
    def display_size(self) -> tuple[int, int]:
        return displayed_size((self.image.height, self.image.width), self.orientation)

    def display_array(self, channels: int, background: Colour = WHITE) -> np.ndarray:
        """uint16 of 16-bit grey, uint8 of all else."""
        if self.image.mode in SIXTEEN_BIT_MODES:
            grey = as_displayed(np.asarray(self.image), self.orientation).astype(np.uint16)
            return np.repeat(grey[:, :, None], channels, axis=2)
        upright = displayed_image(self.image, self.orientation)
        return to_array(upright, channels=channels, background=background)

    def with_fill(self, fill: np.ndarray, hole: np.ndarray, *, opaque_hole: bool = False) -> "PillowOriginal":
        """Palette images take the nearest entry of the same alpha."""
        if hole.shape != self.display_size or fill.shape[:2] != hole.shape:
            raise ValueError(f"fill {fill.shape} and hole {hole.shape} do not fit an image of {self.display_size}")
        stored_hole = as_stored(hole, self.orientation)
        colours = as_stored(fill, self.orientation)[stored_hole].astype(np.float32)  # [N, 1 or 3]
        pixels = np.array(self.image)
        pixels[stored_hole] = stored_values(self.image, colours, pixels[stored_hole], opaque_hole)
        image = self.image.copy()  # keeps palette and info
        image.frombytes(pixels.tobytes(), "raw", "1;8" if image.mode == "1" else image.mode)
        return replace(self, image=image)

    def with_text(self, key: str, value: str) -> "PillowOriginal":
        return replace(self, facts={**self.facts, "text": {**self.facts.get("text", {}), key: value}})

    def save(self, path: Path, *, format: str = "keep", overwrite: bool = False) -> tuple[str, ...]:
        return pillow_formats.save(self, path, format=format, overwrite=overwrite)


def open_with_pillow(path: Path) -> PillowOriginal:
    """Raises DataError, without the file's name, for what cannot be kept bit for bit."""
    probe(path)  # refuses what Pillow would silently reduce
    with bad_bytes_are_data_errors(), Image.open(path) as image:
        if image.format != "TIFF":  # of which the orientation is known only before
            image.load()  # or else PNG's metadata would swallow that its pixels are damaged
        orientation, image_format = orientation_of(image), image.format or ""
        facts = pillow_formats.facts_of(image, path)
        image.load()
        stored = image.copy()
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # which Pillow has rotated
            stored = displayed_image(stored, inverse_of(orientation))
        if is_negative(image):  # written with black as 0, as 8 bits are
            stored = inverted(stored)
        num_frames = getattr(image, "n_frames", 1)
    if stored.mode not in _FILLABLE_MODES:
        raise DataError(f"images of mode {stored.mode} cannot be filled; convert it to PNG or TIFF first")
    return PillowOriginal(path, stored, orientation, image_format, num_frames, facts)
