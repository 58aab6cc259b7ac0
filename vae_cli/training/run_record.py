"""What a run folder tells of itself, read without torch and whatever state the folder is in."""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae_cli.atomic import read_bounded
from vae_cli.training.run_folder import METRICS

STARTED, MEASURED = "start", "end"
"""The `phase` of the lines in metrics.jsonl that begin an invocation, with its `machine` and `precision`, and that hold
the final figures; `weights_step` says which weights were measured."""
MAX_BYTES = 2**26
"""Of each file: metrics of millions of updates."""


@dataclass(frozen=True)
class RunRecord:
    """data: of data.json. lines: of metrics.jsonl, those that are whole. Either is empty where it cannot be read."""

    folder: Path
    data: Mapping[str, Any]
    lines: tuple[Mapping[str, Any], ...]

    def measured(self, weights_step: int | None = None) -> Mapping[str, Any]:
        """The final figures, of the weights of a step if that is given; empty where there are none."""
        found = [line for line in self.lines if line.get("phase") == MEASURED]
        return next((line for line in reversed(found) if weights_step in (None, line.get("weights_step"))), {})

    def points(self, phase: str, key: str, factor: float = 1) -> list[tuple[float, float]]:
        """(step, value) of a figure in the course of a phase."""
        chosen = (line for line in self.lines if line.get("phase") == phase and isinstance(line.get(key), int | float))
        return [(line["step"], factor * line[key]) for line in chosen]

    @property
    def steps(self) -> int | None:
        """Updates that were made."""
        return max((line["step"] for line in self.lines), default=None)

    @property
    def vae_steps(self) -> int | None:
        """Updates of the VAE; those that follow are the flow's."""
        return max((line["step"] for line in self.lines if line.get("phase") == "vae"), default=None)

    @property
    def seconds(self) -> float | None:
        """Of training, over all invocations."""
        found = [line["seconds"] for line in self.lines if isinstance(line.get("seconds"), float)
                 and math.isfinite(line["seconds"])]  # fmt: skip
        return max(found, default=None)

    @property
    def machines(self) -> list[str]:
        """What it was trained on, with the precision, each once."""
        starts = [line for line in self.lines if line.get("phase") == STARTED]
        return list(dict.fromkeys(f"{line.get('machine')}, {line.get('precision')}" for line in starts))

    def number(self, name: str) -> int | None:
        """A count of data.json."""
        return found if isinstance(found := self.data.get(name), int) and 0 <= found < 2**63 else None

    def listed(self, name: str) -> list[Any]:
        """A list of data.json."""
        return found if isinstance(found := self.data.get(name), list) else []


def read_record(folder: Path) -> RunRecord:
    """Damaged lines are left out; raises nothing."""
    lines = [line for line in _objects(folder / METRICS)
             if isinstance(line.get("step"), int) and 0 <= line["step"] < 2**63]  # fmt: skip
    return RunRecord(folder, next(iter(_objects(folder / "data.json")), {}), tuple(lines))


def _whole_number(text: str) -> int | float:
    """A float where it is so long that an int could not be used as one."""
    return int(text) if len(text) < 20 else float(text)


def _objects(path: Path) -> list[dict[str, Any]]:
    """The JSON objects in a file, one for each line of a .jsonl."""
    found = []
    with suppress(OSError):
        text = read_bounded(path, MAX_BYTES).decode("utf-8", "replace")
        for part in text.splitlines() if path.suffix == ".jsonl" else [text]:
            with suppress(ValueError, RecursionError):
                found.append(json.loads(part, parse_int=_whole_number))
    return [value for value in found if isinstance(value, dict)]
