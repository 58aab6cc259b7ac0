"""SIGKILL at random moments of runs that are resumed each time, against a run left alone: the same bytes.

    python tests/benchmarks/kills.py --work FOLDER [--runs 20] [--kills 10] [--ranks 1] [--steps 100] [--full]

`vae train` on 60 drawn pictures of 8 px with checkpoints every 7 updates, once undisturbed and --runs times killed and
resumed with `vae train --out RUN --resume`, --kills times each before it may end. The processes are forked from this
one, which has imported everything. A moment is an update, drawn among those of both phases, half of them in each.
Every other kill comes up to 0.1 s after that update has been logged; the others wait for one of the next syncs to disk,
so that they hit the writing of a checkpoint. --ranks 2 trains, and kills, two processes together. --full does the same
with `--preset tiny --steps 400` and `--preset small --steps 120` on the built-in images. Compared: model.safetensors of
`best` and of every step checkpoint that is kept, and each trainer.pt, tensors bit for bit and all other values. Files
that hold the same in other bytes (the order of a header's entries, say) are listed but count as equal. CPU only: other
devices do not promise equal bits. What a kill has left half-written (hidden files and folders, the lock) must be gone
after the next start.
"""

import contextlib
import json
import os
import random
import select
import shutil
import socket
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import common
import forks
import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

from vae_cli.checkpoint import load_resumable

TARGETS = (common.Target("differing_files", 0), common.Target("missed_kills", 0), common.Target("remains", 0))
MAX_DELAY_SECONDS, MAX_SYNCS = 0.1, 12
VAE_SHARE = 0.4
PATIENCE_SECONDS = 1800
TOY: dict[str, object] = {
    "data.image_size": [8, 8], "data.channels": 1, "model.likelihood.kind": "gaussian", "model.width": 8,
    "model.latents": [{"stride": 4, "layers": 1, "channels": 2}], "model.flow.width": 16,
    "training.batch_size": 4, "training.validate_every": 14, "training.preview_every": 10_000,
    "training.precision": "float32", "training.threads": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """Kill `delay` seconds after update `step` was logged and `syncs` more times something was synced to disk."""

    step: int
    syncs: int
    delay: float


@dataclass(frozen=True)
class Case:
    """A run to be made again and again."""

    name: str
    steps: int
    words: tuple[object, ...]

    @property
    def options(self) -> list[object]:
        return [*self.words, "--steps", self.steps, "--set", "training.log_every=1", "--device", "cpu"]


def toy(args: Namespace) -> Case:
    """The smallest training that has all that a large one has."""
    rng = np.random.default_rng(args.seed)
    for number in range(60):
        path = args.work / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    sets = [word for key, value in TOY.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    return Case("toy", args.steps, (args.work / "images", "--preset", "tiny", *sets, "--set", "training.save_every=7"))


def draw_moments(case: Case, num: int, rng: random.Random) -> list[Moment]:
    """`num` different updates in order, the odd one out in the flow's phase; none in the last fifth of the run."""
    num_vae_steps, last = round(VAE_SHARE * case.steps), round(0.8 * case.steps)
    steps = rng.sample(range(1, num_vae_steps), num // 2)
    steps += rng.sample(range(num_vae_steps + 1, last), num - num // 2)
    moments = []
    for number, step in enumerate(sorted(steps), rng.randrange(2)):
        if number % 2:
            moments.append(Moment(step, 0, rng.uniform(0, MAX_DELAY_SECONDS)))
        else:
            moments.append(Moment(step, rng.randint(1, MAX_SYNCS), rng.uniform(0, MAX_DELAY_SECONDS / 10)))
    return moments


def newest_line(metrics: Path) -> dict[str, Any]:
    """The last whole line of metrics.jsonl; {} where there is none yet."""
    lines = metrics.read_bytes().split(b"\n")[:-1] if metrics.exists() else []
    return json.loads(lines[-1]) if lines else {}


def start(command: list[object], args: Namespace, syncs: int) -> list[BaseProcess]:
    """A process for each rank; each writes a byte to the descriptor `syncs` before it syncs anything to disk."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        places = {
            "WORLD_SIZE": str(args.ranks),
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(listener.getsockname()[1]),
        }
    surroundings = common.environment(args.work) | places
    with (args.work / "kills.log").open("ab") as log:
        return [forks.start(command, surroundings | {"RANK": str(rank)}, out=log.fileno(), err=log.fileno(),
                            first=tell_syncs(syncs)) for rank in range(args.ranks)]  # fmt: skip


def tell_syncs(descriptor: int) -> Callable[[], None]:
    def first() -> None:
        sync = os.fsync

        def told(file: int) -> None:
            with contextlib.suppress(BlockingIOError):  # nobody has read the others
                os.write(descriptor, b".")
            sync(file)

        os.fsync = told

    return first


def complete(command: list[object], args: Namespace) -> None:
    """Let the program come to its end."""
    processes = start(command, args, os.open(os.devnull, os.O_WRONLY))
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        sys.exit(f"{' '.join(map(str, command))}: has failed; see {args.work / 'kills.log'}")


def _await(moment: Moment, process: BaseProcess, run: Path, before: tuple[int, int], syncs: int) -> None:
    """Return when the moment has come, or the process has ended. before: `state_of` the log when it was started."""
    started, log = time.monotonic(), run / "metrics.jsonl"
    while process.is_alive() and (state_of(log) == before or newest_line(log).get("step", 0) < moment.step):
        time.sleep(0.005)
        if time.monotonic() - started > PATIENCE_SECONDS:
            sys.exit(f"{run}: has not reached update {moment.step} in {PATIENCE_SECONDS} s")
    with contextlib.suppress(BlockingIOError):
        os.read(syncs, 1 << 16)  # those before
    left = moment.syncs
    while left and process.is_alive():
        if select.select([syncs], [], [], 0.1)[0]:
            left -= len(os.read(syncs, left))


def state_of(log: Path) -> tuple[int, int]:
    """Another one as soon as a process has begun to write to it: what an earlier one wrote tells of no moment."""
    with contextlib.suppress(FileNotFoundError):
        return log.stat().st_ino, log.stat().st_size
    return 0, 0


def remains(run: Path) -> set[tuple[str, int, int]]:
    """What is half-written in a run: path, number and time of each hidden file or folder, and of the lock."""
    found = set()
    for path in (*run.glob(".*"), *run.glob("*/.*"), *run.glob("training.lock")):
        with contextlib.suppress(FileNotFoundError):  # of a running program
            stat = path.lstat()
            found.add((str(path), stat.st_ino, stat.st_mtime_ns))
    return found


def kill_at(moment: Moment, command: list[object], run: Path, args: Namespace) -> dict[str, Any]:
    """Start the program and kill it at the moment; says when, in which phase, and whether it still lived."""
    left, before, (reading, writing) = remains(run), state_of(run / "metrics.jsonl"), os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    processes = start(command, args, writing)
    try:
        _await(moment, processes[0], run, before, reading)
        left = {each for each in left & remains(run) if not each[0].endswith("training.lock")}  # taken over
        time.sleep(moment.delay)
        was_alive = processes[0].is_alive()
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        os.close(reading)
        os.close(writing)
    codes = [process.exitcode for process in processes]
    if not was_alive and any(codes):
        sys.exit(f"{' '.join(map(str, command))}: left with {codes}; see {args.work / 'kills.log'}")
    line = newest_line(run / "metrics.jsonl")
    return {"wanted_step": moment.step, "syncs": moment.syncs, "delay_seconds": moment.delay,
            "last_logged_step": line["step"], "phase": line["phase"], "killed": was_alive,
            "newest_checkpoint": max((path.name for path in (run / "checkpoints").glob("step-*")), default=None),
            "half_written": len(list((run / "checkpoints").glob(".*"))), "still_left": len(left)}  # fmt: skip


def compare_files(one: Path, other: Path) -> dict[str, Any]:
    """Checkpoint files whose content differs or that one run lacks, and those of equal content but other bytes."""
    kept = [{str(path.relative_to(run)) for name in ("model.safetensors", "trainer.pt")
             for path in (run / "checkpoints").glob(f"[!.]*/{name}")} for run in (one, other)]  # fmt: skip
    differing, reordered = kept[0] ^ kept[1], []
    for name in kept[0] & kept[1]:
        if (one / name).read_bytes() == (other / name).read_bytes():
            continue
        if _equal(_content(one / name), _content(other / name)):
            reordered.append(name)
        else:
            differing.add(name)
    return {"files_compared": len(kept[0] | kept[1]), "differing": sorted(differing), "reordered": sorted(reordered)}


def _content(path: Path) -> object:
    """Every tensor and every other value in a checkpoint's file."""
    if path.suffix == ".pt":
        return torch.load(path, map_location="cpu", weights_only=True)
    with safe_open(path, framework="pt") as file:
        return {"header": file.metadata(), "tensors": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118


def _equal(one: object, other: object) -> bool:
    """Whether nested containers hold the same values, tensors bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return torch.equal(*(tensor.contiguous().flatten().view(torch.uint8) for tensor in (one, other)))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


def killed_runs(case: Case, args: Namespace) -> Iterator[dict[str, Any]]:
    """Make the run once alone and --runs times with kills, and compare."""
    alone, run = (args.work / f"{name}-{case.name}" for name in ("alone", "killed"))
    fresh: list[list[object]] = [["train", *case.options, "--seed", args.seed, "--out", folder, "--overwrite"]
                                 for folder in (alone, run)]  # fmt: skip
    complete(fresh[0], args)
    for number in range(args.runs):
        shutil.rmtree(run, ignore_errors=True)
        command, resume, kills = fresh[1], ["train", "--out", run, "--resume", "--device", "cpu"], []
        for moment in draw_moments(case, args.kills, random.Random(f"{args.seed} {number}")):
            kills.append(kill_at(moment, command, run, args))
            command = resume
        complete(resume, args)
        found = compare_files(alone, run) | {"left_at_end": len(remains(run))}
        common.table([list(kills[0]), *(list(kill.values()) for kill in kills)])
        print(f"{case.name}, {case.steps} updates, run {number + 1}, {found['files_compared']} files compared")
        print(f"content differs: {', '.join(found['differing']) or 'none'}")
        print(f"same content in other bytes: {', '.join(found['reordered']) or 'none'}\n", flush=True)
        if found["differing"]:
            shutil.copytree(run, args.work / f"differs-{case.name}-{number + 1}", dirs_exist_ok=True)
        precision = load_resumable(run).facts.config.training.precision
        yield {"case": case.name, "steps": case.steps, "kills": kills, **found, "precision": precision}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--steps", type=int, default=100, help="of each small run, both phases (default 100)")
    parser.add_argument("--runs", type=int, default=20, help="that are killed and compared (default 20)")
    parser.add_argument("--kills", type=int, default=10, help="of each run (default 10)")
    parser.add_argument("--ranks", type=int, default=1, help="processes of each training (default 1)")
    parser.add_argument("--full", action="store_true", help="also with the presets tiny and small")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    forks.import_all()
    cases = [toy(args)]
    if args.full:
        cases += [Case(name, steps, ("--preset", name, "--set", f"training.save_every={every}"))
                  for name, steps, every in (("tiny", 400, 7), ("small", 120, 20))]  # fmt: skip
    found = [each for case in cases for each in killed_runs(case, args)]
    kills = [kill for each in found for kill in each["kills"]]
    common.finish(
        "kills",
        {"kills": len(kills), "during_writes": sum(kill["half_written"] > 0 for kill in kills),
         "in_phases": {name: sum(kill["phase"] == name for kill in kills) for name in ("vae", "flow")},
         "differing_files": sum(len(each["differing"]) for each in found),
         "remains": sum(each["left_at_end"] for each in found) + sum(kill["still_left"] for kill in kills),
         "missed_kills": sum(not kill["killed"] for kill in kills), "runs": found},
        targets=TARGETS,
        protocol={"runs": args.runs, "kills": args.kills, "ranks": args.ranks, "seed": args.seed,
                  "max_delay_seconds": MAX_DELAY_SECONDS, "max_syncs": MAX_SYNCS},
        precision=found[0]["precision"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
