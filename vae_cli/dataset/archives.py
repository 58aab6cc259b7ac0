"""What zips and tars hold. Nothing in them is ever extracted: an image is read from its place when its turn comes.

Tars may be shards of a WebDataset, where `key.cls` or `key.json` beside `key.jpg` says what is on it.
"""

import os
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from vae_cli.atomic import open_regular
from vae_cli.dataset.image_lists import fields_of
from vae_cli.errors import DataError
from vae_cli.images.image_ref import IMAGE_SUFFIXES, ImageRef, Skipped, path_in_zip, suffix_of

_MAX_PIECE = 2**16  # bytes of a name in a tar, or of what a member beside an image says about it
_IGNORED_NAMES = {"Thumbs.db", "__MACOSX"}


def is_ignored(name: str) -> bool:
    """Whether a file or folder is hidden, or one that an operating system has left."""
    return name.startswith(".") or name in _IGNORED_NAMES


def zip_members(path: Path) -> Iterator[ImageRef | Skipped]:
    """The files in a zip, sorted by name. Raises DataError."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            names = {path_in_zip(info) for info in archive.infolist()}
    except Exception as error:  # zipfile raises whatever it comes upon in a damaged directory
        raise DataError(f"{path}: no readable zip file ({_reason(error)}); copy or download it again") from error
    for name in sorted(names):
        if not name.endswith("/") and (entry := _entry(ImageRef(name, path, name))):
            yield entry


def tar_members(path: Path, prefix: str = "") -> Iterator[ImageRef | Skipped]:
    """The files in a tar with their labels, sorted by name; of several of one name the last. prefix: of their ids.

    Raises DataError where there is none.
    """
    found, labels, problem = dict[str, ImageRef | Skipped](), dict[str, str](), None
    try:
        with open_regular(path) as file:
            for info in _directory(file):
                name, span = info.name.removeprefix("./"), (info.offset_data, info.size)
                if entry := _entry(ImageRef(name, path, name, span=span), prefix):
                    is_file = info.isreg() and not info.issparse()
                    found[name] = entry if is_file else Skipped(entry.id, "not a regular file")
                if info.isreg() and info.size <= _MAX_PIECE and (label := _label_in(name, file, info)):
                    labels[_key_of(name)] = label
    except Exception as error:  # tarfile, too
        problem = _reason(error)
    if problem and not found:
        raise DataError(f"{path}: no readable tar file ({problem}); copy it again, or unpack a compressed one to .tar")
    for name, entry in sorted(found.items()):
        if isinstance(entry, ImageRef):
            yield replace(entry, label=labels.get(_key_of(name)))
        elif suffix_of(name) in IMAGE_SUFFIXES:
            yield entry
    if problem:
        yield Skipped(prefix.rstrip("/") or path.name, f"cut off or damaged: {problem}")


def _directory(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Every member of a tar but folders; each lies in the file as its header says. Raises ValueError, among others."""
    num_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    open_tar: Any = tarfile.open  # whose types know neither `_Forward` nor `members`
    with open_tar(fileobj=_Forward(file), mode="r:") as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # all of which it would keep
            if info.isreg() and not info.offset_data <= info.offset_data + info.size <= num_bytes:
                raise ValueError(f"{info.name} is said to have {info.size:,} bytes")
            if not info.isdir():
                yield info
        file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise ValueError(f"what follows byte {archive.offset:,} is lost")


class _Forward:
    """A file for tarfile, which would believe a header that sends it backwards or speaks of a name of gigabytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.tell = file, file.tell

    def seek(self, position: int) -> None:
        if position < self.tell():
            raise ValueError("a member that begins before its own header")
        self._file.seek(position)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_PIECE:
            raise ValueError(f"a name of {size:,} bytes")
        return self._file.read(size)


def _entry(ref: ImageRef, prefix: str = "") -> ImageRef | Skipped | None:
    """The member with its id, or why it is left out; None where that is not worth a word."""
    parts = ref.id.split("/")
    if any(is_ignored(part) for part in parts if part not in ("", ".", "..")):
        return None
    if not ref.id:
        return Skipped("(no name)", "a member of the archive without a name")
    if ".." in parts or ref.id.startswith("/"):
        return Skipped(ref.id, "unsafe name: it points out of the archive")
    return replace(ref, id=prefix + ref.id)


def _key_of(name: str) -> str:
    """What members about one image share: all up to the first dot of the file's name (WebDataset's rule)."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _label_in(name: str, file: BinaryIO, info: Any) -> str | None:
    """The label in a member that says something about an image; None elsewhere."""
    suffix = suffix_of(name)
    if suffix not in (".cls", ".json"):
        return None
    file.seek(info.offset_data)
    text = file.read(info.size).decode("utf-8", "replace").strip()
    return (fields_of(text).get("label") if suffix == ".json" else text) or None


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
