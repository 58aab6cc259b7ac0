"""The lossless compressions of TIFF files: bytes in, bytes out. LZW, PackBits and Zstandard need the extra `scan`."""

import importlib
import importlib.util
import lzma
import zlib
from collections.abc import Callable

import numpy as np

from vae_cli.errors import DataError

NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, ZSTANDARD = 1, 5, 8, 32946, 32773, 34925, 50000
_OF_EXTRA = {LZW: ("LZW", "lzw"), PACKBITS: ("PackBits", "packbits"), ZSTANDARD: ("Zstandard", "zstd")}
"""Our name and that of the extra's package."""
SUPPORTED = frozenset({NONE, DEFLATE, OLD_DEFLATE, LZMA, *_OF_EXTRA})


def decompressed(data: bytes, compression: int, num_bytes: int) -> bytes:
    """The first `num_bytes`, or fewer where the data end early.

    Raises DataError where the extra is missing, and what the codec raises on damaged data.
    """
    if compression == NONE:
        return data
    if compression in (DEFLATE, OLD_DEFLATE):
        return zlib.decompressobj().decompress(data, num_bytes)
    if compression == LZMA:
        return lzma.LZMADecompressor().decompress(data, num_bytes)
    return _codec(compression, "decode")(data, out=num_bytes)


def compressed(rows: np.ndarray, compression: int) -> bytes | memoryview:
    """Of uint16 [R, N], contiguous and in the file's byte order."""
    data = rows.reshape(-1).view(np.uint8).data
    if compression == NONE:
        return data
    if compression in (DEFLATE, OLD_DEFLATE):
        return zlib.compress(data)
    if compression == LZMA:
        return lzma.compress(data)
    encode = _codec(compression, "encode")
    if compression == PACKBITS:  # whose runs never go on over the end of a row
        return b"".join(encode(row.tobytes()) for row in rows)
    return encode(data)


def _codec(compression: int, way: str) -> Callable[..., bytes]:
    title, name = _OF_EXTRA[compression]
    if importlib.util.find_spec("imagecodecs") is None:
        raise DataError(f"16-bit colour with {title} needs one more package: pip install imagecodecs")
    codec: Callable[..., bytes] = getattr(importlib.import_module("imagecodecs"), f"{name}_{way}")
    return codec
