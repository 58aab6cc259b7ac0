"""Images with more bits than can be used, found by their headers and refused: Pillow would drop the lower bits."""

from PIL import ImageFile

from vae_cli.errors import DataError
from vae_cli.images.jpeg2000 import CODE_STREAM

FLOAT_REASON = "floating-point image, whose value range is unknown; save it as 16-bit or 8-bit"
SIGNED_REASON = "signed numbers, of which nothing says what is black; save it as unsigned 16-bit or 8-bit"
_SIGNED = 0x80
"""The bit of a JPEG 2000 component's depth that says so."""


def refuse_deep(image: ImageFile.ImageFile) -> None:
    """Raises DataError for an opened image of floats, 32-bit or signed numbers, and for 16-bit colour that no reader of
    ours knows."""
    if image.mode == "F":
        raise DataError(FLOAT_REASON)
    bits, num_samples = 8, len(image.getbands())
    if image.format == "PPM" and image.tile:
        args = image.tile[0].args
        bits = 16 if isinstance(args, tuple) and int(args[-1]) > 255 else bits
    elif image.format in ("JPEG2000", "AVIF"):
        head = head_of(image)
        if any(depth & _SIGNED for depth in _depths(head)):
            raise DataError(SIGNED_REASON)
        bits = coded_bits(head)
        num_samples = max(num_samples, 3 * (image.format == "AVIF"))  # of which Pillow reduces grey, too
    refuse_deep_samples(bits, num_samples)


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
    if depths := _depths(head):
        return max((depth & ~_SIGNED) + 1 for depth in depths)
    flags = [part[2] for part in head.split(b"av1C")[1:] if len(part) > 2]  # of the picture and of its alpha
    return max((12 if flag & 0x20 else 10 for flag in flags if flag & 0x40), default=8)


def _depths(head: bytes) -> bytes:
    """Of each component of a JPEG 2000 file the bits less one, and whether they are signed; empty for other files."""
    _, _, size = head.partition(CODE_STREAM)
    return size[38 : 38 + 3 * int.from_bytes(size[36:38], "big") : 3]


def refuse_deep_samples(bits: int, num_samples: int) -> None:
    if bits > 16:
        raise DataError(f"{bits}-bit image, whose value range is unknown; save it as 16-bit or 8-bit")
    if bits > 8 and num_samples > 1:
        kind = "grey with alpha" if num_samples == 2 else "colour"
        hint = "save it as PNG or TIFF, whose 16 bits are read, or with 8 bits a channel"
        raise DataError(f"{bits}-bit {kind}, which would lose its lower bits; {hint}")
