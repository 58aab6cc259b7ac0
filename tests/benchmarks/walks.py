"""Walks between Fashion-MNIST images: how real their mid-points are, and how even their steps.

    python tests/benchmarks/walks.py --data FOLDER --features FILE.py --work FOLDER [--run RUN] [--num 1000]

Held-out images (training images 55,000 to 59,999) are paired at random; the picture half-way of each pair is compared
with all of them by `compare` of FILE.py, and so are as many samples with default settings, reconstructions of the first
images of the pairs and those images themselves. Ways of `vae interpolate`: slerp, through the noise of the flow, and
lerp, lines in the latents. Beside them two that it could have taken: arcs between standardised latents, and the noise
of the flow with the condition going over evenly whether or not the ends' clusters are alike.

Steps: largest over smallest root mean square difference of pixels between neighbours of nine frames, median over
--walks pairs, of pairs drawn at random and of pairs of one class; frames at equal shares of the way and where
`vae interpolate` puts them.

Target: FD of slerp's mid-points at most twice that of the samples.

FD of few images is too large (the row `real` says by how much): compare it at equal numbers only. The model is that of
samples.py after --minutes, trained here unless it lies under --work or is given as --run.
"""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import common
import numpy as np
import torch

from vae_cli.checkpoint import Model
from vae_cli.model.vae import Latents
from vae_cli.tasks.encode import decode, expected_images
from vae_cli.tasks.interpolate import NoiseWalk, Way, ends_of_images, even_shares, slerp, way_between
from vae_cli.tasks.reconstruct import reconstruct
from vae_cli.tasks.sample import sample

NUM_FRAMES = 9
NAMES = ("fd", "precision", "recall", "coverage")
MAX_RATIO = 2.0
MakeWay = Callable[[Model, Latents, Latents], Way]


def arcs(model: Model, a: Latents, b: Latents) -> Way:
    """Arcs between latents, standardised."""
    flow = model.flow
    assert flow is not None

    def way(rows: torch.Tensor, shares: torch.Tensor) -> Latents:
        first, last = (flow.standardise(end.noise[0][rows]) for end in (a, b))
        return Latents((flow.restore(slerp(first, last, shares.reshape(-1, 1, 1, 1))),))

    return way


def noise_mixed(model: Model, a: Latents, b: Latents) -> Way:
    """Through the noise of the flow, told a mixture of the ends' clusters."""
    assert model.flow is not None
    walk = NoiseWalk.between(model, model.flow, a.noise[0], b.noise[0])
    walk = replace(walk, is_smooth=torch.ones_like(walk.is_smooth))
    return lambda rows, shares: Latents((walk.at(rows, shares),))


WAYS: dict[str, MakeWay] = {
    "slerp": lambda model, a, b: way_between(model, a, b, "slerp"),
    "lerp": lambda model, a, b: way_between(model, a, b, "lerp"),
    "arcs": arcs,
    "noise_mixed": noise_mixed,
}


def as_features_want(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [N, 28, 28, 1] -> [N, 1, 28, 28]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def pairs(images: np.ndarray, labels: np.ndarray | None, num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two times [num] images drawn at random, without one drawn twice; of one label each where labels are given."""
    order = np.random.default_rng(seed).permutation(len(images))
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
        chosen = np.random.default_rng(seed).permutation(len(order) // 2 - 1)[:num] * 2
        chosen = chosen[labels[order[chosen]] == labels[order[chosen + 1]]]  # all but the few where two labels meet
        return images[order[chosen]], images[order[chosen + 1]]
    return images[order[:num]], images[order[num : 2 * num]]


def middles(model: Model, way: Way, num: int) -> np.ndarray:
    """uint8 [num, H, W, C]: half-way of every row."""
    return np.stack(list(decode(model, way(torch.arange(num), torch.full((num,), 0.5)))))


def step_ratio(model: Model, way: Way, shares: torch.Tensor) -> float:
    """Largest step over the smallest, of row 0."""
    latents = way(torch.zeros(len(shares), dtype=torch.long), shares)
    steps = torch.stack(list(expected_images(model, latents))).diff(dim=0).square().mean((1, 2, 3)).sqrt()
    return (steps.max() / steps.min()).item()


def evenness(model: Model, a: np.ndarray, b: np.ndarray, make: MakeWay) -> dict[str, float]:
    """Medians over pairs of images of the steps' ratio, at equal shares and where `vae interpolate` puts frames."""
    equal, placed = [], []
    for first, last in zip(a, b, strict=True):
        ends = (ends_of_images(model, image[None]) for image in (first, last))
        way = make(model, *ends)
        equal.append(step_ratio(model, way, torch.linspace(0, 1, NUM_FRAMES)))
        placed.append(step_ratio(model, way, even_shares(model, way, NUM_FRAMES)))
    return {"equal_shares": float(np.median(equal)), "placed": float(np.median(placed))}


def of_pictures(model: Model, images: np.ndarray, features: ModuleType, args: Namespace) -> dict[str, Any]:
    """Figures of mid-points by way, and of what they are held against."""
    a, b = pairs(images, None, args.num, args.seed)
    real = as_features_want(images)
    made: dict[str, Callable[[], np.ndarray]] = {
        "real": lambda: a,
        "reconstructions": lambda: np.stack(list(reconstruct(model, a))),
        "samples": lambda: np.stack(list(sample(model, args.num, seed=args.seed))),
    }
    for name, make in WAYS.items():
        made[name] = lambda make=make: middles(
            model, make(model, ends_of_images(model, a), ends_of_images(model, b)), args.num
        )
    key = [args.num, args.seed, str(args.features), str(model.path), model.facts.step]
    return {
        name: common.part(
            args.work, f"walks-{name}", key, lambda get=get: dict(features.compare(real, as_features_want(get())))
        )
        for name, get in made.items()
    }


def of_steps(model: Model, images: np.ndarray, labels: np.ndarray, args: Namespace) -> dict[str, Any]:
    """Figures of the steps by way, of pairs at random and of one class."""
    key = [args.walks, args.seed, str(model.path), model.facts.step]
    return {
        f"{name}_{kind}": common.part(
            args.work,
            f"walks-steps-{name}-{kind}",
            key,
            lambda make=make, by=by: evenness(model, *pairs(images, by, args.walks, args.seed), make),
        )
        for name, make in WAYS.items()
        for kind, by in (("random", None), ("one_class", labels))
    }


def main() -> None:
    parser = common.parser(__doc__, data=True, features=True)
    parser.add_argument("--run", type=Path, metavar="RUN", help="a trained model; none = train one")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training (default 10)")
    parser.add_argument("--num", type=int, default=1000, help="mid-points, and samples (default 1000)")
    parser.add_argument("--walks", type=int, default=40, help="pairs whose steps are measured (default 40)")
    args = parser.parse_args()
    features = common.load_features(args.features)
    run = args.run or common.fashion_run(
        args.work, args.data, minutes=args.minutes, device=args.device, seed=args.seed
    )[0]  # fmt: skip
    model = common.load(run, args.device)
    files = common.indexed_files(args.data, common.FASHION, common.NUM_TRAINED, common.NUM_FASHION)
    images, labels = common.grey_pixels(files), np.array([path.parent.name for path in files])
    found = of_pictures(model, images, features, args)
    common.table([("half-way", *NAMES), *((name, *(row[key] for key in NAMES)) for name, row in found.items())])
    steps = of_steps(model, images, labels, args)
    common.table([("largest ÷ smallest step", "equal shares", "placed"),
                  *((name, row["equal_shares"], row["placed"]) for name, row in steps.items())])  # fmt: skip
    ratios = {f"fd_{name}_over_samples": found[name]["fd"] / found["samples"]["fd"] for name in WAYS}
    common.finish(
        "walks",
        {**ratios, "half_way": found, "steps": steps},
        targets=[common.Target("fd_slerp_over_samples", MAX_RATIO)],
        protocol={"mid_points": args.num, "walks": args.walks, "seed": args.seed, "run": str(run)},
    )


if __name__ == "__main__":
    main()
