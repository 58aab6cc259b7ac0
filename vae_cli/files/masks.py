"""The user's masks: white is the hole. Everything here says `hole` (True = to fill); inside it becomes `observed`."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from vae_cli.errors import DataError
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.colours import parse_color
from vae_cli.images.decode import open_image
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.modes import to_array

_WHITE_FROM = 128
_MAX_ASPECT_DIFFERENCE = 0.01


@bad_bytes_are_data_errors()
def read_hole(
    mask: ImageRef | Path | Image.Image, size: tuple[int, int], *, invert: bool = False, dilate_pixels: int = 0
) -> np.ndarray:
    """bool [H, W], True = hole, from a mask image of the same size as the image as displayed, or the same shape.

    Raises DataError for unreadable, ill-fitting, empty and full masks.
    """
    try:
        values = _mask_values(mask if isinstance(mask, Image.Image) else open_image(mask))
    except DataError as error:
        if isinstance(mask, Image.Image):
            raise
        raise DataError(f"its mask {mask.id if isinstance(mask, ImageRef) else mask}: {error}") from error
    height, width = values.shape
    if (height, width) != size:
        if abs(width * size[0] / (height * size[1]) - 1) > _MAX_ASPECT_DIFFERENCE:
            raise DataError(
                f"the mask has {width}x{height} pixels, the image {size[1]}x{size[0]}; make their aspect ratios agree"
            )
        values = np.array(Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.NEAREST))
    hint = f"its brightest pixel is {values.max()}, white ({_WHITE_FROM} or more) marks the hole"
    return _finished(np.asarray(values >= _WHITE_FROM), invert, dilate_pixels, hint)


@bad_bytes_are_data_errors()
def hole_from_color(image: Image.Image, color: str, *, invert: bool = False, dilate_pixels: int = 0) -> np.ndarray:
    """bool [H, W]: the pixels of that colour, whatever their transparency."""
    has_alpha = image.has_transparency_data  # what a transparent pixel hides is its colour
    pixels = np.array(_straight(image).convert("RGB")) if has_alpha else to_array(image, channels=3)
    hole = (pixels == parse_color(color)).all(axis=2)
    hint = f"no pixel has the colour {color} (lossy formats change colours)"
    return _finished(hole, invert, dilate_pixels, hint)


@bad_bytes_are_data_errors()
def hole_from_alpha(image: Image.Image, *, invert: bool = False, dilate_pixels: int = 0) -> np.ndarray:
    """bool [H, W]: the pixels that are more transparent than opaque (alpha below 128)."""
    if not image.has_transparency_data:
        raise DataError("the image has no transparency; give a mask file")
    alpha = np.array(_straight(image).getchannel("A"))
    return _finished(alpha < _WHITE_FROM, invert, dilate_pixels, "no pixel is transparent")


def dilate(hole: np.ndarray, num_pixels: int) -> np.ndarray:
    """The hole, bool [H, W], grown by a square of `num_pixels` to each side; the input is left alone."""
    reach = min(num_pixels, max(hole.shape))
    # As fast for a wide brush as for a narrow one; binary_dilation is not.
    return np.asarray(ndimage.maximum_filter(hole.view(np.uint8), 2 * reach + 1, mode="constant")).view(bool)


def _finished(hole: np.ndarray, invert: bool, dilate_pixels: int, empty_hint: str) -> np.ndarray:
    """Inverted, dilated, and neither empty nor full."""
    grown = dilate(~hole if invert else hole, dilate_pixels)
    if not grown.any():
        raise DataError("the mask is empty after inversion" if invert else f"the mask is empty: {empty_hint}")
    if grown.all():
        raise DataError("the mask covers the whole image; nothing would be left to go by")
    return grown


def _mask_values(image: Image.Image) -> np.ndarray:
    """uint8 [H, W] brightness. Alpha counts where the visible ink has one brightness, as in masks drawn on a layer;
    otherwise transparent pixels count as black."""
    if not image.has_transparency_data:
        return to_array(image, channels=1)[..., 0]
    straight = _straight(image)
    alpha, luma = np.array(straight.getchannel("A")), np.array(straight.convert("RGB").convert("L"))
    visible = luma[alpha > 0]
    is_drawn_in_alpha = visible.size > 0 and bool(np.ptp(alpha)) and not np.ptp(visible)
    return alpha if is_drawn_in_alpha else (luma.astype(np.uint16) * alpha // 255).astype(np.uint8)


def _straight(image: Image.Image) -> Image.Image:
    """The image in mode RGBA, with the colours that its transparency hides."""
    if image.mode.startswith("I"):  # which Pillow clips to 8 bits instead of reducing it
        opaque = image.copy()
        key = opaque.info.pop("transparency", None)
        grey = Image.fromarray(to_array(opaque, channels=1)[..., 0])
        alpha = Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8))
        return Image.merge("RGBA", (grey, grey, grey, alpha))
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
