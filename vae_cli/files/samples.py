"""A picture as the numbers that its file stores, of 8 or 16 bits: what it shows, and how a fill goes into it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from PIL import Image

from vae_cli.files.stored_values import LUMA, as_grey, as_rgb, keep_key_colour
from vae_cli.images.colours import WHITE, Colour
from vae_cli.images.modes import eight_bits
from vae_cli.images.orientation import as_displayed, as_stored, displayed_size

_ROWS_AT_ONCE = 128  # so that a large scan is never held as floats as a whole


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples as stored, uint8 or uint16 [H, W, S]: 1 or 3 colours, then the alpha if any, then whatever else there
    is. 0 is black, and the largest number of the type is white or opaque."""

    pixels: np.ndarray
    num_colours: int
    orientation: int = 1
    alpha: Literal["straight", "premultiplied"] | None = None
    key_colour: tuple[int, ...] | None = None  # the one colour that counts as transparent (PNG)
    icc_profile: bytes | None = None
    dots_per_inch: tuple[float, float] | None = None  # along a row and along a column

    @property
    def has_transparency(self) -> bool:
        return self.alpha is not None or self.key_colour is not None

    @property
    def display_size(self) -> tuple[int, int]:
        return displayed_size(self.pixels.shape[:2], self.orientation)

    def display_array(self, channels: int, background: Colour = WHITE) -> np.ndarray:
        """[H, W, channels] as displayed, of the samples' type; a view where nothing has to be converted."""
        upright = as_displayed(self.pixels, self.orientation)
        if channels == self.num_colours and not self.has_transparency:
            return upright[..., :channels]
        below = np.array([background], np.float32) * (self._white // 255)
        below = below if channels == 3 else below @ LUMA[:, None]
        result = np.empty((*upright.shape[:2], channels), self.pixels.dtype)
        for rows in _blocks(len(upright)):
            part = upright[rows]
            colours: np.ndarray = part[..., : self.num_colours].reshape(-1, self.num_colours).astype(np.float32)
            if channels != self.num_colours:
                colours = as_rgb(colours) if channels == 3 else as_grey(colours)[:, None]
            if self.has_transparency:
                share = self._alpha(part).reshape(-1, 1) / np.float32(self._white)
                colours = colours * (1 if self.alpha == "premultiplied" else share) + below * (1 - share)
            result[rows] = np.rint(colours).clip(0, self._white).reshape(*part.shape[:2], channels)
        return result

    def reduced(self) -> Image.Image:
        """The picture as displayed with 8 bits a sample, in mode L, LA, RGB or RGBA."""
        upright = as_displayed(self.pixels, self.orientation)
        result = np.empty((*upright.shape[:2], self.num_colours + self.has_transparency), np.uint8)
        for rows in _blocks(len(upright)):
            part = upright[rows, :, : self.num_colours]
            if self.has_transparency:
                part = np.concatenate([part, self._alpha(upright[rows])], axis=2)
            result[rows] = eight_bits(part)
        return Image.fromarray(result[..., 0] if result.shape[2] == 1 else result)

    def with_fill(self, fill: np.ndarray, hole: np.ndarray, *, opaque_hole: bool = False) -> Self:
        """As `PillowOriginal.with_fill`, at the samples' depth; what is neither colour nor alpha keeps its value."""
        if hole.shape != self.display_size or fill.shape[:2] != hole.shape:
            raise ValueError(f"fill {fill.shape} and hole {hole.shape} do not fit an image of {self.display_size}")
        stored_fill, stored_hole = as_stored(fill, self.orientation), as_stored(hole, self.orientation)
        pixels, num_colours = self.pixels.copy(), self.num_colours
        for rows in _blocks(len(pixels)):
            stored, colours = pixels[rows][stored_hole[rows]], stored_fill[rows][stored_hole[rows]].astype(np.float32)
            colours = (as_rgb(colours) if num_colours == 3 else as_grey(colours)[:, None]) * (self._white // 255)
            if self.alpha == "premultiplied" and not opaque_hole:
                colours *= stored[:, num_colours : num_colours + 1] / np.float32(self._white)
            values = stored.copy()
            values[:, :num_colours] = np.rint(colours).clip(0, self._white)
            if self.alpha is not None and opaque_hole:
                values[:, num_colours] = self._white
            if self.key_colour is not None:
                keep_key_colour(values, stored, self.key_colour, opaque_hole)
            pixels[rows][stored_hole[rows]] = values
        return replace(self, pixels=pixels)

    @property
    def _white(self) -> int:
        return int(np.iinfo(self.pixels.dtype).max)

    def _alpha(self, part: np.ndarray) -> np.ndarray:
        """[R, W, 1] of rows [R, W, S]."""
        if self.key_colour is None:
            return part[..., self.num_colours : self.num_colours + 1]
        is_clear = (part[..., : self.num_colours] == self.key_colour).all(axis=-1, keepdims=True)
        return np.where(is_clear, part.dtype.type(0), part.dtype.type(self._white))


def _blocks(num_rows: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS_AT_ONCE) for start in range(0, num_rows, _ROWS_AT_ONCE))
