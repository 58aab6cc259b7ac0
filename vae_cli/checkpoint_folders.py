"""Checkpoints as folders of files: written whole or not at all, proved to be as written, and removed again.

All of a run's checkpoints are `checkpoints/step-00001000` and `checkpoints/best` in its folder. Only the process that
the run belongs to writes or removes them.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vae_cli.atomic import open_regular, read_bounded, remove_tree, sync_folder
from vae_cli.errors import CheckpointError, ConfigError, WriteError
from vae_cli.pretrained import located, meant
from vae_cli.printable import shell_quoted

NUM_KEPT = 3
WEIGHTS, FACTS, TRAINER = "model.safetensors", "config.json", "trainer.pt"
HEADER_KEY = "vae"
"""Of the description in the header of a weights file."""
MAX_FACTS_BYTES = 2**27  # a weights file takes no longer description either
STEP_NAME = re.compile(r"step-(\d{8,})")
INSTEAD = "give a run folder, or another of its checkpoints/"


def bare(error: CheckpointError) -> str:
    """What is wrong, where nobody has to choose another checkpoint."""
    return str(error).removesuffix(f"; {INSTEAD}")


def seal(facts: Mapping[str, Any]) -> str:
    """SHA-256 of a description, so that a single flipped bit in it is noticed."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def write_folder(
    folder: Path, contents: Iterable[tuple[str, bytes | memoryview]], describe: Callable[[dict[str, str]], bytes]
) -> None:
    """Write a folder of files, or replace one, whole or not at all. Raises WriteError.

    describe: makes the last file, FACTS, from the SHA-256 of the others. A folder cannot be replaced in one step, so an
    old one is renamed first.
    """
    temporary, aside, path = _hidden(folder, "tmp"), _hidden(folder, "old"), folder
    sums: dict[str, str] = {}
    try:
        remove_tree(temporary)
        temporary.mkdir(parents=True)
        for name, content in contents:
            path, sums[name] = folder / name, hashlib.sha256(content).hexdigest()
            _write_synced(temporary / name, content)
        path = folder / FACTS
        _write_synced(temporary / FACTS, describe(sums))
        path = folder
        sync_folder(temporary)
        _put_aside(folder)
        temporary.rename(folder)
        sync_folder(folder.parent)
        remove_tree(aside)
    except OSError as error:
        remove_tree(temporary)
        if aside.exists() and not folder.exists():
            aside.rename(folder)
        raise WriteError(*_write_problem(path, folder, error)) from error


def _write_synced(path: Path, content: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _write_problem(path: Path, folder: Path, error: OSError) -> list[str]:
    problem = f"{path}: cannot be written ({error.strerror or error})"
    if error.errno not in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return [f"{problem}; make that possible, or choose another --out"]
    disk = next(place for place in folder.absolute().parents if place.is_mount())
    free = shutil.disk_usage(disk).free / 2**20
    resume = f"vae train --out {shell_quoted(folder.parent.parent)} --resume"
    left = f"{problem}: {free:.0f} MiB are left on the disk at {disk};"
    return [left, f"make room there and go on with: {resume}"]


def _hidden(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{kind}")


def _put_aside(folder: Path) -> None:
    remove_tree(_hidden(folder, "old"))
    if os.path.lexists(folder):
        folder.rename(_hidden(folder, "old"))


def step_folders(run: Path) -> dict[Path, int]:
    """Every step checkpoint of a run folder, oldest first, and its step; one of them may lack files."""
    found = [(int(match[1]), path) for path in (run / "checkpoints").glob("step-*")
             if (match := STEP_NAME.fullmatch(path.name))]  # fmt: skip
    return {path: step for step, path in sorted(found)}


def checkpoints_in(run: Path) -> list[Path]:
    """Step checkpoints of a run folder that hold weights, oldest first."""
    return [path for path in step_folders(run) if (path / WEIGHTS).exists()]


def prune(run: Path, newest: int | None = None) -> None:
    """Keep the newest step checkpoints up to a step; what is left of later ones was damaged, and is made anew."""
    steps = step_folders(run)
    kept = [path for path, step in steps.items() if newest is None or step <= newest][-NUM_KEPT:]
    for path in steps.keys() - kept:
        _put_aside(path)
    tidy(run)


def tidy(run: Path) -> None:
    """Remove what is put aside, and what killed writers left; a `best` that one of them was replacing comes back."""
    best = run / "checkpoints" / "best"
    if best.parent.is_symlink():
        return
    if _hidden(best, "old").exists() and not best.exists():
        _hidden(best, "old").rename(best)
    for path in best.parent.glob(".*"):
        if re.fullmatch(rf"\.({STEP_NAME.pattern}|best)(\.\d+)?\.(tmp|old)", path.name):
            remove_tree(path)


def require_whole(folder: Path) -> None:
    """Raises CheckpointError unless every file of a checkpoint is as it was written."""
    path = folder / FACTS
    try:
        facts = json.loads(read_bounded(path, MAX_FACTS_BYTES))
        if not facts.keys() & {"sha256", "files"}:  # an early version wrote neither; its weights have a digest inside
            open_regular(folder / WEIGHTS).close()
            return
        if (sealed := facts.pop("sha256", None)) is None:
            raise ValueError("no checksums in it")
        if sealed != seal(facts):
            raise ValueError("not as written")
        for name in (WEIGHTS, TRAINER) if TRAINER in facts["files"] else (WEIGHTS,):
            path = folder / name
            with open_regular(path) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != facts["files"][name]:
                    raise ValueError("not as written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(f"{path}: damaged ({reason}); {INSTEAD}") from error


class Choice(NamedTuple):
    """The weights file that RUN stands for, and why it is not the one that was to be expected."""

    path: Path
    remarks: tuple[str, ...] = ()


def resolve_run(run: Path) -> Path:
    """The weights file that RUN stands for. Raises as `choose_weights`."""
    return choose_weights(run).path


def choose_weights(run: Path) -> Choice:
    """What a run folder (its best, else its newest whole one), checkpoint folder, weights file or `photo` names.

    Raises ConfigError when the path does not exist, CheckpointError when nothing there can be loaded.
    """
    run = located(run)
    if not os.path.exists(run):  # which takes a name that is too long for one of nothing
        raise ConfigError(f"{run}: no such run; `vae train --out {run}` makes one")
    if run.is_file():
        return Choice(run)
    best, problems = run / "checkpoints" / "best", list[str]()
    for folder in (run, best):
        if (folder / WEIGHTS).is_file():
            return Choice(folder / WEIGHTS)
    for folder in reversed(step_folders(run)):
        try:
            require_whole(folder)
            return Choice(folder / WEIGHTS, (*problems, f"{best}: is missing; taking the weights of {folder.name}"))
        except CheckpointError as error:
            problems.append(bare(error))
    if problems:
        raise CheckpointError(f"{problems[0]}; {INSTEAD}")
    raise CheckpointError(f"{run}: no complete checkpoint here; is it a run folder, and has it saved yet?{meant(run)}")
