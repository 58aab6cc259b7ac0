"""Every Pillow mode as 8-bit grey or RGB: 16-bit grey scaled, palettes resolved, transparency laid on a background."""

from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from vae_cli.errors import DataError
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.bit_depth import FLOAT_REASON
from vae_cli.images.colours import WHITE, Colour, luma_of


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    """uint8 of whole numbers in 0..65535, rounded to nearest; uint8 is returned as it is. Any shape."""
    return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_array(image: Image.Image, *, channels: int, background: Colour = WHITE) -> np.ndarray:
    """uint8 [H, W, channels] of an image of any mode, with `background` where it is transparent.

    channels: 1 or 3. ICC profiles are ignored. Raises DataError for floats and 32-bit numbers.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels}")
    with bad_bytes_are_data_errors():
        if image.mode == "F":
            raise DataError(FLOAT_REASON)
        if image.mode.startswith("I"):
            values = np.asarray(image).astype(np.int64)
            if values.size and (values.min() < 0 or values.max() > 65535):
                raise DataError("32-bit integer image, whose value range is unknown; save it as 16-bit or 8-bit")
            grey = np.repeat(eight_bits(values)[..., None], channels, axis=2)
            if isinstance(key := image.info.get("transparency"), int):
                grey[np.asarray(image) == key] = background if channels == 3 else luma_of(background)
            return grey
        if image.mode == "LAB":
            image = in_colour_space(image, "RGB")
        elif image.has_transparency_data:
            canvas = Image.new("RGBA", image.size, (*background, 255))
            canvas.alpha_composite((image.convert("LA") if image.mode == "La" else image).convert("RGBA"))
            image = canvas.convert("RGB")
        elif image.mode not in ("1", "L"):
            image = image.convert("RGB")
        pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
        return pixels.reshape(*pixels.shape[:2], channels)


def refuse_lost_palette(image: Image.Image) -> None:
    """Raises DataError for an image of palette entries without a palette."""
    if image.mode in ("P", "PA") and not image.getpalette():
        raise DataError("the palette of its colours is missing or damaged")


def is_grey(image: Image.Image, background: Colour = WHITE) -> bool:
    """Whether the image shows no colour once it lies on `background`."""
    if (image.mode in ("1", "L") or image.mode.startswith("I")) and not image.has_transparency_data:
        return True
    pixels = to_array(image, channels=3, background=background)
    return bool((pixels == pixels[..., :1]).all())


def with_clear_surroundings(image: Image.Image, box: tuple[int, int, int, int] | None) -> Image.Image:
    """A GIF as browsers show it: what lies around a first frame that is smaller than the canvas is transparent.

    box: left, top, right and bottom of the frame, as Pillow's `tile` has it before the pixels are loaded. Where no
    colour of the file is transparent, a number becomes so that no pixel uses.
    """
    if box in (None, (0, 0, *image.size)) or image.mode not in ("L", "P") or "transparency" in image.info:
        return image
    uses, entries = image.histogram(), image.getpalette("RGB") or np.repeat(np.arange(256), 3).tolist()
    clear = len(entries) // 3 if len(entries) < 768 else uses.index(min(uses))
    if uses[clear]:
        return image
    result = Image.new("P", image.size, clear)
    result.paste(image.crop(box).convert("P"), box)
    result.putpalette(entries + [0, 0, 0] * (len(entries) < 768))
    result.info = {**image.info, "transparency": clear}
    return result


def in_colour_space(image: Image.Image, mode: Literal["RGB", "LAB"]) -> Image.Image:
    """An image of mode LAB in RGB, or the other way round."""
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    profiles = (lab, srgb) if mode == "RGB" else (srgb, lab)
    converted = ImageCms.profileToProfile(image, *profiles, outputMode=mode)
    assert converted is not None  # only conversions in place return nothing
    return converted
