"""Which images a folder, list file, zip or single file holds, with their ids, labels and splits. Opens no image."""

import os
import re
import zipfile
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from vae_cli.dataset.found import Found, why_not_listed
from vae_cli.dataset.lists import LIST_SUFFIXES, scan_list
from vae_cli.errors import ConfigError, DataError
from vae_cli.images.image_ref import IMAGE_SUFFIXES, ImageRef, Skipped, suffix_of

_RESULT_FOLDER = re.compile("(.+)-(inpaint|masks|denoise|reconstruct|interpolate|style)(-.*)?")
"""`a.png-inpaint` and `a.png-inpaint-1` hold what `vae inpaint` made of `a.png` where it was not told otherwise."""
SPLIT_FOLDERS = {
    "train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test",
}  # fmt: skip
_IGNORED_NAMES = frozenset({"Thumbs.db", "__MACOSX"})


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
    found = Found()
    suffix = suffix_of(path.name)
    if path.is_dir():
        _scan_folder(path, found, frozenset(os.path.realpath(p) for p in exclude))
    elif suffix == ".zip":
        _scan_zip(path, found)
    elif suffix in LIST_SUFFIXES:
        scan_list(path, found)
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


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name in _IGNORED_NAMES


def _no_images_message(path: Path, found: Found) -> str:
    others = sorted(found.others.items(), key=lambda item: (-item[1], item[0]))[:8]
    seen = ", ".join(f"{suffix} ({count})" for suffix, count in others) or "no other files"
    message = f"{path}: no images found (looked for {' '.join(sorted(IMAGE_SUFFIXES))}); saw {seen}"
    if found.skipped:
        first = found.skipped[0]
        message += f"\nskipped {len(found.skipped)}, the first: {first.id}: {first.reason}"
    return message


# ---- folders


def _scan_folder(root: Path, found: Found, excluded: frozenset[str]) -> None:
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


def _add_entry(entry_id: str, entry: os.DirEntry[str], found: Found) -> None:
    try:
        is_file = entry.is_file()
    except OSError:
        is_file = False
    if is_file:
        found.add(ImageRef(entry_id, Path(entry.path)))
    elif suffix_of(entry.name) in IMAGE_SUFFIXES:
        found.skip(entry_id, "link that leads nowhere" if entry.is_symlink() else "not a regular file")


# ---- zips, single files


def _scan_zip(path: Path, found: Found) -> None:
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


def _scan_file(path: Path, found: Found) -> None:
    reason = why_not_listed(path, path.name)
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
