"""BMP and PNM files in which only the bytes of changed pixels are replaced."""

import re
from io import BytesIO

import numpy as np
from PIL import Image

_COMMENT = rb"#[^\r\n]*"


def with_new_pixels(old: bytes, picture: Image.Image) -> bytes:
    """Raises ValueError for pixels that are compressed, and for those that Pillow only reads."""
    before = Image.open(BytesIO(old), formats=("BMP", "PPM"))
    codec, _, start, args = before.tile[0]
    raw_mode, *layout = (args,) if isinstance(args, str) else args or ()
    if codec in ("ppm", "ppm_plain"):
        new = _numbers(picture, *layout)
        if codec == "ppm_plain":
            return old[:start] + _as_text(old[start:], _numbers(before, *layout), new, one_each=picture.mode == "1")
        values = new.astype(np.uint8 if max(layout) < 256 else ">u2").tobytes()
        return old[:start] + values + old[start + len(values) :]
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
    raw_mode = image.mode if raw_mode == "L" else raw_mode  # numbers of a palette that is a ramp
    return image.tobytes("raw", raw_mode, *layout)


def _numbers(picture: Image.Image, maximum: int = 1) -> np.ndarray:
    """Values 0..maximum."""
    values = np.asarray(picture)
    if picture.mode == "1":  # of which black is stored as 1
        return ~values
    return np.rint(values / white_of(picture) * maximum).astype(np.uint16)


def _as_text(old: bytes, was: np.ndarray, new: np.ndarray, *, one_each: bool) -> bytes:
    """Figures with those replaced whose values change, among comments. one_each: without blanks between them."""
    pairs = zip(was.ravel().tolist(), new.ravel().tolist(), strict=True)

    def replaced(found: re.Match[bytes]) -> bytes:
        before, after = (0, 0) if found[0].startswith(b"#") else next(pairs, (0, 0))
        return found[0] if before == after else b"%d" % after

    return re.sub(_COMMENT + (rb"|\d" if one_each else rb"|\d+"), replaced, old)


def num_bmp_colours(content: bytes) -> int:
    """Entries of the palette, which an old kind of header does not count."""
    return (int.from_bytes(content[46:50], "little") if content[14] >= 40 else 0) or 256


def has_bmp_profile(content: bytes) -> bool:
    """Whether a header of the newest kind says that an ICC profile is in the file, or where it is."""
    return content[14] >= 124 and content[70:74] in (b"DEBM", b"KNIL")


def at_levels(values: np.ndarray, white: int, maximum: int) -> np.ndarray:
    """Values 0..white, each at the nearest of those that a PNM file of 0..maximum can store."""
    return np.rint(np.rint(values / white * maximum) / maximum * white).astype(values.dtype)


def white_of(picture: Image.Image) -> int:
    """What Pillow stretches a PNM file's values to."""
    return 65535 if picture.mode == "I" else 255


def without_metadata(content: bytes, _exif: bytes) -> bytes:
    """A PNM file of nothing but its picture and, in its head, what that needs."""
    image = Image.open(BytesIO(content), formats=("PPM",))
    codec, _, start, args = image.tile[0]
    most = args[-1] if isinstance(args, tuple) else white_of(image)
    maximum = b"" if image.mode == "1" else b"%d\n" % most
    row = (image.width + 7) // 8 if image.mode == "1" else image.width * len(image.getbands()) * (1 + (most > 255))
    is_text = codec == "ppm_plain"
    pixels = re.sub(_COMMENT, b"", content[start:]) if is_text else content[start : start + row * image.height]
    return content[:2] + b"\n%d %d\n" % image.size + maximum + pixels
