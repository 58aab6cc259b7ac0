"""A fill's colours as the values that an image of any mode stores."""

import numpy as np
from PIL import Image

from vae_cli.images.modes import in_colour_space

_COLOURS_AT_ONCE = 65536
SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def stored_values(image: Image.Image, colours: np.ndarray, stored: np.ndarray, opaque_hole: bool) -> np.ndarray:
    """Values of `image`'s mode for colours float32 [N, 1 or 3] that replace `stored` [N] or [N, bands]."""
    mode, key = image.mode, image.info.get("transparency")
    if mode == "P":
        return _palette_indices(image, colours, stored, opaque_hole)
    if mode in ("PA", "LA", "RGBA", "RGBX"):
        values = stored.copy()
        if mode == "PA":
            values[:, 0] = _nearest(_palette(image), as_rgb(colours))
        else:
            values[:, :-1] = _round(as_grey(colours)[:, None] if mode == "LA" else as_rgb(colours))
        if opaque_hole and mode != "RGBX":
            values[:, -1] = 255
        return values
    if mode == "1":
        return as_grey(colours) >= 128
    if mode == "L":
        values = _round(as_grey(colours))
    elif mode in SIXTEEN_BIT_MODES:
        values = np.rint(as_grey(colours) * 257).clip(0, 65535).astype(np.int32)
    else:
        values = _round(as_rgb(colours))
    if mode in ("CMYK", "YCbCr", "LAB"):
        strip = Image.fromarray(values[None])
        return np.asarray(in_colour_space(strip, "LAB") if mode == "LAB" else strip.convert(mode))[0]
    if key is not None and mode in ("L", "RGB", "I;16"):
        values = values.astype(stored.dtype)
        keep_key_colour(values, stored, key, opaque_hole)
    return values


def keep_key_colour(values: np.ndarray, stored: np.ndarray, key: int | tuple[int, ...], opaque_hole: bool) -> None:
    """PNGs may declare one colour transparent: what had it keeps it (that is its alpha), no other pixel gets it.

    values, stored: [N] or [N, bands] of one dtype; `values` is changed in place.
    """
    has_key = _equals(values, key)
    last = values[..., -1] if values.ndim == 2 else values
    last[has_key] = np.where(last[has_key] > 0, last[has_key] - 1, 1)
    if not opaque_hole:
        values[_equals(stored, key)] = key


def _equals(values: np.ndarray, key: int | tuple[int, ...]) -> np.ndarray:
    """bool [N]; there may be no value at all."""
    return (values == key) if values.ndim == 1 else (values == key).all(axis=1)


def _palette_indices(image: Image.Image, colours: np.ndarray, stored: np.ndarray, opaque_hole: bool) -> np.ndarray:
    """[N] nearest entries among those that have each pixel's alpha, or the most opaque there is."""
    palette = _palette(image)
    alpha, transparency = np.full(len(palette), 255, np.uint8), image.info.get("transparency")
    if isinstance(transparency, int):
        alpha[transparency : transparency + 1] = 0
    elif isinstance(transparency, bytes):
        listed = np.frombuffer(transparency, np.uint8)[: len(alpha)]
        alpha[: len(listed)] = listed
    wanted = np.full(len(stored), alpha.max()) if opaque_hole else alpha[stored.clip(max=len(alpha) - 1)]
    indices = stored.copy()
    for level in np.unique(wanted[wanted > 0]):  # without opaque_hole invisible pixels stay as they are
        entries, chosen = np.flatnonzero(alpha == level), wanted == level
        indices[chosen] = entries[_nearest(palette[entries], as_rgb(colours[chosen]))]
    return indices


def _palette(image: Image.Image) -> np.ndarray:
    """uint8 [entries, 3], RGB."""
    return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)


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


def _round(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
