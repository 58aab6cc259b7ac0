"""Lists of images: text files with `path[,label]` a line, relative to the file."""

import csv
import re
from pathlib import Path

from vae_cli.dataset.found import Found, why_not_listed
from vae_cli.errors import DataError
from vae_cli.images.image_ref import HEIF_SUFFIXES, IMAGE_SUFFIXES, ImageRef, suffix_of

LIST_SUFFIXES = frozenset({".txt", ".csv"})
_SHOWN_CHARACTERS = 100
"""Of a line of a list that is none."""
_LIST_HEADERS = frozenset({"path", "file", "filename", "file_name", "image"})


def scan_list(path: Path, found: Found) -> None:
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
        reason = "listed twice" if listed in seen else why_not_listed(path.parent / listed, listed)
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
