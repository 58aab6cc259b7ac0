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
_MAX_LISTED = 12


@bad_bytes_are_data_errors()
def read_hole(
    mask: ImageRef | Path | Image.Image, size: tuple[int, int], *, value: int | None = None, invert: bool = False,
    dilate_pixels: int = 0,
) -> np.ndarray:  # fmt: skip
    """bool [H, W], True = hole, from a mask image of the same size as the image as displayed, or the same shape.

    value: what the hole is stored as, None = white. Raises DataError for unreadable, ill-fitting, empty and full masks.
    """
    try:
        image = mask if isinstance(mask, Image.Image) else open_image(mask)
        hole = _brightness(image) >= _WHITE_FROM if value is None else _stored_values(image) == value
        hint = f"it holds {_contents(image, value)}" if hole.all() or not hole.any() else ""
    except DataError as error:
        if isinstance(mask, Image.Image):
            raise
        raise DataError(f"its mask {mask.id if isinstance(mask, ImageRef) else mask}: {error}") from error
    height, width = hole.shape
    if (height, width) != size:
        if abs(width * size[0] / (height * size[1]) - 1) > _MAX_ASPECT_DIFFERENCE:
            raise DataError(
                f"the mask has {width}x{height} pixels, the image {size[1]}x{size[0]}; make their aspect ratios agree"
            )
        resized = Image.fromarray(hole.view(np.uint8)).resize((size[1], size[0]), Image.Resampling.NEAREST)
        hole = np.array(resized).view(bool)
    return _finished(hole, invert, dilate_pixels, hint)


@bad_bytes_are_data_errors()
def hole_from_color(image: Image.Image, color: str, *, invert: bool = False, dilate_pixels: int = 0) -> np.ndarray:
    """bool [H, W]: the pixels of that colour, whatever their transparency."""
    has_alpha = image.has_transparency_data  # what a transparent pixel hides is its colour
    pixels = np.array(_straight(image).convert("RGB")) if has_alpha else to_array(image, channels=3)
    hole = (pixels == parse_color(color)).all(axis=2)
    hint = "" if hole.any() else f"no pixel has the colour {color} (lossy formats change colours)"
    return _finished(hole, invert, dilate_pixels, hint)


@bad_bytes_are_data_errors()
def hole_from_alpha(image: Image.Image, *, invert: bool = False, dilate_pixels: int = 0) -> np.ndarray:
    """bool [H, W]: the pixels that are more transparent than opaque (alpha below 128)."""
    if not image.has_transparency_data:
        raise DataError("the image has no transparency; give a mask file")
    hole = np.array(_straight(image).getchannel("A")) < _WHITE_FROM
    return _finished(hole, invert, dilate_pixels, "" if hole.any() else "no pixel is transparent")


def dilate(hole: np.ndarray, num_pixels: int) -> np.ndarray:
    """The hole, bool [H, W], grown by a square of `num_pixels` to each side; the input is left alone."""
    reach = min(num_pixels, max(hole.shape))
    # As fast for a wide brush as for a narrow one; binary_dilation is not.
    return np.asarray(ndimage.maximum_filter(hole.view(np.uint8), 2 * reach + 1, mode="constant")).view(bool)


def _finished(hole: np.ndarray, invert: bool, dilate_pixels: int, hint: str) -> np.ndarray:
    """Inverted, dilated, and neither empty nor full. hint: why it is the same everywhere, where it is."""
    grown = dilate(~hole if invert else hole, dilate_pixels)
    because = f": {hint}" if hint else ""
    if not grown.any():
        raise DataError(f"the mask is empty{' after inversion' * invert}{because}")
    if grown.all():
        raise DataError(f"the mask covers the whole image; nothing would be left to go by{because}")
    return grown


def _contents(image: Image.Image, value: int | None) -> str:
    """The values in a mask and, where white is the hole, that another may be."""
    white = "" if value is not None else f", and white ({_WHITE_FROM} or more) is the hole"
    try:
        found = np.unique(_stored_values(image))
    except DataError:
        return f"colours, the brightest of brightness {_brightness(image).max()}{white}"
    if value is None and len(found) > 1:
        marked = found[-1] if len(found) == 2 else "N"
        white += f"; --mask-value {marked} makes it what is {marked}"
    more = f" to {found[-1]}" if len(found) > _MAX_LISTED else ""
    return f"{', '.join(map(str, found[:_MAX_LISTED]))}{more}{white}"


def _stored_values(image: Image.Image) -> np.ndarray:
    """Whole numbers [H, W] as a label map stores them: in a palette image not what they look like. Raises DataError."""
    if image.mode == "1":
        return np.array(image.convert("L")) // 255
    if image.mode in ("L", "P") or image.mode.startswith("I"):
        return np.array(image)
    if image.mode in ("LA", "PA", "La"):
        return np.array(image.getchannel(0))
    pixels = np.array(_straight(image).convert("RGB")) if image.has_transparency_data else to_array(image, channels=3)
    if (pixels != pixels[..., :1]).any():
        raise DataError("in colour; --mask-value is for masks in grey or with a palette")
    return pixels[..., 0]


def _brightness(image: Image.Image) -> np.ndarray:
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


def cuts_blocks(hole: np.ndarray) -> bool:
    """Whether a hole, bool [H, W], covers only a part of any block of 8x8 pixels, which JPEG codes together."""
    height, width = hole.shape
    padded = np.pad(hole, ((0, -height % 8), (0, -width % 8)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // 8, 8, -1, 8)
    return bool((blocks.any((1, 3)) & ~blocks.all((1, 3))).any())
