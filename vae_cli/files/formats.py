"""How an `Original` becomes a file again: in the input's format, with its metadata."""

import os
import shutil
import struct
import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from vae_cli.atomic import opened, write_atomically, writing
from vae_cli.errors import ConfigError, DataError
from vae_cli.files.tiff_directory import read_page, replace_first_page
from vae_cli.images.orientation import displayed_image

if TYPE_CHECKING:
    from vae_cli.files.originals import Original

FORMATS = {
    **{"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "jfif": "JPEG", "tif": "TIFF", "tiff": "TIFF", "webp": "WEBP"},
    **{"bmp": "BMP", "gif": "GIF", "ppm": "PPM", "pgm": "PPM", "pbm": "PPM", "avif": "AVIF", "jp2": "JPEG2000"},
}
_MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "I"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P"),
    "PPM": ("1", "L", "RGB", "I"),
    "AVIF": ("L", "RGB", "RGBA"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA", "CMYK", "I;16"),
}
_SAME_LOOK = {  # modes that hold the same pixels, nearest first
    "1": ("L", "RGB"),
    "L": ("RGB",),
    "P": ("RGB",),
    "LA": ("RGBA",),
    "PA": ("RGBA",),
    "RGBX": ("RGB",),
    "YCbCr": ("RGB",),
    "I": ("I;16",),
    "I;16": ("I",),
    **dict.fromkeys(("I;16B", "I;16L", "I;16N"), ("I;16", "I")),
}
_HOLDS_KEY_COLOUR = ("PNG", "GIF")
_HOLDS_EXIF = ("PNG", "JPEG", "WEBP", "AVIF")
_HOLDS_PROFILE = (*_HOLDS_EXIF, "TIFF")
_HOLDS_DPI = ("PNG", "JPEG", "BMP")
_TIFF_COMPRESSIONS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma", "group3", "group4")
_TIFF_ALIASES = {"tiff_deflate": "tiff_adobe_deflate", "tiff_ccitt": "group3", "raw_16": "raw"}
_ORIENTATION, _BITS, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 274, 258, 282, 283, 296
# Tags that describe the picture and not how its bytes lie: names, dates, resolution, XMP, IPTC, Photoshop, page.
_TIFF_TAGS = (269, 270, 271, 272, 274, 282, 283, 285, 296, 297, 305, 306, 315, 316, 700, 33432, 33723, 34377)


def facts_of(image: Image.Image, path: Path) -> dict[str, Any]:
    """What writing this file alike needs beyond `info`; read before the pixels are loaded.

    Raises DataError, without the file's name, for a depth that Pillow cannot write.
    """
    facts: dict[str, Any] = {}
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        facts["qtables"] = {key: list(table) for key, table in image.quantization.items()}
        facts["subsampling"] = JpegImagePlugin.get_sampling(image)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        facts["tags"] = {tag: image.tag_v2[tag] for tag in _TIFF_TAGS if tag in image.tag_v2}
        facts["tag_types"] = dict(image.tag_v2.tagtype)
        if image.tag_v2.get(_BITS) == (12,):
            raise DataError("12-bit grey, which can be read but not written; save it with 16 bits")
    if isinstance(image, PngImagePlugin.PngImageFile):
        facts["text"] = dict(image.text)
    if image.format == "WEBP":
        facts["is_lossless"] = _first_webp_frame(path) == b"VP8L"
    return facts


def is_lossless(original: "Original", format: str) -> bool:
    """Whether `save` in that format keeps every pixel value."""
    file_format = wanted_format(format, original.format)
    if file_format == "WEBP":
        return original.format != "WEBP" or bool(original.facts["is_lossless"])
    return file_format not in ("JPEG", "AVIF")


def save(original: "Original", path: Path, *, format: str, overwrite: bool) -> tuple[str, ...]:
    """See `Original.save`."""
    file_format = wanted_format(format, original.format)
    if os.path.lexists(path) and not overwrite:
        raise ConfigError(f"{path}: exists already; use --overwrite or another --out")
    image, orientation, notes = _fit_to_format(original, file_format)
    if keeps_pages := original.format == file_format == "TIFF" and original.num_frames > 1:
        image = _in_byte_order_of(original.path, image)
    options = _options(original, image, file_format, orientation, notes)
    buffer = BytesIO()
    try:
        image.save(buffer, file_format, **options)
    except (OSError, ValueError, SystemError) as error:  # the encoder's, nothing has touched the disk
        raise DataError(f"{path}: cannot be stored as {file_format} ({error}); try --format png") from error
    if keeps_pages:
        with opened(original.path) as source, writing(path) as file:
            shutil.copyfileobj(source, file)
            replace_first_page(file, buffer.getbuffer())
    else:
        write_atomically(path, buffer.getbuffer())
    return tuple(notes)


def _in_byte_order_of(path: Path, image: Image.Image) -> Image.Image:
    """An image whose bytes, written by Pillow in its own order, are right in the order of that TIFF file."""
    with opened(path) as file:
        is_other = read_page(file).order != ("<" if sys.byteorder == "little" else ">")
    if not is_other or not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int32 if image.mode == "I" else np.uint16)
    swapped = Image.fromarray(values.byteswap())
    swapped.info = dict(image.info)
    return swapped


def wanted_format(format: str, own_format: str) -> str:
    """Pillow's name of a format that the user named; `keep` is the image's own. Raises ConfigError."""
    if format == "keep":
        return "JPEG" if own_format == "MPO" else own_format
    if format.lower().lstrip(".") not in FORMATS:
        raise ConfigError(f"--format {format}: unknown; choose keep or one of {', '.join(FORMATS)}")
    return FORMATS[format.lower().lstrip(".")]


def _fit_to_format(original: "Original", file_format: str) -> tuple[Image.Image, int, list[str]]:
    """The image in a mode that the format holds, the orientation tag to write, and remarks."""
    loses_frames = original.num_frames > 1 and not original.format == file_format == "TIFF"
    notes = ["only the first frame is kept"] if loses_frames else []
    image, orientation = original.image, original.orientation
    if orientation != 1 and file_format not in (*_HOLDS_EXIF, "TIFF"):
        image, orientation = displayed_image(image, orientation), 1
        notes.append(f"{file_format} has no orientation tag: rotated as displayed")
    has_key = "transparency" in image.info
    if image.mode in _MODES.get(file_format, ()) and (not has_key or file_format in _HOLDS_KEY_COLOUR):
        return image, orientation, notes
    candidates = ("LA", "RGBA") if has_key and image.mode == "L" else _SAME_LOOK.get(image.mode, ())
    if has_key and image.mode != "L":
        candidates = ("RGBA",)
    for mode in candidates:
        if mode in _MODES.get(file_format, ()):
            return _convert(image, mode), orientation, [*notes, f"stored in mode {mode}"]
    transparent = " with transparency" if has_key else ""
    raise DataError(
        f"{original.path}: an image of mode {image.mode}{transparent} cannot be stored as {file_format or 'it was'}; "
        "use --format png or tiff"
    )


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if mode in ("I", "I;16"):  # Pillow would clip
        converted = Image.fromarray(np.asarray(image).astype(np.int32 if mode == "I" else np.uint16))
        converted.info = dict(image.info)
        return converted
    return image.convert(mode)


def _options(
    original: "Original", image: Image.Image, file_format: str, orientation: int, notes: list[str]
) -> dict[str, Any]:
    """Keyword arguments for Pillow's `save`; adds remarks about what the format cannot keep."""
    info = original.info
    options: dict[str, Any] = {}
    turned_colour = len(original.image.getbands()) < 3 <= len(image.getbands()) and original.mode not in ("P", "PA")
    if file_format in _HOLDS_PROFILE and info.get("icc_profile") and not turned_colour:
        options["icc_profile"] = info["icc_profile"]
    if file_format in _HOLDS_DPI and _has_dpi(original):
        options["dpi"] = tuple(float(value) for value in info["dpi"])
    if file_format in _HOLDS_EXIF and (exif := _exif(info, orientation)):
        options["exif"] = exif
    if file_format in ("JPEG", "WEBP", "AVIF") and isinstance(info.get("xmp"), bytes):
        options["xmp"] = info["xmp"]
    if file_format in _HOLDS_KEY_COLOUR and "transparency" in image.info:
        options["transparency"] = image.info["transparency"]
    match file_format:
        case "PNG":
            options["pnginfo"] = _png_chunks(original)
        case "JPEG":
            options |= _jpeg_options(original, notes)
        case "TIFF":
            options |= _tiff_options(original, image, orientation, notes)
        case "WEBP" if is_lossless(original, "webp"):
            options |= {"lossless": True, "exact": True}
        case "WEBP" | "AVIF":
            options |= {"quality": 95, "exact": True} if file_format == "WEBP" else {"quality": 95}
            notes.append(f"re-encoded ({file_format} is lossy)")
        case "GIF":
            options["optimize"] = False  # the palette stays as it is
        case "JPEG2000":
            options["irreversible"] = False
    return options


def _has_dpi(original: "Original") -> bool:
    if original.format == "TIFF":  # Pillow reports 1 dpi where a file says nothing
        return "dpi" in original.info and _X_RESOLUTION in original.facts["tags"]
    return "dpi" in original.info


def _exif(info: Mapping[str | tuple[int, int], Any], orientation: int) -> bytes | None:
    """The file's own EXIF block, or a new one where only the orientation has to be told."""
    if isinstance(info.get("exif"), bytes):
        return info["exif"]
    if orientation == 1:
        return None
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return exif.tobytes()


def _png_chunks(original: "Original") -> PngImagePlugin.PngInfo:
    chunks, info = PngImagePlugin.PngInfo(), original.info
    if "gamma" in info:
        chunks.add(b"gAMA", struct.pack(">I", round(info["gamma"] * 100_000)))
    if "chromaticity" in info:
        chunks.add(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in info["chromaticity"])))
    if "srgb" in info:
        chunks.add(b"sRGB", bytes([info["srgb"]]))
    for key, value in original.facts.get("text", {}).items():
        chunks.add_text(key, value)
    return chunks


def _jpeg_options(original: "Original", notes: list[str]) -> dict[str, Any]:
    notes.append("re-encoded (JPEG is lossy)")
    if "qtables" not in original.facts:
        return {"quality": 95, "subsampling": 0}
    options = {"qtables": original.facts["qtables"], "progressive": bool(original.info.get("progressive"))}
    if original.facts["subsampling"] >= 0:
        options["subsampling"] = original.facts["subsampling"]
    if "comment" in original.info:
        options["comment"] = original.info["comment"]
    return options


def _tiff_options(original: "Original", image: Image.Image, orientation: int, notes: list[str]) -> dict[str, Any]:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in original.facts.get("tags", {}).items():
        tags.tagtype[tag] = original.facts["tag_types"][tag]
        tags[tag] = value
    if orientation != 1:
        tags[_ORIENTATION] = orientation
    if original.format != "TIFF":
        if _has_dpi(original):
            tags[_X_RESOLUTION], tags[_Y_RESOLUTION] = (float(value) for value in original.info["dpi"])
            tags[_RESOLUTION_UNIT] = 2
        return {"tiffinfo": tags, "compression": "tiff_adobe_deflate"}
    stored = str(original.info.get("compression", "raw"))
    compression = _TIFF_ALIASES.get(stored, stored)
    if compression not in _TIFF_COMPRESSIONS or (compression.startswith("group") and image.mode != "1"):
        compression = "tiff_adobe_deflate"
        notes.append(f"compression {stored} became lossless deflate")
    if image.mode == "YCbCr":  # libtiff would turn it into RGB
        compression = "raw"
    return {"tiffinfo": tags, "compression": compression}


def _first_webp_frame(path: Path) -> bytes:
    """The kind of the first frame's data chunk: b"VP8L" (lossless) or b"VP8 "."""
    with path.open("rb") as file:
        file.seek(12)
        while len(header := file.read(8)) == 8:
            kind, size = struct.unpack("<4sI", header)
            if kind in (b"VP8 ", b"VP8L"):
                return kind
            file.seek(16 if kind == b"ANMF" else size + size % 2, os.SEEK_CUR)
    return b""
