"""The user's masks: white is the hole. Everything here says `hole` (True = to fill); inside it becomes `observed`."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageColor

from vae_cli.data.decode import Colour, open_image, to_array
from vae_cli.data.scan import ImageRef, Scan, Skipped
from vae_cli.errors import ConfigError, DataError

_WHITE_FROM = 128
_MAX_ASPECT_DIFFERENCE = 0.01
_MASK_SUFFIXES = ("_mask", "-mask", ".mask")


def parse_color(text: str) -> Colour:
    """(red, green, blue) of '#f0f', '#ff00ff', 'magenta' and what else CSS knows. ConfigError when it is no colour."""
    try:
        rgb = ImageColor.getrgb(text.strip())
        if len(rgb) == 3:
            return rgb
    except ValueError:
        pass
    raise ConfigError(f"{text}: not an opaque colour; write it like '#ff00ff' or 'white'")


# ---- holes


def read_hole(
    mask: ImageRef | Path | Image.Image, size: tuple[int, int], *, invert: bool = False, dilate_pixels: int = 0
) -> np.ndarray:
    """bool [H, W], True = hole, from a mask image of the same size as the image as displayed, or the same shape.

    Raises DataError for unreadable, ill-fitting, empty and full masks.
    """
    values = _mask_values(mask) if isinstance(mask, Image.Image) else _values_in_file(mask)
    height, width = values.shape
    if (height, width) != size:
        if abs(width * size[0] / (height * size[1]) - 1) > _MAX_ASPECT_DIFFERENCE:
            raise DataError(
                f"the mask has {width}x{height} pixels, the image {size[1]}x{size[0]}; make their aspect ratios agree"
            )
        values = np.array(Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.NEAREST))
    hint = f"its brightest pixel is {values.max()}, white ({_WHITE_FROM} or more) marks the hole"
    return _finished(np.asarray(values >= _WHITE_FROM), invert, dilate_pixels, hint)


def hole_from_color(image: Image.Image, color: str, *, invert: bool = False, dilate_pixels: int = 0) -> np.ndarray:
    """bool [H, W]: the pixels of that colour, whatever their transparency."""
    # Laid on nothing: what a transparent pixel hides is its colour.
    has_alpha = image.has_transparency_data
    pixels = np.array(_straight(image).convert("RGB")) if has_alpha else to_array(image, channels=3)
    hole = np.ones(pixels.shape[:2], bool)
    for channel, value in enumerate(parse_color(color)):
        hole &= pixels[..., channel] == value
    hint = f"no pixel has the colour {color} (lossy formats change colours)"
    return _finished(hole, invert, dilate_pixels, hint)


def hole_from_alpha(image: Image.Image, *, invert: bool = False, dilate_pixels: int = 0) -> np.ndarray:
    """bool [H, W]: the pixels that are more transparent than opaque (alpha below 128)."""
    if not image.has_transparency_data:
        raise DataError("the image has no transparency; give a mask file")
    return _finished(_alpha(image) < _WHITE_FROM, invert, dilate_pixels, "no pixel is transparent")


def dilate(hole: np.ndarray, num_pixels: int) -> np.ndarray:
    """The hole grown by a square of `num_pixels` to each side; the input is left alone."""
    grown = hole
    for _ in range(2):  # rows, then columns
        grown = (_grown_down(grown, num_pixels) | _grown_down(grown[::-1], num_pixels)[::-1]).T
    return np.ascontiguousarray(grown)


def _grown_down(hole: np.ndarray, num_pixels: int) -> np.ndarray:
    """Each True also sets the `num_pixels` rows below it; the reach doubles a step, so wide brushes stay cheap."""
    grown, reach = hole.copy(order="K"), 0
    while reach < num_pixels:
        shift = min(reach + 1, num_pixels - reach)
        grown[shift:] |= grown[:-shift].copy(order="K")
        reach += shift
    return grown


def _finished(hole: np.ndarray, invert: bool, dilate_pixels: int, empty_hint: str) -> np.ndarray:
    """Inverted, dilated, and neither empty nor full."""
    grown = dilate(~hole if invert else hole, dilate_pixels)
    if not grown.any():
        raise DataError("the mask is empty after inversion" if invert else f"the mask is empty: {empty_hint}")
    if grown.all():
        raise DataError("the mask covers the whole image; nothing would be left to go by")
    return grown


def _values_in_file(mask: ImageRef | Path) -> np.ndarray:
    """uint8 [H, W] brightness. Raises DataError that blames the mask, not the image that it belongs to."""
    try:
        return _mask_values(open_image(mask))
    except DataError as error:
        raise DataError(f"its mask {mask.id if isinstance(mask, ImageRef) else mask}: {error}") from error


def _mask_values(image: Image.Image) -> np.ndarray:
    """uint8 [H, W] brightness. Alpha counts where the visible ink has one brightness, as in masks drawn on a layer;
    otherwise transparent pixels count as black."""
    if not image.has_transparency_data:
        return to_array(image, channels=1)[..., 0]
    alpha, luma = _alpha(image), np.array(_straight(image).convert("RGB").convert("L"))
    visible = luma[alpha > 0]
    is_drawn_in_alpha = visible.size > 0 and bool(np.ptp(alpha)) and not np.ptp(visible)
    if is_drawn_in_alpha:
        return alpha
    return np.asarray(luma.astype(np.uint16) * alpha // 255, np.uint8)


def _alpha(image: Image.Image) -> np.ndarray:
    return np.array(_straight(image).getchannel("A"))


def _straight(image: Image.Image) -> Image.Image:
    """The image in mode RGBA, with the colours that its transparency hides."""
    if image.mode.startswith("I"):  # which Pillow clips to 8 bits instead of reducing it
        opaque = image.copy()
        key = opaque.info.pop("transparency", None)
        grey = Image.fromarray(to_array(opaque, channels=1)[..., 0])
        alpha = Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8))
        return Image.merge("RGBA", (grey, grey, grey, alpha))
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


# ---- pairs


class NoMask(Skipped):
    """There is none for an image; others are left out because theirs is not clear."""


def pair_masks(images: Sequence[ImageRef], masks: Scan | Path) -> dict[str, ImageRef | Skipped]:
    """For each image's id its mask, or Skipped with the reason. A path is one mask for all.

    Pairs by the id without extension, `_mask`, `-mask`, `.mask` dropped from the masks' side. Where images and masks
    lie in one folder, no image is its own mask, and `a_mask.png` is that of `a.png`.
    """
    if isinstance(masks, Path):
        return {image.id: ImageRef(masks.name, masks) for image in images}
    inputs: defaultdict[str, list[ImageRef]] = defaultdict(list)
    for image in images:
        inputs[_stem(image.id)].append(image)
    own_paths = {image.path.resolve() for image in images}
    candidates: defaultdict[str, list[ImageRef]] = defaultdict(list)
    for mask in masks.images:
        stem = _stem(mask.id)
        if mask.path.resolve() not in own_paths:
            candidates[stem if stem in inputs else _without_mask_suffix(stem)].append(mask)
        elif (without := _without_mask_suffix(stem)) != stem:
            candidates[without].append(mask)
    pairs: dict[str, ImageRef | Skipped] = {}
    for stem, same_stem in inputs.items():
        for image_id in {image.id for image in same_stem}:
            pairs[image_id] = _pair(image_id, stem, same_stem, candidates.get(stem, []))
    return pairs


def _pair(image_id: str, stem: str, same_stem: list[ImageRef], masks: list[ImageRef]) -> ImageRef | Skipped:
    if not masks:
        return NoMask(image_id, f"no mask {stem}.* or {stem}_mask.*")
    if len({image.path.resolve() for image in same_stem}) > 1:  # a file that is given twice may have it twice
        names = {image.id for image in same_stem}
        names = names if len(names) == len(same_stem) else {str(image.path) for image in same_stem}
        return Skipped(image_id, f"{' and '.join(sorted(names))} share one stem, so that no mask is theirs alone")
    if len(masks) > 1:
        return Skipped(image_id, f"several masks: {', '.join(mask.id for mask in masks)}; keep one")
    return masks[0]


def _stem(entry_id: str) -> str:
    return str(PurePosixPath(entry_id).with_suffix(""))


def _without_mask_suffix(stem: str) -> str:
    for suffix in _MASK_SUFFIXES:
        if stem.endswith(suffix) and not stem.endswith("/" + suffix) and stem != suffix:
            return stem.removesuffix(suffix)
    return stem
