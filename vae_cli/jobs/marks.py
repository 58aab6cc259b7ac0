"""The list of marks that the page of `inpaint --sheet` stores: what was accepted, and what is to be done again."""

import json
import os
from pathlib import Path
from typing import Any

from vae_cli.atomic import read_bounded
from vae_cli.errors import ConfigError
from vae_cli.printable import printable, shortened

MAX_BYTES = 16 << 20
_MARKS = ("accept", "redo")
_EXPECTED = 'entries look like {"input": "scans/a.jpg", "mark": "redo"}, or "accept"'


def key_of(name: str) -> str:
    """Equal for a name as INPUT leads to it and as the list holds it."""
    return os.path.normpath(printable(name))


def read_redo(path: Path) -> dict[str, str]:
    """By `key_of`, the names of the images that a list wants done again. Raises ConfigError."""
    try:
        entries = json.loads(read_bounded(path, MAX_BYTES).decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"--only {path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--only {path}: no JSON ({error}); give the list that the page of --sheet saves") from error
    if not isinstance(entries, list):
        raise ConfigError(f"--only {path}: holds {shortened(entries)}, not a list; {_EXPECTED}")
    marks: dict[str, tuple[str, str]] = {}
    for number, entry in enumerate(entries, start=1):
        name, mark = _checked(path, number, entry)
        if marks.setdefault(key_of(name), (name, mark))[1] != mark:
            raise ConfigError(f"--only {path}: entry {number}: {name} is marked both accept and redo; keep one")
    return {key: name for key, (name, mark) in marks.items() if mark == "redo"}


def _checked(path: Path, number: int, entry: Any) -> tuple[str, str]:
    known = {"input", "mark", "output"}
    is_sound = (
        isinstance(entry, dict) and set(entry) <= known and all(isinstance(value, str) for value in entry.values())
    )
    if not is_sound or not entry.get("input") or entry.get("mark") not in _MARKS:
        raise ConfigError(f"--only {path}: entry {number} is {shortened(entry)}; {_EXPECTED}")
    return entry["input"], entry["mark"]
