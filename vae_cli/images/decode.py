"""Opening image files, alone or in archives, as Pillow images: upright, whole, and of a depth that can be used.

A DataError raised here says only what is wrong; callers put the file's name in front of it.
"""

import functools
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from vae_cli.atomic import open_regular
from vae_cli.errors import DataError
from vae_cli.images import bounds
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.bit_depth import TIFF_MAGIC, head_of, refuse_deep, refuse_tiff, tiff_bits
from vae_cli.images.image_ref import HEIF_REASON, HEIF_SUFFIXES, ImageRef, can_read_heif, suffix_of
from vae_cli.images.jpeg2000 import channel_order, in_order
from vae_cli.images.modes import black_as_zero, refuse_lost_palette, with_clear_surroundings
from vae_cli.images.orientation import XMP_KEYS, displayed_image, displayed_size, orientation_of

# By content, whatever the extension says; the formats left out can start programs (EPS) or are no pictures.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"})
_MAX_MEMBER_BYTES = 256 << 20  # held in memory while it is decoded
_DRAFT_MARGIN = 2  # JPEGs are decoded at no less than twice the wanted size, so that our own resampling decides
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)
"""Of texts and profiles unpacked; generators of images store far more than Pillow's bound for one, 1 MiB."""


def open_image(source: ImageRef | Path, *, at_least: tuple[int, int] | None = None) -> Image.Image:
    """The image as displayed (orientation applied), first frame, decoded fully.

    at_least: (H, W); big JPEGs may then come reduced, but not below it.
    Raises DataError for anything that is not a whole image of at most 8 bits colour or 16 bits grey.
    """
    with bad_bytes_are_data_errors(), _opened(source) as image:
        if at_least is not None and getattr(image, "quantization", None):  # none in lossless JPEGs: only whole
            longest = max(at_least) * _DRAFT_MARGIN  # which side is which is known only after the rotation
            image.draft(image.mode, (longest, longest))
        is_12_bit = image.format == "TIFF" and tiff_bits(image) == (12,)
        frame = image.tile[0].extents if image.format == "GIF" and image.tile else None
        order = channel_order(head_of(image)) if image.format == "JPEG2000" else ()
        with bounds.decoding.taken(image.width * image.height * bounds.BYTES_A_PIXEL):
            image.load()
            shown = in_order(with_clear_surroundings(image, frame), order)
            upright = displayed_image(shown, orientation_of(image))
            upright = upright.copy() if upright is image else upright  # without the file's handle
        if is_12_bit:
            values = np.asarray(upright).astype(np.uint32)
            upright = Image.fromarray((values * 65535 // 4095).astype(np.uint16))
        refuse_lost_palette(upright)
        return black_as_zero(upright, image)


def probe(source: ImageRef | Path) -> tuple[str, tuple[int, int]]:
    """Pillow's mode and (H, W) as displayed, from the header alone. Raises DataError like open_image."""
    with bad_bytes_are_data_errors(), _opened(source) as image:
        width, height = image.size
        # Pillow turns TIFF sizes itself; a PNG's own getexif() would decode the whole picture.
        orientation = 1 if image.format == "TIFF" else orientation_of(image, header_only=True)
        return image.mode, displayed_size((height, width), orientation)


def read_bytes(source: ImageRef) -> bytes:
    """The file of an image, or its member of an archive, as it is. Raises DataError."""
    with bad_bytes_are_data_errors(), _stream(source) as stream:
        return stream.read()


@contextmanager
def _opened(source: ImageRef | Path) -> Iterator[ImageFile.ImageFile]:
    """The image with its header read and its pixels not. Raises DataError for what Pillow would reduce or misread."""
    name = source.id if isinstance(source, ImageRef) else source.name
    with _stream(source) as stream:
        head, num_bytes = stream.read(64), stream.seek(0, os.SEEK_END)
        stream.seek(0)
        if not head:
            raise DataError("empty file")
        is_heif = suffix_of(name) in HEIF_SUFFIXES or (head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS)
        if is_heif:
            if not can_read_heif():
                raise DataError(HEIF_REASON)
            import pillow_heif

            pillow_heif.register_heif_opener()
        try:
            image = Image.open(stream, formats=(*_FORMATS, "HEIF") if is_heif else _FORMATS)
        except UnidentifiedImageError:
            if head[:4] in TIFF_MAGIC:
                refuse_tiff(stream)
            _refuse_known_format(stream, head)
            raise
        with image:
            bounds.refuse_hollow(image, head, num_bytes)
            for key in XMP_KEYS:  # Pillow would turn a TIFF by what its XMP says
                image.info.pop(key, None)
            refuse_deep(image, head)
            yield image


def _refuse_known_format(stream: IO[bytes], head: bytes) -> None:
    """Raises DataError with what Pillow keeps to itself where it knows a file's format, and still cannot open it."""
    for name in _FORMATS:
        open_as, accept = Image.OPEN[name]
        if accept is not None and accept(head) is True:
            stream.seek(0)
            try:
                open_as(stream, "")
            except Exception as error:
                reason = str(error) or type(error).__name__
                raise DataError(f"{name} that is damaged at its beginning, or of an unusual kind ({reason})") from error


@contextmanager
def _stream(source: ImageRef | Path) -> Iterator[IO[bytes]]:
    if isinstance(source, Path) or source.member is None:
        with open_regular(source if isinstance(source, Path) else source.path) as stream:
            yield stream
        return
    if source.span is not None:
        offset, size = source.span
        with _unpacked(size, "tar"), open_regular(source.path) as tar:
            tar.seek(offset)
            content = tar.read(size)
            if len(content) < size:
                raise EOFError
            yield BytesIO(content)
        return
    facts = source.path.stat()
    archive = _open_zip(source.path, facts.st_size, facts.st_mtime_ns)
    member = archive.getinfo(source.member)
    with _unpacked(member.file_size, "zip"):
        try:
            content = archive.read(member)
        except NotImplementedError as error:  # zipfile's word for a method of compression that it lacks
            method = getattr(zipfile, "compressor_names", {}).get(
                member.compress_type, f"method {member.compress_type}"
            )
            hint = "unpack it, or zip it anew with deflate"
            raise DataError(f"packed in its zip in a way that cannot be read ({method}: {error}); {hint}") from error
        yield BytesIO(content)


@contextmanager
def _unpacked(num_bytes: int, archive: str) -> Iterator[None]:
    """Raises DataError for more bytes of a member than may be held in memory, and else waits until they can."""
    if num_bytes > _MAX_MEMBER_BYTES:
        raise DataError(f"larger than {_MAX_MEMBER_BYTES >> 20} MiB inside its {archive}; unpack it")
    with bounds.unpacking.taken(num_bytes):
        yield


@functools.lru_cache(maxsize=2)
def _open_zip(path: Path, _size: int, _mtime_ns: int) -> zipfile.ZipFile:
    """Kept open, since reading the directory of a large zip takes as long as many images; reads are thread-safe."""
    return zipfile.ZipFile(path)
