"""The eight ways in which EXIF and TIFF files say how a stored picture is to be turned."""

import numpy as np
from PIL import Image

from vae_cli.images.bad_files import BAD_BYTES

ORIENTATION_TAG = 274
XMP_KEYS = ("xmp", "XML:com.adobe.xmp")  # where Pillow looks for the tag, too, which no other program does
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def orientation_of(image: Image.Image, *, header_only: bool = False) -> int:
    """EXIF orientation 1..8 of an opened image; 1 where its metadata cannot be read, and where only XMP has one."""
    try:
        if image.format is not None:  # else there is no other place for it than `info`
            if not header_only:
                image.load()  # a PNG may say it behind its pixels
            described = Image.Image()
            described.info = {key: value for key, value in image.info.items() if key not in XMP_KEYS}
            image = described
        value = int(image.getexif().get(ORIENTATION_TAG, 1))
    except BAD_BYTES:
        return 1
    return value if value in range(1, 9) else 1


def inverse_of(orientation: int) -> int:
    """The orientation that undoes this one."""
    return {6: 8, 8: 6}.get(orientation, orientation)


def displayed_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(height, width) as displayed of what is stored as `size`, (height, width)."""
    return (size[1], size[0]) if orientation >= 5 else size


def as_displayed(array: np.ndarray, orientation: int) -> np.ndarray:
    """A view of a stored [H, W, ...] array as EXIF orientation 1..8 asks to show it."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def as_stored(array: np.ndarray, orientation: int) -> np.ndarray:
    """Inverse of `as_displayed`."""
    return as_displayed(array, inverse_of(orientation))


def displayed_image(image: Image.Image, orientation: int) -> Image.Image:
    """`as_displayed` for Pillow images; palette and info stay."""
    return image.transpose(_TRANSPOSES[orientation]) if orientation != 1 else image
