"""SIGKILL at ten random moments of a run, resumed each time, against a run left alone: the same bytes.

    python tests/benchmarks/kills.py --work FOLDER [--steps 400] [--kills 10] [--ranks 1] [--full]

`vae train --preset tiny --steps 400 --set training.save_every=7` on the built-in images, once undisturbed and once
killed with SIGKILL and resumed with `vae train --out RUN --resume`. A moment is an update, drawn with --seed among
those of both phases, half of them in each, and a delay of up to 0.15 s after that update has been logged, so that
kills also hit validation and saving. --ranks 2 trains, and kills, two processes together. --full does the same with
`--preset small --steps 120` and checkpoints every 20 updates. Compared: model.safetensors of `best` and of every step
checkpoint that is kept, and each trainer.pt, tensors bit for bit and all other values. Files that hold the same in
other bytes (the order of a header's entries, say) are listed but count as equal. CPU only: other devices do not promise
equal bits. What a kill has left half-written (hidden files and folders, the lock) must be gone after the next start.
"""

import contextlib
import json
import random
import socket
import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import common
import torch
from safetensors import safe_open

from vae_cli.checkpoint import load_resumable

TARGETS = (common.Target("differing_files", 0), common.Target("missed_kills", 0), common.Target("remains", 0))
MAX_DELAY_SECONDS = 0.15
VAE_SHARE = 0.4
PATIENCE_SECONDS = 1800


@dataclass(frozen=True)
class Moment:
    """Kill `delay` seconds after update `step` was logged."""

    step: int
    delay: float


@dataclass(frozen=True)
class Case:
    """A run to be made twice."""

    preset: str
    steps: int
    save_every: int

    @property
    def options(self) -> list[object]:
        return ["--preset", self.preset, "--steps", self.steps, "--set", f"training.save_every={self.save_every}",
                "--set", "training.log_every=1", "--device", "cpu"]  # fmt: skip


def draw_moments(case: Case, num: int, seed: int) -> list[Moment]:
    """`num` different updates in order, the odd one out in the flow's phase; none in the last tenth of the run."""
    rng = random.Random(seed)
    num_vae_steps, last = round(VAE_SHARE * case.steps), round(0.9 * case.steps)
    steps = rng.sample(range(1, num_vae_steps), num // 2)
    steps += rng.sample(range(num_vae_steps + 1, last), num - num // 2)
    return [Moment(step, rng.uniform(0, MAX_DELAY_SECONDS)) for step in sorted(steps)]


def newest_line(metrics: Path) -> dict[str, Any]:
    """The last whole line of metrics.jsonl; {} where there is none yet."""
    lines = metrics.read_bytes().split(b"\n")[:-1] if metrics.exists() else []
    return json.loads(lines[-1]) if lines else {}


def start(command: list[str], args: Namespace, log: BinaryIO) -> "list[subprocess.Popen[bytes]]":
    """A process for each rank."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        places = {
            "WORLD_SIZE": str(args.ranks),
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(listener.getsockname()[1]),
        }
    surroundings = common.environment(args.work) | places
    return [subprocess.Popen(command, stdout=log, stderr=log, env=surroundings | {"RANK": str(rank)})
            for rank in range(args.ranks)]  # fmt: skip


def complete(command: list[str], args: Namespace) -> None:
    """Let the program come to its end."""
    with (args.work / "kills.log").open("ab") as log:
        codes = [process.wait() for process in start(command, args, log)]
        if any(codes):
            sys.exit(f"{' '.join(command)}: has failed; see {args.work / 'kills.log'}")


def _await_step(moment: Moment, process: "subprocess.Popen[bytes]", run: Path) -> None:
    """Return when the moment's update has been logged, or the process has ended."""
    started = time.monotonic()
    while process.poll() is None and newest_line(run / "metrics.jsonl").get("step", 0) < moment.step:
        time.sleep(0.002)
        if time.monotonic() - started > PATIENCE_SECONDS:
            sys.exit(f"{run}: has not reached update {moment.step} in {PATIENCE_SECONDS} s")


def remains(run: Path) -> set[tuple[str, int, int]]:
    """What is half-written in a run: path, number and time of each hidden file or folder, and of the lock."""
    found = set()
    for path in (*run.glob(".*"), *run.glob("*/.*"), *run.glob("training.lock")):
        with contextlib.suppress(FileNotFoundError):  # of a running program
            stat = path.lstat()
            found.add((str(path), stat.st_ino, stat.st_mtime_ns))
    return found


def kill_at(moment: Moment, command: list[str], run: Path, args: Namespace) -> dict[str, Any]:
    """Start the program and kill it at the moment; says when, in which phase, and whether it still lived."""
    left = remains(run)
    with (args.work / "kills.log").open("ab") as log:
        processes = start(command, args, log)
        try:
            _await_step(moment, processes[0], run)
            left = {each for each in left & remains(run) if not each[0].endswith("training.lock")}  # taken over
            time.sleep(moment.delay)
            was_alive = processes[0].poll() is None
        finally:
            for process in processes:
                process.kill()
            codes = [process.wait() for process in processes]
    if not was_alive and any(codes):
        sys.exit(f"{' '.join(command)}: left with {codes}; see {args.work / 'kills.log'}")
    line = newest_line(run / "metrics.jsonl")
    return {"wanted_step": moment.step, "delay_seconds": moment.delay, "last_logged_step": line["step"],
            "phase": line["phase"], "killed": was_alive,
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


def disturbed_and_alone(case: Case, args: Namespace) -> dict[str, Any]:
    """Make the run twice and compare; prints the moments."""
    alone, run = (args.work / f"{name}-{case.preset}" for name in ("alone", "killed"))
    commands = [common.vae_command("train", *case.options, "--seed", args.seed, "--out", folder, "--overwrite")
                for folder in (alone, run)]  # fmt: skip
    complete(commands[0], args)
    command, resume = commands[1], common.vae_command("train", "--out", run, "--resume", "--device", "cpu")
    (run / "metrics.jsonl").unlink(missing_ok=True)  # of an earlier try: it would say that the moment has come
    kills = []
    for moment in draw_moments(case, args.kills, args.seed):
        kills.append(kill_at(moment, command, run, args))
        command = resume
    complete(resume, args)
    found = compare_files(alone, run) | {"left_at_end": len(remains(run))}
    common.table([list(kills[0]), *(list(kill.values()) for kill in kills)])
    print(f"{case.preset}, {case.steps} updates, {found['files_compared']} files compared")
    print(f"content differs: {', '.join(found['differing']) or 'none'}")
    print(f"same content in other bytes: {', '.join(found['reordered']) or 'none'}\n", flush=True)
    return {"preset": case.preset, "steps": case.steps, "save_every": case.save_every, "kills": kills, **found,
            "precision": load_resumable(run).facts.config.training.precision}  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--steps", type=int, default=400, help="of the tiny run, both phases (default 400)")
    parser.add_argument("--kills", type=int, default=10, help="of each run (default 10)")
    parser.add_argument("--ranks", type=int, default=1, help="processes of each training (default 1)")
    parser.add_argument("--full", action="store_true", help="also with the preset small, 120 updates")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    cases = [Case("tiny", args.steps, 7)] + [Case("small", 120, 20)] * args.full
    found = [disturbed_and_alone(case, args) for case in cases]
    common.finish(
        "kills",
        {"differing_files": sum(len(case["differing"]) for case in found),
         "remains": sum(case["left_at_end"] + sum(kill["still_left"] for kill in case["kills"]) for case in found),
         "missed_kills": sum(not kill["killed"] for case in found for kill in case["kills"]), "runs": found},
        targets=TARGETS,
        protocol={"kills": args.kills, "ranks": args.ranks, "max_delay_seconds": MAX_DELAY_SECONDS, "seed": args.seed,
                  "data": "built-in"},
        precision=found[0]["precision"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
