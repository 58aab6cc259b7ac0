"""Opening image files, alone or in archives, as Pillow images: upright, whole, and of a depth that can be used.

A DataError raised here says only what is wrong; callers put the file's name in front of it.
"""

import functools
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, BinaryIO

from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError
from tifffile import TiffPage

from vae_cli.atomic import open_regular
from vae_cli.errors import DataError
from vae_cli.images import bounds, png, tiff
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.bit_depth import head_of, refuse_deep
from vae_cli.images.image_ref import HEIF_REASON, HEIF_SUFFIXES, ImageRef, can_read_heif, path_in_zip, suffix_of
from vae_cli.images.jpeg2000 import channel_order, in_order
from vae_cli.images.modes import refuse_lost_palette, with_clear_surroundings
from vae_cli.images.orientation import displayed_image, displayed_size, orientation_of
from vae_cli.images.samples import Samples, to_image

# By content, whatever the extension says; the formats left out can start programs (EPS) or are no pictures.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"})
_ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA,
                getattr(zipfile, "ZIP_ZSTANDARD", zipfile.ZIP_STORED)}  # fmt: skip
"""That members of a zip may be packed with; Zstandard from Python 3.14 on."""
_MAX_MEMBER_BYTES = 256 << 20  # held in memory while it is decoded
_DRAFT_MARGIN = 2  # JPEGs are decoded at no less than twice the wanted size, so that our own resampling decides
NO_PAGES = "has no page {}: only TIFF files have several"
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)
"""Of texts and profiles unpacked; generators of images store far more than Pillow's bound for one, 1 MiB."""


def open_image(source: ImageRef | Path, *, page: int = 0, at_least: tuple[int, int] | None = None) -> Image.Image:
    """The image as displayed (orientation applied), first frame or another page, decoded fully.

    at_least: (H, W); big JPEGs may then come reduced, but not below it. Of 16-bit colour the upper bits come.
    Raises DataError for anything that is not a whole image of at most 16 bits.
    """
    with bad_bytes_are_data_errors(), _stream(source) as stream:
        if (samples := _as_stored(stream, page)) is not None:
            upright = displayed_image(to_image(samples), samples.orientation)
        else:
            upright = _decoded(stream, source, at_least)
        refuse_lost_palette(upright)
        return upright


def probe(source: ImageRef | Path, page: int = 0) -> tuple[str, tuple[int, int]]:
    """Mode of `open_image` and (H, W) as displayed, from the header alone. Raises DataError like open_image."""
    with bad_bytes_are_data_errors(), _stream(source) as stream:
        if (own := _tiff_page(stream, page)) is not None:
            return tiff.mode_of(own), tiff.display_size(own)
        with _opened(stream, source) as image:
            width, height = image.size
            # a PNG's own getexif() would decode the whole picture
            return image.mode, displayed_size((height, width), orientation_of(image, header_only=True))


def num_pages(source: ImageRef | Path) -> int:
    """How many pages of a file can be opened; 1 of what is no TIFF, or none."""
    with suppress(DataError), bad_bytes_are_data_errors(), _stream(source) as stream:
        if stream.read(4) in tiff.MAGIC:
            return tiff.count(tiff.open_tiff(stream))
    return 1


def read_bytes(source: ImageRef) -> bytes:
    """The file of an image, or its member of an archive, as it is. Raises DataError."""
    with bad_bytes_are_data_errors(), _stream(source) as stream:
        return stream.read()


def _as_stored(stream: BinaryIO, page: int) -> Samples | None:
    """A page of a TIFF, or a PNG of other depths than 8, as its file stores it; None of all else, which Pillow reads
    as well."""
    if (own := _tiff_page(stream, page)) is not None:
        tiff.check(own)
        with bounds.decoding.taken(own.imagelength * own.imagewidth * bounds.BYTES_A_PIXEL):
            return tiff.read(stream, own)
    head = stream.read(26)
    stream.seek(0)
    return png.read(stream) if head.startswith(png.SIGNATURE) and head[24:25] != b"\x08" else None


def _tiff_page(stream: IO[bytes], page: int) -> TiffPage | None:
    """None where the file is no TIFF. Raises DataError where it has no such page."""
    head = stream.read(4)
    stream.seek(0)
    if head in tiff.MAGIC:
        return tiff.page_at(tiff.open_tiff(stream), page)
    if page > 0:
        raise DataError(NO_PAGES.format(page + 1))
    return None


def _decoded(stream: IO[bytes], source: ImageRef | Path, at_least: tuple[int, int] | None) -> Image.Image:
    """As displayed."""
    with _opened(stream, source) as image:
        if at_least is not None and getattr(image, "quantization", None):  # none in lossless JPEGs: only whole
            longest = max(at_least) * _DRAFT_MARGIN  # which side is which is known only after the rotation
            image.draft(image.mode, (longest, longest))
        frame = image.tile[0].extents if image.format == "GIF" and image.tile else None
        order = channel_order(head_of(image)) if image.format == "JPEG2000" else ()
        with bounds.decoding.taken(image.width * image.height * bounds.BYTES_A_PIXEL):
            image.load()
            shown = in_order(with_clear_surroundings(image, frame), order)
            upright = displayed_image(shown, orientation_of(image))
            return upright.copy() if upright is image else upright  # without the file's handle


@contextmanager
def _opened(stream: IO[bytes], source: ImageRef | Path) -> Iterator[ImageFile.ImageFile]:
    """The image with its header read and its pixels not. Raises DataError for what Pillow would reduce or misread."""
    name = source.id if isinstance(source, ImageRef) else source.name
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
        _refuse_known_format(stream, head)
        raise
    with image:
        bounds.refuse_hollow(image, head, num_bytes)
        refuse_deep(image)
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
def _stream(source: ImageRef | Path) -> Iterator[BinaryIO]:
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
    if member.compress_type not in _ZIP_METHODS:
        names: dict[int, str] = getattr(zipfile, "compressor_names", {})
        method = names.get(member.compress_type, f"method {member.compress_type}")
        hint = "unpack it, or zip it anew with deflate"
        raise DataError(f"packed in its zip in a way that cannot be read ({method}); {hint}")
    with _unpacked(member.file_size, "zip"):
        yield BytesIO(archive.read(member))


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
    archive = zipfile.ZipFile(path)
    archive.NameToInfo = {path_in_zip(info): info for info in archive.infolist()}
    return archive
