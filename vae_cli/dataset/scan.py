"""Which images a folder, list file, archive or single file holds, with their ids, labels and splits. Opens no image."""

import os
import re
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from vae_cli.atomic import open_regular
from vae_cli.dataset.archives import is_ignored, tar_members, zip_members
from vae_cli.dataset.image_lists import LIST_SUFFIXES, METADATA_NAMES, Listed, read_list, read_metadata, spellings
from vae_cli.dataset.split import SPLIT_NAMES, split_folders, split_note
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
_NO_FILE = "there is no such file"
_MAX_SHOWN = 300  # characters of a path that leads nowhere


@dataclass(frozen=True)
class Scan:
    """What was found: images sorted by id, and the sorted names of their labels (() = unlabelled).

    notes: what is to be said about splits. has_split_folders: whether folders became splits.
    """

    images: tuple[ImageRef, ...]
    skipped: tuple[Skipped, ...]
    label_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    has_split_folders: bool = False


def scan(path: Path, *, labels: str = "auto", splits: str = "auto", exclude: Sequence[Path] = ()) -> Scan:
    """The images of a folder (recursive), a list, a .zip, a .tar, or one image file.

    A folder without images may hold .tar files, which then are one set. labels: auto | none | folders. splits: auto |
    none | folders, as for `split_folders`. exclude: output and mask folders to leave out; run folders inside `path`
    always are. Raises ConfigError for a path that does not exist or labels that the folders do not give, DataError for
    no images.
    """
    if not os.path.lexists(path):
        raise ConfigError(f"{path}: no such file or folder; check the path")
    found = _Found(with_splits=splits != "none")
    if path.is_dir():
        _scan_folder(path, found, {os.path.realpath(excluded) for excluded in exclude})
        if not found.images:
            for shard in found.tars:
                found.take(tar_members(shard.path, f"{shard.id}/"))
    elif suffix_of(path.name) == ".zip":
        found.take(zip_members(path))
    elif suffix_of(path.name) == ".tar":
        found.take(tar_members(path))
    elif suffix_of(path.name) in LIST_SUFFIXES:
        _scan_list(path, found)
    else:
        _scan_file(path, found)
        if labels == "folders":
            raise ConfigError(f"{path}: one image has no class folders; use --labels none")
    if labels != "none" or splits != "none":
        _read_metadata(found)
    if not found.images:
        raise DataError(_no_images_message(path, found))
    return _sorted_out(found, labels, splits, path)


@dataclass
class _Found:
    """What a scan has come upon so far; `others` counts the extensions of files that are no images."""

    with_splits: bool
    images: list[ImageRef] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    metadata: list[ImageRef] = field(default_factory=list)
    tars: list[ImageRef] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def add(self, ref: ImageRef) -> None:
        """Sort an entry in by its extension."""
        suffix = suffix_of(ref.id)
        if suffix in IMAGE_SUFFIXES or (suffix in HEIF_SUFFIXES and can_read_heif()):
            self.images.append(ref)
            return
        if ref.id.rpartition("/")[2] in METADATA_NAMES:
            self.metadata.append(ref)
        if suffix == ".tar":
            self.tars.append(ref)
        self.others[suffix or "no extension"] += 1
        if suffix in HEIF_SUFFIXES:
            self.skip(ref.id, HEIF_REASON)

    def take(self, members: Iterable[ImageRef | Skipped]) -> None:
        """All that an archive holds."""
        for member in members:
            if isinstance(member, Skipped):
                self.skipped.append(member)
            else:
                self.add(member)

    def skip(self, entry_id: str, reason: str) -> None:
        self.skipped.append(Skipped(entry_id, reason))

    def described(self, ref: ImageRef, line: Listed) -> ImageRef | None:
        """The image with what a list says about it; None where that is no split that there is."""
        split = SPLIT_NAMES.get((line.split or "").lower()) if self.with_splits else None
        if self.with_splits and line.split and split is None:
            self.skip(ref.id, f"listed for the split {line.split[:_MAX_SHOWN]!r}; use train, val or test")
            return None
        return replace(ref, label=line.label, split=split)


def _no_images_message(path: Path, found: _Found) -> str:
    others = sorted(found.others.items(), key=lambda item: (-item[1], item[0]))[:8]
    saw = ", ".join(f"{suffix} ({count})" for suffix, count in others) or "no other files"
    message = f"{path}: no images found (looked for {' '.join(sorted(IMAGE_SUFFIXES))}); saw {saw}"
    if found.skipped:
        first = found.skipped[0]
        message += f"\nskipped {len(found.skipped)}, the first: {first.id}: {first.reason}"
    return message


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
            if is_ignored(name) or (excluded and os.path.realpath(entry.path) in excluded):
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


# ---- lists, single files


def _scan_list(path: Path, found: _Found) -> None:
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise DataError(f"{path}: list cannot be read: {error.strerror}") from error
    listed: set[str] = set()
    for line in read_list(content, suffix_of(path.name)):
        if isinstance(line, Skipped):
            found.skipped.append(line)
            continue
        reasons = ((name, _why_no_image(path.parent / name, name)) for name in spellings(line.path))
        name, reason = next((pair for pair in reasons if pair[1] != _NO_FILE), (line.path[:_MAX_SHOWN], _NO_FILE))
        if name in listed:
            found.skip(name, "listed twice")
        elif reason is not None:
            found.skip(name, f"listed, but {reason}")
        elif (ref := found.described(ImageRef(name, path.parent / name), line)) is not None:
            found.add(ref)
        listed.add(name)


def _read_metadata(found: _Found) -> None:
    """Adds to the images what metadata files beside them say. Those that none of them lists stay as they are."""
    if not found.metadata:
        return
    from vae_cli.images.decode import read_bytes  # which loads Pillow

    images: dict[str, ImageRef | None] = {ref.id: ref for ref in found.images}
    for file in found.metadata:
        folder = file.id[: file.id.rfind("/") + 1]
        try:
            content = read_bytes(file)
        except DataError as error:
            found.skip(file.id, str(error))
            continue
        for line in read_metadata(content, suffix_of(file.id)):
            if isinstance(line, Skipped):
                found.skip(file.id, f"{line.id}: {line.reason}")
                continue
            name = next((folder + name for name in spellings(line.path) if folder + name in images), None)
            if name is None:
                found.skip(folder + line.path[:_MAX_SHOWN], f"listed in {file.id}, but not among the images")
            elif (ref := images[name]) is not None:
                images[name] = found.described(ref, line)
    found.images = [ref for ref in images.values() if ref is not None]


def _scan_file(path: Path, found: _Found) -> None:
    reason = _why_no_image(path, path.name)
    if reason is not None:
        raise DataError(f"{path}: {reason}; give an image, a folder, a list (.txt, .csv, .tsv, .jsonl), a .zip or .tar")
    found.add(ImageRef(path.name, path))


def _why_no_image(path: Path, name: str) -> str | None:
    """Why a file that was named cannot be an image; None when it may be one."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a null character in the name
        return _NO_FILE
    if not S_ISREG(mode):
        return "a folder" if S_ISDIR(mode) else "not a regular file"
    return None if suffix_of(name) in IMAGE_SUFFIXES | HEIF_SUFFIXES else "not an image by its extension"


# ---- labels and splits


def _sorted_out(found: _Found, labels: str, splits: str, path: Path) -> Scan:
    """Everything in order; splits and labels from a list or metadata, else splits from the folders at the top and
    labels from those below them."""
    images = sorted(found.images, key=lambda ref: ref.id)
    wrapper = _wrapping_folder(images)
    folders = [_folders_of(ref.id.removeprefix(wrapper)) for ref in images]
    at_top = {parts[0] for parts in folders if parts}
    of_split = split_folders(at_top, splits)
    below = [parts[1:] if parts and parts[0] in of_split else parts for parts in folders]
    names = [ref.label for ref in images]
    if labels == "none":
        names = [None] * len(images)
    elif not any(names):
        classes = {parts[0] for parts in below if parts}
        if labels == "folders" and not classes:
            raise ConfigError(f"{path}: --labels folders, but there are no class folders; use --labels none")
        if labels == "folders" or (len(classes) >= 2 and all(len(parts) == 1 for parts in below)):
            names = [parts[0] if parts else None for parts in below]
    # The same text may be stored in another form: macOS decomposes é in names of folders.
    names = [name and unicodedata.normalize("NFC", name) for name in names]
    images = [replace(ref, label=name, split=ref.split or of_split.get(parts[0] if parts else ""))
              for ref, name, parts in zip(images, names, folders, strict=True)]  # fmt: skip
    return Scan(
        tuple(images), tuple(sorted(found.skipped, key=lambda entry: entry.id)),
        tuple(sorted({name for name in names if name is not None})),
        tuple(split_note(images, at_top, of_split, splits)), bool(of_split),
    )  # fmt: skip


def _folders_of(entry_id: str) -> list[str]:
    """The folders of an image from the top down, without the shard that it lies in; none of an absolute path, which has
    its top elsewhere."""
    folders = [] if entry_id.startswith("/") else entry_id.split("/")[:-1]
    return [part for part in folders if part != "." and suffix_of(part) != ".tar"]


def _wrapping_folder(images: Sequence[ImageRef]) -> str:
    """'photos/' when an archive holds one top folder and everything lies at least one folder deeper; else ''.

    File managers zip a folder together with its name, which is no class and no split.
    """
    top, *others = {ref.id.split("/")[0] for ref in images}
    is_deep = all(ref.member is not None and ref.id.count("/") >= 2 for ref in images)
    return f"{top}/" if not others and is_deep and top.lower() not in SPLIT_NAMES else ""
