"""Images that Pillow reads and writes, with nothing changed but the pixels of a hole, and with their metadata."""

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin
from PIL.TiffImagePlugin import RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION

from vae_cli.atomic import write_atomically
from vae_cli.errors import DataError
from vae_cli.files.formats import refuse_existing, wanted_format
from vae_cli.files.samples import SIXTEEN_BIT_MODES, samples_of
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.colours import WHITE, Colour
from vae_cli.images.decode import probe
from vae_cli.images.modes import refuse_lost_palette, to_array
from vae_cli.images.orientation import (
    ORIENTATION_TAG,
    as_displayed,
    displayed_image,
    displayed_size,
    orientation_of,
)

_FILLABLE_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", *SIXTEEN_BIT_MODES)
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
}
"""Modes that hold the same pixels, nearest first."""
_HOLDS_KEY_COLOUR = ("PNG", "GIF")
_HOLDS_EXIF = ("PNG", "JPEG", "WEBP", "AVIF")


@dataclass(frozen=True)
class PillowOriginal:
    """The first frame of an image file as stored: not rotated, in its own mode and depth."""

    path: Path
    image: Image.Image
    orientation: int
    format: str  # Pillow's name
    num_frames: int
    facts: Mapping[str, Any]  # what writing the file alike needs beyond Pillow's `info`

    @property
    def has_transparency(self) -> bool:
        """Whether alpha, a palette or a key colour lets a background show."""
        return self.image.has_transparency_data

    @property
    def display_size(self) -> tuple[int, int]:
        """(height, width) after EXIF orientation."""
        return displayed_size((self.image.height, self.image.width), self.orientation)

    def display_array(self, channels: int, background: Colour = WHITE) -> np.ndarray:
        """[H, W, channels] as displayed: uint8, or uint16 where the file has 16 bits."""
        if self.image.mode in SIXTEEN_BIT_MODES:
            grey = as_displayed(np.asarray(self.image), self.orientation).astype(np.uint16)
            return np.repeat(grey[:, :, None], channels, axis=2)
        upright = displayed_image(self.image, self.orientation)
        return to_array(upright, channels=channels, background=background)

    def with_fill(self, fill: np.ndarray, hole: np.ndarray, *, opaque_hole: bool = False) -> "PillowOriginal":
        """A copy whose hole pixels show `fill`; every other pixel keeps its stored value.

        fill: float32 [H, W, 1 or 3] in 0..255, hole: bool [H, W], both as displayed. Alpha is kept, or opaque in the
        hole; palette images take the nearest entry of the same alpha. Raises ValueError when sizes differ.
        """
        filled = samples_of(self.image, self.orientation).with_fill(fill, hole, opaque_hole=opaque_hole)
        image = self.image.copy()  # keeps palette and info
        pixels = filled.pixels.astype(np.asarray(image).dtype)
        image.frombytes(pixels.tobytes(), "raw", "1;8" if image.mode == "1" else image.mode)
        return replace(self, image=image)

    def with_text(self, key: str, value: str) -> "PillowOriginal":
        """The same with one more text chunk, in formats that have such."""
        return replace(self, facts={**self.facts, "text": {**self.facts.get("text", {}), key: value}})

    def save(self, path: Path, *, format: str = "keep", overwrite: bool = False) -> tuple[str, ...]:
        """Write the image atomically, by default in the format it came in; returns what the format could not keep.

        Raises ConfigError when path exists or the format is unknown, DataError when the format cannot hold the image,
        WriteError when the disk refuses.
        """
        file_format = wanted_format(format, self.format)
        refuse_existing(path, overwrite=overwrite)
        image, orientation, remarks = _fit_to_format(self, file_format)
        options = _options(self, image, file_format, orientation, remarks)
        buffer = BytesIO()
        try:
            image.save(buffer, file_format, **options)
        except (OSError, ValueError, SystemError) as error:  # the encoder's, nothing has touched the disk
            raise DataError(f"{path}: cannot be stored as {file_format} ({error}); try --format png") from error
        write_atomically(path, buffer.getbuffer())
        return tuple(remarks)


def open_with_pillow(path: Path) -> PillowOriginal:
    """Raises DataError, without the file's name, for what cannot be kept bit for bit."""
    probe(path)  # refuses what Pillow would silently reduce
    with bad_bytes_are_data_errors(), Image.open(path) as image:
        image.load()
        orientation, image_format = orientation_of(image), image.format or ""
        stored, facts = image.copy(), _facts_of(image, path)
        refuse_lost_palette(stored)
        num_frames = getattr(image, "n_frames", 1)
    if stored.mode not in _FILLABLE_MODES:
        raise DataError(f"images of mode {stored.mode} cannot be filled; convert it to PNG or TIFF first")
    return PillowOriginal(path, stored, orientation, image_format, num_frames, facts)


def _facts_of(image: Image.Image, path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        facts["qtables"] = {key: list(table) for key, table in image.quantization.items()}
        facts["subsampling"] = JpegImagePlugin.get_sampling(image)
    if image.format == "WEBP":
        facts["is_lossless"] = _first_webp_frame(path) == b"VP8L"
    return facts


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


def is_lossless(original: PillowOriginal, format: str) -> bool:
    """Whether saving in that format keeps every pixel value."""
    file_format = wanted_format(format, original.format)
    if file_format == "WEBP":
        return original.format != "WEBP" or bool(original.facts["is_lossless"])
    return file_format not in ("JPEG", "AVIF")


def _fit_to_format(original: PillowOriginal, file_format: str) -> tuple[Image.Image, int, list[str]]:
    """The image in a mode that the format holds, the orientation tag to write, and remarks."""
    remarks = ["only the first frame is kept"] if original.num_frames > 1 else []
    image, orientation = original.image, original.orientation
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
    found = f"{original.path}: an image of mode {image.mode}{' with transparency' if has_key else ''}"
    raise DataError(f"{found} cannot be stored as {file_format or 'it was'}; use --format png or tiff")


def _as_integers(image: Image.Image, mode: str) -> Image.Image:
    """An image of whole numbers in mode I or I;16."""
    converted = Image.fromarray(np.asarray(image).astype(np.int32 if mode == "I" else np.uint16))
    converted.info = dict(image.info)
    return converted


def _options(
    original: PillowOriginal, image: Image.Image, file_format: str, orientation: int, remarks: list[str]
) -> dict[str, Any]:
    """Arguments of Pillow's `save`; adds remarks about what the format cannot keep."""
    info = original.image.info
    options: dict[str, Any] = {}
    was_grey = len(original.image.getbands()) < 3 and original.image.mode not in ("P", "PA")
    is_grey_in_colour = was_grey and len(image.getbands()) >= 3
    if file_format in (*_HOLDS_EXIF, "TIFF") and info.get("icc_profile") and not is_grey_in_colour:
        options["icc_profile"] = info["icc_profile"]
    if file_format in ("PNG", "JPEG", "BMP") and "dpi" in info:
        options["dpi"] = tuple(map(float, info["dpi"]))
    if file_format in _HOLDS_EXIF:
        if isinstance(info.get("exif"), bytes):
            options["exif"] = info["exif"]
        elif orientation != 1:
            options["exif"] = Image.Exif()
            options["exif"][ORIENTATION_TAG] = orientation
    if file_format in ("JPEG", "WEBP", "AVIF") and isinstance(info.get("xmp"), bytes):
        options["xmp"] = info["xmp"]
    if file_format in _HOLDS_KEY_COLOUR and "transparency" in image.info:
        options["transparency"] = image.info["transparency"]
    match file_format:
        case "PNG":
            options["pnginfo"] = _png_chunks(original)
        case "JPEG":
            options |= _jpeg_options(original)
            remarks.append("re-encoded (JPEG is lossy)")
        case "TIFF":
            options |= _tiff_options(info, orientation)
        case "WEBP" if is_lossless(original, "webp"):
            options |= {"lossless": True, "exact": True}
        case "WEBP" | "AVIF":
            options |= {"quality": 95, "exact": True} if file_format == "WEBP" else {"quality": 95}
            remarks.append(f"re-encoded ({file_format} is lossy)")
        case "GIF":
            options["optimize"] = False  # the palette stays as it is
        case "JPEG2000":
            options["irreversible"] = False
    return options


def _png_chunks(original: PillowOriginal) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    for key, value in original.facts.get("text", {}).items():
        chunks.add_text(key, value)
    return chunks


def _jpeg_options(original: PillowOriginal) -> dict[str, Any]:
    facts, info = original.facts, original.image.info
    if "qtables" not in facts:
        return {"quality": 95, "subsampling": 0}
    options = {"qtables": facts["qtables"], "progressive": bool(info.get("progressive"))}
    if facts["subsampling"] >= 0:
        options["subsampling"] = facts["subsampling"]
    return options | ({"comment": info["comment"]} if "comment" in info else {})


def _tiff_options(info: Mapping[Any, Any], orientation: int) -> dict[str, Any]:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[ORIENTATION_TAG] = orientation
    if "dpi" in info:
        tags[X_RESOLUTION], tags[Y_RESOLUTION] = map(float, info["dpi"])
        tags[RESOLUTION_UNIT] = 2
    return {"tiffinfo": tags, "compression": "tiff_adobe_deflate"}
