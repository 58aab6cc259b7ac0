"""Small copies of a picture inside its metadata, drawn anew, since the old ones still show what was filled."""

import re
import struct
from io import BytesIO

from PIL import ExifTags, Image, ImageOps

from vae_cli.errors import DataError
from vae_cli.images.bad_files import bad_bytes_are_data_errors

_JPEG_START = b"\xff\xd8\xff"
_END_OF_IMAGE = 0xD9
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd8\xff]")  # none of those that stand in the midst of coded pixels
_QUALITIES = (90, 75, 50, 25, 5)
_FREE_BYTES, _BYTES_EACH = 1 << 18, 10_000
"""Of metadata that are searched however small they are, and how many of them one try to open a thumbnail counts as."""
_XMP_END = b"</xmp:Thumbnails>"
_XMP_THUMBNAILS = re.compile(rb"<xmp:Thumbnails\b.*?" + _XMP_END, re.DOTALL)
_JPEG_TAGS, _STRIP_TAGS = (513, 514), (273, 279)
"""Where a thumbnail lies, and in how many bytes."""
_MOST_PIXELS = 1 << 20
"""Of a small copy, or as many as its picture has."""


def too_large(size: tuple[int, int], picture: Image.Image) -> bool:
    """Whether a thumbnail of (width, height) cannot be one: a few bytes may claim gigabytes, which are not drawn."""
    return size[0] * size[1] > max(picture.width * picture.height, _MOST_PIXELS)


def jpeg_end(data: bytes, start: int = 0) -> int:
    """Where the JPEG that begins at `start` ends; the end of the data where it is cut off."""
    place = start + 2
    while match := _NEXT_MARKER.search(data, place):
        place = match.end()
        if match[0][1] == _END_OF_IMAGE:
            return place
        place += int.from_bytes(data[place : place + 2], "big")
    return len(data)


def with_redrawn_jpegs(data: bytes, picture: Image.Image) -> bytes:
    """Metadata of the same length in which every whole JPEG shows `picture`, wherever and by whatever tag it is held:
    the thumbnails of EXIF and Photoshop, the previews in makers' notes.

    Raises DataError for metadata of so many beginnings of JPEGs that looking for their ends would take hours.
    """
    start, num_left = data.find(_JPEG_START), _FREE_BYTES + 2 * len(data)
    while start >= 0:
        end = jpeg_end(data, start)
        num_left -= end - start + _BYTES_EACH
        if num_left < 0:
            raise DataError("its metadata hold too many beginnings of thumbnails; remove them with another program")
        if (thumbnail := _opened(data[start:end])) is not None:
            data = data[:start] + _redrawn(thumbnail, picture, end - start) + data[end:]
            start = end - 1
        start = data.find(_JPEG_START, start + 1)
    return data


def _opened(data: bytes) -> Image.Image | None:
    try:
        with bad_bytes_are_data_errors():
            image = Image.open(BytesIO(data), formats=("JPEG",))
            image.load()
            return image
    except DataError:  # bytes that only look like the beginning of a JPEG
        return None


def _redrawn(thumbnail: Image.Image, picture: Image.Image, length: int) -> bytes:
    """The picture as a JPEG of the thumbnail's size, filled up with zeros; only zeros where the length or the
    picture is too small."""
    if too_large(thumbnail.size, picture):
        return bytes(length)
    mode = "L" if thumbnail.mode == "L" else "RGB"
    small = ImageOps.pad(picture.convert(mode), thumbnail.size)  # cameras, too, put bars around another aspect ratio
    for quality in _QUALITIES:
        small.save(content := BytesIO(), "JPEG", quality=quality)
        if content.tell() <= length:
            return content.getvalue().ljust(length, b"\0")
    return bytes(length)


def with_redrawn_thumbnail(exif: bytes, picture: Image.Image) -> bytes:
    """EXIF data of the same length whose thumbnail shows `picture`, or is dropped where it is no sound JPEG."""
    exif = with_redrawn_jpegs(exif, picture)
    tiff = 6 if exif.startswith(b"Exif\0\0") else 0  # all positions count from there
    order = "<" if exif[tiff : tiff + 1] == b"I" else ">"
    try:
        with bad_bytes_are_data_errors():
            tags = Image.Exif()
            tags.load(exif)
            thumbnail = tags.get_ifd(ExifTags.IFD.IFD1)
            parts = [*zip(*(_numbers(thumbnail.get(tag)) for tag in _JPEG_TAGS), strict=False)]
            is_sound = all(_opened(exif[tiff + start : tiff + start + size]) for start, size in parts)
            strips = [*zip(*(_numbers(thumbnail.get(tag)) for tag in _STRIP_TAGS), strict=False)]
            if strips or not is_sound:
                changed = bytearray(exif)
                for start, size in (*strips, *parts):
                    changed[tiff + start : tiff + start + size] = bytes(len(exif[tiff + start : tiff + start + size]))
                (first,) = struct.unpack_from(f"{order}I", exif, tiff + 4)
                (num_tags,) = struct.unpack_from(f"{order}H", exif, tiff + first)
                struct.pack_into("I", changed, tiff + first + 2 + 12 * num_tags, 0)  # no second directory
                return bytes(changed)
    except DataError:  # nothing that anyone could find a thumbnail in
        pass
    return exif


def _numbers(value: object) -> tuple[int, ...]:
    return () if value is None else tuple(value) if isinstance(value, tuple) else (int(str(value)),)


def without_xmp_thumbnails(xmp: bytes) -> bytes:
    """XMP data of the same length; its thumbnails are blanks."""
    end = xmp.rfind(_XMP_END) + len(_XMP_END)  # behind it every beginning would be searched for an end to the last byte
    whole = _XMP_THUMBNAILS.sub(lambda match: b" " * len(match[0]), xmp[:end])
    return whole + xmp[end:]
