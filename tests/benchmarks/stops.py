"""SIGTERM to each rank in turn, at ten moments each, in both phases, in validation and in drawing: all stop, once.

    python tests/benchmarks/stops.py --work FOLDER [--ranks 2] [--moments 10] [--when vae flow …]

`vae train --preset tiny` on the built-in images, with settings that fill nearly all of its time with what is to be met:
    vae, flow    updates of one phase; a line of the log after each says that the phase has begun
    validation   of the held-out images after every update
    drawing      pictures after every update
    end          what is measured and drawn after the last update, by rank 0 alone
A moment is a delay of up to --delay seconds, drawn with --seed, after the first such update was logged or the end was
announced. Honoured is a stop if every rank leaves with 143, rank 0 reports `interrupted`, and the newest checkpoint is
of the update that it reports, can be read, and is the only new one (in `end`, where all is saved, there is none).
Seconds: from the signal until the last rank has gone.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import common

from vae_cli.checkpoint import load_resumable
from vae_cli.checkpoint_folders import step_folders

EVERY = ("vae", "flow", "validation", "drawing", "end")
ALWAYS = {"training.batch_size": 16, "training.log_every": 1, "training.save_every": 1_000_000,
          "training.validate_every": 1_000_000, "training.preview_every": 1_000_000}  # fmt: skip
SETTINGS: dict[str, dict[str, object]] = {
    "vae": {"training.flow_share": 0}, "flow": {"training.flow_share": 0.9999}, "end": {},
    "validation": {"training.flow_share": 0, "training.validate_every": 1},
    "drawing": {"training.flow_share": 0, "training.preview_every": 1},
}  # fmt: skip
ANNOUNCED = "measuring the best weights"
TARGETS = (common.Target("stops_not_honoured", 0),)
PATIENCE_SECONDS = 600


def start(when: str, run: Path, args: Namespace) -> "list[subprocess.Popen[str]]":
    """A process for each rank; stdout and stderr go to files beside the run."""
    steps = 4 if when == "end" else 20_000
    sets = [word for key, value in (ALWAYS | SETTINGS[when]).items() for word in ("--set", f"{key}={value}")]
    command = common.vae_command("train", "--preset", "tiny", "--steps", steps, "--device", "cpu", "--out", run,
                                 "--seed", args.seed, "--json", *sets)  # fmt: skip
    with socket.socket() as listener:
        listener.bind(("", 0))
        port = listener.getsockname()[1]
    place = {"WORLD_SIZE": str(args.ranks), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    surroundings = common.environment(args.work) | place
    processes = []
    for rank in range(args.ranks):
        with (run.parent / f"out-{rank}").open("w") as out, (run.parent / f"err-{rank}").open("w") as err:
            processes.append(subprocess.Popen(command, stdout=out, stderr=err, text=True,
                                              env=surroundings | {"RANK": str(rank)}))  # fmt: skip
    return processes


def has_come(when: str, run: Path) -> bool:
    """Whether what is to be met has begun."""
    if when == "end":
        return ANNOUNCED in (run.parent / "err-0").read_text()
    log = run / "metrics.jsonl"
    phase = "flow" if when == "flow" else "vae"
    return log.exists() and f'"phase": "{phase}"' in log.read_text()


def stop_at(when: str, rank: int, delay: float, args: Namespace) -> dict[str, Any]:
    """Train, send the signal, and see what has become of all."""
    folder = args.work / "stop"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run = folder / "run"
    processes = start(when, run, args)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not has_come(when, run):
            if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
                sys.exit(f"{when}: did not begin; see {folder}")
            time.sleep(0.01)
        time.sleep(delay)
        earlier = step_folders(run)
        processes[rank].send_signal(signal.SIGTERM)
        sent = time.monotonic()
        codes = [process.wait(PATIENCE_SECONDS) for process in processes]
        seconds = time.monotonic() - sent
    finally:
        for process in processes:
            process.kill()
    answers = [(folder / f"out-{rank}").read_text() for rank in range(args.ranks)]
    answer = json.loads(answers[0] or "{}")
    saved = [path.name for path in step_folders(run)]
    is_saved = (len(saved) == len(earlier) + (when != "end") and load_resumable(run).facts.step == answer.get("steps")
                and saved[-1] == f"step-{answer['steps']:08d}")  # fmt: skip
    is_honoured = (codes == [143] * args.ranks and answer.get("status") == "interrupted" and is_saved
                   and not any(answers[1:]))  # fmt: skip
    if not is_honoured:
        shutil.copytree(folder, args.work / f"missed-{when}-{rank}-{delay:.3f}", dirs_exist_ok=True)
    return {"when": when, "rank": rank, "delay": delay, "codes": codes, "saved": saved, "seconds": seconds,
            "is_honoured": is_honoured}  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--ranks", type=int, default=2, help="processes of each training (default 2)")
    parser.add_argument("--moments", type=int, default=10, help="of each rank and kind (default 10)")
    parser.add_argument("--delay", type=float, default=2.0, help="seconds at most (default 2)")
    parser.add_argument("--when", nargs="+", choices=EVERY, default=EVERY, help="what is to be met (default all)")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rng, found = random.Random(args.seed), []
    for when in args.when:
        for number in range(args.moments * args.ranks):
            found.append(stop_at(when, number % args.ranks, rng.uniform(0, args.delay), args))
            print(f"{when}: rank {found[-1]['rank']}, {found[-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    rows = [(when, len(own), sum(stop["is_honoured"] for stop in own), max(stop["seconds"] for stop in own))
            for when in args.when if (own := [stop for stop in found if stop["when"] == when])]  # fmt: skip
    common.table([("when", "stops", "honoured", "seconds, at most"), *rows])
    common.finish(
        "stops",
        {"stops_not_honoured": sum(not stop["is_honoured"] for stop in found), "num_stops": len(found),
         "most_seconds": max(stop["seconds"] for stop in found), "stops": found},
        targets=TARGETS,
        protocol={"ranks": args.ranks, "moments": args.moments, "delay": args.delay, "seed": args.seed},
    )  # fmt: skip


if __name__ == "__main__":
    main()
