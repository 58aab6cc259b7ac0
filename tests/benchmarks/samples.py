"""Samples of Fashion-MNIST after 10 and after 30 minutes: Fréchet distance, precision, recall, coverage.

    python tests/benchmarks/samples.py --data FOLDER --features FILE.py --work FOLDER [--minutes 10 30]

`vae train --labels none --time 10m` with the default preset on the first 55,000 training images (the program holds out
about 5 % of them for itself), then 5,000 samples with default settings, compared by `compare` of FILE.py with the last
5,000 training images. Beside it the same samples drawn with 10, 20 and 40 solver steps, the reconstructions of those
5,000 images, whose distance bounds what samples can reach, and the real images 50,000 to 54,999. Writes a sheet of
100 samples a training under --work.

Targets: FD <= 10 after 10 minutes; FD <= 6 and coverage >= 0.92 after 30; FD with 10 solver steps at most 1.1 times
that with 40, for every training.

Deviations from the usual protocol: the held-out images come from the training set, as the test set stays untouched;
the features may have been fitted to them, so FD compares runs with each other and not with published FIDs. Nearest
neighbours (precision, recall, coverage) use as many images as `compare` takes.
"""

import time
from argparse import Namespace
from types import ModuleType
from typing import Any

import common
import numpy as np
import torch

from vae_cli.checkpoint import Model
from vae_cli.drawing.grids import grid
from vae_cli.files.new_pictures import save_picture
from vae_cli.tasks.reconstruct import reconstruct
from vae_cli.tasks.sample import sample

SOLVER_STEPS = (10, 20, 40)
NAMES = ("fd", "precision", "recall", "coverage")
BOUNDS = {10: (("fd", 10.0, False),), 30: (("fd", 6.0, False), ("coverage", 0.92, True))}
"""Minutes of training to (figure, bound, at least)."""
MAX_RATIO = 1.1


def as_features_want(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [N, 28, 28, 1] -> [N, 1, 28, 28]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def held_out_images(args: Namespace) -> torch.Tensor:
    """uint8 [N, 1, 28, 28]: the last training images, which no run of ours has seen."""
    return as_features_want(common.fashion_pixels(args.data, common.NUM_FASHION - args.num, common.NUM_FASHION))


def of_samples(model: Model, features: ModuleType, args: Namespace, minutes: float, steps: int) -> dict[str, Any]:
    """Figures of args.num samples with this many solver steps; a sheet of the first 100 is written."""

    def make() -> dict[str, Any]:
        start = time.perf_counter()
        drawn = np.stack(list(sample(model, args.num, seed=args.seed, solver_steps=steps)))
        seconds = time.perf_counter() - start
        sheet = args.work / f"fashion-{minutes:g}m-samples-{steps}.png"
        save_picture(grid(list(drawn[:100])), sheet, seed=args.seed)
        compared = features.compare(held_out_images(args), as_features_want(drawn))
        return {**compared, "samples_per_second": args.num / seconds, "sheet": str(sheet)}

    key = [args.num, args.seed, str(args.features), model.facts.step]
    return common.part(args.work, f"fashion-{minutes:g}m-samples-{steps}", key, make)


def of_reconstructions(model: Model, features: ModuleType, args: Namespace, minutes: float) -> dict[str, Any]:
    """Figures of the held-out images' reconstructions."""

    def make() -> dict[str, Any]:
        held_out = common.fashion_pixels(args.data, common.NUM_FASHION - args.num, common.NUM_FASHION)
        rebuilt = np.stack(list(reconstruct(model, held_out)))
        return dict(features.compare(as_features_want(held_out), as_features_want(rebuilt)))

    key = [args.num, str(args.features), model.facts.step]
    return common.part(args.work, f"fashion-{minutes:g}m-reconstructions", key, make)


def of_default_samples(args: Namespace, features: ModuleType, minutes: float) -> dict[str, Any]:
    """Figures of samples with default settings after so many minutes of training."""
    run, _ = common.fashion_run(args.work, args.data, minutes=minutes, device=args.device, seed=args.seed)
    model = common.load(run, args.device)
    return of_samples(model, features, args, minutes, model.config.model.flow.solver_steps)


def of_training(args: Namespace, features: ModuleType, minutes: float) -> dict[str, Any]:
    """Every figure of one training: samples by solver steps, reconstructions."""
    run, trained = common.fashion_run(args.work, args.data, minutes=minutes, device=args.device, seed=args.seed)
    model = common.load(run, args.device)
    default = model.config.model.flow.solver_steps
    by_steps = {steps: of_samples(model, features, args, minutes, steps)
                for steps in sorted({*SOLVER_STEPS, default})}  # fmt: skip
    rebuilt = of_reconstructions(model, features, args, minutes)
    return {"samples": by_steps[default], "solver_steps": default, "by_solver_steps": by_steps,
            "reconstructions": rebuilt, "training": trained}  # fmt: skip


def of_real_images(args: Namespace, features: ModuleType) -> dict[str, Any]:
    """Figures of training images: what a perfect sampler would reach."""

    def make() -> dict[str, Any]:
        real = common.fashion_pixels(args.data, common.NUM_TRAINED - args.num, common.NUM_TRAINED)
        return dict(features.compare(held_out_images(args), as_features_want(real)))

    return common.part(args.work, "fashion-real", [args.num, str(args.features)], make)


def flat_figures(minutes: float, found: dict[str, Any]) -> dict[str, float]:
    """The targets' figures of one training."""
    by_steps = found["by_solver_steps"]
    named = {f"{name}_{minutes:g}m": found["samples"][name] for name in NAMES}
    return named | {f"fd_10_over_40_steps_{minutes:g}m": by_steps[10]["fd"] / by_steps[40]["fd"]}


def targets(minutes: float) -> list[common.Target]:
    """Of one training; lengths without bounds of their own have that of the solver steps alone."""
    bounds = [(f"{name}_{minutes:g}m", bound, at_least) for name, bound, at_least in BOUNDS.get(int(minutes), ())
              if minutes == int(minutes)]  # fmt: skip
    bounds.append((f"fd_10_over_40_steps_{minutes:g}m", MAX_RATIO, False))
    return [common.Target(name, bound, at_least=at_least) for name, bound, at_least in bounds]


def show(found: dict[float, dict[str, Any]], real: dict[str, Any]) -> None:
    rows: list[tuple[object, ...]] = [("against held-out images", *NAMES)]
    for minutes, figures in found.items():
        for steps, sampled in figures["by_solver_steps"].items():
            note = " (default)" if steps == figures["solver_steps"] else ""
            rows.append((f"{minutes:g} min, {steps} steps{note}", *(sampled[name] for name in NAMES)))
        rows.append((f"{minutes:g} min, reconstructions", *(figures["reconstructions"][name] for name in NAMES)))
    rows.append(("real", *(real[name] for name in NAMES)))
    common.table(rows)
    for minutes, figures in found.items():
        sampled = figures["samples"]
        print(f"{minutes:g} min: {figures['training']['steps']} steps, {sampled['samples_per_second']:.0f} samples/s, "
              f"{sampled['sheet']}")  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__, data=True, features=True)
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 30.0], help="of training (default 10 30)")
    parser.add_argument("--num", type=int, default=5000, help="images on each side of the comparison (default 5000)")
    args = parser.parse_args()
    features = common.load_features(args.features)
    found = {minutes: of_training(args, features, minutes) for minutes in args.minutes}
    real = of_real_images(args, features)
    show(found, real)
    figures: dict[str, Any] = {}
    for minutes, measured in found.items():
        figures |= flat_figures(minutes, measured)
    common.finish(
        "samples",
        {**figures, "trainings": {f"{minutes:g}m": measured for minutes, measured in found.items()}, "real": real},
        targets=[target for minutes in args.minutes for target in targets(minutes)],
        protocol={"training_images": common.NUM_TRAINED, "minutes": args.minutes, "samples": args.num,
                  "held_out": f"training images {common.NUM_FASHION - args.num} to {common.NUM_FASHION - 1}",
                  "seed": args.seed},
        precision=found[args.minutes[0]]["training"]["precision"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
