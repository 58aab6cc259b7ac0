"""A picture at the scale at which a model works on it, and the way back to its own."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from vae_cli.images.colours import luma_of

MAX_ENLARGED_WINDOWS = 16
"""Windows' sides that the longer side of an enlarged picture has at most. Thinner pictures would grow without bounds,
3×4000 pixels to 64×85333, and of what a window then shows the model has seen nothing like."""


@dataclass(frozen=True)
class Canvas:
    """What the model is shown of a picture."""

    pixels: np.ndarray
    """float32 [h, w, C] in -1..1."""
    inner: tuple[int, int, int, int]
    """(top, left, height, width) of the part of it that is the picture, not padding."""
    size: tuple[int, int]
    """(height, width) of the picture itself."""

    @staticmethod
    def at_own_scale(picture: np.ndarray) -> "Canvas":
        """The picture, uint8 or uint16 [H, W, C], pixel by pixel."""
        height, width = picture.shape[:2]
        return Canvas(_unit(picture), (0, 0, height, width), (height, width))

    @staticmethod
    def at_model_scale(
        picture: np.ndarray, window: tuple[int, int], fit: str, colour: tuple[int, int, int]
    ) -> "Canvas":
        """The picture, uint8 or uint16 [H, W, C], as large as the model (H, W) has learned to see whole pictures.

        fit `crop`: large enough to cover a window, and what hangs over is another window's, but nothing is enlarged to
        more than MAX_ENLARGED_WINDOWS; `pad`: inside of one window, on ground of that colour, 0..255; `stretch`: drawn
        to the window's shape. The very pixels where the picture is a window already.
        """
        size = (picture.shape[0], picture.shape[1])
        if size == window or fit == "stretch":
            return Canvas(_resized(_unit(picture), window).clip(-1, 1), (0, 0, *window), size)
        shares = [wanted / have for wanted, have in zip(window, size, strict=True)]
        at_most = max(1, MAX_ENLARGED_WINDOWS * min(shares))
        scale = min(max(shares), at_most) if fit == "crop" else min(shares)
        height, width = (max(1, round(side * scale)) for side in size)
        small = _resized(_unit(picture), (height, width)).clip(-1, 1)  # cubics overshoot
        if fit == "crop":
            return Canvas(small, (0, 0, height, width), size)
        ground = np.array(colour, np.float32) if picture.shape[2] == 3 else np.full(1, luma_of(colour), np.float32)
        whole = np.broadcast_to(ground / 127.5 - 1, (*window, picture.shape[2])).astype(np.float32)
        top, left = (window[0] - height) // 2, (window[1] - width) // 2
        whole[top : top + height, left : left + width] = small
        return Canvas(whole, (top, left, height, width), size)

    def in_picture(self, change: np.ndarray) -> np.ndarray:
        """float32 [H, W, C]: a change of the canvas, float32 [h, w, C], at the picture's own size."""
        top, left, height, width = self.inner
        return _resized(change[top : top + height, left : left + width], self.size)


def _unit(picture: np.ndarray) -> np.ndarray:
    """float32 in -1..1 of uint8 or uint16."""
    return picture.astype(np.float32) * (2 / np.iinfo(picture.dtype).max) - 1


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32 [H, W, C] at another size, cubic and antialiased; untouched where the size is right."""
    if values.shape[:2] == size:
        return values
    x = torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)[None]
    found = F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)
    return found[0].permute(1, 2, 0).numpy()
