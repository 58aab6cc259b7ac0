"""How an image file becomes the array that a model sees."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vae_cli.config import CompleteData
from vae_cli.images.colours import Colour, parse_color
from vae_cli.images.decode import fit_to, open_image, to_array
from vae_cli.images.image_ref import ImageRef


@dataclass(frozen=True)
class ImageRecipe:
    """Size (H, W), channels, what happens to other shapes, and the colour behind transparency and padding."""

    size: tuple[int, int]
    channels: int
    fit: str
    background: Colour

    @staticmethod
    def of(data: CompleteData) -> "ImageRecipe":
        """Raises ConfigError for a background that is no colour."""
        return ImageRecipe(data.image_size, data.channels, data.fit, parse_color(data.background))

    def decode(self, source: ImageRef | Path) -> np.ndarray:
        """uint8 [H, W, C] at the recipe's size. Raises DataError."""
        image = open_image(source, at_least=self.size)
        pixels = to_array(image, channels=self.channels, background=self.background)
        return fit_to(pixels, self.size, self.fit, self.background)
