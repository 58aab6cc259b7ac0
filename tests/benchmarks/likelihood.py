"""The body of mnist_nll.py and fashion_nll.py: train with the `nll` preset, then measure unseen images."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import common

NAMES = ("images", "nll_nats", "bits_per_dim", "elbo_nats", "rate_nats", "distortion_nats", "active_units")


def parser(doc: str | None) -> ArgumentParser:
    """A parser with the options of both scripts."""
    made = common.parser(doc, data=True)
    made.add_argument("--minutes", type=float, default=60.0, help="of training (default 60)")
    made.add_argument("--images", type=int, default=2000, help="unseen images to measure (default 2000)")
    made.add_argument("--importance-samples", type=int, default=1000, help="an image (default 1000)")
    return made


def measured(args: Namespace, name: str, run: Path, images: Path) -> dict[str, Any]:
    """Figures of `vae evaluate` on a folder, and how long it took."""
    words = ("--importance-samples", args.importance_samples, "--device", args.device, "--seed", args.seed)

    def make() -> dict[str, Any]:
        outcome = common.vae_json(args.work, "evaluate", run, images, *words)
        return {**outcome.facts, "evaluation_seconds": outcome.seconds}

    return common.part(args.work, name, [str(run), str(images), *words], make)


def run(
    name: str, args: Namespace, *, learn_from: Path, measure_on: Path, settings: Sequence[str], target: common.Target,
    protocol: dict[str, Any],
) -> NoReturn:  # fmt: skip
    """Train on one folder, measure on the other, report. `settings`: `key=value` beside the preset."""
    run_path, trained = common.train(
        args.work, f"{name}-{args.minutes:g}m", learn_from, "--preset", "nll", "--labels", "none",
        *(word for setting in settings for word in ("--set", setting)),
        "--time", common.seconds_of(args.minutes), "--device", args.device, "--seed", args.seed,
    )  # fmt: skip
    facts = measured(args, f"{name}-{args.minutes:g}m-likelihood", run_path, measure_on)
    common.table([("figure", "value"), *((key, facts[key]) for key in NAMES)])
    print(f"{trained['steps']} steps, {trained['parameters']} parameters; "
          f"measured in {facts['evaluation_seconds']:.0f} s")  # fmt: skip
    figures = {key: value for key, value in facts.items() if key not in ("files", "command", "status")}
    common.finish(
        name.replace("-", "_"),
        {**figures, "training": trained},
        targets=[target],
        protocol={**protocol, "settings": list(settings), "minutes": args.minutes, "images": args.images,
                  "importance_samples": args.importance_samples, "seed": args.seed},
        precision=trained["precision"],
    )  # fmt: skip
