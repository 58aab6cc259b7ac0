"""Samples of Fashion-MNIST after ten minutes: Fréchet distance (FD <= 20) and coverage (>= 0.8).

    python tests/benchmarks/fashion_samples.py --data FOLDER --features FILE.py --work FOLDER [--minutes 10]

`vae train --labels none --time 10m` with the default preset on the first 55,000 training images (the program holds out
about 5 % of them for itself), then 5,000 samples with default settings, compared by `compare` of FILE.py with the last
5,000 training images. Beside it the same for the reconstructions of those 5,000, which bounds what samples can reach,
and for the real images 50,000 to 54,999.

Deviations from the usual protocol: the held-out images come from the training set, as the test set stays untouched;
the features may have been fitted to them, so FD compares runs with each other and not with published FIDs. Nearest
neighbours (precision, recall, coverage) use as many images as `compare` takes.
"""

import time
from pathlib import Path

import common
import numpy as np
import torch

from vae_cli.cli.output import grid, save_picture
from vae_cli.tasks.reconstruct import reconstruct
from vae_cli.tasks.sample import sample

TARGETS = (common.Target("fd", 20.0), common.Target("coverage", 0.8, at_least=True))


def as_features_want(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [N, 28, 28, 1] -> [N, 1, 28, 28]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def main() -> None:
    parser = common.parser(__doc__, data=True, features=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="of training (default 10)")
    parser.add_argument("--num", type=int, default=5000, help="images on each side of the comparison (default 5000)")
    args = parser.parse_args()
    features = common.load_features(args.features)
    run, trained = common.fashion_run(args.work, args.data, minutes=args.minutes, device=args.device, seed=args.seed)

    model = common.load(run, args.device)
    start = time.perf_counter()
    samples = np.stack(list(sample(model, args.num, seed=args.seed)))
    seconds = time.perf_counter() - start
    held_out = common.fashion_pixels(args.data, common.NUM_FASHION - args.num, common.NUM_FASHION)
    trained_on = common.fashion_pixels(args.data, common.NUM_TRAINED - args.num, common.NUM_TRAINED)
    rebuilt = np.stack(list(reconstruct(model, held_out)))
    sheet = Path(args.work) / "fashion-samples.png"
    save_picture(grid(list(samples[:100])), sheet, seed=args.seed)

    sets = {"samples": samples, "reconstructions": rebuilt, "real": trained_on}
    real = as_features_want(held_out)
    figures = {name: features.compare(real, as_features_want(images)) for name, images in sets.items()}
    names = ("fd", "precision", "recall", "coverage")
    common.table([("against held-out images", *names),
                  *((name, *(values[key] for key in names)) for name, values in figures.items())])  # fmt: skip
    print(f"{args.num / seconds:.0f} samples/s; {trained['steps']} steps; {sheet}")
    common.finish(
        "fashion_samples",
        {**figures["samples"], "reconstructions": figures["reconstructions"], "real": figures["real"],
         "samples_per_second": args.num / seconds, "training": trained},
        targets=TARGETS,
        protocol={"training_images": common.NUM_TRAINED, "minutes": args.minutes, "samples": args.num,
                  "held_out": f"training images {common.NUM_FASHION - args.num} to {common.NUM_FASHION - 1}",
                  "seed": args.seed},
        precision=trained["precision"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
