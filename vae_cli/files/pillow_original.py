"""Images that Pillow reads, with nothing changed but the pixels of a hole."""

from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin

from vae_cli.atomic import writing
from vae_cli.errors import DataError
from vae_cli.files import containers, gif_frames, jpeg_segments, raw_pixels
from vae_cli.files.formats import refuse_existing, wanted_format
from vae_cli.files.pillow_encoding import Picture, encodings
from vae_cli.images import jpeg2000
from vae_cli.images.bad_files import BAD_BYTES, bad_bytes_are_data_errors
from vae_cli.images.bit_depth import coded_bits
from vae_cli.images.colours import BLACK, WHITE, Colour
from vae_cli.images.decode import open_image, probe
from vae_cli.images.modes import refuse_lost_palette, to_array, with_clear_surroundings
from vae_cli.images.orientation import as_displayed, displayed_image, displayed_size, orientation_of
from vae_cli.images.samples import SIXTEEN_BIT_MODES, samples_of

_FILLABLE_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", *SIXTEEN_BIT_MODES)
_RESOLUTION_TAGS = (282, 296)


@dataclass(frozen=True)
class PillowOriginal(Picture):
    """The first frame of an image file as stored: not rotated, in its own mode and depth."""

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
        if "maximum" in self.facts:
            pixels = raw_pixels.at_levels(pixels, raw_pixels.white_of(image), self.facts["maximum"])
        image.frombytes(pixels.tobytes(), "raw", "1;8" if image.mode == "1" else image.mode)
        return replace(self, image=image)

    def with_text(self, key: str, value: str) -> "PillowOriginal":
        """The same with one more text chunk, in formats that have such."""
        return replace(self, facts={**self.facts, "text": {**self.facts.get("text", {}), key: value}})

    def save(
        self, path: Path, *, format: str = "keep", overwrite: bool = False, strip: bool = False
    ) -> tuple[str, ...]:
        """Write the image atomically, by default in the format it came in; returns what the format could not keep.

        strip: without metadata. Raises ConfigError when path exists or the format is unknown, DataError when the format
        cannot hold the image or the file does not come back as it was meant, WriteError when the disk refuses.
        """
        file_format = wanted_format(format, self.format)
        refuse_existing(path, overwrite=overwrite)
        with writing(path) as file:
            for content, shown, remarks in encodings(self, file_format, strip=strip):
                file.seek(0)
                file.truncate()
                file.write(content)
                file.flush()
                if _comes_back(Path(file.name), replace(self, image=shown.image, orientation=shown.orientation)):
                    return remarks
            raise DataError(f"{self.path}: does not come back from {file_format} as it was written; try --format png")


def _comes_back(path: Path, original: PillowOriginal) -> bool:
    """Whether a file shows what it should, on any background."""
    try:
        found = open_image(path)
    except DataError:
        return False
    if found.mode.startswith("I"):
        return np.array_equal(np.asarray(found), original.display_array(1)[..., 0])
    backgrounds = (WHITE, BLACK) if found.has_transparency_data or original.has_transparency else (WHITE,)
    wanted = (original.display_array(3, background) for background in backgrounds)
    return all(map(np.array_equal, wanted, (to_array(found, channels=3, background=each) for each in backgrounds)))


def open_with_pillow(path: Path) -> PillowOriginal:
    """Raises DataError, without the file's name, for what cannot be kept bit for bit."""
    probe(path)  # refuses what Pillow would silently reduce
    with bad_bytes_are_data_errors():
        content = path.read_bytes()
        with Image.open(BytesIO(content)) as image:
            facts, box = _facts_of(image, content), image.tile[0].extents if image.format == "GIF" else None
            image.load()
            orientation, image_format = orientation_of(image), "JPEG" if image.format == "MPO" else image.format or ""
            stored = jpeg2000.in_order(with_clear_surroundings(image.copy(), box), facts.get("order", ()))
            stored = _with_palette(stored, facts.get("colours", 256))
            refuse_lost_palette(stored)
            num_frames = 1
            with suppress(*BAD_BYTES):  # a damaged later frame is no fault of the first one
                num_frames = getattr(image, "n_frames", 1)
        if image_format == "JPEG" and not _says_resolution(image):
            stored.info.pop("dpi", None)  # which Pillow has made up
        if image_format == "JPEG2000" and (profile := jpeg2000.profile(content)):
            stored.info["icc_profile"] = profile
    if stored.mode not in _FILLABLE_MODES:
        raise DataError(f"images of mode {stored.mode} cannot be filled; convert it to PNG or TIFF first")
    return PillowOriginal(path, stored, orientation, image_format, num_frames, facts, content)


def _with_palette(image: Image.Image, num_colours: int) -> Image.Image:
    """A grey picture, which Pillow makes of a palette that is a ramp, as numbers of colours once more where not every
    number is an opaque one."""
    if image.mode != "L" or (num_colours >= 256 and "transparency" not in image.info):
        return image
    result = Image.frombytes("P", image.size, image.tobytes())
    result.putpalette(np.repeat(np.arange(num_colours), 3).tolist())
    result.info = dict(image.info)
    return result


def _says_resolution(image: Image.Image) -> bool:
    with suppress(*BAD_BYTES):
        return image.info.get("jfif_unit") in (1, 2) or {*_RESOLUTION_TAGS} <= {*image.getexif()}
    return False


def _facts_of(image: ImageFile.ImageFile, content: bytes) -> dict[str, Any]:
    """To be called before the pixels are loaded."""
    facts: dict[str, Any] = {}
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        facts["coding"] = _jpeg_coding(image)
        facts["has_rare_sampling"] = image.mode == "RGB" and JpegImagePlugin.get_sampling(image) < 0
        facts["extras"] = jpeg_segments.other_metadata(content)
    elif image.format == "WEBP":
        facts["is_lossless"] = containers.is_lossless_webp(content)
        facts["extras"] = containers.other_webp_metadata(content)
    elif image.format == "GIF":
        with suppress(*BAD_BYTES):  # what a damaged file holds is no fault of its first frame
            facts["colours"] = gif_frames.num_colours(content)
            facts["extras"] = gif_frames.other_metadata(content)
    elif image.format == "BMP":
        facts["colours"] = raw_pixels.num_bmp_colours(content)
        facts["extras"] = ("ICC profile",) if raw_pixels.has_bmp_profile(content) else ()
    elif image.format == "AVIF":
        facts |= containers.avif_facts(content, 2 if image.mode == "RGBA" else 1)
    elif image.format == "JPEG2000":
        facts["extras"] = containers.other_jp2_metadata(content)
        facts |= {"bits": coded_bits(content), "order": jpeg2000.channel_order(content)}
    elif image.format == "PPM":
        codec, _, start, args = image.tile[0]
        facts["extras"] = ("comment",) if b"#" in content[:start] else ()
        if image.mode != "1" and codec.startswith("ppm") and isinstance(args, tuple):
            facts["maximum"] = args[-1]
    return facts


def _jpeg_coding(image: JpegImagePlugin.JpegImageFile) -> dict[str, Any]:
    """Options of Pillow's `save` that encode a picture like this one; empty for a lossless one, which it cannot."""
    info = image.info
    tables = [image.quantization.get(number) for *_, number in image.layer]
    if not image.quantization or None in tables:
        return {}
    if image.mode == "CMYK":  # also where it is stored as YCCK, of which only the first table is for inks
        tables = tables[:1]
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()
    is_rgb = info["adobe_transform"] == 0 if "adobe_transform" in info else [id for id, *_ in image.layer] == [*b"RGB"]
    coding = {"qtables": tables, "progressive": "progressive" in info}
    if image.mode == "RGB":
        coding["subsampling"] = max(0, JpegImagePlugin.get_sampling(image))  # rare kinds are kept at full resolution
        coding["keep_rgb"] = is_rgb and "jfif" not in info
    return coding
