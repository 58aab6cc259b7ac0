"""Images a second of training and sampling at 28 px grey and at 32, 64 and 128 px colour.

    python tests/benchmarks/sizes.py --work FOLDER [--seconds 60] [--sizes 28 32 64 128]

For each size `vae train --time 60s --image-size S` with the default preset on 512 drawn pictures, both phases; the
speeds are those of the training's JSON: updates times batch size over a phase's seconds, validation and checkpoints
included. Sampling is timed in one process with default settings, after a first batch that does not count. Speeds are
of this machine; quality is not looked at. No targets.
"""

import time
from argparse import Namespace
from typing import Any

import common

from vae_cli.tasks.sample import CHUNK, sample

NUM_PICTURES = 512


def measure(side: int, args: Namespace) -> dict[str, Any]:
    """Speeds at one size."""
    channels = 1 if side == 28 else 3
    folder = common.draw_folder(args.work / f"drawn-{side}", NUM_PICTURES, side, channels)
    run, trained = common.train(
        args.work, f"size-{side}", folder, "--time", f"{args.seconds}s", "--image-size", side,
        "--channels", channels, "--device", args.device, "--seed", args.seed,
    )  # fmt: skip
    model = common.load(run, args.device)
    for _ in sample(model, CHUNK, seed=args.seed):
        pass
    start = time.perf_counter()
    drawn = sum(1 for _ in sample(model, args.num, seed=args.seed))
    sampled = drawn / (time.perf_counter() - start)
    speeds = {f"{name}_images_per_second": phase["images_per_second"] for name, phase in trained["phases"].items()}
    return {"side": side, "channels": channels, **speeds, "sampled_images_per_second": sampled,
            "data_wait_fraction": trained["data_wait_fraction"], "parameters": trained["parameters"],
            "precision": trained["precision"]}  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of training at each size (default 60)")
    parser.add_argument("--num", type=int, default=128, help="images to sample (default 128)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[28, 32, 64, 128], metavar="S", help="28 is grey")
    args = parser.parse_args()
    found = [measure(side, args) for side in args.sizes]
    names = ("side", "channels", "vae_images_per_second", "flow_images_per_second", "sampled_images_per_second",
             "parameters")  # fmt: skip
    common.table([[name.removesuffix("_images_per_second") for name in names],
                  *([size.get(name, "") for name in names] for size in found)])  # fmt: skip
    common.finish(
        "sizes",
        {"sizes": found},
        protocol={"seconds": args.seconds, "pictures": NUM_PICTURES, "samples": args.num, "seed": args.seed},
        precision=found[0]["precision"],
    )


if __name__ == "__main__":
    main()
