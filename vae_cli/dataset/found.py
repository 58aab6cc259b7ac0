"""What a scan has come upon so far, sorted into images, files that are left out, and others."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from vae_cli.images.image_ref import (
    HEIF_REASON,
    HEIF_SUFFIXES,
    IMAGE_SUFFIXES,
    ImageRef,
    Skipped,
    can_read_heif,
    suffix_of,
)


@dataclass
class Found:
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


def why_not_listed(path: Path, listed: str) -> str | None:
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
