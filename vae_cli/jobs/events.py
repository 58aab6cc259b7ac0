"""What a job reports: what became of each file, remarks, how far it is, and its figures at the end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class FileDone:
    """What became of one file, or of one result of it.

    input: what the user calls the file; None where the result comes from no file. reason: why it failed or was skipped.
    sample: the number of the result, where a file has several. facts: further entries of the file's JSON object.
    """

    input: str | None
    status: Literal["ok", "failed", "skipped"]
    output: Path | None = None
    reason: str | None = None
    sample: int | None = None
    is_lacking: bool = False
    """A skipped file that the user did not allow to be skipped: the job is only partly done."""
    is_settled: bool = True
    """A skipped file that needs nothing more: its result exists already, or it is well as it is."""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Remark:
    """Something to be said while the job goes on. A result is what the user has asked for."""

    text: str
    kind: Literal["note", "detail", "warning", "result"] = "note"


@dataclass(frozen=True)
class Advanced:
    """How far a part of the job is; `total` may still change. A part begins with nothing done, and ends with `is_over`
    (even where less is done than there was to do), with the job, or where another one begins."""

    what: str
    done: int
    total: int
    unit: str = "images"
    is_over: bool = False


@dataclass(frozen=True)
class Finished:
    """The last event of a job: its own entries of the JSON object. is_partial: something that no file tells of is
    missing."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    is_partial: bool = False


JobEvent = FileDone | Remark | Advanced | Finished

Report = Callable[[JobEvent], object]
"""Takes the events of what is no iterator itself, such as a plan."""
