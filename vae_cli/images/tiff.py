"""TIFF files read as they store their pixels, at full depth; what cannot be read so is left to Pillow.

tifffile finds the pages, tags, strips and tiles.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any, BinaryIO, NoReturn, cast

import numpy as np
import tifffile
from PIL import Image
from tifffile import TiffFile, TiffFileError, TiffPage

from vae_cli.errors import DataError
from vae_cli.images import bounds, tiff_segments
from vae_cli.images.bad_files import BAD_BYTES
from vae_cli.images.bit_depth import FLOAT_REASON, SIGNED_REASON, refuse_deep_samples
from vae_cli.images.orientation import ORIENTATION_TAG, displayed_image, displayed_size, inverse_of
from vae_cli.images.samples import Alpha, Samples, samples_of, to_image
from vae_cli.images.stored_values import ColourSpace, Inks, Lab, Levels, Palette, YCbCr

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ALPHAS: dict[int, Alpha] = {1: "premultiplied", 2: "straight"}  # by extra sample
_MAX_SAMPLES = 64
_REDUCED_OR_MASK, _OLD_KIND, _OLD_REDUCED = 0b101, 255, 2
_READ_BY_PILLOW = {"1": 1, "L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
"""Modes, and the samples of a page that they hold."""


def open_tiff(stream: IO[bytes]) -> TiffFile:
    """The pages and tags of a TIFF file. Raises DataError when its first page cannot be found."""
    stream.seek(0)
    try:
        tiff = TiffFile(cast(Any, stream))
        assert tiff.pages.first
    except (TiffFileError, *BAD_BYTES) as error:
        raise DataError("damaged TIFF (its directory)") from error
    return tiff


def directories(tiff: TiffFile) -> Iterator[TiffPage]:
    """The chain of pages and of what belongs to them. Raises DataError where one is damaged, or where they form a
    loop."""
    positions, num_left = set(), tiff.filehandle.size
    try:
        for page in tiff.pages:
            num_left -= _directory_bytes(tiff, page.offset)
            if page.offset in positions or num_left < 0:
                raise DataError("damaged TIFF (its pages form a loop, or overlap)")
            positions.add(page.offset)
            yield cast(TiffPage, page)
    except DataError:
        raise
    except (TiffFileError, *BAD_BYTES) as error:
        raise DataError("damaged TIFF (one of its pages)") from error


def refuse_overlaps(tiff: TiffFile, offsets: Sequence[int]) -> None:
    """Raises DataError for directories that cannot be read, and for more than the file has room for: each would be
    read as often as it is named."""
    try:
        num_bytes = sum(_directory_bytes(tiff, offset) for offset in offsets)
    except BAD_BYTES as error:
        raise DataError("damaged TIFF (what lies below one of its pages)") from error
    if num_bytes > tiff.filehandle.size:
        raise DataError("damaged TIFF (what lies below one of its pages overlaps)")


def _directory_bytes(tiff: TiffFile, offset: int) -> int:
    """Of a directory's entries."""
    form = tiff.tiff
    tiff.filehandle.seek(offset)
    (num_tags,) = struct.unpack(form.tagnoformat, tiff.filehandle.read(form.tagnosize))
    return max(1, num_tags) * form.tagsize


def is_page(page: TiffPage) -> bool:
    """Whether it is a picture of its own, and neither a smaller copy of the one before nor the mask of it."""
    is_first = page.index == 0
    return is_first or not (page.subfiletype & _REDUCED_OR_MASK or page.tags.valueof(_OLD_KIND) == _OLD_REDUCED)


def page_at(tiff: TiffFile, number: int) -> TiffPage:
    """Raises DataError where there is none or it cannot be reached."""
    found = -1
    for found, page in enumerate(filter(is_page, directories(tiff))):
        if found == number:
            return page
    raise DataError(f"has no page {number + 1}, only {found + 1}")


def count(tiff: TiffFile) -> int:
    """How many pages can be read: a damaged later page is no fault of the first one."""
    number = 0
    with suppress(DataError):
        for _ in filter(is_page, directories(tiff)):
            number += 1
    return max(number, 1)


def lost_form(page: TiffPage) -> str:
    """How the pixels of a page are stored, where they cannot be packed so again; else nothing."""
    can_be_packed = tiff_segments.can_be_written(page)
    if can_be_packed and meaning_of(page) is not None:
        return ""
    return getattr(page.photometric if can_be_packed else page.compression, "name", "other")


def read(stream: BinaryIO, page: TiffPage) -> Samples:
    """Raises DataError, without the file's name, or what BAD_BYTES lists."""
    check(page)
    meaning = meaning_of(page)
    if meaning is None or lost_form(page):
        samples = _read_by_pillow(stream, page)
    else:
        described = {"bits": page.bitspersample, "meaning": meaning, **_alpha(page, meaning)}
        samples = Samples(tiff_segments.read(stream, page), meaning.num_samples, **described)
    described = {"orientation": orientation(page), "icc_profile": page.iccprofile, "dots_per_inch": None}
    has_unit = page.tags.valueof("ResolutionUnit", 2) in (2, 3)  # inches, centimetres
    if has_unit and "XResolution" in page.tags and "YResolution" in page.tags:
        with suppress(*BAD_BYTES):  # odd types and zeros are no fault of the pixels
            resolution = page.get_resolution("INCH")
            described["dots_per_inch"] = resolution if min(resolution) > 0 else None
    return replace(samples, **described)


def display_size(page: TiffPage) -> tuple[int, int]:
    """(height, width) of a page as displayed, from its directory alone. Raises DataError, without the file's name."""
    check(page)
    return displayed_size((page.imagelength, page.imagewidth), orientation(page))


def mode_of(page: TiffPage) -> str:
    """Of the image that `to_image` makes of a page's samples, from its directory alone."""
    meaning = meaning_of(page)
    if meaning is None:
        modes = [mode for mode, num in _READ_BY_PILLOW.items() if num == page.samplesperpixel]
        return modes[-1 if page.photometric == tifffile.PHOTOMETRIC.SEPARATED or page.bitspersample == 8 else 0]
    pixel = np.zeros((1, 1, page.samplesperpixel), np.uint8 if page.bitspersample <= 8 else np.uint16)
    described = {"bits": page.bitspersample, "meaning": meaning, **_alpha(page, meaning)}
    return to_image(Samples(pixel, meaning.num_samples, **described)).mode


def check(page: TiffPage) -> None:
    """Raises DataError for a page without pixels, a volume, one too large, and numbers whose range is unknown."""
    if page.imagelength < 1 or page.imagewidth < 1:
        raise DataError("damaged TIFF (its directory)")
    if page.imagedepth != 1:
        raise DataError(f"a volume of {page.imagedepth} slices, which cannot be read; save them as pages")
    num_bytes = page.imagelength * page.imagewidth * page.samplesperpixel * int(np.max(page.bitspersample)) // 8
    bounds.refuse_claim(num_bytes, page.parent.filehandle.size * bounds.MOST_TIMES)
    if page.imagelength * page.imagewidth > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
        raise Image.DecompressionBombError
    formats, bits = np.ravel(page.sampleformat).tolist(), max(np.ravel(page.bitspersample).tolist())
    if tifffile.SAMPLEFORMAT.IEEEFP in formats:
        raise DataError(FLOAT_REASON)
    refuse_deep_samples(bits, 1)
    if not set(formats) <= {tifffile.SAMPLEFORMAT.UINT, tifffile.SAMPLEFORMAT.VOID}:
        raise DataError(SIGNED_REASON)


def meaning_of(page: TiffPage) -> ColourSpace | None:
    """What the samples of a page mean as colours; None where they are not read here."""
    bits, tags = page.bitspersample, page.tags
    meaning: ColourSpace | None
    if not isinstance(bits, int) or not 1 <= page.samplesperpixel <= _MAX_SAMPLES:
        return None
    white, meaning = (1 << bits) - 1, None
    match int(page.photometric):
        case 0:
            meaning = Levels(1, 0, white)
        case 1:
            meaning = Levels(1, white)
        case 2:
            meaning = Levels(3, white)
        case 3 if bits <= 8 and page.colormap is not None and page.colormap.shape == (3, 1 << bits):
            entries = page.colormap.T  # old writers store 8 bits of each
            entries = (entries >> 8 if entries.max() > 255 else entries).astype(np.uint8)
            meaning = Palette(entries, np.full(len(entries), 255, np.uint8))
        case 5 if tags.valueof("InkSet", 1) == 1:
            meaning = Inks(white)
        case 6 if bits == 8 and tuple(tags.valueof("YCbCrSubSampling", (2, 2))) == (1, 1):
            luma, reference = tags.valueof("YCbCrCoefficients"), tags.valueof("ReferenceBlackWhite")
            given = {"luma": _ratios(luma), "reference": _ratios(reference)}
            meaning = YCbCr(**{name: values for name, values in given.items() if values})
        case 8 if bits == 8:
            meaning = Lab()
    return meaning if meaning and meaning.num_samples <= page.samplesperpixel else None


def _ratios(values: Sequence[int] | None) -> tuple[float, ...]:
    """Of numerators and denominators in turn; none where one is not a number."""
    with suppress(*BAD_BYTES):
        return tuple(above / below for above, below in zip(values[::2], values[1::2], strict=True)) if values else ()
    return ()


def _alpha(page: TiffPage, meaning: ColourSpace) -> dict[str, Any]:
    """What the samples of a page have as alpha."""
    extra = page.extrasamples or ((2,) if meaning.num_samples < 4 else ())  # most take an unnamed one for alpha
    for number, kind in enumerate(extra[: page.samplesperpixel - meaning.num_samples]):
        if kind in _ALPHAS:
            return {"alpha": _ALPHAS[kind], "alpha_sample": number}
    return {}


def _read_by_pillow(stream: BinaryIO, page: TiffPage) -> Samples:
    """What another library has to read, with all its samples. Raises DataError."""
    try:
        stream.seek(0)
        image = Image.open(stream, formats=("TIFF",))
        image.seek(page.index)
    except (OSError, SyntaxError, EOFError):
        _refuse_unread(page)
    if max(np.ravel(page.bitspersample)) > 8 or _READ_BY_PILLOW.get(image.mode) != page.samplesperpixel:
        _refuse_unread(page)
    bounds.require_memory(image.width * image.height * bounds.BYTES_A_PIXEL)
    image.load()
    return samples_of(displayed_image(image, inverse_of(orientation(page))))  # which Pillow has turned


def _refuse_unread(page: TiffPage) -> NoReturn:
    facts = (f"{page.samplesperpixel} × {page.bitspersample} bits", page.photometric, page.compression)
    kind = ", ".join(str(getattr(fact, "name", fact)).lower() for fact in facts)
    raise DataError(f"a TIFF of a kind that cannot be read ({kind}); save it as 8-bit grey or RGB")


def orientation(page: TiffPage) -> int:
    value = page.tags.valueof(ORIENTATION_TAG, 1)
    return int(value) if value in range(1, 9) else 1
