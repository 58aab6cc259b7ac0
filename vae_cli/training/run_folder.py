"""The run folder around the checkpoints: configuration, what was read, and a line for every logged step."""

import contextlib
import itertools
import json
import math
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vae_cli import checkpoint_folders, locks
from vae_cli.atomic import is_partial, remove_tree, sync_folder, write_atomically
from vae_cli.checkpoint_folders import WEIGHTS
from vae_cli.config import CompleteConfig, from_dict
from vae_cli.config_layers import dump_yaml, read_layer
from vae_cli.dataset.stored_pixels import checksums
from vae_cli.errors import CheckpointError, ConfigError, WriteError, first_line
from vae_cli.printable import printable

if TYPE_CHECKING:  # which would load torch
    from vae_cli.training.inputs import TrainingInputs

METRICS = "metrics.jsonl"
OUR_ENTRIES = ("config.yaml", "data.json", METRICS, "previews", "report.html", "checkpoints")
"""What `--overwrite` may remove; everything else in the folder is the user's."""


def is_run(folder: Path) -> bool:
    """Whether a folder was made by `vae train`; one that has lost its description still is a run."""
    checkpoints = folder / "checkpoints"
    return checkpoints.is_dir() and ((folder / "config.yaml").is_file() or any(checkpoints.glob(f"*/{WEIGHTS}")))


def default_folder(data: Path | str | None) -> Path:
    """`runs/<name>`, or the first of `-2`, `-3`, … that is free, or that a start has left before it wrote anything."""
    base = default_base(data)
    numbered = (base.with_name(f"{base.name}-{number}") for number in itertools.count(2))
    every = itertools.chain([base], numbered)
    return next(folder for folder in every if not os.path.lexists(folder) or _is_abandoned(folder))


def _is_abandoned(folder: Path) -> bool:
    """Whether a folder holds nothing but the lock of a process that was killed."""
    try:
        (only,) = folder.iterdir()
        if only.name != locks.NAME or only.is_symlink() or not only.is_file():
            return False
        locks.require_unlocked(folder)
        return True
    except (OSError, ValueError, ConfigError):
        return False


def default_base(data: Path | str | None) -> Path:
    """`runs/<DATA's name>`, or `runs/builtin`."""
    if data is None:
        return Path("runs/builtin")
    path = Path(data).resolve()
    # not Path.is_file, which raises for a name that is too long
    return Path("runs") / ((path.stem if os.path.isfile(path) else path.name) or "data")


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Raises ConfigError unless a new run may be written to `folder`; touches nothing."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder}: a file of that name exists; choose another")
    if is_run(folder):
        if not overwrite:
            raise ConfigError(f"--out {folder}: holds a run already; go on with --resume, replace it with --overwrite")
        return
    found = [path for path in folder.iterdir() if not _is_leftover(path)] if folder.exists() else []
    of_a_start = {"config.yaml", "data.json", "previews", "checkpoints", locks.NAME}  # what a kill then leaves
    if any(path.name not in of_a_start or (path.is_dir() and any(path.iterdir())) for path in found):
        raise ConfigError(f"--out {folder}: the folder is not empty and not a run; choose another")


def require_own(folder: Path) -> None:
    """Raises ConfigError where a part of a run is a link, as what it leads to would be written and removed, or a pipe,
    which would be waited for."""
    parts = [folder / name for name in OUR_ENTRIES if os.path.lexists(folder / name)]
    if link := next((part for part in parts if part.is_symlink()), None):
        raise ConfigError(f"{link}: is a link, and a run is written in its own folder only; put what it leads to there")
    if (folder / METRICS).is_dir():
        raise ConfigError(f"{folder / METRICS}: a folder where a run has a file; move it away")
    if pipe := next((part for part in parts if not part.is_file() and not part.is_dir()), None):
        raise ConfigError(f"{pipe}: neither a file nor a folder; remove it")


@contextlib.contextmanager
def claimed(folder: Path | None, data: Path | str | None) -> Iterator[tuple[Path, str | None]]:
    """A folder that belongs to this process while the block lasts, made where there is none, and a warning, or None.

    folder: None = the first free one of those that are named after DATA. A folder that was made
    and is still empty at the end is removed. Raises ConfigError naming the process that has it, WriteError.
    """
    made: list[Path] = []
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, made)  # after the lock has gone
        try:
            own, doubt = _claim(stack, folder, made) if folder else _first_free(stack, data, made)
        except OSError as error:
            raise WriteError(f"{error.filename}: cannot be written ({error.strerror}); choose another --out") from error
        yield own, doubt


def _first_free(stack: contextlib.ExitStack, data: Path | str | None, made: list[Path]) -> tuple[Path, str | None]:
    while True:
        folder = default_folder(data)
        with contextlib.suppress(FileExistsError, ConfigError):  # another process was quicker
            return _claim(stack, folder, made, exist_ok=(folder / locks.NAME).is_file())


def _claim(
    stack: contextlib.ExitStack, folder: Path, made: list[Path], *, exist_ok: bool = True
) -> tuple[Path, str | None]:
    made += [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=exist_ok)
    return folder, stack.enter_context(locks.locked(folder))


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def create(folder: Path, inputs: "TrainingInputs") -> None:
    """Make the run folder with its description. Raises WriteError.

    An older run there is moved aside first, comes back if anything fails, and is removed at the end.
    """
    aside = folder / f".{secrets.token_hex(8)}.replaced"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
        try:
            _move_entries(folder, aside)
            try:
                describe(folder, inputs)
                for name in ("previews", "checkpoints"):
                    (folder / name).mkdir()
                for place in (folder, *folder.absolute().parents):
                    sync_folder(place)
            except BaseException:
                for name in OUR_ENTRIES:
                    remove_tree(folder / name)
                _move_entries(aside, folder)
                raise
        except BaseException:
            aside.rmdir()  # which nothing is left in
            raise
    except OSError as error:
        raise WriteError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
    remove_tree(aside)


def _move_entries(source: Path, target: Path) -> None:
    """All of a run or nothing."""
    names = [name for name in OUR_ENTRIES if os.path.lexists(source / name)]
    try:
        for name in names:
            (source / name).rename(target / name)
    except BaseException:
        for name in names:
            if os.path.lexists(target / name):
                (target / name).rename(source / name)
        raise


def tidy(folder: Path) -> None:
    """Remove what processes that were killed while they wrote to the run have left."""
    checkpoint_folders.tidy(folder)
    for place in (folder, folder / "previews"):
        for path in place.glob(".*") if place == folder or not place.is_symlink() else ():
            if _is_leftover(path):
                remove_tree(path)


def _is_leftover(path: Path) -> bool:
    return is_partial(path) or re.fullmatch(r"\.[0-9a-f]{16}\.replaced", path.name) is not None


def describe(folder: Path, inputs: "TrainingInputs") -> None:
    """Write `config.yaml` and `data.json`, each whole or not at all."""
    facts = {
        "path": inputs.config.data.path, "training_images": len(inputs.train.ids),
        "validation_images": len(inputs.validation.ids), "label_names": inputs.label_names, "notes": inputs.notes,
        "skipped": [{"id": item.id, "reason": item.reason} for item in inputs.skipped],
        "images": _checksums(inputs),
    }  # fmt: skip
    for name, text in (("config.yaml", dump_yaml(inputs.config)), ("data.json", json.dumps(facts, indent=1))):
        write_atomically(folder / name, text.encode("utf-8", "surrogatepass"))


def _checksums(inputs: "TrainingInputs") -> dict[str, int]:
    """Of the pixels of every image as training sees them: a file that was only copied or renamed back is the same."""
    parts = (inputs.train, inputs.validation)
    return {name: int(value) for part in parts for name, value in zip(part.ids, checksums(part.pixels), strict=True)}


def changes_of_data(folder: Path, inputs: "TrainingInputs") -> str | None:
    """What is different in DATA since the run last began or went on; None = nothing."""
    try:
        old, new = json.loads((folder / "data.json").read_bytes())["images"], _checksums(inputs)
        kinds = {"added": new.keys() - old.keys(), "removed": old.keys() - new.keys(),
                 "replaced": {name for name in new.keys() & old.keys() if new[name] != old[name]}}  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return f"{folder / 'data.json'}: missing or damaged, so that nothing can be said of changes in DATA"
    told = [f"{len(names)} {kind} ({', '.join(sorted(map(printable, names))[:5])}{', …' if len(names) > 5 else ''})"
            for kind, names in kinds.items() if names]  # fmt: skip
    return f"DATA has changed since the run was last trained: {', '.join(told)}" if told else None


def stored_config(folder: Path) -> CompleteConfig:
    """The configuration of a run. Raises ConfigError when there is no run, CheckpointError when it is damaged."""
    if not is_run(folder):
        raise ConfigError(f"--resume: {folder} is not a run folder; give the run with --out, or leave --resume out")
    try:
        return from_dict(read_layer(folder / "config.yaml"), CompleteConfig)
    except ConfigError as error:
        raise CheckpointError(f"{folder / 'config.yaml'}: damaged ({first_line(error)})") from error


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
        earlier = [json.loads(line).get("seconds") for line in kept]
        self._begun = time.monotonic() - max((value for value in earlier if isinstance(value, float)), default=0.0)
        self._file, self._board = path.open("a", encoding="utf-8"), None
        with contextlib.suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder), purge_step=first_step + 1)

    def seconds(self) -> float:
        """Of training so far, over all invocations."""
        return time.monotonic() - self._begun

    def write(self, step: int, phase: str, figures: dict[str, Any]) -> None:
        """Append one line, what is not finite as null; numbers also become TensorBoard scalars."""
        lost = [name for name, value in figures.items() if isinstance(value, float) and not math.isfinite(value)]
        try:
            self._file.write(json.dumps({"step": step, "phase": phase, **figures, **dict.fromkeys(lost)}) + "\n")
            self._file.flush()
        except OSError as error:
            raise WriteError(f"{self._file.name}: cannot be written ({error.strerror}); make room there") from error
        if self._board is not None:
            for name, value in figures.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{phase}/{name}", value, step)

    def add_pictures(self, step: int, paths: Sequence[Path]) -> None:
        """TensorBoard shows them beside the scalars, those of one kind under one name."""
        if self._board is not None:
            for path in paths:
                with Image.open(path) as picture:
                    name = re.sub(r"^step-\d+-", "", path.stem)
                    self._board.add_image(name, np.array(picture.convert("RGB")), step, dataformats="HWC")

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
