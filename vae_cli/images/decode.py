"""One image file -> one uint8 array. Every Pillow mode and every kind of bad file is dealt with here, nowhere else.

A DataError raised here says only what is wrong; callers put the file's name in front of it.
"""

import functools
import lzma
import os
import struct
import threading
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageCms, ImageFile, TiffImagePlugin, UnidentifiedImageError

from vae_cli.errors import DataError
from vae_cli.files import tiff_directory
from vae_cli.images.colours import WHITE, Colour, luma_of
from vae_cli.images.image_ref import HEIF_REASON, HEIF_SUFFIXES, ImageRef, can_read_heif, suffix_of
from vae_cli.images.orientation import ORIENTATION_TAG, displayed_image

# By content, whatever the extension says; the formats left out can start programs (EPS) or are no pictures.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"})
_MAX_MEMBER_BYTES = 1 << 30
_DRAFT_MARGIN = 2  # a JPEG is decoded at no less than twice the wanted size, so that the resampling stays ours
_TIFF_BITS_TAG, _TIFF_PHOTOMETRIC_TAG, _TIFF_SAMPLES_TAG, _TIFF_FORMAT_TAG, _TIFF_FLOAT = 258, 262, 277, 339, 3
_FLOAT_REASON = "floating-point image, whose value range is unknown; save it as 16-bit or 8-bit"
# What Pillow's plugins and zipfile let through on bad bytes; a fuzz test keeps this list honest. Nothing wider:
# MemoryError and KeyboardInterrupt are no fault of the file.
_BAD_BYTES = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, EOFError,
    RuntimeError, BufferError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile,
    Image.DecompressionBombError,
)  # fmt: skip


def open_image(source: ImageRef | Path, *, at_least: tuple[int, int] | None = None) -> Image.Image:
    """The image as displayed (orientation applied), first frame, decoded fully.

    at_least: (H, W); big JPEGs may then come reduced, but not below it.
    Raises DataError for anything that is no whole image of at most 8 bits colour or 16 bits grey.
    """
    with bad_bytes_are_data_errors(), _opened(source) as image:
        if at_least is not None:
            longest = max(at_least) * _DRAFT_MARGIN  # which side is which is known only after the rotation
            image.draft(image.mode, (longest, longest))
        is_12_bit = image.format == "TIFF" and _tiff_bits(image) == (12,)
        image.load()
        upright = displayed_image(image, orientation_of(image))
        upright = upright.copy() if upright is image else upright  # without the file's handle
        if is_12_bit:
            values = np.asarray(upright).astype(np.uint32)
            upright = Image.fromarray((values * 65535 // 4095).astype(np.uint16))
        return inverted(upright) if is_negative(image) else upright


def probe(source: ImageRef | Path) -> tuple[str, tuple[int, int]]:
    """Pillow's mode and (H, W) as displayed, from the header alone. Raises DataError like open_image."""
    with bad_bytes_are_data_errors(), _opened(source) as image:
        width, height = image.size
        # TIFF sizes are already turned; a PNG's own getexif() would decode the whole picture
        is_turned = image.format != "TIFF" and orientation_of(image, header_only=True) >= 5
        return image.mode, (width, height) if is_turned else (height, width)


def is_negative(image: Image.Image) -> bool:
    """Whether an opened file holds 16-bit grey that counts from white down: Pillow minds that with 8 bits only."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or not image.mode.startswith("I;16"):
        return False
    return bool(image.tag_v2.get(_TIFF_PHOTOMETRIC_TAG) == 0)


def inverted(image: Image.Image) -> Image.Image:
    """A copy of 16-bit grey with black for white; mode and info stay."""
    values = np.asarray(image)
    copy = image.copy()
    copy.frombytes((65535 - values).astype(values.dtype).tobytes())
    return copy


def to_array(image: Image.Image, *, channels: int, background: Colour = WHITE) -> np.ndarray:
    """uint8 [H, W, C] of any Pillow mode: 16-bit grey scaled to 8 bit, alpha composited. ICC profiles are ignored."""
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels}")
    with bad_bytes_are_data_errors():
        if image.mode.startswith("I"):
            grey = np.repeat(_grey_of_16_bit(image)[..., None], channels, axis=2)
            if isinstance(key := image.info.get("transparency"), int):
                grey[np.asarray(image) == key] = background if channels == 3 else luma_of(background)
            return grey
        flat = _opaque(image, background)
        pixels = np.array(flat.convert("L" if channels == 1 else "RGB"))
        return pixels.reshape(*pixels.shape[:2], channels)


def is_grey(image: Image.Image, background: Colour = WHITE) -> bool:
    """Whether the image shows no colour once it lies on `background`."""
    if (image.mode in ("1", "L") or image.mode.startswith("I")) and not image.has_transparency_data:
        return True
    pixels = to_array(image, channels=3, background=background)
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())


def fit_to(pixels: np.ndarray, size: tuple[int, int], fit: str, background: Colour = WHITE) -> np.ndarray:
    """uint8 [H, W, C] at `size` (H, W), antialiased; the very pixels when the size is right already.

    crop: cover, then cut to the centre. pad: fit inside, on `background`. stretch: ignore the aspect ratio.
    """
    if fit not in ("crop", "pad", "stretch"):
        raise ValueError(f"fit must be crop, pad or stretch, not {fit!r}")
    height, width, channels = pixels.shape
    if (height, width) == size:
        return pixels
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    if fit == "stretch":
        return resized(image, size, (0, 0, width, height))
    if fit == "crop":
        scale = min(height / size[0], width / size[1])  # source pixels a model pixel
        top, left = (height - size[0] * scale) / 2, (width - size[1] * scale) / 2
        box = (max(0.0, left), max(0.0, top), min(width, width - left), min(height, height - top))
        return resized(image, size, box)
    scale = min(size[0] / height, size[1] / width)
    inner = (max(1, min(size[0], round(height * scale))), max(1, min(size[1], round(width * scale))))
    canvas = np.empty((*size, channels), np.uint8)
    canvas[:] = background if channels == 3 else luma_of(background)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas[top : top + inner[0], left : left + inner[1]] = resized(image, inner, (0, 0, width, height))
    return canvas


def resized(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """uint8 [H, W, C] at `size` (H, W) of the part in `box` (left, top, right, bottom), antialiased."""
    small = image.resize((size[1], size[0]), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    return np.array(small).reshape(*size, -1)


# ---- modes


def _grey_of_16_bit(image: Image.Image) -> np.ndarray:
    """uint8 [H, W] from the modes I;16* and I, whose values are 0..65535."""
    values = np.asarray(image).astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise DataError("32-bit integer image, whose value range is unknown; save it as 16-bit or 8-bit")
    return ((values + 128) // 257).astype(np.uint8)


def _opaque(image: Image.Image, background: Colour) -> Image.Image:
    """The image in a mode without alpha that converts to L and RGB, laid on `background` where it is transparent."""
    if image.mode == "F":
        raise DataError(_FLOAT_REASON)
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        return converted
    if image.has_transparency_data:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*background, 255))
        canvas.alpha_composite(rgba)
        return canvas.convert("RGB")
    return image if image.mode in ("1", "L", "RGB") else image.convert("RGB")


# ---- files


@contextmanager
def _opened(source: ImageRef | Path) -> Iterator[ImageFile.ImageFile]:
    """The image with its header read and its pixels not; refuses what Pillow would silently reduce or misread."""
    name = source.id if isinstance(source, ImageRef) else source.name
    with _stream(source) as stream:
        head = stream.read(64)
        stream.seek(0)
        if not head:
            raise DataError("empty file")
        is_heif = suffix_of(name) in HEIF_SUFFIXES or (head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS)
        if is_heif:
            _register_heif()
        try:
            image = Image.open(stream, formats=(*_FORMATS, "HEIF") if is_heif else _FORMATS)
        except UnidentifiedImageError:
            _refuse_deep_tiff(stream, head)
            raise
        with image:
            _refuse_deep(image, head)
            yield image


def read_bytes(source: ImageRef) -> bytes:
    """The file of an image, or the member of a zip, as it is. Raises DataError."""
    with bad_bytes_are_data_errors(), _stream(source) as stream:
        return stream.read()


def _stream(source: ImageRef | Path) -> IO[bytes]:
    if isinstance(source, Path):
        return source.open("rb")
    if source.member is None:
        return source.path.open("rb")
    facts = os.stat(source.path)
    archive = _open_zip(source.path, facts.st_size, facts.st_mtime_ns)
    if archive.getinfo(source.member).file_size > _MAX_MEMBER_BYTES:
        raise DataError("larger than 1 GiB inside its zip; unpack it")
    return BytesIO(archive.read(source.member))


@functools.lru_cache(maxsize=2)
def _open_zip(path: Path, _size: int, _mtime_ns: int) -> zipfile.ZipFile:
    """Kept open, since reading the directory of a large zip takes as long as many images; reads are thread-safe."""
    return zipfile.ZipFile(path)


def _register_heif() -> None:
    if not can_read_heif():
        raise DataError(HEIF_REASON)
    import pillow_heif

    pillow_heif.register_heif_opener()


def _refuse_deep(image: ImageFile.ImageFile, head: bytes) -> None:
    """DataError for float, 32-bit and 16-bit colour images, of which Pillow would keep the upper bits at best."""
    if image.mode == "F":
        raise DataError(_FLOAT_REASON)
    bits, samples = 8, len(image.getbands())
    if image.format == "PNG":
        bits, samples = head[24], {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(head[25], 1)
    elif image.format == "TIFF":
        bits = max(_tiff_bits(image))
    elif image.format == "PPM" and image.tile:
        args = image.tile[0].args
        bits = 16 if isinstance(args, tuple) and int(args[-1]) > 255 else bits
    elif image.format == "JPEG2000":
        bits = _jpeg2000_bits(image)
    if bits > 16:
        raise DataError(f"{bits}-bit image, whose value range is unknown; save it as 16-bit or 8-bit")
    _refuse_deep_samples(bits, samples)


def _refuse_deep_samples(bits: int, samples: int) -> None:
    if bits > 8 and samples > 1:
        kind = "grey with alpha" if samples == 2 else "colour"
        raise DataError(
            f"16-bit {kind}, which would lose its lower bits; save it with 8 bits a channel "
            "(inpaint and denoise keep 16, in PNG and TIFF)"
        )


def _refuse_deep_tiff(stream: IO[bytes], head: bytes) -> None:
    """DataError for float and 16-bit TIFFs of which Pillow says only that it cannot identify them."""
    if head[:4] in tiff_directory.MAGIC:
        page = tiff_directory.read_page(stream)
        if _TIFF_FLOAT in page.numbers(_TIFF_FORMAT_TAG):
            raise DataError(_FLOAT_REASON)
        if set(page.numbers(_TIFF_BITS_TAG)) == {16}:
            _refuse_deep_samples(16, page.number(_TIFF_SAMPLES_TAG, 1))
            raise DataError("16-bit grey of a kind that cannot be read (big-endian with white as 0?); save it anew")


def _tiff_bits(image: Image.Image) -> tuple[int, ...]:
    """Bits of each sample; (1,) where the tag is missing, as the TIFF standard says."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_TIFF_BITS_TAG, (1,))
    return tuple(int(value) for value in bits) or (1,)


def _jpeg2000_bits(image: ImageFile.ImageFile) -> int:
    """The largest depth of a component, from the SIZ marker of the code stream."""
    assert image.fp is not None
    position = image.fp.tell()
    image.fp.seek(0)
    head = image.fp.read(1 << 16)
    image.fp.seek(position)
    start = head.find(b"\xff\x4f\xff\x51") + 2  # past SOC
    if start < 2:
        return 8
    num_components = int.from_bytes(head[start + 38 : start + 40], "big")
    return max((depth & 0x7F) + 1 for depth in head[start + 40 : start + 40 + 3 * num_components : 3])


# ---- orientation


def orientation_of(image: Image.Image, *, header_only: bool = False) -> int:
    """EXIF orientation 1..8; unreadable metadata of a readable picture counts as 1."""
    try:
        exif = Image.Image.getexif(image) if header_only else image.getexif()
        value = int(exif.get(ORIENTATION_TAG, 1))
    except _BAD_BYTES:
        return 1
    return value if value in range(1, 9) else 1


# ---- errors


@contextmanager
def bad_bytes_are_data_errors() -> Iterator[None]:
    """Pillow's many exceptions become one DataError, its warnings silence: the file is used or it is not."""
    with quiet_pillow:
        try:
            yield
        except _BAD_BYTES as error:
            raise DataError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """One line for the user."""
    text = " ".join(str(error).split())
    if isinstance(error, UnidentifiedImageError):
        return "no image, or one that is damaged at its beginning"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; make it smaller"
    if isinstance(error, RuntimeError) and "password" in text:
        return "encrypted in its zip; unpack it with its password"
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return "cut off (truncated file)"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"damaged or unsupported ({text or type(error).__name__})"


class _QuietPillow:
    """Ignores warnings while any thread decodes. warnings.catch_warnings alone is not safe with threads: it would
    restore the filters that another thread had just changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._catcher = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._num_inside == 0:
                self._catcher = warnings.catch_warnings()
                self._catcher.__enter__()
                warnings.simplefilter("ignore")
            self._num_inside += 1

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._catcher.__exit__(None, None, None)


quiet_pillow = _QuietPillow()
