"""Colours that the user names, and how bright they are."""

import numpy as np
from PIL import Image, ImageColor

from vae_cli.errors import ConfigError

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)


def parse_color(text: str) -> Colour:
    """(red, green, blue) of '#f0f', '#ff00ff', 'magenta' and what else CSS knows. ConfigError when it is no colour."""
    try:
        rgb = ImageColor.getrgb(text.strip())
        if len(rgb) == 3:
            return rgb
    except ValueError:
        pass
    raise ConfigError(f"{text}: not an opaque colour; write it like '#ff00ff' or 'white'")


def luma_of(colour: Colour) -> int:
    """The brightness, 0..255, that a grey picture shows for a colour."""
    return int(np.asarray(Image.new("RGB", (1, 1), colour).convert("L"))[0, 0])
