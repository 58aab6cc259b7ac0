"""A power cut at any moment: whatever of the writes has reached the disk, a run loads its newest whole checkpoint.

A model of a disk records what is done to it. After a cut each folder holds the entries that it had at some moment since
its last fsync, independently of other folders, and a file without fsync may hold nothing or anything.
"""

import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tiny import CPU, tiny_config, tiny_inputs, tiny_model, weights_of

from vae_cli import checkpoint_folders
from vae_cli.atomic import is_partial, write_atomically
from vae_cli.checkpoint import load_model, load_resumable, write_checkpoint
from vae_cli.checkpoint_folders import checkpoints_in, prune
from vae_cli.errors import CheckpointError
from vae_cli.training import run_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="paths of descriptors are found as on Linux")

Tree = dict[str, bytes | None]  # every path below the disk's root; None = a folder


@dataclass
class Node:
    """A folder with the states of its entries so far, or a file; what is synced counts from a number of operations."""

    entries: list[tuple[int, dict[str, "Node"]]] | None = None  # (operation, entries after it)
    synced: list[tuple[int, Any]] = field(default_factory=list)  # (operation, content, or how many states are sure)

    def now(self) -> dict[str, "Node"]:
        assert self.entries is not None
        return self.entries[-1][1]


class Disk:
    """Records what happens below a root while it is watched."""

    def __init__(self, root: Path) -> None:
        self.root, self.num_operations, self.marks = root, 0, list[tuple[int, Any]]()
        self.tree = Node([(0, {})], [(0, 1)])

    def node(self, path: str | Path) -> Node:
        found = self.tree
        for name in Path(path).absolute().relative_to(self.root).parts:
            found = found.now()[name]
        return found

    def change(self, path: str | Path, new: Node | None) -> None:
        """An entry appears, is replaced, or goes; what is not below the root does not count."""
        if Path(path).is_relative_to(self.root):
            self.changes(Path(path).parent, {Path(path).name: new})

    def changes(self, folder: Path, new: dict[str, Node | None]) -> None:
        """Several entries of one folder at once, as a rename does it."""
        node, self.num_operations = self.node(folder), self.num_operations + 1
        assert node.entries is not None
        entries = {name: each for name, each in (node.now() | new).items() if each is not None}
        node.entries.append((self.num_operations, entries))

    def rename(self, source: str | Path, target: str | Path) -> None:
        source, target = Path(source), Path(target)
        assert source.parent == target.parent, "what moves between folders is not one step"
        self.changes(source.parent, {source.name: None, target.name: self.node(source)})

    def sync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if not path.is_relative_to(self.root):
            return
        node, self.num_operations = self.node(path), self.num_operations + 1
        content = path.read_bytes() if node.entries is None else len(node.entries)
        node.synced.append((self.num_operations, content))

    def mark(self, what: Any) -> None:
        """From here on this has been promised."""
        self.marks.append((self.num_operations, what))

    def after_cuts(self) -> Iterator[tuple[int, Tree]]:
        """All that the disk may hold after a cut, and after how many operations it comes; nothing twice.

        Files in hidden folders make no difference.
        """
        seen = set()
        for count in range(self.num_operations + 1):
            for tree in _states(self.tree, count):
                visible = {name: content for name, content in tree.items() if "/." not in f"/{name}" or content is None}
                key = (frozenset(visible.items()), len([0 for at, _ in self.marks if at <= count]))
                if key not in seen:
                    seen.add(key)
                    yield count, tree


def _states(node: Node, count: int) -> Iterator[Tree]:
    """What may be left of a folder and all below it, the folder itself aside."""
    assert node.entries is not None
    num_done = sum(at <= count for at, _ in node.entries)
    num_sure = next((sure for at, sure in reversed(node.synced) if at <= count), 1)
    for _, entries in node.entries[num_sure - 1 : num_done]:
        for parts in itertools.product(*(_states_of(name, each, count) for name, each in entries.items())):
            yield {name: content for part in parts for name, content in part.items()}


def _states_of(name: str, node: Node, count: int) -> Iterator[Tree]:
    if node.entries is not None:
        for tree in _states(node, count):
            yield {name: None, **{f"{name}/{inner}": content for inner, content in tree.items()}}
        return
    synced = [content for at, content in node.synced if at <= count]
    for content in synced[-1:] or (b"", b"half of it"):
        yield {name: content}


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Everything below tmp_path/disk is recorded until the fixture is told to look at what is left."""
    root = tmp_path / "disk"
    root.mkdir()
    disk = Disk(root)

    def watched(owner: Any, name: str, then: Callable[..., None]) -> None:
        honest = getattr(owner, name)

        def act(*arguments: Any, **named: Any) -> Any:
            result = honest(*arguments, **named)
            then(*arguments, **named)
            return result

        monkeypatch.setattr(owner, name, act)

    def full(path: Any, dir_fd: int | None = None) -> Path:
        return Path(os.readlink(f"/proc/self/fd/{dir_fd}")) / path if dir_fd is not None else Path(path)

    def opened(path: Path, mode: str = "r", *_: Any, **__: Any) -> None:
        if path.is_relative_to(root) and {*mode} & {*"wx"}:
            disk.change(path, Node())

    watched(Path, "open", opened)
    watched(os, "mkdir", lambda path, *_, **__: disk.change(path, Node([(disk.num_operations, {})])))
    watched(os, "rename", disk.rename)
    watched(os, "replace", disk.rename)
    for name in ("unlink", "remove", "rmdir"):
        watched(os, name, lambda path, dir_fd=None: disk.change(full(path, dir_fd), None))
    watched(os, "fsync", disk.sync)
    return disk


def put(tree: Tree, folder: Path) -> Path:
    for name, content in tree.items():
        path = folder / name
        path.mkdir(parents=True) if content is None else path.write_bytes(content)
    return folder


MODEL = tiny_model()


def record_a_run(disk: Disk) -> Path:
    """A run that saves four times, with a best one in between; each marked as soon as it has been promised."""
    run, weights = disk.root / "run", weights_of(MODEL.vae, MODEL.flow)
    run_folder.create(run, tiny_inputs(tiny_config()))
    for step in (2, 4, 6, 8):
        facts = replace(MODEL.facts, step=step)
        write_checkpoint(run / "checkpoints" / f"step-{step:08d}", facts, weights, {"step": step})
        disk.mark(step)
        prune(run, step)
        if step in (4, 8):
            write_checkpoint(run / "checkpoints" / "best", facts, weights, None)
    return run


def problems_after_cuts(disk: Disk, whole: dict[str, Tree], scratch: Path) -> tuple[int, list[str]]:
    """How many states there are, and in which of them the newest whole checkpoint is not loaded."""
    problems, number = [], -1
    for number, (count, tree) in enumerate(disk.after_cuts()):
        run = put(tree, scratch / str(number)) / "run"
        there = [
            int(name.removeprefix("step-"))
            for name, files in whole.items()
            if name != "best"
            and all(tree.get(f"run/checkpoints/{name}/{file}") == content for file, content in files.items())
        ]
        promised = max((step for at, step in disk.marks if at <= count), default=0)
        newest = max(there, default=0)
        try:
            resumed = load_resumable(run).facts.step
        except CheckpointError:
            resumed = 0
        try:
            load_model(run, CPU) if checkpoints_in(run) else None
        except CheckpointError as error:
            problems.append(f"after {count}: {error}")
        if not (resumed == newest >= promised):
            problems.append(f"after {count}: promised {promised}, whole {newest}, resumed {resumed}")
        had_best = any(f"run/checkpoints/{name}" in tree for name in ("best", ".best.old"))
        run_folder.tidy(run)  # as the next start does it
        left = [path.name for path in (run / "checkpoints").glob(".*")]
        if left or (run / "checkpoints" / "best").exists() != had_best:
            problems.append(f"after {count}: the next start leaves {left}, best {had_best}")
        shutil.rmtree(scratch / str(number), ignore_errors=True)
    return number + 1, problems


def whole_checkpoints(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tree]:
    """Fills up with the files of every checkpoint that takes its name."""
    found: dict[str, Tree] = {}
    honest = checkpoint_folders._put_aside

    def put_aside(folder: Path) -> None:
        new = folder.with_name(f".{folder.name}.tmp")
        if new.exists() and folder.name != "best":
            found[folder.name] = {path.name: path.read_bytes() for path in new.iterdir()}
        honest(folder)

    monkeypatch.setattr(checkpoint_folders, "_put_aside", put_aside)
    return found


def test_no_cut_loses_a_checkpoint(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = whole_checkpoints(monkeypatch)
    record_a_run(disk)
    monkeypatch.undo()
    num_states, problems = problems_after_cuts(disk, whole, tmp_path / "left")
    assert num_states > 30 and problems == []


@pytest.mark.parametrize("forgotten", ["folders", "files"])
def test_the_model_notices_what_is_not_synced(disk: Disk, tmp_path: Path, monkeypatch, forgotten: str) -> None:
    """Otherwise the test above would prove nothing."""
    whole, sync = whole_checkpoints(monkeypatch), disk.sync

    def forgetful(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}") != (forgotten == "folders"):
            sync(descriptor)

    disk.sync = forgetful  # type: ignore[method-assign]
    monkeypatch.setattr(os, "fsync", forgetful)
    write_checkpoint(disk.root / "run" / "checkpoints" / "step-00000002", MODEL.facts,
                     weights_of(MODEL.vae, MODEL.flow), {"step": 2})  # fmt: skip
    disk.mark(2)
    monkeypatch.undo()
    assert problems_after_cuts(disk, whole, tmp_path / "left")[1]


def test_a_file_is_there_whole_or_not_at_all(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"one", b"two"):
        write_atomically(disk.root / "file", content)
    monkeypatch.undo()
    assert {tree.get("file") for _, tree in disk.after_cuts()} == {None, b"one", b"two"}
    assert all(is_partial(Path(name)) for _, tree in disk.after_cuts() for name in tree if name != "file")
