"""How an image that Pillow has read becomes a file again: in a format that holds it, with its metadata."""

import os
import shutil
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from vae_cli.atomic import opened, write_atomically, writing
from vae_cli.errors import DataError
from vae_cli.files.formats import refuse_existing, wanted_format
from vae_cli.images.bit_depth import open_tiff, tiff_bits
from vae_cli.images.orientation import ORIENTATION_TAG, displayed_image

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
_OTHER_MODES = {
    **{"1": ("L", "RGB"), "I": ("I;16",), "I;16": ("I",)},
    **dict.fromkeys(("L", "P", "RGBX", "YCbCr"), ("RGB",)),
    **dict.fromkeys(("LA", "PA"), ("RGBA",)),
    **dict.fromkeys(("I;16B", "I;16L", "I;16N"), ("I;16", "I")),
}
"""Modes that hold the same pixels, nearest first."""
_HOLDS_KEY_COLOUR = ("PNG", "GIF")
_HOLDS_EXIF = ("PNG", "JPEG", "WEBP", "AVIF")
_HOLDS_PROFILE = (*_HOLDS_EXIF, "TIFF")
_HOLDS_DPI = ("PNG", "JPEG", "BMP")
_TIFF_COMPRESSIONS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma", "group3", "group4")
_TIFF_ALIASES = {"tiff_deflate": "tiff_adobe_deflate", "tiff_ccitt": "group3", "raw_16": "raw"}
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_TIFF_TAGS = (269, 270, 271, 272, 274, 282, 283, 285, 296, 297, 305, 306, 315, 316, 700, 33432, 33723, 34377)
"""Those that describe the picture and not how its bytes lie: names, dates, resolution, XMP, IPTC, Photoshop, page."""


@dataclass(frozen=True)
class StoredImage:
    """The first frame of an image file as stored: not rotated, in its own mode and depth."""

    path: Path
    image: Image.Image
    orientation: int
    format: str
    num_frames: int
    facts: Mapping[str, Any]
    """What writing the file alike needs beyond Pillow's `info`, from `facts_of`."""

    @property
    def info(self) -> Mapping[str | tuple[int, int], Any]:
        """Pillow's facts about the file: icc_profile, dpi, exif, transparency, ..."""
        return self.image.info


def facts_of(image: Image.Image, path: Path) -> dict[str, Any]:
    """The `facts` of an opened image; to be called before its pixels are loaded.

    Raises DataError, without the file's name, for a depth that Pillow cannot write.
    """
    facts: dict[str, Any] = {}
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        facts["qtables"] = {key: list(table) for key, table in image.quantization.items()}
        facts["subsampling"] = JpegImagePlugin.get_sampling(image)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        facts["tags"] = {tag: image.tag_v2[tag] for tag in _TIFF_TAGS if tag in image.tag_v2}
        facts["tag_types"] = dict(image.tag_v2.tagtype)
        if tiff_bits(image) == (12,):
            raise DataError("12-bit grey, which can be read but not written; save it with 16 bits")
    if isinstance(image, PngImagePlugin.PngImageFile):
        facts["text"] = dict(image.text)
    if image.format == "WEBP":
        facts["is_lossless"] = _first_webp_frame(path) == b"VP8L"
    return facts


def is_lossless(stored: StoredImage, format: str) -> bool:
    """Whether `save` in that format keeps every pixel value."""
    file_format = wanted_format(format, stored.format)
    if file_format == "WEBP":
        return stored.format != "WEBP" or bool(stored.facts["is_lossless"])
    return file_format not in ("JPEG", "AVIF")


def save(stored: StoredImage, path: Path, *, format: str, overwrite: bool) -> tuple[str, ...]:
    """Write the image atomically; returns remarks about what the format cannot keep.

    Raises ConfigError when path exists or the format is unknown, DataError when the format cannot hold the image,
    WriteError when the disk refuses.
    """
    file_format = wanted_format(format, stored.format)
    refuse_existing(path, overwrite=overwrite)
    image, orientation, remarks = _fit_to_format(stored, file_format)
    if keeps_pages := stored.format == file_format == "TIFF" and stored.num_frames > 1:
        image = _in_byte_order_of(stored.path, image)
    options = _options(stored, image, file_format, orientation, remarks)
    buffer = BytesIO()
    try:
        image.save(buffer, file_format, **options)
    except (OSError, ValueError, SystemError) as error:  # the encoder's, nothing has touched the disk
        raise DataError(f"{path}: cannot be stored as {file_format} ({error}); try --format png") from error
    if keeps_pages:
        from vae_cli.files.tiff_pages import replace_first_page  # brings tifffile, which few need

        with opened(stored.path) as source, writing(path) as file:
            shutil.copyfileobj(source, file)
            replace_first_page(file, buffer.getbuffer())
    else:
        write_atomically(path, buffer.getbuffer())
    return tuple(remarks)


def _in_byte_order_of(path: Path, image: Image.Image) -> Image.Image:
    """An image whose bytes, written by Pillow in its own order, are right in the order of that TIFF file."""
    with opened(path) as file:
        is_other = open_tiff(file).byteorder != ("<" if sys.byteorder == "little" else ">")
    if not is_other or not image.mode.startswith("I"):
        return image
    return _as_integers(image, "I" if image.mode == "I" else "I;16", swapped=True)


def _fit_to_format(stored: StoredImage, file_format: str) -> tuple[Image.Image, int, list[str]]:
    """The image in a mode that the format holds, the orientation tag to write, and remarks."""
    loses_frames = stored.num_frames > 1 and not stored.format == file_format == "TIFF"
    remarks = ["only the first frame is kept"] if loses_frames else []
    image, orientation = stored.image, stored.orientation
    if orientation != 1 and file_format not in (*_HOLDS_EXIF, "TIFF"):
        image, orientation = displayed_image(image, orientation), 1
        remarks.append(f"{file_format} has no orientation tag: rotated as displayed")
    modes, has_key = _MODES.get(file_format, ()), "transparency" in image.info
    if image.mode in modes and (not has_key or file_format in _HOLDS_KEY_COLOUR):
        return image, orientation, remarks
    candidates = _OTHER_MODES.get(image.mode, ())
    if has_key:
        candidates = ("LA", "RGBA") if image.mode == "L" else ("RGBA",)
    for mode in candidates:
        if mode in modes:
            # Pillow would clip integers where they become shorter or longer.
            converted = _as_integers(image, mode) if mode in ("I", "I;16") else image.convert(mode)
            return converted, orientation, [*remarks, f"stored in mode {mode}"]
    transparent = " with transparency" if has_key else ""
    raise DataError(
        f"{stored.path}: an image of mode {image.mode}{transparent} cannot be stored as {file_format or 'it was'}; "
        "use --format png or tiff"
    )


def _as_integers(image: Image.Image, mode: str, *, swapped: bool = False) -> Image.Image:
    """An image of whole numbers in mode I or I;16, on demand with the bytes of each number turned round."""
    values = np.asarray(image).astype(np.int32 if mode == "I" else np.uint16)
    converted = Image.fromarray(values.byteswap() if swapped else values)
    converted.info = dict(image.info)
    return converted


def _options(
    stored: StoredImage, image: Image.Image, file_format: str, orientation: int, remarks: list[str]
) -> dict[str, Any]:
    """Keyword arguments for Pillow's `save`; adds remarks about what the format cannot keep."""
    info = stored.info
    options: dict[str, Any] = {}
    was_grey = len(stored.image.getbands()) < 3 and stored.image.mode not in ("P", "PA")
    if file_format in _HOLDS_PROFILE and info.get("icc_profile") and not (was_grey and len(image.getbands()) >= 3):
        options["icc_profile"] = info["icc_profile"]
    if file_format in _HOLDS_DPI and (dots_per_inch := _dots_per_inch(stored)):
        options["dpi"] = dots_per_inch
    if file_format in _HOLDS_EXIF and (exif := _exif(stored, orientation)):
        options["exif"] = exif
    if file_format in ("JPEG", "WEBP", "AVIF") and isinstance(info.get("xmp"), bytes):
        options["xmp"] = info["xmp"]
    if file_format in _HOLDS_KEY_COLOUR and "transparency" in image.info:
        options["transparency"] = image.info["transparency"]
    match file_format:
        case "PNG":
            options["pnginfo"] = _png_chunks(stored)
        case "JPEG":
            options |= _jpeg_options(stored, remarks)
        case "TIFF":
            options |= _tiff_options(stored, image, orientation, remarks)
        case "WEBP" if is_lossless(stored, "webp"):
            options |= {"lossless": True, "exact": True}
        case "WEBP" | "AVIF":
            options |= {"quality": 95, "exact": True} if file_format == "WEBP" else {"quality": 95}
            remarks.append(f"re-encoded ({file_format} is lossy)")
        case "GIF":
            options["optimize"] = False  # the palette stays as it is
        case "JPEG2000":
            options["irreversible"] = False
    return options


def _dots_per_inch(stored: StoredImage) -> tuple[float, ...] | None:
    if stored.format == "TIFF" and _X_RESOLUTION not in stored.facts["tags"]:  # for which Pillow reports 1
        return None
    return tuple(float(value) for value in stored.info["dpi"]) if "dpi" in stored.info else None


def _exif(stored: StoredImage, orientation: int) -> bytes | None:
    """The file's own EXIF block, or a new one where only the orientation has to be said."""
    if isinstance(stored.info.get("exif"), bytes):
        return stored.info["exif"]
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return exif.tobytes() if orientation != 1 else None


def _png_chunks(stored: StoredImage) -> PngImagePlugin.PngInfo:
    chunks, info = PngImagePlugin.PngInfo(), stored.info
    if "gamma" in info:
        chunks.add(b"gAMA", struct.pack(">I", round(info["gamma"] * 100_000)))
    if "chromaticity" in info:
        chunks.add(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in info["chromaticity"])))
    if "srgb" in info:
        chunks.add(b"sRGB", bytes([info["srgb"]]))
    for key, value in stored.facts.get("text", {}).items():
        chunks.add_text(key, value)
    return chunks


def _jpeg_options(stored: StoredImage, remarks: list[str]) -> dict[str, Any]:
    remarks.append("re-encoded (JPEG is lossy)")
    if "qtables" not in stored.facts:
        return {"quality": 95, "subsampling": 0}
    options = {"qtables": stored.facts["qtables"], "progressive": bool(stored.info.get("progressive"))}
    if stored.facts["subsampling"] >= 0:
        options["subsampling"] = stored.facts["subsampling"]
    if "comment" in stored.info:
        options["comment"] = stored.info["comment"]
    return options


def _tiff_options(stored: StoredImage, image: Image.Image, orientation: int, remarks: list[str]) -> dict[str, Any]:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in stored.facts.get("tags", {}).items():
        tags.tagtype[tag] = stored.facts["tag_types"][tag]
        tags[tag] = value
    if orientation != 1:
        tags[ORIENTATION_TAG] = orientation
    if stored.format != "TIFF":
        if dots_per_inch := _dots_per_inch(stored):
            tags[_X_RESOLUTION], tags[_Y_RESOLUTION] = dots_per_inch
            tags[_RESOLUTION_UNIT] = 2
        return {"tiffinfo": tags, "compression": "tiff_adobe_deflate"}
    found = str(stored.info.get("compression", "raw"))
    compression = _TIFF_ALIASES.get(found, found)
    if compression not in _TIFF_COMPRESSIONS or (compression.startswith("group") and image.mode != "1"):
        compression = "tiff_adobe_deflate"
        remarks.append(f"compression {found} became lossless deflate")
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
