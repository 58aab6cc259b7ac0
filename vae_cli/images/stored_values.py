"""What the numbers in an image file mean as colours, and which numbers a fill's colours become."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from vae_cli.images.modes import in_colour_space

_COLOURS_AT_ONCE = 65536
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class ColourSpace(Protocol):
    """How N pixels of `num_samples` stored numbers are seen in `num_shown` channels, grey or RGB."""

    @property
    def num_samples(self) -> int: ...

    @property
    def num_shown(self) -> int: ...

    def shown(self, values: np.ndarray) -> np.ndarray:
        """float32 [N, num_shown] in 0..255 of stored values [N, num_samples]."""

    def stored(self, colours: np.ndarray, before: np.ndarray, opaque: bool) -> np.ndarray:
        """The values [N, num_samples], not rounded, of colours [N, 1 or 3] in 0..255 that replace `before`."""


@dataclass(frozen=True)
class Levels:
    """Grey, or red, green and blue: the numbers of the darkest and of the lightest."""

    num_samples: int
    white: int
    black: int = 0

    @property
    def num_shown(self) -> int:
        return self.num_samples

    def shown(self, values: np.ndarray) -> np.ndarray:
        return (values.astype(np.float32) - self.black) * np.float32(255 / (self.white - self.black))

    def stored(self, colours: np.ndarray, before: np.ndarray, opaque: bool) -> np.ndarray:
        own = as_rgb(colours) if self.num_samples == 3 else as_grey(colours)[:, None]
        return self.black + own.clip(0, 255) * np.float32((self.white - self.black) / 255)


@dataclass(frozen=True)
class Inks:
    """Cyan, magenta, yellow and black as Pillow shows them: without a profile. Fills are mixed without black."""

    white: int
    num_samples, num_shown = 4, 3

    def shown(self, values: np.ndarray) -> np.ndarray:
        paper = 1 - values / np.float32(self.white)
        return paper[:, :3] * paper[:, 3:] * 255

    def stored(self, colours: np.ndarray, before: np.ndarray, opaque: bool) -> np.ndarray:
        inks = (1 - as_rgb(colours).clip(0, 255) / np.float32(255)) * self.white
        return np.concatenate([inks, np.zeros_like(inks[:, :1])], axis=1)


@dataclass(frozen=True)
class YCbCr:
    """Brightness and two differences of colour, of 8 bits (TIFF 6.0, section 21)."""

    luma: tuple[float, ...] = (0.299, 0.587, 0.114)
    reference: tuple[float, ...] = (0, 255, 128, 255, 128, 255)  # black and white, or grey and full colour, of each
    num_samples, num_shown = 3, 3

    @property
    def _scales(self) -> np.ndarray:
        return (np.array(self.reference[1::2], np.float32) - self._zeros) / np.array([255, 127, 127], np.float32)

    @property
    def _zeros(self) -> np.ndarray:
        return np.array(self.reference[::2], np.float32)

    def shown(self, values: np.ndarray) -> np.ndarray:
        y, cb, cr = ((values - self._zeros) / self._scales).T
        red, blue = y + cr * (2 - 2 * self.luma[0]), y + cb * (2 - 2 * self.luma[2])
        green = (y - self.luma[0] * red - self.luma[2] * blue) / self.luma[1]
        return np.stack([red, green, blue], axis=1).clip(0, 255).astype(np.float32)

    def stored(self, colours: np.ndarray, before: np.ndarray, opaque: bool) -> np.ndarray:
        rgb = as_rgb(colours).clip(0, 255)
        y = rgb @ np.array(self.luma, np.float32)
        cb, cr = (rgb[:, 2] - y) / (2 - 2 * self.luma[2]), (rgb[:, 0] - y) / (2 - 2 * self.luma[0])
        return np.stack([y, cb, cr], axis=1) * self._scales + self._zeros


@dataclass(frozen=True)
class Lab:
    """CIE L*a*b* of 8 bits, a* and b* signed."""

    num_samples, num_shown = 3, 3

    def shown(self, values: np.ndarray) -> np.ndarray:
        image = Image.frombytes("LAB", (1, len(values)), values.tobytes())
        return np.asarray(in_colour_space(image, "RGB"), np.float32)[:, 0]

    def stored(self, colours: np.ndarray, before: np.ndarray, opaque: bool) -> np.ndarray:
        rgb = np.rint(as_rgb(colours)).clip(0, 255).astype(np.uint8)
        return np.asarray(in_colour_space(Image.fromarray(rgb[:, None]), "LAB"))[:, 0]


@dataclass(frozen=True, eq=False)
class Palette:
    """Numbers of colours. entries: uint8 [E, 3], RGB; alphas: uint8 [E]."""

    entries: np.ndarray
    alphas: np.ndarray
    num_samples, num_shown = 1, 3

    def shown(self, values: np.ndarray) -> np.ndarray:
        return self.entries[self.within(values[:, 0])].astype(np.float32)

    def stored(self, colours: np.ndarray, before: np.ndarray, opaque: bool) -> np.ndarray:
        """The nearest entries among those that have each pixel's alpha, or the most opaque there is."""
        alphas = self.alphas[self.within(before[:, 0])]
        wanted = np.full_like(alphas, self.alphas.max()) if opaque else alphas
        indices = before.astype(np.int64)
        for level in np.unique(wanted[wanted > 0]):  # without `opaque` invisible pixels stay as they are
            entries, chosen = np.flatnonzero(self.alphas == level), wanted == level
            indices[chosen, 0] = entries[_nearest(self.entries[entries], as_rgb(colours[chosen]))]
        return indices

    def within(self, indices: np.ndarray) -> np.ndarray:
        """The same, but the last entry for those that the palette does not have."""
        return indices.clip(max=len(self.entries) - 1)


def keep_key_colour(values: np.ndarray, stored: np.ndarray, key: tuple[int, ...], opaque_hole: bool) -> None:
    """PNGs may declare one colour transparent: what had it keeps it (that is its alpha), no other pixel gets it.

    values, stored: [N, bands] of one dtype; `values` is changed in place.
    """
    has_key = (values == key).all(axis=1)
    values[has_key, -1] = np.where(values[has_key, -1] > 0, values[has_key, -1] - 1, 1)
    if not opaque_hole:
        values[(stored == key).all(axis=1)] = key


def _nearest(entries: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """[N] row numbers of the entries [E, 3] nearest to rgb [N, 3]."""
    table, indices = entries.astype(np.float32), np.zeros(len(rgb), np.int64)
    for start in range(0, len(rgb), _COLOURS_AT_ONCE):
        part = np.s_[start : start + _COLOURS_AT_ONCE]
        indices[part] = ((table**2).sum(1) - 2 * rgb[part].clip(0, 255) @ table.T).argmin(1)  # |e - c|² without |c|²
    return indices


def as_grey(colours: np.ndarray) -> np.ndarray:
    """[N] of colours [N, 1 or 3]."""
    return colours[:, 0] if colours.shape[1] == 1 else colours @ LUMA


def as_rgb(colours: np.ndarray) -> np.ndarray:
    """[N, 3] of colours [N, 1 or 3]."""
    return np.repeat(colours, 3, axis=1) if colours.shape[1] == 1 else colours
