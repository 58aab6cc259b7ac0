"""What share of the processor's peak an update reaches, and where the rest of its time goes.

    python tests/benchmarks/roofline.py --work FOLDER [--cases small:28x1 small:64x3 base:64x3] [--phases vae flow]
        [--updates 10] [--rounds 3] [--precision float32] [--against CHECKOUT]

The loop of `vae train` itself on pictures made up here, validation and checkpoints left out, on one thread: images a
second of processor time, of all threads, so that a busy machine measures as an idle one does; the median of the rounds.
Operations are those of matrix products and convolutions (torch.utils.flop_counter; a multiplication and an addition are
two), the peak is that of a product of two 1024 × 1024 matrices in the same number format. Of the ten costliest
operators the share of the time that is their own. One line of JSON a case and phase, all of them in the last one.

--against: a checkout of another commit. Its loop and this one's then run in turn, round by round, each in a process of
its own that is at rest meanwhile; `ratio` is the median of how many times sooner this one is. What other programs do to
the caches shows in processor time, too: `ratio_of_best`, of the fastest rounds, is the least touched by them.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch

NUM_IMAGES, NUM_OPERATORS, PEAK_SIDE = 512, 10, 1024


def updates(case: str, phase: str, precision: str, every: int, device: str) -> Iterator[int]:
    """Makes `every` updates of the phase before each item, the images an update."""
    from vae_cli.config import CompleteConfig, from_dict
    from vae_cli.config_layers import resolve_config
    from vae_cli.dataset.cache import ImageSet
    from vae_cli.runtime import make_runtime, pick_device
    from vae_cli.training.events import StepLogged
    from vae_cli.training.initial_weights import settled_init
    from vae_cli.training.inputs import TrainingInputs
    from vae_cli.training.loop import train
    from vae_cli.training.prepare import with_geometry
    from vae_cli.training.training_run import open_run
    from vae_cli.training.vae_phase import VaePhase

    VaePhase.probe = lambda self: {}  # type: ignore[method-assign]  # which real runs ask for less often
    preset, _, shape = case.partition(":")
    side, channels = map(int, shape.split("x"))
    never, share = 10**9, 1e-9 if phase == "vae" else 1 - 1e-9
    training = {"steps": never, "flow_share": share, "log_every": every, "threads": 1, "precision": precision,
                **dict.fromkeys(("save_every", "validate_every", "preview_every"), never)}  # fmt: skip
    options = {"data": {"patches": 0}, "model": {"likelihood": {"kind": "gaussian"}}, "training": training}
    config = resolve_config(preset=preset, options=options)
    init, earlier = settled_init(config.updated({"model": {"likelihood": {"kind": "auto"}}}), (side, side), channels)
    config = with_geometry(config.updated({"training": {"init": init}}), (side, side), channels, earlier)
    coarse = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, side // 4, side // 4, channels), np.uint8)
    images = ImageSet(coarse.repeat(4, 1).repeat(4, 2), tuple(map(str, range(NUM_IMAGES))), np.full(NUM_IMAGES, -1))
    runtime = make_runtime(pick_device(device), precision, 1)
    inputs = TrainingInputs(from_dict(config.as_dict(), CompleteConfig), images, images, (), runtime)
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(inputs, Path(folder), started=time.monotonic())
        run.state.phase = phase
        run.state.plan(never, never)
        for event in train(run):
            if isinstance(event, StepLogged):
                yield every * config.training.batch_size


def serve(args: Namespace) -> None:
    """Of a process that is timed in turn with another: for each line that is read, a round, whose seconds it prints."""
    making = updates(args.cases[0], args.phases[0], args.precision, args.updates, args.device)
    next(making)
    for _ in sys.stdin:
        print(json.dumps(timed(making)), flush=True)


def timed(making: Iterator[int]) -> float:
    """Images a second of processor time of the next round."""
    start = time.process_time()
    return next(making) / (time.process_time() - start)


def peak_flops(precision: str) -> float:
    """Operations a second of a matrix product, at best."""
    a, best = torch.randn(PEAK_SIDE, PEAK_SIDE, dtype=getattr(torch, precision)), 0.0
    for _ in range(6):
        start = time.process_time()
        a @ a
        best = max(best, 2 * PEAK_SIDE**3 / (time.process_time() - start))
    return best


def measure(args: Namespace, case: str, phase: str) -> dict[str, Any]:
    """Every figure of one case and phase."""
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode

    peak = peak_flops(args.precision)
    making = updates(case, phase, args.precision, args.updates, args.device)
    next(making)  # compiles kernels
    speed = statistics.median(timed(making) for _ in range(args.rounds))
    with FlopCounterMode(display=False) as counter:
        num = next(making)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        next(making)
    table = sorted(found.key_averages(), key=lambda row: -row.self_cpu_time_total)
    whole = sum(row.self_cpu_time_total for row in table)
    flops = counter.get_total_flops() / num
    return {
        "images_per_second": speed, "gflop_an_image": flops / 1e9, "gflops": flops * speed / 1e9,
        "peak_gflops": peak / 1e9, "share_of_peak": flops * speed / peak,
        "operators": {row.key: round(row.self_cpu_time_total / whole, 4) for row in table[:NUM_OPERATORS]},
    }  # fmt: skip


def compare(args: Namespace, case: str, phase: str) -> dict[str, Any]:
    """Images a second of both checkouts, in turn."""
    words = [sys.executable, __file__, "--work", args.work, "--cases", case, "--phases", phase, "--updates",
             args.updates, "--precision", args.precision, "--device", args.device, "--serve"]  # fmt: skip
    workers = [subprocess.Popen([*map(str, words), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                text=True) for folder in (common.REPOSITORY, args.against)]  # fmt: skip
    speeds: tuple[list[float], list[float]] = ([], [])
    for _ in range(args.rounds):
        for worker, found in zip(workers, speeds, strict=True):
            assert worker.stdin and worker.stdout
            print(file=worker.stdin, flush=True)
            found.append(float(worker.stdout.readline()))
    for worker in workers:
        worker.communicate()
    ratios = [ours / theirs for ours, theirs in zip(*speeds, strict=True)]
    return {"images_per_second": statistics.median(speeds[0]), "before": statistics.median(speeds[1]),
            "ratio": statistics.median(ratios), "ratio_of_best": max(speeds[0]) / max(speeds[1]),
            "ratios": [round(ratio, 3) for ratio in ratios]}  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--cases", nargs="+", default=["small:28x1", "small:64x3", "base:64x3"], help="preset:SIDExC")
    parser.add_argument("--phases", nargs="+", default=["vae", "flow"])
    parser.add_argument("--updates", type=int, default=10, help="a round (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="(default 3)")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="of another commit, to be timed in turn")
    parser.add_argument("--serve", type=Path, help="used by --against itself: the checkout to time")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    if args.serve:
        sys.path.insert(0, str(args.serve))
        serve(args)
        return
    found = {}
    for case in args.cases:
        for phase in args.phases:
            found[f"{case} {phase}"] = (compare if args.against else measure)(args, case, phase)
            print(json.dumps({"case": case, "phase": phase, **found[f"{case} {phase}"]}), flush=True)
    common.finish("roofline", found, protocol={name: str(value) for name, value in vars(args).items()},
                  precision=args.precision)  # fmt: skip


if __name__ == "__main__":
    main()
