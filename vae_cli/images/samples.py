"""A picture as the numbers that its file stores, of 1 to 16 bits: what it shows, and how a fill goes into it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from PIL import Image

from vae_cli.errors import DataError
from vae_cli.images.colours import WHITE, Colour
from vae_cli.images.orientation import as_displayed, as_stored, displayed_size
from vae_cli.images.stored_values import (
    LUMA,
    ColourSpace,
    Inks,
    Levels,
    Palette,
    YCbCr,
    as_grey,
    as_rgb,
    keep_key_colour,
)

SIXTEEN_BIT_MODES = ("I;16", "I")
_MEANINGS: dict[str, ColourSpace] = {"CMYK": Inks(255), "YCbCr": YCbCr()}
_ROWS_AT_ONCE = 128  # so that a large scan is never held as floats as a whole

Alpha = Literal["straight", "premultiplied"] | None


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples as stored, uint8 or uint16 [H, W, S]: `num_colours` that mean a colour, then whatever else there is,
    the alpha among it. Without a `meaning` they are grey or RGB, and 0 is black."""

    pixels: np.ndarray
    num_colours: int
    orientation: int = 1
    alpha: Alpha = None
    key_colour: tuple[int, ...] | None = None  # the one colour that counts as transparent (PNG)
    icc_profile: bytes | None = None
    dots_per_inch: tuple[float, float] | None = None  # along a row and along a column
    bits: int = 0  # of each sample; 0 = all that the type has
    meaning: ColourSpace | None = None
    alpha_sample: int = 0  # which of the samples behind the colours

    @property
    def space(self) -> ColourSpace:
        return self.meaning or Levels(self.num_colours, self.white)

    @property
    def white(self) -> int:
        """The largest number of a sample."""
        return (1 << (self.bits or 8 * self.pixels.itemsize)) - 1

    @property
    def has_transparency(self) -> bool:
        """Whether alpha, a palette or a key colour lets a background show."""
        has_clear_entries = isinstance(self.space, Palette) and bool((self.space.alphas < 255).any())
        return self.alpha is not None or self.key_colour is not None or has_clear_entries

    def refuse_unnamed(self, file_format: str) -> None:
        """Raises DataError where there are samples that only their own file can tell the meaning of."""
        if self.alpha == "premultiplied" or self.pixels.shape[2] > self.num_colours + bool(self.alpha):
            reason = f"premultiplied or unnamed samples beside its colours, which {file_format} cannot hold"
            raise DataError(f"it has {reason}; leave out --format and --strip-metadata")

    @property
    def display_size(self) -> tuple[int, int]:
        """(height, width) after orientation."""
        return displayed_size(self.pixels.shape[:2], self.orientation)

    def display_array(self, channels: int, background: Colour = WHITE) -> np.ndarray:
        """[H, W, channels] as displayed: uint8, or uint16 where the file has more bits; a view where nothing has to be
        converted."""
        upright = as_displayed(self.pixels, self.orientation)
        full = np.iinfo(self.pixels.dtype).max
        if self.space == Levels(channels, full) and not self.has_transparency:
            return upright[..., :channels]
        if channels == 1 and self.space.num_shown == 3 and self.pixels.itemsize == 1:  # rounded as in training
            return np.asarray(Image.fromarray(self.display_array(3, background)).convert("L"))[..., None]
        below = np.array([background], np.float32)
        below = below if channels == 3 else below @ LUMA[:, None]
        result = np.empty((*upright.shape[:2], channels), self.pixels.dtype)
        for rows in _blocks(len(upright)):
            part = upright[rows]
            colours = self._shown(part)
            if channels != self.space.num_shown:
                colours = as_rgb(colours) if channels == 3 else as_grey(colours)[:, None]
            if self.has_transparency:
                share = self._opacity(part)
                colours = colours * (1 if self.alpha == "premultiplied" else share) + below * (1 - share)
            colours = np.rint(colours * np.float32(full / 255)).clip(0, full)
            result[rows] = colours.reshape(*part.shape[:2], channels)
        return result

    def plain(self, dtype: type[np.unsignedinteger] | None = None) -> "Samples":
        """The same picture, as stored, in levels from black as 0, with straight alpha if any. dtype: None = its own."""
        full, num_colours = np.iinfo(dtype or self.pixels.dtype).max, self.space.num_shown
        if self.space == Levels(num_colours, full) and not self.has_transparency:
            return Samples(self.pixels[..., :num_colours], num_colours, self.orientation, None, None, self.icc_profile,
                           self.dots_per_inch)  # fmt: skip
        shape = *self.pixels.shape[:2], num_colours + self.has_transparency
        pixels = np.empty(shape, dtype or self.pixels.dtype)
        for rows in _blocks(len(pixels)):
            part = self.pixels[rows]
            values = self._shown(part)
            if self.has_transparency:
                share = self._opacity(part)
                if self.alpha == "premultiplied":
                    values = values / np.maximum(share, 1 / self.white)
                values = np.concatenate([values, share * 255], axis=1)
            pixels[rows] = np.rint(values * np.float32(full / 255)).clip(0, full).reshape(*part.shape[:2], -1)
        alpha: Alpha = "straight" if self.has_transparency else None
        return Samples(pixels, num_colours, self.orientation, alpha, None, self.icc_profile, self.dots_per_inch)

    def with_fill(self, fill: np.ndarray, hole: np.ndarray, *, opaque_hole: bool = False) -> Self:
        """A copy whose hole pixels show `fill`; every other pixel keeps its stored value.

        fill: float32 [H, W, 1 or 3] in 0..255, hole: bool [H, W], both as displayed. Alpha is kept, or opaque in the
        hole; what is neither colour nor alpha is kept. Raises ValueError when sizes differ.
        """
        if hole.shape != self.display_size or fill.shape[:2] != hole.shape:
            raise ValueError(f"fill {fill.shape} and hole {hole.shape} do not fit an image of {self.display_size}")
        stored_fill, stored_hole = as_stored(fill, self.orientation), as_stored(hole, self.orientation)
        pixels, num_colours, alpha = self.pixels.copy(), self.num_colours, self.num_colours + self.alpha_sample
        for rows in _blocks(len(pixels)):
            stored, colours = pixels[rows][stored_hole[rows]], stored_fill[rows][stored_hole[rows]].astype(np.float32)
            if self.alpha == "premultiplied" and not opaque_hole:
                colours = colours * (stored[:, alpha : alpha + 1] / np.float32(self.white))
            values = stored.copy()
            own = self.space.stored(colours, stored[:, :num_colours], opaque_hole)
            values[:, :num_colours] = np.rint(own).clip(0, self.white)
            if self.alpha is not None and opaque_hole:
                values[:, alpha] = self.white
            if self.key_colour is not None:
                keep_key_colour(values, stored, self.key_colour, opaque_hole)
            pixels[rows][stored_hole[rows]] = values
        return replace(self, pixels=pixels)

    def _shown(self, part: np.ndarray) -> np.ndarray:
        """float32 [N, 1 or 3] in 0..255 of rows [R, W, S]."""
        return self.space.shown(part[..., : self.num_colours].reshape(-1, self.num_colours))

    def _opacity(self, part: np.ndarray) -> np.ndarray:
        """float32 [N, 1] in 0..1 of rows [R, W, S] of a picture with transparency."""
        values = part.reshape(-1, part.shape[2])
        if self.key_colour is not None:
            return (values[:, : self.num_colours] != self.key_colour).any(axis=1, keepdims=True).astype(np.float32)
        if self.alpha is not None:
            alpha = self.num_colours + self.alpha_sample
            return values[:, alpha : alpha + 1] / np.float32(self.white)
        assert isinstance(self.space, Palette)
        return self.space.alphas[self.space.within(values[:, :1])] / np.float32(255)


class PageChange(NamedTuple):
    """What is to be written of a page's pixels, in the form that the file's format needs, and their checksum."""

    number: int
    content: Any
    checksum: int


def fitted(
    samples: Samples, depths: Sequence[int], *, of_palettes: Sequence[int] = (), inks: bool = False
) -> tuple[Samples, tuple[str, ...]]:
    """The samples, made plain where a format holds only levels and palettes of such depths, and remarks."""
    bits, space = samples.bits or 8 * samples.pixels.itemsize, samples.space
    if isinstance(space, Palette) and samples.alpha is None:
        is_held = bits in of_palettes
    else:
        held = (Levels(samples.num_colours, samples.white), *([Inks(samples.white)] if inks else []))
        has_depth = bits in depths and (samples.pixels.shape[2] == 1 or bits >= 8)
        is_held = space in held and has_depth and samples.key_colour is None
    if is_held:
        return samples, ()
    plain = samples.plain()
    kind = ("grey", "grey with alpha", "RGB", "RGB with alpha")[plain.pixels.shape[2] - 1]
    return plain, (f"stored as {8 * plain.pixels.itemsize}-bit {kind}",)


def to_image(samples: Samples) -> Image.Image:
    """An image, as stored, in the nearest mode of Pillow's: of 8 bits, or 16 where it is grey."""
    space, described = samples.space, {"icc_profile": samples.icc_profile, "dpi": samples.dots_per_inch}
    pixels: np.ndarray = samples.pixels[..., 0 if samples.num_colours == 1 else slice(samples.num_colours)]
    if isinstance(space, Palette) and samples.alpha is None:
        image = Image.fromarray(space.within(pixels).astype(np.uint8), "P")
        image.putpalette(space.entries.tobytes())
        described["transparency"] = space.alphas.tobytes() if samples.has_transparency else None
    elif space == Inks(255) and samples.alpha is None:
        image = Image.fromarray(np.ascontiguousarray(pixels), "CMYK")
    else:
        is_grey = samples.space.num_shown == 1 and not samples.has_transparency
        pixels = samples.plain(None if is_grey else np.uint8).pixels
        image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
        image = image.convert("1", dither=Image.Dither.NONE) if samples.white == 1 and image.mode == "L" else image
    image.info = {key: value for key, value in described.items() if value is not None}
    return image


def samples_of(image: Image.Image, orientation: int = 1) -> Samples:
    """Of an image of one of the modes that can be filled."""
    pixels, meaning = np.array(image), _MEANINGS.get(image.mode)
    if image.mode == "P":
        entries = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        alphas, transparency = np.full(len(entries), 255, np.uint8), image.info.get("transparency")
        if isinstance(transparency, int):
            alphas[transparency : transparency + 1] = 0
        elif isinstance(transparency, bytes):
            alphas[: len(transparency)] = np.frombuffer(transparency, np.uint8)[: len(alphas)]
        meaning = Palette(entries, alphas)
    pixels = pixels.astype(np.uint16 if image.mode in SIXTEEN_BIT_MODES else np.uint8)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    num_colours = {"LA": 1, "RGBA": 3, "RGBX": 3}.get(image.mode) or pixels.shape[2]
    alpha: Alpha = "straight" if image.mode in ("LA", "RGBA") else None
    return Samples(pixels, num_colours, orientation, alpha, bits=int(image.mode == "1"), meaning=meaning)


def pack(values: np.ndarray, bits: int) -> np.ndarray:
    """uint8 [R, B]: rows [R, N] of numbers of so many bits, the highest bit first, each row from a new byte on."""
    each = (values[..., None] >> np.arange(bits - 1, -1, -1, dtype=values.dtype)) & 1
    return np.packbits(each.reshape(len(values), -1), axis=1)


def unpack(rows: np.ndarray, bits: int, num: int) -> np.ndarray:
    """Inverse of `pack`: [R, num], uint8 or uint16."""
    each = np.unpackbits(rows, axis=1, count=num * bits).reshape(len(rows), num, bits)
    values = np.zeros((len(rows), num), np.uint8 if bits <= 8 else np.uint16)
    for bit in range(bits):
        values = (values << 1) | each[..., bit]
    return values


def _blocks(num_rows: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS_AT_ONCE) for start in range(0, num_rows, _ROWS_AT_ONCE))
