"""Images that Pillow has read, and others, as the bytes of a file: as much as possible of the one they came from."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from vae_cli.errors import DataError
from vae_cli.files import containers, gif_frames, jpeg_segments, raw_pixels
from vae_cli.files.new_pictures import encoded
from vae_cli.files.thumbnails import jpeg_end, with_redrawn_thumbnail, without_xmp_thumbnails
from vae_cli.images.bad_files import BAD_BYTES
from vae_cli.images.jpeg2000 import in_order
from vae_cli.images.orientation import ORIENTATION_TAG, displayed_image

_MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P"),
    "PPM": ("1", "L", "RGB", "I"),
    "AVIF": ("L", "RGB", "RGBA"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA", "CMYK", "I;16"),
}
_OTHER_MODES = {
    **{"1": ("L", "RGB"), "I": ("I;16",), "I;16": ("I",)},
    **dict.fromkeys(("L", "P", "RGBX", "YCbCr"), ("RGB",)),
    "LA": ("RGBA",),
    **dict.fromkeys(("I;16B", "I;16L", "I;16N"), ("I;16", "I")),
}
"""Modes that hold the same pixels, nearest first."""
_HOLDS_KEY_COLOUR = ("PNG", "GIF")
_DESCRIBED, _WITH_RESOLUTION = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF"), ("PNG", "JPEG", "BMP", "TIFF")
_NAMES = {"exif": "EXIF", "xmp": "XMP", "icc_profile": "ICC profile", "dpi": "resolution"}
_MOST_BYTES = {("JPEG", "exif"): 65533, ("JPEG", "xmp"): 65504}
_EXIF, _XMP_TAG, _XMP_KEY = b"Exif\0\0", 700, "XML:com.adobe.xmp"
_LOSSY = "re-encoded ({} is lossy)"
_WITH_NEW_PIXELS = {
    "GIF": gif_frames.with_new_pixels, "BMP": raw_pixels.with_new_pixels, "PPM": raw_pixels.with_new_pixels,
}  # fmt: skip
_WITH_NEW_CODE = {
    "JPEG": jpeg_segments.with_new_pixels, "WEBP": containers.webp_with_new_pixels,
    "JPEG2000": containers.jp2_with_new_pixels,
}  # fmt: skip
_WITHOUT_METADATA = {
    "JPEG": jpeg_segments.without_metadata, "WEBP": containers.webp_without_metadata,
    "JPEG2000": containers.jp2_without_metadata, "GIF": gif_frames.without_metadata,
    "PPM": raw_pixels.without_metadata,
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """The first frame of an image file as stored: not rotated, in its own mode and depth."""

    path: Path
    image: Image.Image
    orientation: int
    format: str  # Pillow's name
    num_frames: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)  # what writing the file alike needs beyond Pillow's `info`
    content: bytes = b""  # of the file


class Stored(NamedTuple):
    """What a file may consist of, what it should show when it is read, and what is to be said of it."""

    content: bytes
    shown: Picture
    remarks: tuple[str, ...]


def encodings(original: Picture, file_format: str, *, strip: bool = False) -> Iterator[Stored]:
    """The picture in files of that format, first the one that keeps most of its own file.

    strip: without any metadata but what says how to show it: profile, orientation and resolution. Raises DataError when
    the format cannot hold the image.
    """
    if original.format == file_format and original.content:
        kept = None
        with suppress(*BAD_BYTES):  # where Pillow reads a damaged file, or what it cannot write
            kept = _in_its_own_file(original, strip)
        if kept is not None:
            yield kept
    fitted, remarks = _fit_to_format(original, file_format)
    if not strip:
        metadata, lost = _metadata(original, fitted, file_format)
        with suppress(DataError):  # where an encoder cannot take the metadata
            yield _anew(original, fitted, file_format, metadata, [*lost, *remarks])
        remarks.append(f"all metadata but profile, orientation and resolution: not kept in {file_format}")
    yield _anew(original, fitted, file_format, _metadata(_stripped(original), fitted, file_format)[0], remarks)


def is_lossless(original: Picture, file_format: str) -> bool:
    """Whether that format keeps every pixel value."""
    if file_format == "WEBP":
        return original.format != "WEBP" or bool(original.facts["is_lossless"])
    return file_format not in ("JPEG", "AVIF")


def _in_its_own_file(original: Picture, strip: bool) -> Stored | None:
    """None where a file written anew keeps as much. Damaged files raise many things."""
    old, image, shown, remarks = original.content, original.image, original, []
    if original.format in _WITH_NEW_PIXELS:
        content = _WITH_NEW_PIXELS[original.format](old, image)
    elif original.format in _WITH_NEW_CODE:
        bare = Image.frombytes("L", image.size, image.tobytes()) if image.mode == "P" else image  # the palette stays
        if order := original.facts.get("order"):
            bare = in_order(image, [order.index(number) for number in range(len(order))])
        new = _encoded(original, bare, original.format, _coding(original, image, original.format))
        content = _WITH_NEW_CODE[original.format](old, new, image)
        if not is_lossless(original, original.format):
            shown = replace(original, image=_decoded(new))
            remarks.append(_LOSSY.format(original.format))
    else:
        return None
    if strip and original.format in _WITHOUT_METADATA:
        content = _WITHOUT_METADATA[original.format](content, _exif_of(original.orientation))
    elif original.format == "JPEG" and old[jpeg_end(old) :].strip(b"\0"):
        remarks.append("what follows the picture in its file (a film, a gain map, further pictures) is as it was")
    if original.facts.get("has_rare_sampling"):  # such as a photograph has that was turned without being decoded
        remarks.append("its colours, of a rare resolution, are stored at the full one")
    if original.facts.get("bits", 8) not in (8, 16):
        remarks.append(f"{original.facts['bits']} bits a sample became {16 if image.mode.startswith('I') else 8}")
    if original.num_frames > 1 and original.format != "JPEG":
        remarks.append("only the first frame is changed, the others are as they were")
    return Stored(content, shown, tuple(remarks))


def _anew(
    original: Picture, fitted: Picture, file_format: str, metadata: dict[str, Any], remarks: Sequence[str]
) -> Stored:
    frames = ["only the first frame is kept"] if original.num_frames > 1 else []
    content = _encoded(original, fitted.image, file_format, _coding(original, fitted.image, file_format) | metadata)
    if file_format == original.format == "BMP":
        num_bits = 8 * len(fitted.image.getbands())
        remarks = [*remarks, f"stored without compression and with {num_bits} bits a pixel"]
    if file_format == original.format == "AVIF":
        content = containers.avif_with_old_colours(original.content, content)
    if is_lossless(original, file_format):
        return Stored(content, fitted, (*frames, *remarks))
    return Stored(content, replace(fitted, image=_decoded(content)), (*frames, _LOSSY.format(file_format), *remarks))


def _encoded(original: Picture, image: Image.Image, file_format: str, options: dict[str, Any]) -> bytes:
    bare = image.copy()
    bare.info = {}  # of which Pillow writes some without being asked
    try:
        return encoded(bare, file_format, **options)
    except BAD_BYTES as error:  # the encoder's, nothing has touched the disk
        raise DataError(f"{original.path}: cannot be stored as {file_format} ({error}); try --format png") from error


def _decoded(content: bytes) -> Image.Image:
    with Image.open(BytesIO(content)) as image:
        image.load()
        return image.copy()


def _fit_to_format(original: Picture, file_format: str) -> tuple[Picture, list[str]]:
    """The picture in a mode that the format holds, upright where that has no orientation, and remarks."""
    fitted, remarks = original, list[str]()
    if original.orientation != 1 and file_format not in _DESCRIBED:
        fitted = replace(original, image=displayed_image(original.image, original.orientation), orientation=1)
        remarks.append(f"{file_format} has no orientation tag: rotated as displayed")
    image, modes = fitted.image, _MODES.get(file_format, ())
    has_key = "transparency" in image.info
    if image.mode in modes and (not has_key or file_format in _HOLDS_KEY_COLOUR):
        return fitted, remarks
    candidates = _OTHER_MODES.get(image.mode, ())
    if has_key:
        candidates = ("LA", "RGBA") if image.mode == "L" else ("RGBA",)
    for mode in candidates:
        if mode in modes:
            if mode in ("I", "I;16"):  # which Pillow would clip where they become shorter or longer
                converted = Image.fromarray(np.asarray(image).astype(np.int32 if mode == "I" else np.uint16))
            else:
                converted = image.convert(mode)
            return replace(fitted, image=converted), [*remarks, f"stored in mode {mode}"]
    found = f"{original.path}: an image of mode {image.mode}{' with transparency' if has_key else ''}"
    raise DataError(f"{found} cannot be stored as {file_format or 'it was'}; use --format png or tiff")


def _coding(original: Picture, image: Image.Image, file_format: str) -> dict[str, Any]:
    """Arguments of Pillow's `save` that say how the pixels are stored."""
    facts = original.facts if original.format == file_format else {}
    match file_format:
        case "JPEG":
            return facts.get("coding") or {"quality": 95, "subsampling": 0}
        case "WEBP":
            return {"lossless": is_lossless(original, file_format), "quality": 95, "exact": True}
        case "AVIF":
            return {"quality": 95, **({} if image.mode == "L" else {"subsampling": facts.get("subsampling", "4:4:4")})}
        case "TIFF":
            return {"compression": "tiff_adobe_deflate"}
        case "JPEG2000":
            return {"irreversible": False, "comment": original.image.info.get("comment")}
    transparency = image.info.get("transparency")
    if file_format == "GIF" and isinstance(transparency, bytes):  # of every number; GIF has one that is transparent
        transparency = transparency.find(b"\0")
    return {"optimize": False} | ({} if transparency is None else {"transparency": transparency})


def _stripped(original: Picture) -> Picture:
    image = original.image.copy()
    image.info = {key: value for key, value in image.info.items() if key in ("icc_profile", "dpi")}
    return replace(original, image=image, facts={})


def _metadata(original: Picture, fitted: Picture, file_format: str) -> tuple[dict[str, Any], list[str]]:
    """Arguments of Pillow's `save` that describe the picture, and remarks about what gets lost."""
    info, image, orientation = original.image.info, fitted.image, fitted.orientation
    found: dict[str, Any] = {key: info[key] for key in _NAMES if info.get(key)}
    exif = found.pop("exif", None)
    if isinstance(exif, bytes) and says_more_than_orientation(exif):
        found["exif"] = with_redrawn_thumbnail(_EXIF + exif.removeprefix(_EXIF), image)
    elif orientation != 1:
        found["exif"] = _exif_of(orientation)
    if "xmp" in found:
        found["xmp"] = without_xmp_thumbnails(found["xmp"])
    if "dpi" in found:
        found["dpi"] = tuple(map(float, found["dpi"]))
    kept = {key: value for key, value in found.items() if _holds(file_format, key, value)}
    if len(original.image.getbands()) < 3 <= len(image.getbands()) and original.image.mode != "P":
        kept.pop("icc_profile", None)  # of a grey picture that has become a coloured one
    lost = [*(_NAMES[key] for key in found if key not in kept), *original.facts.get("extras", ())]
    if "comment" in info and original.format != "JPEG2000":  # there it is the encoder's name
        lost.append("comment")
    is_from_avif = original.format == "AVIF" and file_format != "AVIF"
    if is_from_avif and "icc_profile" not in info and containers.has_unusual_colours(original.content):
        lost.append("colour primaries")  # a profile would say more
    match file_format:
        case "PNG":
            chunks = PngImagePlugin.PngInfo()
            for key, value in original.facts.get("text", {}).items():
                chunks.add_text(key, value)
            if "xmp" in kept:
                chunks.add_itxt(_XMP_KEY, kept.pop("xmp").decode("utf-8", "replace"))
            kept["pnginfo"] = chunks
        case "TIFF":
            tags = Image.Exif()
            with suppress(*BAD_BYTES):
                tags.load(kept.pop("exif", b""))
            tags[ORIENTATION_TAG] = orientation
            for code, value in list(tags.items()):
                if isinstance(value, str):  # of which Pillow would write only what is ASCII
                    tags[code] = value.encode("latin-1", "replace")
            if "xmp" in kept:
                tags[_XMP_TAG] = kept.pop("xmp")
            kept["exif"] = tags
            if len(tags) > 1:
                kept["compression"] = None  # libtiff, which compresses, would lose parts of it
    return kept, [f"{name}: not kept in {file_format}" for name in lost]


def says_more_than_orientation(exif: bytes) -> bool:
    """Whether EXIF data hold any other tag."""
    tags = Image.Exif()
    with suppress(*BAD_BYTES):
        tags.load(exif)
    return {*tags} != {ORIENTATION_TAG}


def _exif_of(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION_TAG] = orientation
    return tags.tobytes() if orientation != 1 else b""


def _holds(file_format: str, key: str, value: Any) -> bool:
    """Whether a file of that format can hold metadata of that kind and size."""
    if key == "dpi":
        return file_format in _WITH_RESOLUTION and all(1 <= number < 65536 for number in value)
    return file_format in _DESCRIBED and len(value) <= _MOST_BYTES.get((file_format, key), len(value))
