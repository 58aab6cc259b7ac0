"""TIFF files of which only the changed pixels are written: the changed strips or tiles of a page go into a copy of the
file, compressed as they were, while every other byte stays.

A page in a form that cannot be written, like JPEG, is stored anew without loss.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import tifffile
from PIL import Image, ImageFilter
from tifffile import TiffPage

from vae_cli.atomic import opened
from vae_cli.errors import DataError
from vae_cli.files import tiff_pages
from vae_cli.files.thumbnails import too_large, with_redrawn_jpegs, without_xmp_thumbnails
from vae_cli.images import tiff, tiff_segments
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.bounds import BYTES_A_PIXEL, require_memory
from vae_cli.images.orientation import ORIENTATION_TAG
from vae_cli.images.samples import PageChange, Samples, fitted, samples_of, to_image

_NEW_STRIP_BYTES = 1 << 20
_MOST_PREVIEWS = 64
_XMP, _PHOTOSHOP, _LAYERS = 700, 34377, 37724
_METADATA = {
    **dict.fromkeys((269, 270, 271, 272, 305, 306, 315, 316, 33432), "text"), _XMP: "XMP",
    **dict.fromkeys((33723, _PHOTOSHOP), "IPTC and Photoshop data"), **dict.fromkeys((34665, 34853), "EXIF"),
    **dict.fromkeys((33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113), "GeoTIFF data"), 330: "SubIFDs",
}  # fmt: skip
_SHOWN = {254, 256, 257, 282, 283, 296, ORIENTATION_TAG, 34675, *tiff_pages.STORAGE_TAGS}
"""Of how a picture is stored and shown, which every file has."""

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
    metadata: tuple[str, ...] = ()  # names of what the page holds and no other file is given
    exif: ClassVar = None

    def change_to(self, samples: Samples) -> Content:
        """What has to be written so that the page shows these samples. Raises DataError, and what BAD_BYTES lists."""
        with opened(self.path) as file:
            page = tiff.page_at(tiff.open_tiff(file), self.number)
            if (page.imagelength, page.imagewidth, page.samplesperpixel) != samples.pixels.shape:
                raise DataError("has changed since it was read; try again")
            if tiff.lost_form(page):
                write_new(new := BytesIO(), samples, {})
                return new.getvalue()
            is_other = _stamp(file) != self.stamp  # an --overwrite has put another result there
            return _segments(page, None if is_other else self.pixels, samples.pixels)

    def write(
        self, file: BinaryIO, changes: Sequence[PageChange], _text: Mapping[str, str], *, pages_only: bool = False
    ) -> tuple[str, ...]:
        """Copies the file and puts the changes of its pages into the copy. Raises DataError.

        pages_only: smaller copies and metadata are not wanted, and may stay as they were.
        """
        remarks = list[str]()
        with opened(self.path) as original:
            shutil.copyfileobj(original, file, 1 << 20)
            for number, content, _ in changes:
                page = tiff.page_at(tiff.open_tiff(file), number)
                if form := tiff.lost_form(page):
                    remarks.append(f"pixels stored as {form} became lossless deflate")
                _put(file, page, content)
                if not pages_only:
                    _redraw_thumbnails(file, number)
                    remarks += _renew_previews(original, file, number)
        if self.num_frames > 1 and len(changes) == 1:
            remarks.append("only one page is changed, the others are as they were (inpaint has --pages)")
        return tuple(dict.fromkeys(remarks))


def read(file: BinaryIO, path: Path, number: int = 0) -> tuple[Samples, TiffSource]:
    """Raises DataError, without the file's name, or what BAD_BYTES lists."""
    form = tiff.open_tiff(file)
    page = tiff.page_at(form, number)
    samples = tiff.read(file, page)
    codes = {tag.code for tag in page.tags.values()} - _SHOWN
    metadata = tuple(dict.fromkeys(_METADATA.get(code, "other tags") for code in sorted(codes)))
    return samples, TiffSource(path, samples.pixels, _stamp(file), tiff.count(form), number, metadata)


def write_new(file: BinaryIO, samples: Samples, _text: Mapping[str, str]) -> tuple[str, ...]:
    """Writes a picture that came from another format. Returns remarks."""
    with tifffile.TiffWriter(file) as writer:
        return _add_page(writer, samples)


def _add_page(writer: tifffile.TiffWriter, samples: Samples) -> tuple[str, ...]:
    """Adds a page to a new file: strips, deflate with differencing. Returns remarks."""
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
    writer.write(pixels, **options)
    return remarks


def write_pages(file: BinaryIO, original: BinaryIO) -> tuple[str, ...]:
    """Writes the pages of a TIFF file into a new one, with nothing but what says how to show them. Returns remarks;
    raises DataError."""
    form, remarks = tiff.open_tiff(original), list[str]()
    with tifffile.TiffWriter(file, bigtiff=form.is_bigtiff) as writer:
        for number in range(tiff.count(form)):
            with bad_bytes_are_data_errors():
                samples = tiff.read(original, tiff.page_at(form, number))
            samples.refuse_unnamed("a file without metadata")
            remarks += _add_page(writer, samples)
    return tuple(dict.fromkeys(remarks))


def _segments(page: TiffPage, before: np.ndarray | None, after: np.ndarray) -> dict[int, bytes]:
    """The strips or tiles of a page that change with its samples, [H, W, S], or all; `before` may be None."""
    return {
        number: tiff_segments.encoded(page, place, after[place])
        for number, place in enumerate(tiff_segments.places(page))
        # row by row, as a strip may hold a whole scan
        if before is None or not all(map(np.array_equal, after[place], before[place]))
    }


def _put(file: BinaryIO, page: TiffPage, content: Content) -> None:
    """Writes what changes in a page: strips or tiles where they fit, and in its directory where they are."""
    if isinstance(content, bytes):
        tiff_pages.store_anew(file, page, content)
        return
    positions, sizes, free = list(page.dataoffsets), list(page.databytecounts), tiff_pages.free_bytes(page)
    for segment, data in content.items():
        is_packed = tiff_segments.is_packed(page)
        num_free = free[segment] if is_packed else min(free[segment], len(data))  # some writers say too many
        position = tiff_pages.put(file, data, positions[segment], num_free)
        if position != positions[segment] or is_packed:
            positions[segment], sizes[segment] = position, len(data)
    if (*positions, *sizes) != (*page.dataoffsets, *page.databytecounts):
        tiff_pages.set_segments(file, page, positions, sizes)


def _redraw_thumbnails(file: BinaryIO, number: int) -> None:
    """Makes those in the XMP and Photoshop data of a page show it as it is now; the data keep their length."""
    page = tiff.page_at(tiff.open_tiff(file), number)
    for tag in (page.tags[code] for code in (_XMP, _PHOTOSHOP) if code in page.tags):
        file.seek(tag.valueoffset)
        old = file.read(tag.valuebytecount)
        new = without_xmp_thumbnails(old)
        if tag.code == _PHOTOSHOP:
            with bad_bytes_are_data_errors():
                new = with_redrawn_jpegs(old, to_image(tiff.read(file, page)))
        if new != old:
            file.seek(tag.valueoffset)
            file.write(new)


def _renew_previews(original: BinaryIO, file: BinaryIO, number: int) -> list[str]:
    """Makes the smaller copies of a changed page show it as it is now, where it has changed. Returns remarks; raises
    DataError where there are absurdly many."""

    def page_in(either: BinaryIO) -> TiffPage:
        return tiff.page_at(tiff.open_tiff(either), number)

    page, remarks = page_in(file), list[str]()
    previews = tiff_pages.previews(page)
    if not all(each.is_reduced for each in tiff_pages.below(page)):
        remarks.append("other pictures in its file (SubIFDs) are as they were")
    if _LAYERS in page.tags:
        remarks.append("its layers, which Photoshop shows instead of the picture, are as they were")
    if len(previews) > _MOST_PREVIEWS:
        raise DataError(f"has {len(previews)} smaller copies of a page, more than {_MOST_PREVIEWS}")
    if not previews:
        return remarks
    with bad_bytes_are_data_errors():
        before, after = tiff.read(original, page_in(original)), tiff.read(file, page)
    changed = Image.fromarray((before.pixels != after.pixels).any(-1)).convert("L")
    picture = to_image(after.plain(np.uint8)).convert("L" if after.space.num_shown == 1 else "RGB")
    for which in range(len(previews)):
        preview = tiff_pages.previews(page_in(file))[which]  # anew, as the one before may have moved
        try:
            with bad_bytes_are_data_errors():
                content = _renewed(file, preview, picture, changed)
            _put(file, preview, content)
        except DataError:
            remarks.append("a preview in its file is damaged, and as it was")
        else:
            is_anew = isinstance(content, bytes)
            remarks += ["a preview in its file is drawn anew, and stored as lossless deflate"] * is_anew
    return remarks


def _renewed(file: BinaryIO, preview: TiffPage, picture: Image.Image, changed: Image.Image) -> Content:
    """What has to be written so that a preview shows the picture where that has changed (L, 255 = it has), or all of it
    where its own form cannot be written. Raises DataError, and many things on damaged files."""
    tiff.check(preview)
    size = preview.imagewidth, preview.imagelength
    if too_large(size, picture):
        raise DataError("no smaller copy")
    require_memory(size[0] * size[1] * BYTES_A_PIXEL)
    small = picture.resize(size, Image.Resampling.BOX)
    if tiff.meaning_of(preview) is None or not tiff_segments.can_be_written(preview):
        write_new(content := BytesIO(), samples_of(small), {})
        return content.getvalue()
    hole = np.asarray(changed.resize(size, Image.Resampling.BOX).filter(ImageFilter.MaxFilter(3))) > 0
    old = replace(tiff.read(file, preview), orientation=1)
    new = old.with_fill(np.asarray(small, np.float32).reshape(*hole.shape, -1), hole)
    return _segments(preview, old.pixels, new.pixels)


def _stamp(file: BinaryIO) -> tuple[int, int]:
    """Size and time of change."""
    facts = os.fstat(file.fileno())
    return facts.st_size, facts.st_mtime_ns
