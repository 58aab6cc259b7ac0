"""Images with more bits than can be used, found by their headers and refused: Pillow would drop the lower bits."""

from typing import IO, NoReturn

import numpy as np
import tifffile
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PLANAR_CONFIGURATION, SAMPLEFORMAT

from vae_cli.errors import DataError
from vae_cli.images.bad_files import BAD_BYTES
from vae_cli.images.jpeg2000 import CODE_STREAM

FLOAT_REASON = "floating-point image, whose value range is unknown; save it as 16-bit or 8-bit"
SIGNED_REASON = "signed numbers, of which nothing says what is black; save it as unsigned 16-bit or 8-bit"
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def refuse_deep(image: ImageFile.ImageFile, head: bytes) -> None:
    """Raises DataError for an opened image of floats, signed or 32-bit numbers or 16-bit colour.

    head: 26 bytes of it or more.
    """
    if image.mode == "F":
        raise DataError(FLOAT_REASON)
    bits, num_samples = 8, len(image.getbands())
    if image.format == "PNG":
        bits = head[24]
        num_samples = 2 if head[25] == 4 else num_samples  # grey with alpha, which may have become colour with alpha
    elif image.format == "TIFF":
        bits = max(tiff_bits(image))
        if bits <= 16 and tifffile.SAMPLEFORMAT.INT in getattr(image, "tag_v2", {}).get(SAMPLEFORMAT, ()):
            raise DataError(SIGNED_REASON)
        if image.mode == "LA" and getattr(image, "tag_v2", {}).get(PLANAR_CONFIGURATION) == 2:  # of which Pillow
            raise DataError("grey with alpha in separate planes; save it interleaved")  # shows something else
    elif image.format == "PPM" and image.tile:
        args = image.tile[0].args
        bits = 16 if isinstance(args, tuple) and int(args[-1]) > 255 else bits
    elif image.format in ("JPEG2000", "AVIF"):
        bits = coded_bits(head_of(image))
        num_samples = max(num_samples, 3 * (image.format == "AVIF"))  # of which Pillow reduces grey, too
    _refuse_deep_samples(bits, num_samples)


def refuse_tiff(stream: IO[bytes]) -> NoReturn:
    """Raises DataError that says what a TIFF is of which Pillow says only that it cannot identify it."""
    page = open_tiff(stream).pages.first
    refuse_numbers(page)
    if page.bitspersample == 16 and page.photometric in (0, 1, 2):
        _refuse_deep_samples(16, page.samplesperpixel)
    refuse_unread(page)


def refuse_unread(page: tifffile.TiffPage) -> NoReturn:
    """Raises DataError that says of what kind a TIFF is that nothing here can read."""
    refuse_numbers(page)
    facts = (f"{page.samplesperpixel} × {page.bitspersample} bits", page.photometric, page.compression)
    kind = ", ".join(str(getattr(fact, "name", fact)).lower() for fact in facts)
    raise DataError(f"a TIFF of a kind that cannot be read ({kind}); save it as 8-bit grey or RGB")


def refuse_numbers(page: tifffile.TiffPage) -> None:
    """Raises DataError for a TIFF of numbers whose range is unknown."""
    formats, bits = np.ravel(page.sampleformat).tolist(), max(np.ravel(page.bitspersample).tolist())
    if tifffile.SAMPLEFORMAT.IEEEFP in formats:
        raise DataError(FLOAT_REASON)
    _refuse_deep_samples(bits, 1)
    if not set(formats) <= {tifffile.SAMPLEFORMAT.UINT, tifffile.SAMPLEFORMAT.VOID}:
        raise DataError(SIGNED_REASON)


def head_of(image: ImageFile.ImageFile) -> bytes:
    """The first 64 KiB of the file of an image whose pixels are not loaded yet."""
    assert image.fp is not None, "closed when they are loaded"
    position = image.fp.tell()
    image.fp.seek(0)
    head = image.fp.read(1 << 16)
    image.fp.seek(position)
    return head


def coded_bits(head: bytes) -> int:
    """The most bits of a sample of a JPEG 2000 or AVIF file by its first bytes; 8 where they do not say it."""
    _, marker, size = head.partition(CODE_STREAM)
    if marker:
        num_components = int.from_bytes(size[36:38], "big")
        return max((depth & 0x7F) + 1 for depth in size[38 : 38 + 3 * num_components : 3])
    flags = [part[2] for part in head.split(b"av1C")[1:] if len(part) > 2]  # of the picture and of its alpha
    return max((12 if flag & 0x20 else 10 for flag in flags if flag & 0x40), default=8)


def open_tiff(stream: IO[bytes]) -> tifffile.TiffFile:
    """The pages and tags of a TIFF file. Raises DataError when its first page cannot be found."""
    stream.seek(0)
    try:
        tiff = tifffile.TiffFile(stream)
        assert tiff.pages.first
    except (tifffile.TiffFileError, *BAD_BYTES) as error:
        raise DataError("damaged TIFF (its directory)") from error
    return tiff


def tiff_bits(image: Image.Image) -> tuple[int, ...]:
    """Bits of each sample of an opened TIFF; (1,) where the tag is missing, as the TIFF standard says."""
    return tuple(map(int, getattr(image, "tag_v2", {}).get(BITSPERSAMPLE, ()))) or (1,)


def _refuse_deep_samples(bits: int, num_samples: int) -> None:
    if bits > 16:
        raise DataError(f"{bits}-bit image, whose value range is unknown; save it as 16-bit or 8-bit")
    if bits > 8 and num_samples > 1:
        kind = "grey with alpha" if num_samples == 2 else "colour"
        hint = "save it with 8 bits a channel (inpaint and denoise keep 16, in PNG and TIFF)"
        raise DataError(f"{bits}-bit {kind}, which would lose its lower bits; {hint}")
