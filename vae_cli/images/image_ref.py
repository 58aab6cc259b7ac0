"""What names an image, and which names are images'."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zipfile import ZipInfo

IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".avif", ".jp2",
})  # fmt: skip
ARCHIVE_SUFFIXES = frozenset({".zip", ".tar"})
HEIF_SUFFIXES = frozenset({".heic", ".heif"})
_WINDOWS = (0, 11)  # FAT and NTFS, among the systems that zips say they were made on
HEIF_REASON = "HEIC images need one more package: pip install pillow-heif"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image: `member` names it inside an archive, `label` is its class, `split` its part where the folders say so.

    span: where its bytes lie in a tar, and how many there are.
    """

    id: str
    path: Path
    member: str | None = None
    label: str | None = None
    split: str | None = None
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was left out, and why."""

    id: str
    reason: str


def path_in_zip(info: "ZipInfo") -> str:
    """Where a member of a zip lies, with slashes: some programs of Windows write its own."""
    return info.filename.replace("\\", "/") if info.create_system in _WINDOWS else info.filename


def suffix_of(name: str) -> str:
    """The extension in lower case with its dot; '' when there is none."""
    return os.path.splitext(name)[1].lower()


def can_read_heif() -> bool:
    """Whether the optional package pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None
