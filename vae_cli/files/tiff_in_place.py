"""TIFF files of which only the changed pixels are written: a page is read at full depth, and its changed strips or
tiles go into a copy of the file, compressed as they were, while every other byte stays.

tifffile finds the pages, tags, strips and tiles. A page in a form that cannot be written, like JPEG, is read by Pillow
and stored anew without loss.
"""

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import tifffile
from PIL import Image
from tifffile import TiffPage

from vae_cli.atomic import opened
from vae_cli.errors import DataError
from vae_cli.files import tiff_pages, tiff_segments
from vae_cli.files.samples import Alpha, PageChange, Samples, fitted, samples_of, to_image
from vae_cli.files.stored_values import ColourSpace, Inks, Lab, Levels, Palette, YCbCr
from vae_cli.files.thumbnails import with_redrawn_jpegs, without_xmp_thumbnails
from vae_cli.images.bad_files import BAD_BYTES
from vae_cli.images.bit_depth import open_tiff, refuse_numbers, refuse_unread
from vae_cli.images.orientation import ORIENTATION_TAG, displayed_image, displayed_size, inverse_of

_ALPHAS: dict[int, Alpha] = {1: "premultiplied", 2: "straight"}  # by extra sample
_MAX_SAMPLES = 64
_NEW_STRIP_BYTES = 1 << 20
_XMP, _PHOTOSHOP = 700, 34377
_METADATA = {
    **dict.fromkeys((269, 270, 271, 272, 306, 315, 316, 33432), "text"), _XMP: "XMP",
    **dict.fromkeys((33723, _PHOTOSHOP), "IPTC and Photoshop data"), **dict.fromkeys((34665, 34853), "EXIF"),
}  # fmt: skip

Content = Mapping[int, bytes] | bytes
"""New strips or tiles of a page by their number, or a TIFF file whose only page has its new pixels."""


@dataclass(frozen=True, eq=False)
class TiffSource:
    """The page that a picture came from, and its file as it was then."""

    format: ClassVar = "TIFF"
    path: Path
    pixels: np.ndarray
    stamp: tuple[int, int]
    num_frames: int
    number: int = 0
    lost_form: str = ""  # what its pixels are stored as, where that cannot be written
    metadata: tuple[str, ...] = ()  # names of what the page holds and no other file is given
    exif: ClassVar = None

    def change_to(self, samples: Samples) -> Content:
        """What has to be written so that the page shows these samples. Raises DataError, and what BAD_BYTES lists."""
        if self.lost_form:
            write_new(new := BytesIO(), samples, {})
            return new.getvalue()
        with opened(self.path) as file:
            page = tiff_pages.page_at(open_tiff(file), self.number)
            places = tiff_segments.places(page)
            if (page.imagelength, page.imagewidth, page.samplesperpixel) != samples.pixels.shape:
                raise DataError("has changed since it was read; try again")
            everything = _stamp(file) != self.stamp  # an --overwrite has put another result there
            return {
                number: tiff_segments.encoded(page, place, samples.pixels[place])
                for number, place in enumerate(places)
                # row by row, as a strip may hold a whole scan
                if everything or not all(map(np.array_equal, samples.pixels[place], self.pixels[place]))
            }

    def write(self, file: BinaryIO, changes: Sequence[PageChange], _text: Mapping[str, str]) -> tuple[str, ...]:
        """Copies the file and puts the changes of its pages into the copy. Raises DataError."""
        with opened(self.path) as original:
            shutil.copyfileobj(original, file, 1 << 20)
        for number, content, _ in changes:
            if isinstance(content, bytes):
                tiff_pages.store_anew(file, number, content)
            else:
                _put_segments(file, number, content)
            _redraw_thumbnails(file, number)
        remarks = [f"pixels stored as {self.lost_form} became lossless deflate"] if self.lost_form else []
        if self.num_frames > 1 and len(changes) == 1:
            remarks.append("only one page is changed, the others are as they were (inpaint has --pages)")
        return tuple(remarks)


def display_size(file: BinaryIO, number: int = 0) -> tuple[int, int]:
    """(height, width) of a page as displayed, without reading the pixels. Raises DataError, without the file's name."""
    page = tiff_pages.page_at(open_tiff(file), number)
    _check_size(page)
    return displayed_size((page.imagelength, page.imagewidth), _orientation(page))


def read(file: BinaryIO, path: Path, number: int = 0) -> tuple[Samples, TiffSource]:
    """Raises DataError, without the file's name, or what BAD_BYTES lists."""
    tiff = open_tiff(file)
    page = tiff_pages.page_at(tiff, number)
    _check_size(page)
    refuse_numbers(page)
    meaning, lost_form = _meaning(page), ""
    if meaning is None or not tiff_segments.can_be_written(page):
        samples = _read_by_pillow(file, page, number)
        form = page.photometric if tiff_segments.can_be_written(page) else page.compression
        lost_form = getattr(form, "name", "other")
    else:
        described = {"bits": page.bitspersample, "meaning": meaning, **_alpha(page, meaning)}
        samples = Samples(tiff_segments.read(file, page), meaning.num_samples, **described)
    samples = replace(samples, orientation=_orientation(page), icc_profile=page.iccprofile)
    has_unit = page.tags.valueof("ResolutionUnit", 2) in (2, 3)  # inches, centimetres
    if has_unit and "XResolution" in page.tags and "YResolution" in page.tags:
        with suppress(*BAD_BYTES):  # odd types and zeros are no fault of the pixels
            resolution = page.get_resolution("INCH")
            samples = replace(samples, dots_per_inch=resolution if min(resolution) > 0 else None)
    metadata = tuple(dict.fromkeys(_METADATA[code] for code in _METADATA if code in page.tags))
    return samples, TiffSource(path, samples.pixels, _stamp(file), tiff_pages.count(tiff), number, lost_form, metadata)


def write_new(file: BinaryIO, samples: Samples, _text: Mapping[str, str]) -> tuple[str, ...]:
    """Writes a picture that came from another format: strips, deflate with differencing. Returns remarks."""
    held, remarks = fitted(samples, (1, 8, 16), inks=True)
    pixels = held.pixels if held.white > 1 else held.pixels.astype(bool)
    options: dict[str, Any] = {"compression": "zlib", "predictor": held.white > 1, "planarconfig": "contig"}
    options["rowsperstrip"] = max(1, _NEW_STRIP_BYTES // pixels[0].nbytes)
    options["photometric"] = {1: "minisblack", 3: "rgb", 4: "separated"}[held.num_colours]
    options["extrasamples"] = ["unassalpha"] if held.alpha else None
    if held.dots_per_inch:
        options |= {"resolution": held.dots_per_inch, "resolutionunit": "inch"}
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    tags = [(ORIENTATION_TAG, "H", 1, held.orientation, True)]
    options |= {"iccprofile": held.icc_profile, "extratags": tags, "metadata": None, "software": False}
    tifffile.imwrite(file, pixels, **options)
    return remarks


def _check_size(page: TiffPage) -> None:
    if page.imagelength < 1 or page.imagewidth < 1:
        raise DataError("damaged TIFF (its directory)")
    if page.imagedepth != 1:
        raise DataError(f"a volume of {page.imagedepth} slices, which cannot be read; save them as pages")
    if page.imagelength * page.imagewidth > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
        raise Image.DecompressionBombError


def _meaning(page: TiffPage) -> ColourSpace | None:
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
    """Of numerators and denominators in turn."""
    return tuple(above / below for above, below in zip(values[::2], values[1::2], strict=True)) if values else ()


def _alpha(page: TiffPage, meaning: ColourSpace) -> dict[str, Any]:
    """What the samples of a page have as alpha."""
    extra = page.extrasamples or ((2,) if meaning.num_samples < 4 else ())  # most take an unnamed one for alpha
    for number, kind in enumerate(extra[: page.samplesperpixel - meaning.num_samples]):
        if kind in _ALPHAS:
            return {"alpha": _ALPHAS[kind], "alpha_sample": number}
    return {}


def _put_segments(file: BinaryIO, number: int, segments: Mapping[int, bytes]) -> None:
    """Writes strips or tiles of a page where they fit, and says in its directory where they are."""
    tiff = open_tiff(file)
    page = tiff_pages.page_at(tiff, number)
    positions, sizes, free = list(page.dataoffsets), list(page.databytecounts), tiff_pages.free_bytes(tiff, page)
    for segment, data in segments.items():
        is_packed = tiff_segments.is_packed(page)
        num_free = free[segment] if is_packed else min(free[segment], len(data))  # some writers say too many
        position = tiff_pages.put(file, data, positions[segment], num_free)
        if position != positions[segment] or is_packed:
            positions[segment], sizes[segment] = position, len(data)
    if (*positions, *sizes) != (*page.dataoffsets, *page.databytecounts):
        tiff_pages.set_segments(file, number, positions, sizes)


def _redraw_thumbnails(file: BinaryIO, number: int) -> None:
    """Makes those in the XMP and Photoshop data of a page show it as it is now; the data keep their length."""
    tags = tiff_pages.page_at(open_tiff(file), number).tags
    for tag in (tags[code] for code in (_XMP, _PHOTOSHOP) if code in tags):
        file.seek(tag.valueoffset)
        old = file.read(tag.valuebytecount)
        new = without_xmp_thumbnails(old)
        if tag.code == _PHOTOSHOP:
            new = with_redrawn_jpegs(old, to_image(read(file, Path(), number)[0]))
        if new != old:
            file.seek(tag.valueoffset)
            file.write(new)


def _read_by_pillow(file: BinaryIO, page: TiffPage, number: int) -> Samples:
    """What another library has to read, with all its samples. Raises DataError."""
    try:
        file.seek(0)
        image = Image.open(file, formats=("TIFF",))
        image.seek(number)
    except (OSError, SyntaxError, EOFError):
        refuse_unread(page)
        raise
    image.load()
    if image.mode not in ("1", "L", "LA", "RGB", "RGBA", "CMYK") or len(image.getbands()) != page.samplesperpixel:
        refuse_unread(page)
    return samples_of(displayed_image(image, inverse_of(_orientation(page))))  # which Pillow has turned


def _orientation(page: TiffPage) -> int:
    orientation = page.tags.valueof(ORIENTATION_TAG, 1)
    return int(orientation) if orientation in range(1, 9) else 1


def _stamp(file: BinaryIO) -> tuple[int, int]:
    """Size and time of change."""
    facts = os.fstat(file.fileno())
    return facts.st_size, facts.st_mtime_ns
