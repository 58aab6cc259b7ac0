"""What a job tells whoever follows it: what became of each file, remarks, how far it is, and its figures at the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class FileDone:
    """What became of one file, or of one result of it."""

    input: str | None
    """What the user calls the file; None where the result comes from no file."""
    status: Literal["ok", "failed", "skipped"]
    output: Path | None = None
    reason: str | None = None
    """Why it failed or was skipped."""
    sample: int | None = None
    """The number of the result, where a file has several."""
    is_lacking: bool = False
    """A skipped file that the user did not allow to be skipped: the job is only partly done."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further entries of the file's JSON object."""


@dataclass(frozen=True)
class Remark:
    """Something to be said while the job goes on."""

    text: str
    kind: Literal["note", "detail", "warning"] = "note"


@dataclass(frozen=True)
class Advanced:
    """How far a part of the job is; `total` may still change."""

    what: str
    done: int
    total: int
    unit: str = "images"


@dataclass(frozen=True)
class Finished:
    """The last event of a job: its own entries of the JSON object."""

    facts: Mapping[str, Any] = field(default_factory=dict)


JobEvent = FileDone | Remark | Advanced | Finished
