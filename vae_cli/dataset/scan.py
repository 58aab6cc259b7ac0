"""Which images a folder, list file, zip or single file holds, with their ids, labels and splits. Opens no image."""

import csv
import os
import re
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from vae_cli.atomic import open_regular
from vae_cli.errors import ConfigError, DataError
from vae_cli.images.image_ref import (
    HEIF_REASON,
    HEIF_SUFFIXES,
    IMAGE_SUFFIXES,
    ImageRef,
    Skipped,
    can_read_heif,
    suffix_of,
)

_RESULT_FOLDER = re.compile("(.+)-(inpaint|masks|denoise|reconstruct|interpolate|style)(-.*)?")
"""`vae inpaint a.png` writes to `a.png-inpaint` or `a.png-inpaint-1` by default."""
SPLIT_FOLDERS = {
    "train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test",
}  # fmt: skip
_IGNORED_NAMES = {"Thumbs.db", "__MACOSX"}
LIST_SUFFIXES = frozenset({".txt", ".csv"})
_LIST_HEADERS = {"path", "file", "filename", "file_name", "image"}
_MAX_SHOWN = 100  # characters of a line that is not understood


@dataclass(frozen=True)
class Scan:
    """What was found: images sorted by id, and the sorted names of their labels (() = unlabelled)."""

    images: tuple[ImageRef, ...]
    skipped: tuple[Skipped, ...]
    label_names: tuple[str, ...]


def scan(path: Path, *, labels: str = "auto", exclude: Sequence[Path] = ()) -> Scan:
    """The images of a folder (recursive), a .txt/.csv list, a .zip or one image file.

    labels: auto | none | folders. exclude: output and mask folders to leave out; run folders inside `path` always are.
    Raises ConfigError for a path that does not exist or labels that the folders do not give, DataError for no images.
    """
    if not os.path.lexists(path):
        raise ConfigError(f"{path}: no such file or folder; check the path")
    found = _Found()
    is_set = True
    if path.is_dir():
        _scan_folder(path, found, {os.path.realpath(excluded) for excluded in exclude})
    elif suffix_of(path.name) == ".zip":
        _scan_zip(path, found)
    elif suffix_of(path.name) in LIST_SUFFIXES:
        _scan_list(path, found)
    else:
        is_set = False
        _scan_file(path, found)
    if not found.images:
        raise DataError(_no_images_message(path, found))
    images = sorted(found.images, key=lambda ref: ref.id)
    if is_set:
        images = _with_splits_and_labels(images, labels, path)
    elif labels == "folders":
        raise ConfigError(f"{path}: one image has no class folders; use --labels none")
    names = {ref.label for ref in images if ref.label is not None}
    return Scan(tuple(images), tuple(sorted(found.skipped, key=lambda entry: entry.id)), tuple(sorted(names)))


@dataclass
class _Found:
    """What a scan has come upon so far; `others` counts the extensions of files that are no images."""

    images: list[ImageRef] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def add(self, ref: ImageRef) -> None:
        """Sort an entry in by its extension."""
        suffix = suffix_of(ref.id)
        if suffix in IMAGE_SUFFIXES or (suffix in HEIF_SUFFIXES and can_read_heif()):
            self.images.append(ref)
            return
        self.others[suffix or "no extension"] += 1
        if suffix in HEIF_SUFFIXES:
            self.skip(ref.id, HEIF_REASON)

    def skip(self, entry_id: str, reason: str) -> None:
        self.skipped.append(Skipped(entry_id, reason))


def _no_images_message(path: Path, found: _Found) -> str:
    others = sorted(found.others.items(), key=lambda item: (-item[1], item[0]))[:8]
    saw = ", ".join(f"{suffix} ({count})" for suffix, count in others) or "no other files"
    message = f"{path}: no images found (looked for {' '.join(sorted(IMAGE_SUFFIXES))}); saw {saw}"
    if found.skipped:
        first = found.skipped[0]
        message += f"\nskipped {len(found.skipped)}, the first: {first.id}: {first.reason}"
    return message


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name in _IGNORED_NAMES


# ---- folders


def _scan_folder(root: Path, found: _Found, excluded: set[str]) -> None:
    """Walk real folders first, then links to folders, and each real folder once.

    So loops end, and a link never hides the folder that it points to.
    """
    visited: set[str] = set()
    waiting = deque([("", os.fspath(root))])  # prefix of ids, folder; real ones on the left
    while waiting:
        prefix, folder = waiting.popleft()
        resolved = os.path.realpath(folder)
        if resolved in visited:
            continue
        visited.add(resolved)
        try:
            with os.scandir(folder) as entries:
                children = {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}
        except OSError as error:
            found.skip(prefix.rstrip("/") or folder, f"folder cannot be read: {error.strerror}")
            continue
        if prefix and {"config.yaml", "checkpoints"} <= children.keys():  # a run
            continue
        for name, entry in children.items():
            if _is_ignored(name) or (excluded and os.path.realpath(entry.path) in excluded):
                continue
            if _is(entry.is_dir):
                if not _holds_results(name, children.keys()):
                    enqueue = waiting.append if entry.is_symlink() else waiting.appendleft
                    enqueue((f"{prefix}{name}/", entry.path))
            elif _is(entry.is_file):
                found.add(ImageRef(prefix + name, Path(entry.path)))
            elif suffix_of(name) in IMAGE_SUFFIXES:
                reason = "not a regular file" if os.path.exists(entry.path) else "link that leads nowhere"
                found.skip(prefix + name, reason)


def _is(kind: Callable[[], bool]) -> bool:
    """`DirEntry.is_dir` or `is_file`; False for a link to itself."""
    try:
        return kind()
    except OSError:
        return False


def _holds_results(folder: str, beside: Set[str]) -> bool:
    """Whether it is named as the results of a command on an image beside it.

    Of an image only: what looks like the results of a folder may be a class (`hair` and `hair-style`).
    """
    match = _RESULT_FOLDER.fullmatch(folder)
    return match is not None and match[1] in beside and suffix_of(match[1]) in IMAGE_SUFFIXES


# ---- lists, zips, single files


def _scan_list(path: Path, found: _Found) -> None:
    """`path[,label]` a line, relative to the file."""
    try:
        with open_regular(path) as file:
            text = file.read().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(f"{path}: list cannot be read: {error.strerror}") from error
    listed: set[str] = set()
    for number, line in enumerate(map(str.strip, re.split(r"\r\n?|\n", text))):
        if not line or line.startswith("#"):
            continue
        try:
            name, label = _parse_line(line)
        except csv.Error as error:
            found.skip(line[:_MAX_SHOWN], f"no line of a list: {error}")
            continue
        if number == 0 and name.lower() in _LIST_HEADERS:
            continue
        reason = _why_no_image(path.parent / name, name)
        if name in listed:
            found.skip(name, "listed twice")
        elif reason is not None:
            found.skip(name, f"listed, but {reason}")
        else:
            found.add(ImageRef(name, path.parent / name, label=label))
        listed.add(name)


def _parse_line(line: str) -> tuple[str, str | None]:
    """Path and label of one line. A comma belongs to the path unless an image's extension stands before it."""
    if line.startswith('"'):
        fields = [part.strip() for part in next(csv.reader([line], skipinitialspace=True))]
        return fields[0], (fields[1] or None) if len(fields) > 1 else None
    name, comma, label = (part.strip() for part in line.rpartition(","))
    is_pair = comma and (suffix_of(name) in IMAGE_SUFFIXES | HEIF_SUFFIXES or name.lower() in _LIST_HEADERS)
    return (name, label or None) if is_pair else (line, None)


def _scan_zip(path: Path, found: _Found) -> None:
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            names = {info.filename for info in archive.infolist() if not info.filename.endswith("/")}
    except Exception as error:  # zipfile raises whatever it comes upon in a damaged directory
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: no readable zip file ({reason}); copy or download it again") from error
    for name in sorted(names):
        parts = name.split("/")
        if any(_is_ignored(part) for part in parts if part not in ("", ".", "..")):
            continue
        if not name:
            found.skip("(no name)", "a member of the zip without a name")
        elif ".." in parts or name.startswith("/"):
            found.skip(name, "unsafe name: it points out of the zip")
        else:
            found.add(ImageRef(name, path, member=name))


def _scan_file(path: Path, found: _Found) -> None:
    reason = _why_no_image(path, path.name)
    if reason is not None:
        raise DataError(f"{path}: {reason}; give an image, a folder, a .txt or .csv list, or a .zip")
    found.add(ImageRef(path.name, path))


def _why_no_image(path: Path, name: str) -> str | None:
    """Why a file that was named cannot be an image; None when it may be one."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a null character in the name
        return "there is no such file"
    if not S_ISREG(mode):
        return "a folder" if S_ISDIR(mode) else "not a regular file"
    return None if suffix_of(name) in IMAGE_SUFFIXES | HEIF_SUFFIXES else "not an image by its extension"


# ---- labels and splits


def _with_splits_and_labels(images: list[ImageRef], labels: str, path: Path) -> list[ImageRef]:
    """The images with `split` from the top folder, and `label` from the list or from the folders below the split."""
    wrapper = _wrapping_folder(images)
    placed, folders = [], []  # folders of each image, without the wrapper and the split
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
    if labels == "folders" or (len(names) >= 2 and all(len(parts) == 1 for parts in folders)):
        return [replace(ref, label=parts[0] if parts else None) for ref, parts in zip(placed, folders, strict=True)]
    return placed


def _wrapping_folder(images: Sequence[ImageRef]) -> str:
    """'photos/' when a zip holds one top folder and everything lies at least one folder deeper; else ''.

    File managers zip a folder together with its name, which is no class and no split.
    """
    top, *others = {ref.id.split("/")[0] for ref in images}
    is_deep = all(ref.member is not None and ref.id.count("/") >= 2 for ref in images)
    return f"{top}/" if not others and is_deep and top.lower() not in SPLIT_FOLDERS else ""
