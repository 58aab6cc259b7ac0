"""Decoded images at model size in one memory map under the user's cache folder.

An entry is `<key>.u8` (raw pixels) and `<key>.json` (what is in it, written last: it makes the entry valid).
"""

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from vae_cli.dataset.close_ups import decode_patches, patch_boxes
from vae_cli.dataset.ordered_threads import OnProgress, ordered_map
from vae_cli.errors import DataError
from vae_cli.images.image_ref import ImageRef, Skipped
from vae_cli.images.recipe import ImageRecipe

_FORMAT = 1  # raise it whenever decoding changes, so that older entries are not used
_KEPT_DAYS = 30
_ENTRY_NAME = re.compile(r"[0-9a-f]{32}(\.u8|\.json|.*\.partial)")
_CHECKED_BYTES = 64 << 20  # of an entry's pixels go into its checksum

Results = Generator[np.ndarray | DataError, None, None]
_Failure = tuple[int, str]  # position in the request, reason


@dataclass(frozen=True)
class ImageSet:
    """uint8 [N, H, W, C] (a read-only memory map), ids, int64 [N] labels (-1 = none); notes are worth a warning."""

    pixels: np.ndarray
    ids: tuple[str, ...]
    labels: np.ndarray
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    zooms: np.ndarray | None = None
    """float32 [N], see data/patches.py; None = every image is seen whole."""


@dataclass(frozen=True)
class _Decoding:
    """What is made of each image, which is part of an entry's key."""

    recipe: ImageRecipe
    num_patches: int = 0
    """Close-ups of each image; 0 = it is seen whole."""

    @property
    def num_bytes(self) -> int:
        """Of what one image gives."""
        return math.prod(self.shape(1))

    def shape(self, num_images: int) -> tuple[int, int, int, int]:
        return (num_images * max(1, self.num_patches), *self.recipe.size, self.recipe.channels)

    def decoded(self, ref: ImageRef) -> np.ndarray:
        """uint8 [H, W, C], or [num_patches, H, W, C]. Raises DataError."""
        return decode_patches(ref, self.recipe, self.num_patches) if self.num_patches else self.recipe.decode(ref)


@dataclass(frozen=True)
class _Decoded:
    """The pixels of the images at the positions `kept` of the request, and why the others failed."""

    pixels: np.ndarray
    kept: list[int]
    failed: list[_Failure]


class _StorageError(Exception):
    """The cache folder or disk does not take the pixels; never leaves this file."""


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
    decoded, notes = _load(refs, _Decoding(recipe), workers, on_progress)
    skipped = tuple(Skipped(refs[position].id, reason) for position, reason in decoded.failed)
    numbers = {name: number for number, name in enumerate(label_names)}
    labels = [numbers.get(refs[position].label or "", -1) for position in decoded.kept]
    ids = tuple(refs[position].id for position in decoded.kept)
    return ImageSet(decoded.pixels, ids, np.array(labels, np.int64), skipped, tuple(notes))


def load_patches(
    refs: Sequence[ImageRef],
    sizes: Sequence[tuple[int, int]],
    num_patches: int,
    recipe: ImageRecipe,
    *,
    workers: int = 2,
    on_progress: OnProgress | None = None,
) -> ImageSet:
    """`num_patches` of every image that can be decoded, without labels; otherwise as `load_images`.

    sizes: (H, W) of each image, as of `picture_sizes`.
    """
    decoded, notes = _load(refs, _Decoding(recipe, num_patches), workers, on_progress)
    zooms = [patch_boxes(refs[position].id, sizes[position], recipe.size, num_patches)[1] for position in decoded.kept]
    ids = tuple(refs[position].id for position in decoded.kept for _ in range(num_patches))
    no_labels = np.full(len(ids), -1, np.int64)
    return ImageSet(decoded.pixels, ids, no_labels, (), tuple(notes), np.array(zooms, np.float32).reshape(-1))


def _load(
    refs: Sequence[ImageRef], decoding: _Decoding, workers: int, on_progress: OnProgress | None
) -> tuple[_Decoded, list[str]]:
    """From the cache, or decoded and, where that is possible, cached; and what to tell about that."""
    folder, key, notes = cache_folder(), _entry_key(refs, decoding), []
    decoded = _read_entry(folder, key, len(refs), decoding) if folder else None
    if decoded is None or _retry_finds_one(refs, decoded, decoding):
        try:
            results = _decode_all(refs, decoding, workers, on_progress)
            decoded = _write_entry(folder, key, results, refs, decoding)
        except _StorageError as error:
            notes.append(f"decoded images are not cached: {error}")
            decoded = _decode_uncached(lambda: _decode_all(refs, decoding, workers, on_progress), refs, decoding)
    return decoded, notes


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


def _decode_all(refs: Sequence[ImageRef], decoding: _Decoding, workers: int, on_progress: OnProgress | None) -> Results:
    results = ordered_map(decoding.decoded, refs, workers)
    for done, result in enumerate(results, start=1):
        yield result
        if on_progress is not None:
            on_progress(done, len(refs))


def _retry_finds_one(refs: Sequence[ImageRef], decoded: _Decoded, decoding: _Decoding) -> bool:
    """Whether a file that failed can be read by now: a permission or a missing decoder does not change its date."""
    failed = [refs[position] for position, _ in decoded.failed]
    return any(isinstance(result, np.ndarray) for result in _decode_all(failed, decoding, 1, None))


def _write_pixels(stream: IO[bytes], results: Results, refs: Sequence[ImageRef]) -> tuple[list[int], list[_Failure]]:
    """Append every decoded image; positions that were kept, and those that failed with their reason."""
    kept: list[int] = []
    failed: list[_Failure] = []
    for position, result in enumerate(results):
        if isinstance(result, DataError):
            failed.append((position, str(result)))
            continue
        kept.append(position)
        with _storage_errors("images"):
            stream.write(np.ascontiguousarray(result).data)
    with _storage_errors("images"):
        stream.flush()
    if not kept:
        first = f"the first, {refs[0].id}: {failed[0][1]}" if failed else "the list is empty"
        raise DataError(f"none of {len(refs)} images can be decoded ({first}); `vae check` lists them")
    return kept, failed


def _decode_uncached(results: Callable[[], Results], refs: Sequence[ImageRef], decoding: _Decoding) -> _Decoded:
    """The same in a nameless temporary file, or in memory where that has no room either."""
    try:
        with _storage_errors("temporary folder"):
            temporary = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
            has_room = shutil.disk_usage(tempfile.gettempdir()).free >= len(refs) * decoding.num_bytes
        with _storage_errors("temporary folder"), temporary, closing(results()) as decoded:
            if has_room:
                kept, failed = _write_pixels(temporary, decoded, refs)
                return _Decoded(np.memmap(temporary, np.uint8, "r", 0, decoding.shape(len(kept))), kept, failed)
    except _StorageError:
        pass  # filled up meanwhile
    memory = BytesIO()
    kept, failed = _write_pixels(memory, results(), refs)
    return _Decoded(np.frombuffer(memory.getbuffer(), np.uint8).reshape(decoding.shape(len(kept))), kept, failed)


# ---- entries


def _entry_key(refs: Sequence[ImageRef], decoding: _Decoding) -> str:
    """Changes with the settings and with the path, size or time of any file."""
    digest = hashlib.blake2b(repr((_FORMAT, decoding)).encode(), digest_size=16)
    facts: dict[Path, tuple[int, int]] = {}
    for ref in refs:
        if ref.path not in facts:
            try:
                stat = ref.path.stat()
                facts[ref.path] = (stat.st_size, stat.st_mtime_ns)
            except (OSError, ValueError):
                facts[ref.path] = (-1, -1)
        line = repr((os.path.abspath(ref.path), ref.member, facts[ref.path]))  # repr escapes odd names
        if decoding.num_patches:
            line += repr((decoding.num_patches, ref.id))  # which decide where patches are cut
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _checksum(pixels: np.ndarray) -> int:
    """CRC of the images, of evenly spaced ones in a large set: enough to notice a torn or foreign file."""
    checksum = 0
    for image in pixels[:: -(-pixels.nbytes // _CHECKED_BYTES)]:
        checksum = zlib.crc32(image.data, checksum)
    return checksum


def _write_entry(
    folder: Path | None, key: str, results: Results, refs: Sequence[ImageRef], decoding: _Decoding
) -> _Decoded:
    """Decode into a new entry; pixels first, then the description that makes it valid."""
    if folder is None:
        raise _StorageError("no home folder; set VAE_CACHE")
    with _storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _prune(folder)
        if shutil.disk_usage(folder).free < len(refs) * decoding.num_bytes:
            raise _StorageError(f"{folder}: too little space")
    with closing(results), _renamed_into_place(folder / f"{key}.u8") as stream:
        kept, failed = _write_pixels(stream, results, refs)
    with _storage_errors(folder):
        pixels = np.memmap(folder / f"{key}.u8", np.uint8, "r", 0, decoding.shape(len(kept)))
    facts = {"format": _FORMAT, "kept": kept, "failed": failed, "checksum": _checksum(pixels)}
    with _renamed_into_place(folder / f"{key}.json") as stream:
        stream.write(json.dumps(facts).encode())
    return _Decoded(pixels, kept, failed)


def _read_entry(folder: Path, key: str, num_images: int, decoding: _Decoding) -> _Decoded | None:
    """The entry, None when there is none or it is damaged."""
    try:
        facts = json.loads((folder / f"{key}.json").read_bytes())
        kept, failed = list(map(int, facts["kept"])), [(int(position), str(why)) for position, why in facts["failed"]]
        positions = sorted(kept + [position for position, _ in failed])
        path = folder / f"{key}.u8"
        if positions != list(range(num_images)) or path.stat().st_size != len(kept) * decoding.num_bytes:
            return None
        pixels = np.memmap(path, np.uint8, "r", 0, decoding.shape(len(kept)))
        if _checksum(pixels) != facts["checksum"]:
            return None
    except (OSError, ValueError, TypeError, LookupError):
        return None
    with suppress(OSError):  # keeps the entry from being pruned
        os.utime(path)
        os.utime(path.with_suffix(".json"))
    return _Decoded(pixels, kept, failed)


def _prune(folder: Path) -> None:
    """Remove entries that nobody used for a month, and what killed runs left. Best effort; VAE_CACHE may name a folder
    that holds other things, too, which are nobody's business here."""
    for path in folder.iterdir():
        if not _ENTRY_NAME.fullmatch(path.name):
            continue
        max_days = 1 if path.suffix == ".partial" else _KEPT_DAYS
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - max_days * 24 * 3600:
                path.unlink()


@contextmanager
def _renamed_into_place(path: Path) -> Iterator[IO[bytes]]:
    """A new file that appears at `path` only when it is complete and on the disk."""
    with _storage_errors(path.parent):
        handle, partial = tempfile.mkstemp(prefix=path.stem, suffix=".partial", dir=path.parent)
    try:
        with _storage_errors(path.parent), os.fdopen(handle, "wb") as stream:  # closing it writes once more
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        with _storage_errors(path.parent):
            os.replace(partial, path)
    finally:
        with suppress(OSError):
            os.unlink(partial)


@contextmanager
def _storage_errors(place: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _StorageError(f"{place}: {error.strerror or error}") from error
