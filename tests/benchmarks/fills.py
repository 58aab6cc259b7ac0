"""Fills against classical inpainting and published figures; how sharp and how different they are.

    python tests/benchmarks/fills.py --data FOLDER --features FILE.py --work FOLDER [--parts fashion emoji …]
        [--run SET=RUN] [--solver-steps N]

Models and held-out images: sets.py. Everything goes through vae_cli.tasks.evaluate_holes, as `vae evaluate --holes`
does: a fill is a whole picture in grey levels with the known pixels put back; the mean of fills is not rounded.

Parts (all by default; each is kept under --work and not made again):

fashion, emoji, photographs   --num evenly spaced held-out images damaged by each family (`center` is a box of half the
    side, `scattered` lacks 75 % of the pixels) and filled by the model, ten times, and by OpenCV's Telea and
    Navier-Stokes (radius 3) and scikit-image's biharmonic inpainting, on the same images and holes. Hole PSNR: mean
    squared error over the pixels of an image's hole, values in [0, 1], in dB, then the mean over images; errors below
    1e-6 count as 1e-6 (60 dB). The gain is that of the mean of ten fills over the best classical method; a single fill
    is a draw of what may be there, not an estimate of it, and has a higher error by nature.
    Targets: GAINS below, in dB.
mnist, mnist-padded   PSNR of whole pictures under the masks of ACFlow's table: mnist_filling.py. Target: 19.6 dB.
frechet   `compare` of FILE.py between the last 5,000 Fashion-MNIST training images and the same images with a half
    replaced by a single fill, for the model and for the classical methods. Target: the best classical distance is 5
    times ours. The features may have been fitted to these images.
spread    Fashion-MNIST: distance between two fills of a hole (root mean square over the hole's pixels, values in
    [0, 1], mean over pairs of ten fills and over --num images), where what is known says little (a half is missing)
    and where it says all (3×3 pixels in the centre). Target: 5 times as far apart. The distance of whole pictures
    (their root of summed squares) grows with the hole's size alone; it is reported, too.

Tried: refinement times from 0.3 to 1 change the mean of fills on icons by 0.3 dB, scattered holes and strokes in
opposite ways. Noise of standard deviation 0.8 brings a single fill 0.6 to 1.1 dB nearer to the truth than 1 does, on
clothes and icons, and the mean of ten 0.1 to 0.4 dB where half is missing; at 0.6 boxes on icons lose. Tensions of the
plate from 0.05 to 0.2 hardly differ; at 0 holes of photographs lose 0.1 (strokes) to 0.8 dB (boxes of half the side),
at 0.3 strokes on icons 0.1 dB.
"""

import zlib
from argparse import Namespace
from itertools import combinations
from pathlib import Path
from typing import Any

import common
import filling
import mnist_filling
import numpy as np
import sets
from emoji import spread
from samples import as_features_want

from vae_cli.model.flow import FILL_STEPS

GAINS = {
    "fashion": {"center": 4.0, "half": 4.0, "brush": 2.0, "scattered": 2.0},
    "emoji": {"center": 1.5, "half": 2.5, "brush": 1.0, "scattered": 0.0},
    "photographs": {"center": 0.0, "half": 0.5, "brush": 0.0, "scattered": 0.0},
}
PARTS = (*GAINS, "mnist", "mnist-padded", "frechet", "spread")
SUBJECTS = {"mnist-padded": "mnist", "frechet": "fashion", "spread": "fashion"}
"""The set of a part that is not called like its set."""
OTHER_TARGETS = {
    "mnist": common.Target("mnist_psnr_mean_db", 19.6, at_least=True),
    "frechet": common.Target("frechet_ratio", 5.0, at_least=True),
    "spread": common.Target("spread_ratio", 5.0, at_least=True),
}


def kept(name: str, subject: sets.Subject, images: np.ndarray, args: Namespace, make: Any) -> dict[str, Any]:
    """Of a part that uses the model: made once for each run, number of solver steps and set of images."""
    key = [str(subject.run), subject.model.facts.step, zlib.crc32(images.tobytes()), len(images), args.fills, args.seed]
    return common.part(args.work, f"fills-{subject.label}-{name}-{steps(subject, args)}-steps", key, make)


def steps(subject: sets.Subject, args: Namespace) -> int:
    return args.solver_steps or min(FILL_STEPS, subject.model.config.model.flow.solver_steps)


# ---- parts


def gains(subject: sets.Subject, args: Namespace) -> dict[str, Any]:
    """Hole PSNR by family and method, and the gains."""
    images, found = spread(subject.images, args.num), {}
    for family in args.families:

        def ours(family: str = family) -> dict[str, float]:
            return filling.measure_ours(subject.model, images, family, fills=args.fills, seed=args.seed,
                                        solver_steps=steps(subject, args))  # fmt: skip

        def classical(family: str = family) -> dict[str, float]:
            return filling.measure_classical(images, family, seed=args.seed)

        key = [zlib.crc32(images.tobytes()), len(images), args.seed]
        found[family] = filling.with_gain(
            kept(family, subject, images, args, ours),
            common.part(args.work, f"fills-{subject.name}-{family}-classical", key, classical),
        )
    names = list(next(iter(found.values())))
    common.table([(f"{subject.name}, hole PSNR, dB", *names),
                  *((family, *(psnr[name] for name in names)) for family, psnr in found.items())])  # fmt: skip
    flat = {f"{subject.name}_{family}_gain_db": psnr["gain"] for family, psnr in found.items()}
    return {**flat, f"{subject.name}_psnr_hole_db": found}


def mnist(subject: sets.Subject, args: Namespace, name: str) -> dict[str, Any]:
    """Mean over trials, each with masks and fills of its own."""
    images, padding = spread(subject.images, args.num_mnist), mnist_filling.PADDING * (name == "mnist-padded")

    def make(trial: int) -> dict[str, Any]:
        return mnist_filling.measure(subject.model, images, padding=padding, fills=args.fills, seed=args.seed + trial,
                                     solver_steps=steps(subject, args))  # fmt: skip

    trials = [kept(f"{name}-trial-{trial}", subject, images, args, lambda trial=trial: make(trial))
              for trial in range(args.trials)]  # fmt: skip
    means = {figure: float(np.mean([trial[figure] for trial in trials])) for figure in trials[0]}
    common.table([(f"{name}, dB", *means), ("mean over trials", *means.values())])
    label = name.replace("-", "_")
    return {f"{label}_psnr_mean_db": means["psnr_mean_db"], f"{label}_psnr_single_db": means["psnr_single_db"],
            f"{label}_trials": trials}  # fmt: skip


def frechet(subject: sets.Subject, args: Namespace) -> dict[str, Any]:
    """Distances of halves filled once, and the best classical one over ours."""
    images = spread(subject.images, args.num_frechet)
    holes = filling.holes_of("half", images, args.seed)
    features = common.load_features(args.features)

    def compared(filled: np.ndarray) -> dict[str, Any]:
        return dict(features.compare(as_features_want(images), as_features_want(filled)))

    def ours() -> dict[str, Any]:
        drawn = filling.model_fills(subject.model, images, holes, fills=1, seed=args.seed,
                                    solver_steps=steps(subject, args))  # fmt: skip
        return compared(drawn[0])

    def classical(name: str) -> dict[str, Any]:
        return compared(filling.classical_fills(name, images, holes))

    key = [zlib.crc32(images.tobytes()), len(images), args.seed, str(args.features)]
    found = {"ours": kept("frechet", subject, images, args, ours)}
    for name in filling.CLASSICAL:
        found[name] = common.part(args.work, f"fills-{subject.name}-frechet-{name}", key,
                                  lambda name=name: classical(name))  # fmt: skip
    common.table([("half filled", *found["ours"]), *((name, *values.values()) for name, values in found.items())])
    best = min(found[name]["fd"] for name in filling.CLASSICAL)
    return {"frechet_ratio": best / found["ours"]["fd"], "frechet": found}


def fills_apart(subject: sets.Subject, args: Namespace) -> dict[str, Any]:
    """Distances between fills where the hole is ambiguous and where it is determined."""
    images = spread(subject.images, args.num)
    middle = [slice(side // 2 - 1, side // 2 + 2) for side in images.shape[1:3]]
    determined = np.zeros(images.shape[:3], bool)
    determined[:, middle[0], middle[1]] = True
    kinds = {"half": filling.holes_of("half", images, args.seed), "3x3": determined}

    def make(holes: np.ndarray) -> dict[str, float]:
        drawn = filling.model_fills(subject.model, images, holes, fills=args.fills, seed=args.seed,
                                    solver_steps=steps(subject, args))  # fmt: skip
        pairs = combinations(drawn.astype(np.float64) / 255, 2)
        squares = np.stack([np.square(one - other).mean(-1).sum((1, 2)) for one, other in pairs])
        return {"by_pixel": float(np.sqrt(squares / holes.sum((1, 2))).mean()),
                "whole_picture": float(np.sqrt(squares).mean())}  # fmt: skip

    found = {name: kept(f"spread-{name}", subject, images, args, lambda holes=holes: make(holes))
             for name, holes in kinds.items()}  # fmt: skip
    common.table([("distance between fills", *found["half"]),
                  *((name, *distances.values()) for name, distances in found.items())])  # fmt: skip
    ratios = {name: found["half"][name] / found["3x3"][name] for name in found["half"]}
    return {"spread_ratio": ratios["by_pixel"], "spread_ratio_whole_picture": ratios["whole_picture"], "spread": found}


# ---- command line


def options() -> Namespace:
    parser = common.parser(__doc__, data=True)
    parser.add_argument("--features", type=Path, metavar="FILE.py", help="defines compare(real, fake); for `frechet`")
    sets.add_options(parser)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--families", nargs="+", choices=list(GAINS["fashion"]), default=list(GAINS["fashion"]))
    parser.add_argument("--num", type=int, default=200, help="images of a set (default 200)")
    parser.add_argument("--fills", type=int, default=10, help="of each image (default 10)")
    parser.add_argument("--num-mnist", type=int, default=1000, help="images of MNIST (default 1000)")
    parser.add_argument("--trials", type=int, default=1, help="of `mnist` (default 1; published: 5)")
    parser.add_argument("--num-frechet", type=int, default=5000, help="images for `frechet` (default 5000)")
    parser.add_argument("--solver-steps", type=int, help="of the flow (default: the model's)")
    args = parser.parse_args()
    if "frechet" in args.parts and args.features is None:
        parser.error("part frechet needs --features FILE.py")
    return args


def measure(part: str, subject: sets.Subject, args: Namespace) -> dict[str, Any]:
    if part in GAINS:
        return gains(subject, args)
    if part == "frechet":
        return frechet(subject, args)
    return fills_apart(subject, args) if part == "spread" else mnist(subject, args, part)


def targets(args: Namespace) -> list[common.Target]:
    wanted = [common.Target(f"{part}_{family}_gain_db", GAINS[part][family], at_least=True)
              for part in args.parts if part in GAINS for family in args.families]  # fmt: skip
    return wanted + [OTHER_TARGETS[part] for part in args.parts if part in OTHER_TARGETS]


def main() -> None:
    args = options()
    figures: dict[str, Any] = {}
    subjects: dict[str, sets.Subject] = {}
    for part in args.parts:
        name = SUBJECTS.get(part, part)
        subjects[name] = subjects.get(name) or sets.subject(name, args)
        figures |= measure(part, subjects[name], args)
    runs = {name: {"run": str(subject.run), "minutes": sets.minutes_of(name, args), "step": subject.model.facts.step,
                   "held_out_images": len(subject.images), "solver_steps": steps(subject, args),
                   "precision": subject.model.runtime.precision}
            for name, subject in subjects.items()}  # fmt: skip
    common.finish(
        "fills",
        figures,
        targets=targets(args),
        protocol={"runs": runs, "images": args.num, "fills": args.fills, "mnist_images": args.num_mnist,
                  "mnist_trials": args.trials, "frechet_images": args.num_frechet, "seed": args.seed,
                  "opencv_radius_pixels": filling.RADIUS},
        precision=next(iter(runs.values()))["precision"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
