"""BMP and PNM files in which only the bytes of changed pixels are replaced."""

from io import BytesIO

import numpy as np
from PIL import Image

_A_LINE = 11  # numbers in a text file, whose lines should have at most 70 characters


def with_new_pixels(old: bytes, picture: Image.Image) -> bytes:
    """Raises ValueError for pixels that are compressed, and for those that Pillow only reads."""
    before = Image.open(BytesIO(old), formats=("BMP", "PPM"))
    codec, _, start, args = before.tile[0]
    raw_mode, *layout = (args,) if isinstance(args, str) else args or ()
    if codec in ("ppm", "ppm_plain"):
        return old[:start] + _numbers(picture, *layout, as_text=codec == "ppm_plain")
    if codec != "raw":
        raise ValueError(f"{codec} pixels cannot be replaced")
    before.load()
    packed, was_packed = (np.frombuffer(_packed(image, raw_mode, *layout), np.uint8) for image in (picture, before))
    content = np.frombuffer(old, np.uint8).copy()
    there = content[start : start + len(packed)]  # the last row may lack its padding
    is_new = packed[: len(there)] != was_packed[: len(there)]
    there[is_new] = packed[: len(there)][is_new]
    return content.tobytes()


def _packed(image: Image.Image, raw_mode: str, *layout: int) -> bytes:
    if raw_mode in ("BGAR", "BGXR"):  # the same as BGRA with other bands, and Pillow can write only that
        red, green, blue, alpha = image.convert("RGBA").split()
        image, raw_mode = Image.merge("RGBA", (alpha, green, blue, red)), "BGRA"
    return image.tobytes("raw", raw_mode, *layout)


def _numbers(picture: Image.Image, maximum: int = 1, *, as_text: bool) -> bytes:
    """Values 0..maximum of one or two bytes each, or in figures."""
    values = np.asarray(picture)
    black_is_1 = picture.mode == "1"
    values = ~values if black_is_1 else np.rint(values / white_of(picture) * maximum).astype(np.uint16)
    if not as_text:
        return values.astype(np.uint8 if maximum < 256 else ">u2").tobytes()
    figures = [b"%d" % value for value in values.ravel().tolist()]
    return b"".join(b" ".join(figures[start : start + _A_LINE]) + b"\n" for start in range(0, len(figures), _A_LINE))


def at_levels(values: np.ndarray, white: int, maximum: int) -> np.ndarray:
    """Values 0..white, each at the nearest of those that a PNM file of 0..maximum can store."""
    return np.rint(np.rint(values / white * maximum) / maximum * white).astype(values.dtype)


def white_of(picture: Image.Image) -> int:
    """What Pillow stretches a PNM file's values to."""
    return 65535 if picture.mode == "I" else 255


def without_metadata(content: bytes, _exif: bytes) -> bytes:
    """A PNM file with nothing in its head but what it needs."""
    image = Image.open(BytesIO(content), formats=("PPM",))
    _, _, start, args = image.tile[0]
    maximum = b"" if image.mode == "1" else b"%d\n" % (args[-1] if isinstance(args, tuple) else white_of(image))
    return content[:2] + b"\n%d %d\n" % image.size + maximum + content[start:]
