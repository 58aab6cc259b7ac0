"""How image files become arrays of one size: the settings that a model was trained with, and what they do."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vae_cli.config import CompleteData
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.colours import WHITE, Colour, luma_of, parse_color
from vae_cli.images.decode import open_image
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.modes import to_array


@dataclass(frozen=True)
class ImageRecipe:
    """What turns an image file into an array that a model can take."""

    size: tuple[int, int]  # (height, width)
    channels: int  # 1 = grey, 3 = RGB
    fit: str  # crop, pad or stretch, as `fit_to` explains
    background: Colour  # what shows through transparent pixels and lies around padded images

    @staticmethod
    def of(data: CompleteData) -> "ImageRecipe":
        """Raises ConfigError for a background that is no colour."""
        return ImageRecipe(data.image_size, data.channels, data.fit, parse_color(data.background))

    @bad_bytes_are_data_errors()
    def decode(self, source: ImageRef | Path) -> np.ndarray:
        """uint8 [H, W, C]. Raises DataError, which does not name the file."""
        image = open_image(source, at_least=self.size)
        pixels = to_array(image, channels=self.channels, background=self.background)
        return fit_to(pixels, self.size, self.fit, self.background)


def fit_to(pixels: np.ndarray, size: tuple[int, int], fit: str, background: Colour = WHITE) -> np.ndarray:
    """uint8 [H, W, C] at `size` (H, W), antialiased; the same array when it has that size already.

    crop: scaled to cover the size, then cut to its centre. pad: scaled to fit inside, on `background`. stretch: the
    aspect ratio is ignored.
    """
    if fit not in ("crop", "pad", "stretch"):
        raise ValueError(f"fit must be crop, pad or stretch, not {fit!r}")
    height, width, channels = pixels.shape
    if (height, width) == size:
        return pixels
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    if fit == "stretch":
        return resized(image, size, (0, 0, width, height))
    if fit == "crop":
        scale = min(height / size[0], width / size[1])  # source pixels a model pixel
        top, left = (height - size[0] * scale) / 2, (width - size[1] * scale) / 2
        box = (max(0.0, left), max(0.0, top), min(width, width - left), min(height, height - top))
        return resized(image, size, box)
    scale = min(size[0] / height, size[1] / width)
    inner = (max(1, min(size[0], round(height * scale))), max(1, min(size[1], round(width * scale))))
    canvas = np.empty((*size, channels), np.uint8)
    canvas[:] = background if channels == 3 else luma_of(background)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas[top : top + inner[0], left : left + inner[1]] = resized(image, inner, (0, 0, width, height))
    return canvas


def resized(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """uint8 [H, W, C] at `size` (H, W) of the part in `box` (left, top, right, bottom), antialiased."""
    small = image.resize((size[1], size[0]), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    return np.array(small).reshape(*size, -1)
