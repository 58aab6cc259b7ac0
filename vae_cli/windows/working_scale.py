"""A picture at the scale at which a model works on it, and the way back to its own."""

from dataclasses import dataclass

import numpy as np

from vae_cli.images.colours import luma_of
from vae_cli.images.pixels import to_unit
from vae_cli.images.recipe import ImageRecipe
from vae_cli.windows.resample import resized

MAX_ENLARGED_WINDOWS = 16
"""The longer side of an enlarged picture is at most this many windows long. Otherwise thin pictures would become huge
(3×4000 pixels 64×85333), and their windows would look like nothing that the model has learned from."""


@dataclass(frozen=True)
class ScaledPicture:
    """A picture as the model works on it."""

    pixels: np.ndarray  # float32 [h, w, C] in -1..1
    inner: tuple[int, int, int, int]  # (top, left, height, width) of the part that is the picture, not padding
    size: tuple[int, int]  # (height, width) of the picture itself

    @staticmethod
    def of(picture: np.ndarray, recipe: ImageRecipe | None = None) -> "ScaledPicture":
        """The picture, uint8 or uint16 [H, W, C], pixel by pixel; with a recipe, at the scale of its whole pictures.

        By the recipe's fit, `crop`: large enough to cover a window of the model's size, with further windows for the
        rest, but never enlarged beyond MAX_ENLARGED_WINDOWS; `pad`: inside one window, on the background; `stretch`:
        stretched to the window's shape. A picture of a window's size keeps its very pixels.
        """
        pixels, size = to_unit(picture[None])[0].permute(1, 2, 0).numpy(), (picture.shape[0], picture.shape[1])
        if recipe is None:
            return ScaledPicture(pixels, (0, 0, *size), size)
        window, fit = recipe.size, recipe.fit
        if size == window or fit == "stretch":
            return ScaledPicture(resized(pixels, window).clip(-1, 1), (0, 0, *window), size)
        scales = [wanted / have for wanted, have in zip(window, size, strict=True)]
        scale = min(max(scales), max(1, MAX_ENLARGED_WINDOWS * min(scales))) if fit == "crop" else min(scales)
        height, width = (max(1, round(side * scale)) for side in size)
        small = resized(pixels, (height, width)).clip(-1, 1)  # cubics overshoot
        if fit == "crop":
            return ScaledPicture(small, (0, 0, height, width), size)
        ground = np.array(recipe.background if recipe.channels == 3 else [luma_of(recipe.background)], np.float32)
        whole = np.broadcast_to(ground / 127.5 - 1, (*window, picture.shape[2])).copy()
        top, left = (window[0] - height) // 2, (window[1] - width) // 2
        whole[top : top + height, left : left + width] = small
        return ScaledPicture(whole, (top, left, height, width), size)

    def in_picture(self, change: np.ndarray) -> np.ndarray:
        """float32 [H, W, C]: a change of `pixels`, float32 [h, w, C], at the picture's own size."""
        top, left, height, width = self.inner
        return resized(change[top : top + height, left : left + width], self.size)
