"""How what a model has made of a picture becomes stored values of the original that it was made from."""

import numpy as np

from vae_cli.files.originals import Original
from vae_cli.images.colours import Colour
from vae_cli.images.stored_values import as_grey


def with_changes(original: Original, before: np.ndarray, after: np.ndarray, background: Colour) -> Original:
    """The original with the pixels that differ between two pictures of it, and with nothing else touched.

    before: its `display_array` on that background; after: float32 [H, W, C] in 0..255. Half-transparent pixels stay as
    they are, since what is seen of them is not their own colour. An original in colour that a grey model has changed
    keeps its colours and takes over the change in brightness.
    """
    steps = np.iinfo(before.dtype).max // 255
    if before.shape[2] == 1 and has_colour(original):
        colours = original.display_array(3, background)
        before, after = colours, recoloured(colours, before, after)
    red, green, blue = background
    on_other = original.display_array(before.shape[2], (255 - red, 255 - green, 255 - blue))
    is_changed = (np.rint(after * steps) != before).any(-1) & (on_other == before).all(-1)
    return original.with_fill(after, is_changed) if is_changed.any() else original


def recoloured(colours: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """float32 [H, W, 3] in 0..255: a picture in colour with the change in brightness that a grey model has made.

    colours, before: uint8 or uint16, in colour and in grey; after: float32 [H, W, 1] in 0..255.
    """
    was, given = (each / np.float32(np.iinfo(each.dtype).max // 255) for each in (colours, before))
    return (was + (after - given)).clip(0, 255)


def own_colours(original: Original, fill: np.ndarray, hole: np.ndarray, background: Colour) -> np.ndarray:
    """The colours that hole pixels need so that they look like `fill` when the picture lies on the background.

    fill: float32 [H, W, 1 or 3] in 0..255, hole: bool [H, W]; returns the shape of fill. Pixels keep their alpha, and
    what is seen of a half-transparent one is in part the background, which would count twice. So that part is taken
    out: C = (seen - (1 - α) B) / α ("over", Porter & Duff 1984).
    """
    if not original.has_transparency:
        return fill
    on_black, on_white = (original.display_array(1, (grey, grey, grey))[hole] for grey in (0, 255))  # [N, 1]
    through = (on_white.astype(np.float32) - on_black) / np.iinfo(on_black.dtype).max  # 1 - α
    is_mixed = ((through > 0) & (through < 1))[:, 0]
    below = np.array([background], np.float32)
    below = below if fill.shape[2] == 3 else as_grey(below)[:, None]
    colours = fill[hole]
    colours[is_mixed] = (colours - through * below)[is_mixed] / (1 - through[is_mixed])
    result = fill.copy()
    result[hole] = colours.clip(0, 255)
    return result


def has_colour(original: Original, hole: np.ndarray | None = None) -> bool:
    """Whether any pixel, outside the hole where there is one, is seen in another colour than grey."""
    pixels = original.display_array(3)
    is_coloured = (pixels != pixels[:, :, :1]).any(-1)
    return bool((is_coloured if hole is None else is_coloured & ~hole).any())
