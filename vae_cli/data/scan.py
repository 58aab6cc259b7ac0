"""Which images a folder, list file, zip or single file holds, with their ids, labels and splits. Opens no image."""

import csv
import hashlib
import importlib.util
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from vae_cli.errors import ConfigError, DataError

IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".avif", ".jp2",
})  # fmt: skip
_RESULT_FOLDER = re.compile("(.+)-(inpaint|masks|denoise|reconstruct|interpolate|style)(-.*)?")
"""`a.png-inpaint` and `a.png-inpaint-1` hold what `vae inpaint` made of `a.png` where it was not told otherwise."""
HEIF_SUFFIXES = frozenset({".heic", ".heif"})
HEIF_REASON = "HEIC images need one more package: pip install pillow-heif"
LIST_SUFFIXES = frozenset({".txt", ".csv"})
SPLIT_FOLDERS = {
    "train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test",
}  # fmt: skip
HELD_OUT_SHARE = 0.05
_IGNORED_NAMES = frozenset({"Thumbs.db", "__MACOSX"})
_SHOWN_CHARACTERS = 100
"""Of a line of a list that is none."""
_LIST_HEADERS = frozenset({"path", "file", "filename", "file_name", "image"})


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image: `member` names it inside a zip, `label` is its class, `split` its part where the folders say so."""

    id: str
    path: Path
    member: str | None = None
    label: str | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was left out, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Scan:
    """What was found: images sorted by id, and the sorted names of their labels (() = unlabelled)."""

    images: tuple[ImageRef, ...]
    skipped: tuple[Skipped, ...]
    label_names: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """The three parts of a data set, each sorted by id."""

    train: tuple[ImageRef, ...]
    validation: tuple[ImageRef, ...]
    test: tuple[ImageRef, ...]


@dataclass
class _Found:
    """Collects while scanning; `others` counts the extensions of files that are no images."""

    images: list[ImageRef] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def add(self, ref: ImageRef) -> None:
        """File the entry under images, skipped or others, by its extension."""
        suffix = suffix_of(ref.id)
        if suffix in IMAGE_SUFFIXES or (suffix in HEIF_SUFFIXES and can_read_heif()):
            self.images.append(ref)
        elif suffix in HEIF_SUFFIXES:
            self.skip(ref.id, HEIF_REASON)
            self.others[suffix] += 1
        else:
            self.others[suffix or "no extension"] += 1

    def skip(self, entry_id: str, reason: str) -> None:
        self.skipped.append(Skipped(entry_id, reason))


def scan(path: Path, *, labels: str = "auto", exclude: Sequence[Path] = ()) -> Scan:
    """The images of a folder (recursive), a .txt/.csv list, a .zip or one image file.

    labels: auto | none | folders. exclude: output and mask folders to leave out; run folders inside `path` always are.
    Raises ConfigError for a path that does not exist or labels that the folders do not give, DataError for no images.
    """
    if not os.path.lexists(path):
        raise ConfigError(f"{path}: no such file or folder; check the path")
    found = _Found()
    suffix = suffix_of(path.name)
    if path.is_dir():
        _scan_folder(path, found, frozenset(os.path.realpath(p) for p in exclude))
    elif suffix == ".zip":
        _scan_zip(path, found)
    elif suffix in LIST_SUFFIXES:
        _scan_list(path, found)
    else:
        _scan_file(path, found)
    if not found.images:
        raise DataError(_no_images_message(path, found))
    images = sorted(found.images, key=lambda ref: ref.id)
    if path.is_dir() or suffix == ".zip" or suffix in LIST_SUFFIXES:
        images = _with_splits_and_labels(images, labels, path)
    elif labels == "folders":
        raise ConfigError(f"{path}: one image has no class folders; use --labels none")
    names = {ref.label for ref in images if ref.label is not None}
    skipped = sorted(found.skipped, key=lambda entry: entry.id)
    return Scan(tuple(images), tuple(skipped), tuple(sorted(names)))


def suffix_of(name: str) -> str:
    """The extension in lower case with its dot; '' when there is none."""
    return os.path.splitext(name)[1].lower()


def can_read_heif() -> bool:
    """Whether the optional package pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name in _IGNORED_NAMES


def _no_images_message(path: Path, found: _Found) -> str:
    others = sorted(found.others.items(), key=lambda item: (-item[1], item[0]))[:8]
    seen = ", ".join(f"{suffix} ({count})" for suffix, count in others) or "no other files"
    message = f"{path}: no images found (looked for {' '.join(sorted(IMAGE_SUFFIXES))}); saw {seen}"
    if found.skipped:
        first = found.skipped[0]
        message += f"\nskipped {len(found.skipped)}, the first: {first.id}: {first.reason}"
    return message


# ---- folders


def _scan_folder(root: Path, found: _Found, excluded: frozenset[str]) -> None:
    """Walk real folders first, then links to folders, each real folder once: loops end, and a link never hides
    the folder that it points to."""
    seen: set[str] = set()
    real: list[tuple[str, str]] = [("", os.fspath(root))]
    linked: list[tuple[str, str]] = []
    while real or linked:
        prefix, folder = real.pop() if real else linked.pop(0)
        resolved = os.path.realpath(folder)
        if resolved in seen or (prefix and resolved in excluded):
            continue
        seen.add(resolved)
        try:
            with os.scandir(folder) as entries:
                children = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            found.skip(prefix.rstrip("/") or folder, f"folder cannot be read: {error.strerror}")
            continue
        if prefix and _is_run_folder(children):
            continue
        names = {entry.name for entry in children}
        for entry in children:
            if _is_ignored(entry.name):
                continue
            if _is_folder(entry):
                if _holds_results(entry.name, names):
                    continue
                queue = linked if entry.is_symlink() else real
                queue.append((f"{prefix}{entry.name}/", entry.path))
            elif not excluded or os.path.realpath(entry.path) not in excluded:
                _add_entry(f"{prefix}{entry.name}", entry, found)


def _holds_results(folder: str, beside: Set[str]) -> bool:
    """Whether it is called as a command calls the folder of its results, after an image that lies beside it.

    After an image only: what looks like the results of a folder may be a class (`hair` and `hair-style`).
    """
    match = _RESULT_FOLDER.fullmatch(folder)
    return match is not None and match[1] in beside and suffix_of(match[1]) in IMAGE_SUFFIXES


def _is_run_folder(children: Iterable[os.DirEntry[str]]) -> bool:
    return {"config.yaml", "checkpoints"} <= {entry.name for entry in children}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _add_entry(entry_id: str, entry: os.DirEntry[str], found: _Found) -> None:
    try:
        is_file = entry.is_file()
    except OSError:
        is_file = False
    if is_file:
        found.add(ImageRef(entry_id, Path(entry.path)))
    elif suffix_of(entry.name) in IMAGE_SUFFIXES:
        found.skip(entry_id, "link that leads nowhere" if entry.is_symlink() else "not a regular file")


# ---- lists, zips, single files


def _scan_list(path: Path, found: _Found) -> None:
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(f"{path}: list cannot be read: {error.strerror}") from error
    seen: set[str] = set()
    for number, line in enumerate(map(str.strip, re.split(r"\r\n?|\n", text))):
        if not line or line.startswith("#"):
            continue
        try:
            listed, label = _parse_line(line)
        except csv.Error as error:
            found.skip(line[:_SHOWN_CHARACTERS], f"no line of a list: {error}")
            continue
        if number == 0 and listed.lower() in _LIST_HEADERS:
            continue
        reason = "listed twice" if listed in seen else _why_not_listed(path.parent / listed, listed)
        if reason is not None:
            found.skip(listed, reason)
        else:
            found.add(ImageRef(listed, path.parent / listed, label=label))
        seen.add(listed)


def _parse_line(line: str) -> tuple[str, str | None]:
    """Path and label of one line. A comma belongs to the path unless an image's extension stands before it."""
    if line.startswith('"'):
        fields = [part.strip() for part in next(csv.reader([line], skipinitialspace=True))]
        return fields[0], (fields[1] or None) if len(fields) > 1 else None
    listed, comma, label = (part.strip() for part in line.rpartition(","))
    is_pair = comma and (suffix_of(listed) in IMAGE_SUFFIXES | HEIF_SUFFIXES or listed.lower() in _LIST_HEADERS)
    return (listed, label or None) if is_pair else (line, None)


def _why_not_listed(path: Path, listed: str) -> str | None:
    """Why a listed file cannot be an image; None when it may be one."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # ValueError: a null character in the name
        return "listed, but there is no such file"
    if not S_ISREG(mode):
        return "listed, but a folder" if S_ISDIR(mode) else "listed, but not a regular file"
    if suffix_of(listed) not in IMAGE_SUFFIXES | HEIF_SUFFIXES:
        return "listed, but not an image by its extension"
    return None


def _scan_zip(path: Path, found: _Found) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {info.filename for info in archive.infolist() if not info.is_dir()}
    # RuntimeError is zipfile's for zips that are newer than it knows.
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: no readable zip file ({error}); copy or download it again") from error
    for name in sorted(names):
        parts = name.split("/")
        if any(_is_ignored(part) for part in parts if part not in ("", ".", "..")):
            continue
        if ".." in parts or name.startswith("/"):
            found.skip(name, "unsafe name: it points out of the zip")
        else:
            found.add(ImageRef(name, path, member=name))


def _scan_file(path: Path, found: _Found) -> None:
    reason = _why_not_listed(path, path.name)
    if reason is not None:
        wanted = "give an image, a folder, a .txt or .csv list, or a .zip"
        raise DataError(f"{path}: {reason.removeprefix('listed, but ')}; {wanted}")
    found.add(ImageRef(path.name, path))


# ---- labels and splits


def _with_splits_and_labels(images: list[ImageRef], labels: str, path: Path) -> list[ImageRef]:
    """The images with `split` from the top folder, and `label` from the list or from the folders below the split."""
    wrapper = _wrapping_folder(images)
    folders: list[list[str]] = []  # of each image, without the wrapper and the split
    placed: list[ImageRef] = []
    for ref in images:
        parts = ref.id.removeprefix(wrapper).split("/")[:-1]
        split = SPLIT_FOLDERS.get(parts[0].lower()) if parts else None
        folders.append(parts[1:] if split else parts)
        placed.append(replace(ref, split=split))
    if labels == "none":
        return [replace(ref, label=None) for ref in placed]
    if any(ref.label is not None for ref in images):
        return placed
    names = {parts[0] for parts in folders if parts}
    if labels == "folders" and not names:
        raise ConfigError(f"{path}: --labels folders, but there are no class folders; use --labels none")
    is_labelled = labels == "folders" or (len(names) >= 2 and all(len(parts) == 1 for parts in folders))
    if not is_labelled:
        return placed
    return [replace(ref, label=parts[0] if parts else None) for ref, parts in zip(placed, folders, strict=True)]


def _wrapping_folder(images: Sequence[ImageRef]) -> str:
    """'photos/' when a zip holds one top folder and everything lies at least one folder deeper; else ''.

    File managers zip a folder together with its name, which is no class and no split.
    """
    tops = {ref.id.split("/")[0] for ref in images}
    is_deep = all(ref.member is not None and ref.id.count("/") >= 2 for ref in images)
    top = next(iter(tops))
    return f"{top}/" if len(tops) == 1 and is_deep and top.lower() not in SPLIT_FOLDERS else ""


def id_hash(image_id: str) -> float:
    """A number in [0, 1) that depends on the id alone, the same on every machine."""
    digest = hashlib.blake2b(image_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def split_images(images: Sequence[ImageRef]) -> Split:
    """Training, validation and test images; what the folders say counts, else the hash of the id.

    Held out is every id whose hash lies in the lowest 5 %, at least one image; a single image is in both parts.
    Without a validation folder the images of `train/` are held out alike; without any training image the folder
    names are taken for ordinary ones.
    """
    ordered = sorted(images, key=lambda ref: ref.id)
    if all(ref.split in ("validation", "test") for ref in ordered):
        ordered = [replace(ref, split=None) for ref in ordered]
    has_validation = any(ref.split == "validation" for ref in ordered)
    free = [ref for ref in ordered if ref.split is None or (ref.split == "train" and not has_validation)]
    held_out = set(_held_out(free, at_least=0 if has_validation else 1))
    validation = tuple(ref for ref in ordered if ref.split == "validation" or ref.id in held_out)
    test = tuple(ref for ref in ordered if ref.split == "test")
    train = tuple(ref for ref in ordered if ref.split in (None, "train") and ref.id not in held_out)
    return Split(train or validation, validation, test)


def _held_out(images: Sequence[ImageRef], at_least: int) -> Iterator[str]:
    by_hash = sorted(images, key=lambda ref: (id_hash(ref.id), ref.id))
    below = sum(id_hash(ref.id) < HELD_OUT_SHARE for ref in by_hash)
    most = max(len(by_hash) - 1, at_least)  # tiny sets: something has to be left to learn from
    return (ref.id for ref in by_hash[: min(max(below, at_least), most)])


def lowest_hashes(images: Sequence[ImageRef], limit: int) -> tuple[ImageRef, ...]:
    """The `limit` images whose ids have the lowest hashes, sorted by id."""
    chosen = sorted(images, key=lambda ref: (id_hash(ref.id), ref.id))[:limit]
    return tuple(sorted(chosen, key=lambda ref: ref.id))
