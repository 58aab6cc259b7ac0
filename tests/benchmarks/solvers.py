"""How near to the data few steps of the latent flow come: the program's solver against Heun's method.

    python tests/benchmarks/solvers.py --data FOLDER --features FILE.py --work FOLDER [--run RUN] [--minutes 10]

Samples from the same noise with both solvers: the program's (`vae_cli.model.velocity.integrate`, one evaluation of the
network a step, after Lu et al. 2022) and Heun's method on du/dt = v(u, t) with even times (two evaluations a step, one
in the last). Fréchet distance and coverage by `compare` of FILE.py against the last 5,000 training images of
Fashion-MNIST. RUN is a run on the first 55,000; without it one is trained for --minutes.

Target: four steps of the program's solver at most 1.1 times as far from the data as ten of Heun's.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import common
import numpy as np
import torch
from samples import as_features_want, held_out_images
from torch import Tensor

from vae_cli.model import flow
from vae_cli.tasks.sample import sample

TARGET = common.Target("four_steps_to_ten_of_heun", 1.1)
STEPS = {"program": (2, 3, 4, 6, 10, 20), "heun": (2, 4, 10, 20)}


def heun(velocity: Callable[[Tensor, float], Tensor], u: Tensor, times: Sequence[float]) -> Tensor:
    for t, following in pairwise(times):
        slope = velocity(u, t)
        guess = u + (following - t) * slope
        u = guess if following == times[-1] else u + (following - t) * (slope + velocity(guess, following)) / 2
    return u


def even(start: float, end: float, steps: int) -> list[float]:
    found: list[float] = torch.linspace(start, end, steps + 1).tolist()
    return found


def measure(args: Namespace, run: Path, solver: str, steps: int) -> dict[str, Any]:
    def make() -> dict[str, Any]:
        with patch.multiple(flow, integrate=heun, even_times=even) if solver == "heun" else nullcontext():
            drawn = np.stack(list(sample(model, args.num, seed=args.seed, solver_steps=steps)))
        compared = common.load_features(args.features).compare(held_out_images(args), as_features_want(drawn))
        evaluations = 2 * steps - 1 if solver == "heun" else steps
        return {"evaluations": evaluations, "fd": compared["fd"], "coverage": compared["coverage"]}

    model = common.load(run, args.device)
    key = [str(run), model.facts.step, args.num, args.seed, str(args.features)]
    return common.part(args.work, f"solvers-{solver}-{steps}", key, make)


def main() -> None:
    parser = common.parser(__doc__, data=True, features=True)
    parser.add_argument("--run", type=Path, help="a run on the first 55,000 images (default: trained here)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of that training (default 10)")
    parser.add_argument("--num", type=int, default=5_000, help="samples (default 5,000)")
    args = parser.parse_args()
    run = (
        args.run
        or common.fashion_run(args.work, args.data, minutes=args.minutes, device=args.device, seed=args.seed)[0]
    )
    found = {solver: {steps: measure(args, run, solver, steps) for steps in every} for solver, every in STEPS.items()}
    columns = ("evaluations", "fd", "coverage")
    common.table([("solver", "steps", *columns)]
                 + [(solver, steps, *(row[key] for key in columns))
                    for solver, rows in found.items() for steps, row in rows.items()])  # fmt: skip
    ratio = found["program"][4]["fd"] / found["heun"][10]["fd"]
    common.finish("solvers", {TARGET.figure: ratio, "solvers": found, "run": str(run)}, targets=[TARGET],
                  protocol={"samples": args.num, "seed": args.seed})  # fmt: skip


if __name__ == "__main__":
    main()
