"""What sides from 32 to 256 px cost and give: parameters, speed, memory, PSNR of unseen crops; `base` at 256 px.

    python tests/benchmarks/sizes.py --work FOLDER [--seconds 60] [--sizes 32 64 96x64 128 256]

Crops of the colour photographs that scikit-image ships, split by picture (photographs.py): 512 of five pictures are
learned from, 64 of two others held out. A crop is a random window of the size's proportions, at least as large as the
size and brought down to it, so that every size sees the same scenes. For each size `vae train --time 60s --image-size
HxW` with the default preset, both phases.

Seconds an update and images a second come from the training's JSON: updates over a phase's seconds, validation and
checkpoints included. Memory is the process's largest resident memory (of the machine, not of a GPU). PSNR is that of
the held-out crops' reconstructions after this short training: it tells that a size learns, not how far it could get.
Sampling is timed in one process with default settings, after a first batch that does not count.

`base` at 256 px is not trained but counted (cost.py): parameters, operations of an update, activations kept for it,
and the memory that these make at batch sizes that one GPU may hold. No targets.
"""

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import common
import cost
import photographs

from vae_cli.tasks.sample import CHUNK, sample

NUM_CROPS = {"train": 512, "val": 64}
BASE_SIDE, GPU_BATCHES = 256, (1, 16, 64)


def sides_of(text: str) -> tuple[int, int]:
    """(H, W) from `64` or `96x64`."""
    sides = [int(side) for side in text.split("x")]
    return sides[0], sides[-1]


def crop_folders(args: Namespace, size: tuple[int, int]) -> Path:
    """train/ and val/ of PNGs."""
    folder = args.work / f"crops-{size[0]}x{size[1]}"
    for split, names in (("train", photographs.LEARNED_FROM), ("val", photographs.HELD_OUT)):
        photographs.crop_folder(folder / split, names, NUM_CROPS[split], size, args.seed)
    return folder


def sampled_images_per_second(args: Namespace, run: Path) -> float:
    model = common.load(run, args.device)
    for _ in sample(model, CHUNK, seed=args.seed):
        pass
    start = time.perf_counter()
    drawn = sum(1 for _ in sample(model, args.num, seed=args.seed))
    return drawn / (time.perf_counter() - start)


def measure(args: Namespace, size: tuple[int, int]) -> dict[str, Any]:
    """Every figure of one size."""
    name = f"size-{size[0]}x{size[1]}"
    run, trained = common.train(
        args.work, name, crop_folders(args, size), "--time", f"{args.seconds}s", "--image-size", f"{size[0]}x{size[1]}",
        "--channels", 3, "--labels", "none", "--device", args.device, "--seed", args.seed,
    )  # fmt: skip

    def make() -> dict[str, Any]:
        model = common.load(run, args.device)
        modules = {"vae": model.vae, "flow": model.flow}
        counts = {f"{part}_parameters": sum(parameter.numel() for parameter in module.parameters())
                  for part, module in modules.items() if module is not None}  # fmt: skip
        return {**counts, "sampled_images_per_second": sampled_images_per_second(args, run)}

    found = common.part(args.work, f"{name}-sampling", [args.num, args.seed, trained["steps"]], make)
    for phase, facts in trained["phases"].items():
        found[f"{phase}_seconds_per_update"] = facts["seconds"] / facts["steps"]
        found[f"{phase}_images_per_second"] = facts["images_per_second"]
    return {"size": list(size), **found, "peak_bytes": trained["peak_bytes"],
            "psnr_db": trained["validation"]["psnr_db"], "ssim": trained["validation"]["ssim"],
            "data_wait_fraction": trained["data_wait_fraction"], "precision": trained["precision"],
            "steps": trained["steps"]}  # fmt: skip


def base_cost() -> dict[str, Any]:
    """Counts of the `base` preset, and bytes by batch size."""
    counted = cost.of_preset("base", (BASE_SIDE, BASE_SIDE))
    memory = {batch: {phase: counts.bytes_at(batch) for phase, counts in counted.items()} for batch in GPU_BATCHES}
    return {"phases": {phase: counts.as_dict() for phase, counts in counted.items()}, "bytes_by_batch": memory}


def show(found: list[dict[str, Any]], base: dict[str, Any]) -> None:
    heads = ("H×W", "VAE M par.", "flow M par.", "VAE s/update", "flow s/update", "VAE images/s", "flow images/s",
             "samples/s", "peak GiB", "PSNR dB")  # fmt: skip
    common.table([heads, *(
        ("{}×{}".format(*size["size"]), size["vae_parameters"] / 1e6, size.get("flow_parameters", 0) / 1e6,
         *(size.get(f"{phase}_{figure}", "") for figure in ("seconds_per_update", "images_per_second")
           for phase in ("vae", "flow")),
         size["sampled_images_per_second"], size["peak_bytes"] / 2**30 if size["peak_bytes"] else "", size["psnr_db"])
        for size in found
    )])  # fmt: skip
    batches = [f"GiB at batch {batch}" for batch in GPU_BATCHES]
    common.table([(f"base, {BASE_SIDE} px", "M par.", "GFLOP an image and update", "MiB kept an image", *batches), *(
        (phase, counts["parameters"] / 1e6, counts["update_flops"] / 1e9, counts["activation_bytes"] / 2**20,
         *(base["bytes_by_batch"][batch][phase] / 2**30 for batch in GPU_BATCHES))
        for phase, counts in base["phases"].items()
    )])  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of training at each size (default 60)")
    parser.add_argument("--num", type=int, default=128, help="images to sample (default 128)")
    parser.add_argument("--sizes", type=sides_of, nargs="+", metavar="S", default=list(map(sides_of, (
        "32", "64", "96x64", "128", "256"))), help="sides or HxW (default 32 64 96x64 128 256)")  # fmt: skip
    args = parser.parse_args()
    found = [measure(args, size) for size in args.sizes]
    base = base_cost()
    show(found, base)
    common.finish(
        "sizes",
        {"sizes": found, "base": base},
        protocol={"seconds": args.seconds, "crops": NUM_CROPS, "learned_from": photographs.LEARNED_FROM,
                  "held_out": photographs.HELD_OUT,
                  "samples": args.num, "seed": args.seed},
        precision=found[0]["precision"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
