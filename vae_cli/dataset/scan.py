"""Which images a folder, list file, archive or single file holds, with their ids, labels and splits. Opens no image."""

import os
import re
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from vae_cli.atomic import open_regular
from vae_cli.dataset.archives import is_ignored, tar_members, zip_members
from vae_cli.dataset.image_lists import LIST_SUFFIXES, METADATA_NAMES, Listed, read_list, read_metadata, spellings
from vae_cli.dataset.split import SPLIT_NAMES, folders_of, split_folders, split_note, wrapping_folder
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
from vae_cli.images.image_refs import ImageRefs, Kind, Names, archive_of

_RESULT_FOLDER = re.compile("(.+)-(inpaint|masks|denoise|reconstruct|interpolate|style)(-.*)?")
"""`vae inpaint a.png` writes to `a.png-inpaint` or `a.png-inpaint-1` by default."""
_RUN_MARKS = {"config.yaml", "checkpoints"}
"""Entries of a folder that is a run."""
_NO_FILE = "there is no such file"
_MAX_SHOWN = 300  # characters of a path that leads nowhere
_REPORTED_AFTER = 1000  # files, and each time as many more


@dataclass(frozen=True)
class Scan:
    """What was found: images sorted by id, and the sorted names of their labels (() = unlabelled).

    notes: what is to be said about splits. has_split_folders: whether folders became splits.
    """

    images: ImageRefs
    skipped: tuple[Skipped, ...]
    label_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    has_split_folders: bool = False


def scan(
    path: Path, *, labels: str = "auto", splits: str = "auto", exclude: Sequence[Path] = (),
    on_progress: Callable[[int], object] = lambda found: None,
) -> Scan:  # fmt: skip
    """The images of a folder (recursive), a list, a .zip, a .tar, or one image file.

    A folder without images may hold .tar files, which then are one set. labels: auto | none | folders. splits: auto |
    none | folders, as for `split_folders`. exclude: output and mask folders to leave out; run folders inside `path`
    always are. on_progress: takes how many images were found so far. Raises ConfigError for a path that does not exist
    or labels that the folders do not give, DataError for no images.
    """
    if not os.path.lexists(path):
        raise ConfigError(f"{path}: no such file or folder; check the path")
    found = _Found(splits != "none", path if path.is_dir() else path.parent, on_progress)
    if path.is_dir():
        _scan_folder(path, found, {os.path.realpath(excluded) for excluded in exclude})
        if not found.names:
            for shard in found.tars:
                found.take(tar_members(path / shard, f"{shard}/"))
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
    if not found.names:
        raise DataError(*_no_images_message(path, found))
    return _sorted_out(found, labels, splits, path)


@dataclass
class _Found:
    """What a scan has come upon so far; `others` counts the extensions of files that are no images."""

    with_splits: bool
    place: Path
    on_progress: Callable[[int], object]
    names: list[str] = field(default_factory=list)
    labels: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    """And splits, of images that a list, metadata or an archive describes."""
    members: dict[str, ImageRef] = field(default_factory=dict)
    """Images in archives."""
    skipped: list[Skipped] = field(default_factory=list)
    metadata: list[ImageRef] = field(default_factory=list)
    tars: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, member: ImageRef | None = None) -> None:
        """Sort an entry in by its extension. member: what it is in an archive."""
        suffix = suffix_of(name)
        if suffix in IMAGE_SUFFIXES or (suffix in HEIF_SUFFIXES and can_read_heif()):
            self.names.append(name)
            if member:
                self.members[name] = member
                self.labels |= {name: (member.label, None)} if member.label else {}
            if len(self.names) % _REPORTED_AFTER == 0:
                self.on_progress(len(self.names))
            return
        if name.rpartition("/")[2] in METADATA_NAMES:
            self.metadata.append(member or ImageRef(name, self.place / name))
        if suffix == ".tar":
            self.tars.append(name)
        self.others[suffix or "no extension"] += 1
        if suffix in HEIF_SUFFIXES:
            self.skip(name, HEIF_REASON)

    def take(self, members: Iterable[ImageRef | Skipped]) -> None:
        """All that an archive holds."""
        for member in members:
            if isinstance(member, Skipped):
                self.skipped.append(member)
            else:
                self.add(member.id, member)

    def skip(self, entry_id: str, reason: str) -> None:
        self.skipped.append(Skipped(entry_id, reason))

    def describe(self, name: str, line: Listed) -> bool:
        """Takes what a list says about an image; False where that is no split that there is."""
        split = SPLIT_NAMES.get((line.split or "").lower()) if self.with_splits else None
        if self.with_splits and line.split and split is None:
            self.skip(name, f"listed for the split {line.split[:_MAX_SHOWN]!r}; use train, val or test")
            return False
        self.labels[name] = line.label, split
        return True


def _no_images_message(path: Path, found: _Found) -> list[str]:
    others = sorted(found.others.items(), key=lambda item: (-item[1], item[0]))[:8]
    saw = ", ".join(f"{suffix} ({count})" for suffix, count in others) or "no other files"
    lines = [f"{path}: no images found (looked for {' '.join(sorted(IMAGE_SUFFIXES))}); saw {saw}"]
    if found.skipped:
        first = found.skipped[0]
        lines += [f"skipped {len(found.skipped)}, the first: {first.id}: {first.reason}"]
    return lines


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
        folders, files, odd, marks = list[tuple[str, bool, str]](), list[str](), list[os.DirEntry[str]](), set[str]()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name, is_link = entry.name, entry.is_symlink()
                    marks |= {name} & _RUN_MARKS
                    own = os.path.realpath(entry.path) if is_link and excluded else os.path.join(resolved, name)
                    if is_ignored(name) or own in excluded:
                        continue
                    if _is(entry.is_dir):
                        folders.append((name, is_link, entry.path))
                    elif _is(entry.is_file):
                        files.append(name)
                    elif suffix_of(name) in IMAGE_SUFFIXES:
                        odd.append(entry)
        except OSError as error:
            found.skip(prefix.rstrip("/") or folder, f"folder cannot be read: {error.strerror}")
            continue
        if prefix and marks == _RUN_MARKS:
            continue
        for name, is_link, path in sorted(folders):
            if not _holds_results(name, files):
                (waiting.append if is_link else waiting.appendleft)((f"{prefix}{name}/", path))
        for name in sorted(files):
            found.add(prefix + name)
        for entry in odd:
            reason = "not a regular file" if os.path.exists(entry.path) else "link that leads nowhere"
            found.skip(prefix + entry.name, reason)


def _is(kind: Callable[[], bool]) -> bool:
    """`DirEntry.is_dir` or `is_file`; False for a link to itself."""
    try:
        return kind()
    except OSError:
        return False


def _holds_results(folder: str, beside: Collection[str]) -> bool:
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
        elif found.describe(name, line):
            found.add(name)
        listed.add(name)


def _read_metadata(found: _Found) -> None:
    """Adds to the images what metadata files beside them say. Those that none of them lists stay as they are."""
    if not found.metadata:
        return
    from vae_cli.images.decode import read_bytes  # which loads Pillow

    names, dropped = {*found.names}, set[str]()
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
            name = next((folder + name for name in spellings(line.path) if folder + name in names), None)
            if name is None:
                found.skip(folder + line.path[:_MAX_SHOWN], f"listed in {file.id}, but not among the images")
            elif name not in dropped and not found.describe(name, line):
                dropped.add(name)
    found.names = [name for name in found.names if name not in dropped]


def _scan_file(path: Path, found: _Found) -> None:
    reason = _why_no_image(path, path.name)
    if reason is not None:
        raise DataError(f"{path}: {reason}; give an image, a folder, a list (.txt, .csv, .tsv, .jsonl), a .zip or .tar")
    found.add(path.name)


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
    names = Names(sorted(found.names))
    found.names.clear()
    above = [name.rpartition("/")[0] for name in names]
    wrapper = wrapping_folder(names) if found.members else ""
    folders = {folder: folders_of(f"{folder}/".removeprefix(wrapper)) for folder in dict.fromkeys(above)}
    at_top = {parts[0] for parts in folders.values() if parts}
    of_split = split_folders(at_top, splits)
    below = {folder: parts[1:] if parts and parts[0] in of_split else parts for folder, parts in folders.items()}
    is_labelled = labels != "none" and any(label for label, _ in found.labels.values())
    label_of: dict[str, str | None] = dict.fromkeys(folders)
    if labels != "none" and not is_labelled:
        classes = {parts[0] for parts in below.values() if parts}
        if labels == "folders" and not classes:
            raise ConfigError(f"{path}: --labels folders, but there are no class folders; use --labels none")
        if labels == "folders" or (len(classes) >= 2 and all(len(parts) == 1 for parts in below.values())):
            label_of = {folder: parts[0] if parts else None for folder, parts in below.items()}

    def kind(name: str, folder: str) -> Kind:
        label, split = found.labels.get(name, (None, None))
        label, parts = label if is_labelled else label_of[folder], folders[folder]
        # The same text may be stored in another form: macOS decomposes é in names of folders.
        label = label and unicodedata.normalize("NFC", label)
        return Kind(label, split or of_split.get(parts[0] if parts else ""), *archive_of(found.members.get(name)))

    spans = [found.members[name].span or () for name in names] if found.members else []
    images = ImageRefs(found.place, names, map(kind, names, above), chain.from_iterable(spans))
    counts = images.num_of_each()
    return Scan(
        images, tuple(sorted(found.skipped, key=lambda entry: entry.id)),
        tuple(sorted({kind.label for kind in counts if kind.label is not None})),
        tuple(split_note(counts, at_top, of_split, splits)), bool(of_split),
    )  # fmt: skip
