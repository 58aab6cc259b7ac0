"""Text chunks of PNG files in which small copies of the picture hide: in packed XMP, and in EXIF and Photoshop data as
the figures in which ImageMagick stores them."""

import re
import zlib
from contextlib import suppress
from io import BytesIO

from PIL import Image

from vae_cli.files.thumbnails import with_redrawn_thumbnail, without_xmp_thumbnails

_MOST_BYTES = 1 << 26  # of a text unpacked
_RAW_PROFILE = re.compile(rb"\s*\S+\s+\d+\s")  # its name and its number of bytes, before the figures


def showing(name: bytes, data: bytes, picture: Image.Image) -> bytes:
    """The data of a text chunk with thumbnails of this picture, or blanks, instead of those that it has; the same data
    where it has none, or is no text as the standard has it."""
    with suppress(ValueError, zlib.error):
        start = key_end = data.index(b"\0") + 1
        is_packed = name == b"zTXt"
        if name == b"iTXt":
            is_packed = data[key_end : key_end + 1] == b"\1"
            start = data.index(b"\0", data.index(b"\0", key_end + 2) + 1) + 1  # behind a language and another key
        start += name == b"zTXt"
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(data[start:], _MOST_BYTES) if is_packed else data[start:]
        is_profile = data.startswith(b"Raw profile type")
        new = _profile_showing(text, picture) if is_profile else without_xmp_thumbnails(text)
        if new != text and unpacking.eof == is_packed:
            return data[:start] + (zlib.compress(new) if is_packed else new)
    return data


def _profile_showing(text: bytes, picture: Image.Image) -> bytes:
    """Raises ValueError for what is no such profile."""
    if (head := _RAW_PROFILE.match(text)) is None:
        raise ValueError("no profile")
    figures = text[head.end() :]
    profile = without_xmp_thumbnails(with_redrawn_thumbnail(bytes.fromhex(figures.decode("ascii")), picture))
    new = BytesIO(profile.hex().encode())
    return head[0] + re.sub(rb"[0-9A-Fa-f]+", lambda line: new.read(len(line[0])), figures)
