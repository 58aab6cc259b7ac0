"""Decoded images at model size in one memory map under the user's cache folder.

An entry is `<key>.u8` (raw pixels) and `<key>.json` (what is in it; it is written last and makes the entry valid).
Some of it is checked as it is opened, and each image as it is taken out, when one that is damaged is decoded anew.
What was read from the headers of images is kept in a `<key>.json` alone. So a second start opens no image.
"""

import functools
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae_cli.atomic import is_partial, replacing
from vae_cli.company import Company
from vae_cli.dataset.decoding import Failure, Request, Written, decode_into, joined, part_of, write_part
from vae_cli.dataset.image_statistics import ImageStatistics, image_statistics, picture_sizes
from vae_cli.dataset.ordered_threads import OnProgress, ordered_map
from vae_cli.dataset.stored_pixels import StoredPixels
from vae_cli.errors import DataError
from vae_cli.images.colours import Colour
from vae_cli.images.image_ref import ImageRef, Skipped
from vae_cli.images.image_refs import labels_of, names_of, taken
from vae_cli.images.recipe import ImageRecipe

_FORMAT = 3  # raise it whenever decoding changes, so that older entries are not used
_KEPT_DAYS = 30


@dataclass(frozen=True)
class ImageSet:
    """uint8 [N, H, W, C] (a read-only memory map), ids, int64 [N] labels (-1 = none); notes are worth a warning."""

    pixels: np.ndarray
    ids: Sequence[str]
    labels: np.ndarray
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    zooms: np.ndarray | None = None  # float32 [N], as in `close_ups`; None = every image is whole


class Decoded(NamedTuple):
    """uint8 [N, H, W, C] of the images at the positions `kept` of a request, as many of each as its shape says, and why
    the others failed."""

    pixels: np.ndarray
    kept: np.ndarray  # int64
    failed: list[Failure]
    notes: tuple[str, ...] = ()


def load_images(
    refs: Sequence[ImageRef],
    recipe: ImageRecipe,
    *,
    label_names: Sequence[str] = (),
    workers: int = 2,
    on_progress: OnProgress | None = None,
    company: Company | None = None,
) -> ImageSet:
    """Every image that can be decoded, as the recipe says; from the cache where nothing has changed.

    Without a usable cache folder the pixels go to a nameless temporary file or to memory, which the notes say.
    Raises DataError when no image is left.
    """
    shape = (*recipe.size, recipe.channels)
    company = company or Company()
    request = Request(refs, recipe.decode, shape, repr(recipe), workers, on_progress, company)
    pixels, kept, failed, notes = load_decoded(request)
    numbers = {name: number for number, name in enumerate(label_names)}
    labels = np.array([numbers.get(label or "", -1) for label in labels_of(refs, kept)], np.int64)
    skipped = tuple(Skipped(refs[position].id, reason) for position, reason in failed)
    return ImageSet(pixels, names_of(refs, kept), labels, skipped, notes)


def load_decoded(request: Request) -> Decoded:
    """All images that can be decoded, from the cache where nothing has changed. Raises DataError when there is none."""
    folder, reason = cache_folder(), "no home folder; set VAE_CACHE"
    if folder is not None:
        path = folder / f"{_key(request.refs, request.settings)}.u8"
        request.company.begin()
        entry: Decoded | None = None

        def find() -> str:
            nonlocal entry
            entry = _read_entry(path, request)
            is_usable = entry is not None and not _can_decode_one(request, entry.failed)
            return "" if is_usable else "missing"

        try:
            if request.company.once_a_node("find", find):
                entry = _write_entry(path, request)
            entry = entry or _read_entry(path, request)
            if entry is not None:
                return entry
            reason = f"{folder}: this rank cannot read there what another has written"
        except OSError as error:
            reason = f"{folder}: {error.strerror or error}"
    decoded = _decode_uncached(request)
    return decoded._replace(notes=(*decoded.notes, f"decoded images are not cached: {reason}"))


def load_statistics(
    refs: Sequence[ImageRef], background: Colour, *, workers: int = 2, on_progress: OnProgress | None = None,
    company: Company | None = None,
) -> ImageStatistics:  # fmt: skip
    """`image_statistics`, from the cache where no file has changed."""
    folder = cache_folder()
    path = folder / f"{_key(refs, repr(('statistics', background)))}.json" if folder else None

    def make() -> str:
        with suppress(OSError, ValueError, TypeError, LookupError):
            text = path.read_text() if path else ""
            broken = {item.id for item in ImageStatistics.of_text(text).skipped}
            rows = [row for row, name in enumerate(names_of(refs)) if name in broken] if broken else []
            if not any(picture_sizes(taken(refs, rows), workers)):  # they may be readable by now
                return text
        facts = image_statistics(refs, background=background, workers=workers, on_progress=on_progress).as_text()
        with suppress(OSError):
            if path:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with replacing(path) as file:
                    file.write(facts.encode())
        return facts

    return ImageStatistics.of_text((company or Company()).once_a_node("statistics", make))


def cache_folder() -> Path | None:
    """$VAE_CACHE, else $XDG_CACHE_HOME/vae, else ~/.cache/vae; None without a home."""
    if os.environ.get("VAE_CACHE"):
        return Path(os.environ["VAE_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # the XDG standard says to ignore relative ones
        return Path(base) / "vae"
    try:
        return Path.home() / ".cache" / "vae"
    except RuntimeError:
        return None


# ---- decoding


def _decode_uncached(request: Request) -> Decoded:
    """Into a nameless temporary file, or into memory where that has no room."""
    shape = -1, *request.shape[-3:]
    with suppress(OSError):  # the disk may also fill up meanwhile
        _require_room(Path(tempfile.gettempdir()), request)
        with tempfile.TemporaryFile() as file:
            written = decode_into(file, request)
            written.require_some(request)
            return _decoded(np.memmap(file, np.uint8, "r").reshape(shape), request, written)
    memory = BytesIO()
    written = decode_into(memory, request)
    written.require_some(request)
    return _decoded(np.frombuffer(memory.getbuffer(), np.uint8).reshape(shape), request, written)


def _decoded(pixels: np.ndarray, request: Request, written: Written) -> Decoded:
    return Decoded(pixels, np.array(written.kept), written.failed, written.notes(request))


def _require_room(folder: Path, request: Request) -> None:
    """Raises OSError where the folder's disk cannot hold all images."""
    if shutil.disk_usage(folder).free < len(request.refs) * math.prod(request.shape):
        raise OSError("too little space")


def _can_decode_one(request: Request, failed: list[Failure]) -> bool:
    """Of images that failed before: a permission or a decoder that was missing does not change a file's date."""
    refs = [request.refs[position] for position, _ in failed]
    return any(isinstance(result, np.ndarray) for result in ordered_map(request.decode, refs, workers=1))


# ---- entries


def _key(refs: Sequence[ImageRef], settings: str) -> str:
    """Changes with the settings and with the path, size or time of any file."""

    @functools.lru_cache(maxsize=1)  # of a zip, for all its members
    def facts(path: Path) -> tuple[str, int, int]:
        try:
            stat = os.stat(path)
            return os.path.abspath(path), stat.st_size, stat.st_mtime_ns
        except (OSError, ValueError):
            return os.path.abspath(path), -1, -1

    digest = hashlib.blake2b(repr((_FORMAT, settings)).encode(), digest_size=16)
    for ref in refs:
        digest.update(repr((*facts(ref.path), ref.member)).encode())  # repr escapes odd names
    return digest.hexdigest()


def _write_entry(path: Path, request: Request) -> Decoded | None:
    """Decode into a new entry; None on a rank that another one of its node writes it for.

    Raises OSError where the folder does not take it.
    """
    company = request.company
    try:
        if company.size > 1:
            write_part(path, request)
        if company.position > 0:
            company.hear("whole")
            return None
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _prune(path.parent)
        _require_room(path.parent, request)
        with replacing(path) as file:
            written = decode_into(file, request) if company.size == 1 else joined(path, file, request)
            written.require_some(request)
        with replacing(path.with_suffix(".json")) as file:
            file.write(json.dumps(written._asdict()).encode())
        return _decoded(_stored(path, request, written), request, written)
    finally:
        if company.position == 0:
            company.say("whole")
        part_of(path, company.position).unlink(missing_ok=True)


def _read_entry(path: Path, request: Request) -> Decoded | None:
    """The entry; None when there is none or it is damaged."""
    description = path.with_suffix(".json")
    try:
        written = Written(**json.loads(description.read_bytes()))
        pixels = _stored(path, request, written)
        decoded = _decoded(pixels, request, written)
        positions = sorted([*written.kept, *(position for position, _ in written.failed)])
        if positions != list(range(len(request.refs))) or not pixels.seems_whole():
            return None
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None
    with suppress(OSError):  # keeps the entry from being pruned
        os.utime(path)
        os.utime(description)
    return decoded


def _stored(path: Path, request: Request, written: Written) -> StoredPixels:
    *several, height, width, channels = request.shape
    num_each, kept = math.prod(several), np.array(written.kept)
    known = np.array(written.checksums, np.uint32)

    def restore(number: int) -> np.ndarray:
        with suppress(OSError):
            path.with_suffix(".json").unlink(missing_ok=True)  # the next start writes another entry
        ref = request.refs[int(kept[number // num_each])]
        with suppress(DataError):  # of a file that has gone, or is another one by now
            array = request.decode(ref).reshape(-1, height, width, channels)[number % num_each]
            if zlib.crc32(np.ascontiguousarray(array).data) == known[number]:
                return array
        raise DataError(
            f"{path}: damaged while it was in use, and {ref.path} has changed; start the same command again"
        )

    shape = (len(kept) * num_each, height, width, channels)
    return StoredPixels.of(path, shape, known, restore, num_extreme=written.num_extreme)


def _prune(folder: Path) -> None:
    """Remove entries that were not used for a month, and after a day what killed processes left.

    Other files stay, as VAE_CACHE may name a folder that holds other things, too.
    """
    for path in folder.iterdir():
        is_entry = re.fullmatch(r"[0-9a-f]{32}(\.[0-9]+)?\.(u8|json)", path.name)
        if is_entry or is_partial(path):
            with suppress(OSError):
                days = _KEPT_DAYS if is_entry else 1
                if path.stat().st_mtime < time.time() - days * 24 * 3600:
                    path.unlink()
