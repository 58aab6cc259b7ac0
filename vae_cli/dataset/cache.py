"""Decoded images at model size in one memory map under the user's cache folder.

An entry is `<key>.u8` (raw pixels) and `<key>.json` (what is in it; it is written last and makes the entry valid).
It is checked as it is opened, and each image again as it is taken out, when one that is damaged is decoded anew.
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
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from vae_cli.atomic import is_partial, replacing
from vae_cli.dataset.ordered_threads import OnProgress, ordered_map
from vae_cli.dataset.stored_pixels import StoredPixels
from vae_cli.errors import DataError
from vae_cli.images.image_ref import ImageRef, Skipped
from vae_cli.images.recipe import ImageRecipe

_FORMAT = 2  # raise it whenever decoding changes, so that older entries are not used
_KEPT_DAYS = 30


@dataclass(frozen=True)
class ImageSet:
    """uint8 [N, H, W, C] (a read-only memory map), ids, int64 [N] labels (-1 = none); notes are worth a warning."""

    pixels: np.ndarray
    ids: tuple[str, ...]
    labels: np.ndarray
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    zooms: np.ndarray | None = None  # float32 [N], as in `close_ups`; None = every image is whole


@dataclass(frozen=True)
class Request:
    """Images to decode, and how."""

    refs: Sequence[ImageRef]
    decode: Callable[[ImageRef], np.ndarray]  # gives a uint8 array of `shape`, or raises DataError
    shape: tuple[int, ...]  # (H, W, C), or with a number before it of as many arrays for each image
    settings: str  # everything but the files that the arrays depend on
    workers: int = 2
    on_progress: OnProgress | None = None


Failure = tuple[int, str]  # position in the request, reason


class Decoded(NamedTuple):
    """uint8 [N, H, W, C] of the images at the positions `kept` of a request, as many of each as its shape says, and why
    the others failed."""

    pixels: np.ndarray
    kept: list[int]
    failed: list[Failure]
    notes: tuple[str, ...] = ()


def load_images(
    refs: Sequence[ImageRef],
    recipe: ImageRecipe,
    *,
    label_names: Sequence[str] = (),
    workers: int = 2,
    on_progress: OnProgress | None = None,
) -> ImageSet:
    """Every image that can be decoded, as the recipe says; from the cache where nothing has changed.

    Without a usable cache folder the pixels go to a nameless temporary file or to memory, which the notes say.
    Raises DataError when no image is left.
    """
    shape = (*recipe.size, recipe.channels)
    pixels, kept, failed, notes = load_decoded(Request(refs, recipe.decode, shape, repr(recipe), workers, on_progress))
    numbers = {name: number for number, name in enumerate(label_names)}
    labels = np.array([numbers.get(refs[position].label or "", -1) for position in kept], np.int64)
    skipped = tuple(Skipped(refs[position].id, reason) for position, reason in failed)
    return ImageSet(pixels, tuple(refs[position].id for position in kept), labels, skipped, notes)


def load_decoded(request: Request) -> Decoded:
    """All images that can be decoded, from the cache where nothing has changed. Raises DataError when there is none."""
    folder, reason = cache_folder(), "no home folder; set VAE_CACHE"
    if folder is not None:
        path = folder / f"{_entry_key(request)}.u8"
        entry = _read_entry(path, request)
        if entry is not None and not _can_decode_one(request, entry.failed):
            return entry
        try:
            return _write_entry(path, request)
        except OSError as error:
            reason = f"{folder}: {error.strerror or error}"
    return _decode_uncached(request)._replace(notes=(f"decoded images are not cached: {reason}",))


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


def _decode_into(stream: IO[bytes], request: Request) -> tuple[list[int], list[Failure], list[int]]:
    """Append every decoded image to the stream; which were kept, which failed, and the checksum of each array.

    Raises DataError for none kept.
    """
    kept, failed, checksums = list[int](), list[Failure](), list[int]()
    with closing(ordered_map(request.decode, request.refs, request.workers)) as results:
        for position, result in enumerate(results):
            if isinstance(result, DataError):
                failed.append((position, str(result)))
            else:
                kept.append(position)
                arrays = np.ascontiguousarray(result).reshape(-1, *request.shape[-3:])
                checksums += [zlib.crc32(array.data) for array in arrays]
                stream.write(arrays.data)
            if request.on_progress is not None:
                request.on_progress(position + 1, len(request.refs))
    stream.flush()
    if not kept:
        first = f"the first, {request.refs[0].id}: {failed[0][1]}" if failed else "the list is empty"
        raise DataError(f"none of {len(request.refs)} images can be decoded ({first}); `vae check` lists them")
    return kept, failed, checksums


def _decode_uncached(request: Request) -> Decoded:
    """Into a nameless temporary file, or into memory where that has no room."""
    shape = -1, *request.shape[-3:]
    with suppress(OSError):  # the disk may also fill up meanwhile
        _require_room(Path(tempfile.gettempdir()), request)
        with tempfile.TemporaryFile() as file:
            kept, failed, _ = _decode_into(file, request)
            return Decoded(np.memmap(file, np.uint8, "r").reshape(shape), kept, failed)
    memory = BytesIO()
    kept, failed, _ = _decode_into(memory, request)
    return Decoded(np.frombuffer(memory.getbuffer(), np.uint8).reshape(shape), kept, failed)


def _require_room(folder: Path, request: Request) -> None:
    """Raises OSError where the folder's disk cannot hold all images."""
    if shutil.disk_usage(folder).free < len(request.refs) * math.prod(request.shape):
        raise OSError("too little space")


def _can_decode_one(request: Request, failed: list[Failure]) -> bool:
    """Of images that failed before: a permission or a decoder that was missing does not change a file's date."""
    refs = [request.refs[position] for position, _ in failed]
    return any(isinstance(result, np.ndarray) for result in ordered_map(request.decode, refs, workers=1))


# ---- entries


def _entry_key(request: Request) -> str:
    """Changes with the settings and with the path, size or time of any file."""

    @functools.cache
    def facts(path: Path) -> tuple[str, int, int]:
        try:
            stat = path.stat()
            return os.path.abspath(path), stat.st_size, stat.st_mtime_ns
        except (OSError, ValueError):
            return os.path.abspath(path), -1, -1

    digest = hashlib.blake2b(repr((_FORMAT, request.settings)).encode(), digest_size=16)
    for ref in request.refs:
        digest.update(repr((*facts(ref.path), ref.member)).encode())  # repr escapes odd names
    return digest.hexdigest()


def _write_entry(path: Path, request: Request) -> Decoded:
    """Decode into a new entry. Raises OSError where the folder does not take it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _prune(path.parent)
    _require_room(path.parent, request)
    with replacing(path) as file:
        kept, failed, checksums = _decode_into(file, request)
    with replacing(path.with_suffix(".json")) as file:
        file.write(json.dumps({"kept": kept, "failed": failed, "checksums": checksums}).encode())
    return Decoded(_stored(path, request, kept, checksums), kept, failed)


def _read_entry(path: Path, request: Request) -> Decoded | None:
    """The entry; None when there is none or it is damaged."""
    description = path.with_suffix(".json")
    try:
        facts = json.loads(description.read_bytes())
        kept, failed = facts["kept"], [(position, reason) for position, reason in facts["failed"]]
        pixels = _stored(path, request, kept, facts["checksums"])
        positions = sorted([*kept, *(position for position, _ in failed)])
        if positions != list(range(len(request.refs))) or not pixels.is_whole():
            return None
    except (OSError, ValueError, TypeError, LookupError):
        return None
    with suppress(OSError):  # keeps the entry from being pruned
        os.utime(path)
        os.utime(description)
    return Decoded(pixels, kept, failed)


def _stored(path: Path, request: Request, kept: list[int], checksums: list[int]) -> StoredPixels:
    *several, height, width, channels = request.shape
    num_each = math.prod(several)

    def restore(number: int) -> np.ndarray:
        with suppress(OSError):
            path.with_suffix(".json").unlink(missing_ok=True)  # the next start writes another entry
        ref = request.refs[kept[number // num_each]]
        with suppress(DataError):  # of a file that has gone, or is another one by now
            array = request.decode(ref).reshape(-1, height, width, channels)[number % num_each]
            if zlib.crc32(np.ascontiguousarray(array).data) == checksums[number]:
                return array
        raise DataError(
            f"{path}: damaged while it was in use, and {ref.path} has changed; start the same command again"
        )

    return StoredPixels.of(path, (len(kept) * num_each, height, width, channels), checksums, restore)


def _prune(folder: Path) -> None:
    """Remove entries that were not used for a month, and after a day what killed processes left.

    Other files stay, as VAE_CACHE may name a folder that holds other things, too.
    """
    for path in folder.iterdir():
        is_entry = re.fullmatch(r"[0-9a-f]{32}\.(u8|json)", path.name)
        if is_entry or is_partial(path):
            with suppress(OSError):
                days = _KEPT_DAYS if is_entry else 1
                if path.stat().st_mtime < time.time() - days * 24 * 3600:
                    path.unlink()
