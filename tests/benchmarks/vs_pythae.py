"""Against pythae: samples at equal minutes (FD a fifth or less), minutes to an equal bound (a tenth or less).

    python tests/benchmarks/vs_pythae.py --data FOLDER --features FILE.py --work FOLDER [--parts speed samples bound]

samples: both learn 30 minutes from the same 55,000 images of Fashion-MNIST: pythae its VAE with its own convolutional
MNIST networks, trainer and settings (peer.py), we the default preset. Of pythae's three samplers, N(0, I), a mixture of
ten Gaussians and a masked autoregressive flow, the best FD counts. FD as in samples.py: 5,000 samples, 5,000 held-out
images, features of FILE.py. Our minutes count from the start of the process and hold start-up, reading 55,000 files and
both phases of training; pythae's begin with its first update on images in memory, and fitting its samplers is free.

bound: MNIST drawn black or white anew at every visit; the last 512 training images, drawn once (seed 777) and stored as
PNGs, are held out by both. pythae's VAE (the same networks, `bce`) trains for 5 epochs; its evaluation loss, one draw
of the posterior an image, is the bound to reach, at the best of its epochs. Ours trains with --preset on the same
images; the minutes are those from the start of the process until a validation loss in metrics.jsonl is as good
(averaged weights, one draw of the posterior). Minutes of pythae: until the end of that epoch, without its start.

speed: images a second of training, ours and pythae's in turn, three times, over the second half of 60 updates each, at
each side's own batch size; without reading, validation and checkpoints.

Deviations: pythae is meant to run 100 epochs; here it gets the same minutes as we do. It has one precision on a CPU,
float32; ours chooses (`precision`). A library of networks, it leaves better settings to its user: none are looked for.
"""

import json
import shutil
import statistics
import threading
import time
from argparse import Namespace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import common
import numpy as np
import peer
import samples
from PIL import Image

from vae_cli.runtime import make_runtime, pick_device

TARGETS = {"samples": common.Target("fd_ratio", 5.0, at_least=True),
           "bound": common.Target("times_faster_to_bound", 10.0, at_least=True)}  # fmt: skip
PARTS = ("speed", "samples", "bound")
SAMPLERS = ("normal", "mixture", "maf")
NUM_MNIST, NUM_HELD_OUT, BINARIZATION_SEED = 60_000, 512, 777
ROUNDS, UPDATES = 3, 60


# ---- samples at equal minutes


def pythae_on_fashion(args: Namespace, pixels: np.ndarray) -> tuple[Any, dict[str, Any]]:
    """pythae's VAE after args.minutes, and the facts of its training."""
    model, name = peer.mnist_vae("mse"), f"pythae-fashion-{args.minutes:g}m"
    weights = args.work / f"{name}.pt"

    def make() -> dict[str, Any]:
        config = peer.settings(args.work / "pythae", device=args.device, seed=args.seed)
        return peer.train(model, peer.as_dataset(peer.as_input(pixels)), config, peer.Clock(60 * args.minutes))

    key = [args.minutes, args.device, args.seed]
    facts = common.part(args.work, name, key, peer.trained(weights, model, make))
    return peer.load_weights(weights, model), facts


def compare_samples(args: Namespace) -> dict[str, Any]:
    """FD of ours and of each of pythae's samplers after equal minutes."""
    features = common.load_features(args.features)
    pixels = common.fashion_pixels(args.data, 0, common.NUM_TRAINED)
    model, trained = pythae_on_fashion(args, pixels)
    config = peer.settings(args.work / "pythae", device=args.device, seed=args.seed, epochs=args.maf_epochs)

    def of_sampler(sampler: str) -> dict[str, Any]:
        drawn = peer.draw(model, sampler, args.num, peer.as_input(pixels), config)
        return dict(features.compare(samples.held_out_images(args), samples.as_features_want(drawn)))

    key = [args.num, args.seed, str(args.features), trained["updates"], args.maf_epochs]
    theirs = {sampler: common.part(args.work, f"pythae-fashion-{args.minutes:g}m-{sampler}", key,
                                   lambda sampler=sampler: of_sampler(sampler))
              for sampler in SAMPLERS}  # fmt: skip
    ours = samples.of_default_samples(args, features, args.minutes)
    common.table([("samples", *samples.NAMES), ("vae", *(ours[name] for name in samples.NAMES)),
                  *((f"pythae, {sampler}", *(figures[name] for name in samples.NAMES))
                    for sampler, figures in theirs.items())])  # fmt: skip
    best = min(figures["fd"] for figures in theirs.values())
    return {"fd_ratio": best / ours["fd"], "fd": ours["fd"], "fd_pythae": best,
            "samples": {"vae": ours, "pythae": theirs, "pythae_training": trained}}  # fmt: skip


# ---- minutes to an equal bound


def mnist_folder(args: Namespace) -> Path:
    """train/: links to all but the last images. val/: those, black or white as drawn once. Both sides read it."""
    folder, first = args.work / "mnist-bound", NUM_MNIST - NUM_HELD_OUT
    common.link_images(folder / "train", common.indexed_files(args.data, "mnist/train", 0, first))
    held_out = common.indexed_files(args.data, "mnist/train", first, NUM_MNIST)
    (folder / "val").mkdir(exist_ok=True)
    uniform = np.random.RandomState(BINARIZATION_SEED)
    for path, grey in zip(held_out, common.grey_pixels(held_out), strict=True):
        white = uniform.rand(*grey.shape) < grey / 255
        Image.fromarray((255 * white[:, :, 0]).astype(np.uint8)).save(folder / "val" / path.name)
    return folder


def pythae_bound(args: Namespace, folder: Path) -> dict[str, Any]:
    """`bound_nats`, the seconds after which pythae had it, and the facts of its training."""

    def make() -> dict[str, Any]:
        grey = common.grey_pixels(common.indexed_files(args.data, "mnist/train", 0, NUM_MNIST - NUM_HELD_OUT))
        black_or_white = common.grey_pixels(sorted((folder / "val").glob("*.png")))
        config = peer.settings(args.work / "pythae", device=args.device, seed=args.seed, epochs=args.epochs)
        facts = peer.train(
            peer.mnist_vae("bce"), peer.as_dataset(peer.as_input(grey), draw_binary=True), config, peer.Clock(),
            validate_on=peer.as_dataset(peer.as_input(black_or_white)),
        )  # fmt: skip
        best = min(facts["validations"], key=lambda validation: validation["loss"])
        return {**facts, "bound_nats": best["loss"], "seconds_to_bound": best["seconds"]}

    return common.part(args.work, "pythae-bound", [args.epochs, args.device, args.seed], make)


def watch(path: Path, started: float, found: list[dict[str, float]], ended: threading.Event) -> None:
    """Note the validation losses that a run writes, with the seconds since `started`, until it has ended."""
    num_seen, is_last = 0, False
    while not is_last:
        is_last = ended.wait(0.1)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()
        for line in map(json.loads, whole[num_seen:]):
            if "validation_loss" in line:
                found.append({"seconds": time.perf_counter() - started, "step": line["step"],
                              "loss": line["validation_loss"]})  # fmt: skip
        num_seen = len(whole)


def our_validations(args: Namespace, folder: Path) -> dict[str, Any]:
    """Facts of our training, and `validations`: seconds since the start of the process, step, loss."""
    run = args.work / f"bound-{args.preset}"
    words = ("--preset", args.preset, "--labels", "none", "--set", "data.binarize=dynamic",
             "--set", f"training.validate_every={args.validate_every}", "--set", "training.flow_share=0",
             "--time", common.seconds_of(args.bound_minutes), "--device", args.device, "--seed", args.seed)  # fmt: skip

    def make() -> dict[str, Any]:
        shutil.rmtree(run, ignore_errors=True)  # an interrupted attempt's losses are not to be read
        validations: list[dict[str, float]] = []
        ended = threading.Event()
        arguments = (run / "metrics.jsonl", time.perf_counter(), validations, ended)
        watcher = threading.Thread(target=watch, args=arguments, daemon=True)
        watcher.start()
        outcome = common.vae_json(args.work, "train", folder, *words, "--out", run)
        ended.set()
        watcher.join()
        return {**outcome.facts, "validations": validations}

    return common.part(args.work, run.name, [str(folder), *map(str, words)], make)


def compare_bounds(args: Namespace) -> dict[str, Any]:
    """How many times sooner our run is at the bound of pythae's."""
    folder = mnist_folder(args)
    theirs, ours = pythae_bound(args, folder), our_validations(args, folder)
    reached = [validation for validation in ours["validations"] if validation["loss"] <= theirs["bound_nats"]]
    seconds = reached[0]["seconds"] if reached else None
    best = min((validation["loss"] for validation in ours["validations"]), default=None)
    common.table([("bound on held-out images", "nats", "minutes"),
                  ("pythae", theirs["bound_nats"], theirs["seconds_to_bound"] / 60),
                  (f"vae, {args.preset}, as good", reached[0]["loss"] if reached else "not reached",
                   seconds / 60 if seconds else ""),
                  (f"vae, {args.preset}, best", best if best is not None else "", args.bound_minutes)])  # fmt: skip
    ratio = theirs["seconds_to_bound"] / seconds if seconds else None
    return {"times_faster_to_bound": ratio, "bound_nats": theirs["bound_nats"],
            "seconds_to_bound_pythae": theirs["seconds_to_bound"], "seconds_to_bound": seconds,
            "best_bound_nats": best, "bound": {"vae": ours, "pythae": theirs}}  # fmt: skip


# ---- images a second


def pythae_speed(args: Namespace, pixels: np.ndarray) -> float:
    model, clock = peer.mnist_vae("mse"), peer.Clock(max_updates=UPDATES)
    config = peer.settings(args.work / "pythae", device=args.device, seed=args.seed)
    peer.train(model, peer.as_dataset(peer.as_input(pixels)), config, clock)
    return clock.images_per_second


def our_speeds(args: Namespace, folder: Path, preset: str, *, has_flow: bool) -> dict[str, float]:
    """Images a second by phase."""
    run, share = args.work / f"speed-{preset}", 0.5 if has_flow else 0.0
    settings = {"flow_share": share, "log_every": UPDATES // 2, "validate_every": 10 * UPDATES,
                "save_every": 10 * UPDATES, "preview_every": 10 * UPDATES}  # fmt: skip
    common.vae_json(args.work, "train", folder, "--preset", preset, "--labels", "none",
                    "--steps", 2 * UPDATES if has_flow else UPDATES,
                    *(word for name, value in settings.items() for word in ("--set", f"training.{name}={value}")),
                    "--out", run, "--overwrite", "--device", args.device, "--seed", args.seed)  # fmt: skip
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {phase: _second_half(lines, phase) for phase in ("vae", "flow") if has_flow or phase == "vae"}


def _second_half(lines: list[dict[str, Any]], phase: str) -> float:
    """Images a second between the two log lines of a phase; each holds the mean since the phase began.

    A line is written before the validation and the checkpoint of its update.
    """
    half, whole = (line["images_per_second"] for line in lines
                   if line["phase"] == phase and "images_per_second" in line)  # fmt: skip
    return 1 / (2 / whole - 1 / half)


def compare_speeds(args: Namespace) -> dict[str, Any]:
    """Images a second of every network, a list of rounds each, and the medians' ratios to pythae."""
    num = UPDATES * peer.BATCH_SIZE
    folder = common.link_images(args.work / f"fashion-first-{num}",
                                common.indexed_files(args.data, common.FASHION, 0, num))  # fmt: skip
    pixels = common.fashion_pixels(args.data, 0, num)

    def make_round() -> dict[str, float]:
        found = {"pythae": pythae_speed(args, pixels)}
        for preset in dict.fromkeys(("small", args.preset)):
            speeds = our_speeds(args, folder, preset, has_flow=preset == "small")
            found |= {f"{preset}, {phase}": speed for phase, speed in speeds.items()}
        return found

    rounds = [common.part(args.work, f"speed-round-{number}", [args.preset, args.device], make_round)
              for number in range(ROUNDS)]  # fmt: skip
    medians = {name: statistics.median(speeds[name] for speeds in rounds) for name in rounds[0]}
    common.table([("training", "images/s", "× pythae"),
                  *((name, speed, speed / medians["pythae"]) for name, speed in medians.items())])  # fmt: skip
    return {"images_per_second": medians, "speed_rounds": rounds}


def main() -> None:
    parser = common.parser(__doc__, data=True, features=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=30.0, help="samples: of training of each side (default 30)")
    parser.add_argument("--num", type=int, default=5000, help="samples: images a side (default 5000)")
    parser.add_argument("--maf-epochs", type=int, default=20, help="samples: to fit pythae's flow (default 20)")
    parser.add_argument("--epochs", type=int, default=5, help="bound: of pythae (default 5)")
    parser.add_argument("--preset", default="nll", help="bound: of ours (default nll)")
    parser.add_argument("--bound-minutes", type=float, default=5.0, help="bound: of ours (default 5)")
    parser.add_argument("--validate-every", type=int, default=50, help="bound: updates of ours (default 50)")
    args = parser.parse_args()
    if args.device == "auto":
        args.device = pick_device("auto").type  # the same for both sides
    jobs = {"speed": compare_speeds, "samples": compare_samples, "bound": compare_bounds}
    figures: dict[str, Any] = {}
    for name in PARTS:
        if name in args.parts:
            figures |= jobs[name](args)
    common.finish(
        "vs_pythae",
        figures,
        targets=[target for name, target in TARGETS.items() if name in args.parts],
        protocol={"pythae": version("pythae"), "batch_size": peer.BATCH_SIZE, "learning_rate": peer.LEARNING_RATE,
                  "minutes": args.minutes, "samples": args.num, "maf_epochs": args.maf_epochs, "epochs": args.epochs,
                  "preset": args.preset, "bound_minutes": args.bound_minutes, "seed": args.seed,
                  "held_out": f"MNIST training images {NUM_MNIST - NUM_HELD_OUT} to {NUM_MNIST - 1}"},
        precision=make_runtime(pick_device(args.device)).precision,
    )  # fmt: skip


if __name__ == "__main__":
    main()
