"""The run folder around the checkpoints: configuration, what was read, and a line for every logged step."""

import contextlib
import itertools
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

from vae_cli.atomic import is_partial, write_atomically
from vae_cli.config import CompleteConfig, from_dict
from vae_cli.config_layers import dump_yaml, read_layer
from vae_cli.errors import CheckpointError, ConfigError, WriteError
from vae_cli.training.inputs import TrainingInputs

METRICS = "metrics.jsonl"
OUR_ENTRIES = ("config.yaml", "data.json", METRICS, "previews", "report.html", "checkpoints")
"""What `--overwrite` may remove; everything else in the folder is the user's."""


def is_run(folder: Path) -> bool:
    """Whether a folder was made by `vae train`."""
    return (folder / "config.yaml").is_file() and (folder / "checkpoints").is_dir()


def default_folder(data: Path | str | None) -> Path:
    """`runs/<name>`, or the first of `-2`, `-3`, … that is free."""
    base = default_base(data)
    numbered = (base.with_name(f"{base.name}-{number}") for number in itertools.count(2))
    return next(folder for folder in itertools.chain([base], numbered) if not os.path.lexists(folder))


def default_base(data: Path | str | None) -> Path:
    """`runs/<DATA's name>`, or `runs/builtin`."""
    if data is None:
        return Path("runs/builtin")
    path = Path(data).resolve()
    return Path("runs") / ((path.stem if path.is_file() else path.name) or "data")


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Raises ConfigError unless a new run may be written to `folder`; touches nothing."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder}: a file of that name exists; choose another")
    if is_run(folder):
        if not overwrite:
            raise ConfigError(f"--out {folder}: holds a run already; go on with --resume, replace it with --overwrite")
        return
    names = {path.name for path in folder.iterdir() if not is_partial(path)} if folder.exists() else set()
    if not names <= set(OUR_ENTRIES):  # less is what a kill at the very start leaves
        raise ConfigError(f"--out {folder}: the folder is not empty and not a run; choose another")


def create(folder: Path, inputs: TrainingInputs) -> None:
    """Make the run folder with its description; an older run there is removed. Raises WriteError."""
    try:
        for entry in (folder / name for name in OUR_ENTRIES):
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        describe(folder, inputs)
        (folder / "previews").mkdir()
        (folder / "checkpoints").mkdir()
    except OSError as error:
        raise WriteError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error


def describe(folder: Path, inputs: TrainingInputs) -> None:
    """Write `config.yaml` and `data.json`, each whole or not at all."""
    facts = {
        "path": inputs.config.data.path, "training_images": len(inputs.train.ids),
        "validation_images": len(inputs.validation.ids), "label_names": inputs.label_names, "notes": inputs.notes,
        "skipped": [{"id": item.id, "reason": item.reason} for item in inputs.skipped],
    }  # fmt: skip
    for name, text in (("config.yaml", dump_yaml(inputs.config)), ("data.json", json.dumps(facts, indent=1))):
        write_atomically(folder / name, text.encode("utf-8", "surrogatepass"))


def stored_config(folder: Path) -> CompleteConfig:
    """The configuration of a run. Raises ConfigError when there is no run, CheckpointError when it is damaged."""
    if not is_run(folder):
        raise ConfigError(f"--resume: {folder} is not a run folder; give the run with --out, or leave --resume out")
    try:
        return from_dict(read_layer(folder / "config.yaml"), CompleteConfig)
    except ConfigError as error:
        raise CheckpointError(f"{folder / 'config.yaml'}: damaged ({error})") from error


def last_metrics(folder: Path) -> dict[str, Any]:
    """The last line of `metrics.jsonl`; empty where there is none, or a damaged one."""
    lines = _lines(folder / METRICS)
    return json.loads(lines[-1]) if lines and math.isfinite(_step_of(lines[-1])) else {}


class MetricsLog:
    """`metrics.jsonl`, one JSON object a line, and TensorBoard events where that package is installed."""

    def __init__(self, folder: Path, *, first_step: int) -> None:
        """Lines of steps after `first_step`, left by an interrupted run, are dropped."""
        path, found = folder / METRICS, _lines(folder / METRICS)
        kept = [line for line in found if _step_of(line) <= first_step]
        if kept != found:
            write_atomically(path, b"".join(kept))
        self._file, self._board = path.open("a", encoding="utf-8"), None
        with contextlib.suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder), purge_step=first_step + 1)

    def write(self, step: int, phase: str, figures: dict[str, Any]) -> None:
        """Append one line, what is not finite as null; numbers also become TensorBoard scalars."""
        lost = [name for name, value in figures.items() if isinstance(value, float) and not math.isfinite(value)]
        self._file.write(json.dumps({"step": step, "phase": phase, **figures, **dict.fromkeys(lost)}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in figures.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{phase}/{name}", value, step)

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def _step_of(line: bytes) -> float:
    """The step of a line; infinite for one that a kill or a power cut has damaged."""
    try:
        return float(json.loads(line)["step"]) if line.endswith(b"\n") else math.inf
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf
