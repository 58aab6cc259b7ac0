"""Folders of many images: how soon a second start trains (<= 6 s), and what an image costs in memory (+5 % at most).

    python tests/benchmarks/many_images.py --work FOLDER [--num 60000] [--large 200000] [--names 1000000] [--only start]

start: `vae train` on --num PNGs of 64×64 in colour, twice, of which the second counts. Seconds from the start of the
process until its first update is logged, and its own processor time up to then, which another program on the machine
does not change; in the first start everything is decoded.
memory: the largest resident memory of a training of some updates on --large such PNGs over that on 2,000, each in its
second start and up to the first update (`VmHWM`), as nothing is read later that depends on the number.
names: the scan of a folder of --names empty files, in a process of its own: seconds, and its memory over that of a scan
of 1,000, in bytes a name.

The PNGs are links to 500 drawn ones (files on one disk); the program takes each for an image of its own.
"""

import os
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import common

SIDE, NUM_DRAWN, FEW = 64, 500, 2000
TARGETS = {
    "start": [common.Target("second_start_seconds", 6.0)],
    "memory": [common.Target("memory_ratio", 1.05)],
    "names": [common.Target("bytes_a_name", 250.0)],
}
SCAN = """
import resource, sys, time
from pathlib import Path
from vae_cli.dataset.scan import scan
begun = time.process_time()
told = []
found = scan(Path(sys.argv[1]), on_progress=told.append)
seconds, peak = time.process_time() - begun, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(found.images), seconds, peak, len(told))
"""


def linked(args: Namespace, num: int) -> Path:
    """A folder of so many names of the drawn pictures, in thousands."""
    drawn = sorted(common.draw_folder(args.work / "drawn", NUM_DRAWN, SIDE, 3, args.seed).glob("*.png"))
    folder = args.work / f"linked-{num}"
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        for number in range(num):
            place = folder / f"{number // 1000:04d}"
            if number % 1000 == 0:
                place.mkdir(parents=True)
            os.link(drawn[number % NUM_DRAWN], place / f"{number:07d}.png")
        (folder / ".complete").touch()
    return folder


def until_first_update(args: Namespace, data: Path) -> dict[str, float]:
    """Train until an update is logged, and end the process: seconds, processor seconds, largest memory in bytes."""
    run = args.work / "many-run"
    shutil.rmtree(run, ignore_errors=True)
    command = common.vae_command("train", data, "--labels", "none", "--preset", "tiny", "--init", "none", "--out", run,
                                 "--steps", 100_000, "--set", "training.log_every=1", "--device", args.device,
                                 "--seed", args.seed)  # fmt: skip
    begun = time.perf_counter()
    with (args.work / "many.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=common.environment(args.work))
    place, log_file = Path(f"/proc/{process.pid}"), run / "metrics.jsonl"
    try:
        while not (log_file.exists() and log_file.stat().st_size):
            if process.poll() is not None:
                sys.exit(f"{' '.join(command)}: has ended; see {args.work / 'many.log'}")
            time.sleep(0.01)
        seconds = time.perf_counter() - begun
        ticks = sum(map(int, (place / "stat").read_text().rpartition(")")[2].split()[11:13]))
        peak = next(line for line in (place / "status").read_text().splitlines() if line.startswith("VmHWM"))
    finally:
        process.kill()
        process.wait()
    return {"seconds": seconds, "processor_seconds": ticks / os.sysconf("SC_CLK_TCK"),
            "peak_bytes": 1024 * int(peak.split()[1])}  # fmt: skip


def second_start(args: Namespace) -> dict[str, Any]:
    data = linked(args, args.num)
    first, second = until_first_update(args, data), until_first_update(args, data)
    return {"first_start": first, "second_start": second, "second_start_seconds": second["seconds"]}


def memory(args: Namespace) -> dict[str, Any]:
    peaks = {}
    for num in (FEW, args.large):
        data = linked(args, num)
        until_first_update(args, data)
        peaks[num] = until_first_update(args, data)["peak_bytes"]
    return {"peak_bytes": peaks, "memory_ratio": peaks[args.large] / peaks[FEW]}


def names(args: Namespace) -> dict[str, Any]:
    """All in one folder."""
    found = {}
    for num in (1000, args.names):
        folder = args.work / f"names-{num}"
        if not (folder / f"{num - 1:08d}.png").exists():
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(num):
                os.close(os.open(folder / f"{number:08d}.png", os.O_CREAT | os.O_WRONLY))
        printed = subprocess.run([sys.executable, "-c", SCAN, folder], env=common.environment(args.work), check=True,
                                 capture_output=True, text=True).stdout.split()  # fmt: skip
        found[num] = dict(zip(("images", "seconds", "peak_bytes", "reports"), map(float, printed), strict=True))
    extra = found[args.names]["peak_bytes"] - found[1000]["peak_bytes"]
    return {"scans": found, "scan_seconds": found[args.names]["seconds"], "bytes_a_name": extra / args.names}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--num", type=int, default=60_000, help="images of the second start (default 60,000)")
    parser.add_argument("--large", type=int, default=200_000, help="images whose memory is measured (default 200,000)")
    parser.add_argument("--names", type=int, default=1_000_000, help="files that are listed (default a million)")
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS), help="parts (default all)")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    makers = {"start": second_start, "memory": memory, "names": names}
    figures = {name: value for part in args.only for name, value in makers[part](args).items()}
    targets = [target for part in args.only for target in TARGETS[part]]
    common.table([("figure", "value"), *((target.figure, figures[target.figure]) for target in targets)])
    common.finish(
        "many_images",
        figures,
        targets=targets,
        protocol={"num": args.num, "large": args.large, "names": args.names, "side": SIDE, "seed": args.seed},
    )


if __name__ == "__main__":
    main()
