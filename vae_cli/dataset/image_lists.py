"""Lists of images as the world writes them: plain lines, tables with a header, JSON lines. Opens no image."""

import codecs
import csv
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vae_cli.images.image_ref import HEIF_SUFFIXES, IMAGE_SUFFIXES, Skipped, suffix_of
from vae_cli.printable import is_text

LIST_SUFFIXES = frozenset({".txt", ".csv", ".tsv", ".jsonl"})
METADATA_NAMES = frozenset({"metadata.csv", "metadata.jsonl"})
"""Beside images, what Hugging Face's image folders know about them."""
_OF_METADATA = "filename"  # the column of their images
_COLUMNS = {
    "path": frozenset({"path", "paths", "file", "filename", "filepath", "filepaths", "image", "imagepath", "imagefile",
                       "imagename", "img", "imgpath", "output"}),
    "label": frozenset({"label", "labels", "class", "classname", "cls", "labelname", "category"}),
    "split": frozenset({"split", "subset"}),
}  # fmt: skip
"""Names of columns, without capitals, spaces and underscores."""
_SUFFIXES = IMAGE_SUFFIXES | HEIF_SUFFIXES
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_QUOTED_LINE = re.compile(rf"{_QUOTED.pattern}\s*(?:([,;\t ])\s*(.*))?")
_BARE_LINE = re.compile(rf"(.*(?:{'|'.join(map(re.escape, _SUFFIXES))}))\s*([,;\t ])\s*(.*)", re.IGNORECASE)
_MAX_SHOWN = 100  # characters of a line that is not understood


class Listed(NamedTuple):
    """An image's line: its path as it is written there, and the label and the split beside it."""

    path: str
    label: str | None = None
    split: str | None = None


def read_list(content: bytes, suffix: str, preferred: str = "") -> Iterator[Listed | Skipped]:
    """Every line but empty ones and comments; Skipped for those that say nothing. suffix: of the list's file.

    preferred: the name of a column that counts before others of its kind, which else come in their order.
    """
    lines = _lines(content)
    header = _find_header(lines, preferred)
    if suffix == ".jsonl":
        yield from _json_lines(lines, preferred)
    elif header is not None and len(header.names) > 1:
        yield from _rows(lines[header.number + 1 :], header)
    else:
        lines = lines[header.number + 1 :] if header is not None else lines
        yield from (_plain(line) for line in map(str.strip, lines) if line and not line.startswith("#"))


def read_metadata(content: bytes, suffix: str) -> Iterator[Listed | Skipped]:
    """The lines of a metadata file; none where it has no column `file_name`, since then it is about something else."""
    lines = _lines(content)
    if suffix == ".jsonl":
        is_about_files = any('"file_name"' in line for line in lines[:1])
    else:
        header = _find_header(lines, _OF_METADATA)
        is_about_files = header is not None and header.names[header.columns["path"]] == _OF_METADATA
    return read_list(content, suffix, _OF_METADATA) if is_about_files else iter(())


def spellings(path: str) -> Iterator[str]:
    """A path as it is listed, then as this system may have stored it: with slashes, in either Unicode form, and as it
    reads in the encoding of Windows in Western Europe."""
    yield path.removeprefix("./")
    slashed = path.replace("\\", "/")
    western = re.sub(
        "[\udc80-\udcff]", lambda byte: bytes([ord(byte[0]) - 0xDC00]).decode("cp1252", "replace"), slashed
    )
    forms = (unicodedata.normalize(form, text) for text in (slashed, western) for form in ("NFC", "NFD"))
    yield from (text.removeprefix("./") for text in (slashed, *forms))


def _lines(content: bytes) -> list[str]:
    """UTF-16 is known by its mark or by the zero beside its first letter; all else is UTF-8, whatever cannot be."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", "replace")
    elif 0 in content[:2]:
        text = content.decode("utf-16-be" if content[0] == 0 else "utf-16-le", "replace")
    else:
        text = content.decode("utf-8-sig", "surrogateescape")
    return re.split(r"\r\n?|\n", text)


# ---- tables


class _Header(NamedTuple):
    """The names of a table's columns: the number of their line, what separates them, and which of them is what."""

    number: int
    delimiter: str
    names: Sequence[str]
    columns: dict[str, int]


def _find_header(lines: Sequence[str], preferred: str) -> _Header | None:
    """The first line with content, if it names a column of paths."""
    for number, line in enumerate(lines):
        if (
            not line.strip() or line.startswith("#") or re.fullmatch("sep=.", line)
        ):  # so spreadsheets name the delimiter
            continue
        for delimiter in ",;\t":
            names = [_plain_name(name) for name in line.split(delimiter)]
            order = sorted(range(len(names)), key=lambda at: names[at] != preferred)
            columns = {kind: next((at for at in order if names[at] in known), None)
                       for kind, known in _COLUMNS.items()}  # fmt: skip
            if columns["path"] is not None:
                return _Header(number, delimiter, names, {kind: at for kind, at in columns.items() if at is not None})
        return None
    return None


def _plain_name(column: str) -> str:
    return re.sub(r"[\W_]", "", column).lower()


def _rows(lines: Sequence[str], header: _Header) -> Iterator[Listed | Skipped]:
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=header.delimiter, skipinitialspace=True)
    while True:
        try:
            fields = [field.strip() for field in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            yield Skipped(f"line {header.number + 1 + reader.line_num}", f"no line of a list: {error}")
            continue
        values = {kind: fields[at] for kind, at in header.columns.items() if at < len(fields) and fields[at]}
        if "path" in values:
            yield Listed(**values)
        elif any(fields):
            yield Skipped(f"line {header.number + 1 + reader.line_num}", "no line of a list: it names no image")


def _json_lines(lines: Sequence[str], preferred: str) -> Iterator[Listed | Skipped]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            values = fields_of(line, preferred)
            is_said = "path" in values
            yield Listed(**values) if is_said else Skipped(f"line {number}", "no line of a list: names no image")


def fields_of(text: str, preferred: str = "") -> dict[str, str]:
    """The `path`, `label` and `split` that a JSON object names, under whatever names; none of what is no object."""
    try:
        entry = json.loads(text)
        is_object = isinstance(entry, dict) and is_text(json.dumps(entry, ensure_ascii=False))
    except (ValueError, RecursionError):
        is_object = False
    values: dict[str, str] = {}
    named = entry.items() if is_object else ()
    for name, value in sorted(named, key=lambda item: _plain_name(item[0]) != preferred):
        kind = next((kind for kind, known in _COLUMNS.items() if _plain_name(name) in known), None)
        if kind is not None and isinstance(value, str | int | float) and str(value).strip():
            values.setdefault(kind, str(value).strip())
    return values


# ---- plain lines


def _plain(line: str) -> Listed | Skipped:
    """`path` or `path,label`, which may be quoted. What separates them belongs to the path unless an image's extension
    stands before it."""
    if line.startswith('"'):
        match = _QUOTED_LINE.fullmatch(line)
        if match is None:
            return Skipped(line[:_MAX_SHOWN], "no line of a list: a quotation mark is missing")
        path = match[1].replace('""', '"')
    else:
        match = None if suffix_of(line) in _SUFFIXES else _BARE_LINE.fullmatch(line)
        path = match[1] if match else line
    if match is None or not match[3]:
        return Listed(path.strip())
    quoted = _QUOTED.match(match[3])
    rest = match[3] if match[2] == " " else match[3].split(match[2])[0]
    return Listed(path.strip(), (quoted[1].replace('""', '"') if quoted else rest).strip() or None)
