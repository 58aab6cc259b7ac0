"""`vae inpaint` from folder to folder: 64×64 colour pictures, one fill each at the default solver (>= 60 images/s).

    python tests/benchmarks/folder_speed.py --work FOLDER [--run RUN] [--num 2000] [--solver-steps N]

Draws 2,000 PNGs and a folder of masks (box, half, brush and scattered pixels in turn), then runs `vae inpaint RUN
pictures --mask masks --out filled --json` as a process of its own. Images/s: pictures over the seconds from the start
of that process to its end, with the start of Python and torch, reading the model, and reading and writing of all files.
Beside it the same for one picture, which is nearly all start, and the rate without it: of a few hundred pictures, the
start takes a third of the time. Every picture has to come back, with the pixels outside its hole as they were.

RUN is any run of 64×64 colour images; without it one is trained on the drawn pictures for --seconds, as what a fill
costs does not depend on what the model has learned.
"""

import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
from PIL import Image

from vae_cli.dataset.random_masks import draw_observed
from vae_cli.randomness import image_generator

SIDE = 64
FAMILIES = ("center", "half", "brush", "scattered")
TARGET = common.Target("images_per_second", 60.0, at_least=True)


def mask_folder(folder: Path, num: int, seed: int) -> Path:
    """Masks for the pictures of common.draw_folder, white = hole."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num):
        observed = draw_observed(FAMILIES[index % len(FAMILIES)], 1, SIDE, SIDE, image_generator(seed, index))
        pixels = (255 * (1 - observed[0, 0])).to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{index:05d}.png")
    return folder


def trained(args: Namespace, pictures: Path) -> Path:
    return common.train(args.work, "folder-run", pictures, "--labels", "none", "--time", f"{args.seconds}s",
                        "--device", args.device, "--seed", args.seed)[0]  # fmt: skip


def filled(args: Namespace, run: Path, pictures: Path, masks: Path) -> common.Outcome:
    """The program's report about a folder or a file; what it has written is checked."""
    out = args.work / "folder-filled"
    shutil.rmtree(out, ignore_errors=True)
    steps = ("--solver-steps", args.solver_steps) if args.solver_steps else ()
    outcome = common.vae_json(
        args.work, "inpaint", run, pictures, "--mask", masks, "--out", out, "--device", args.device,
        "--seed", args.seed, *steps,
    )  # fmt: skip
    for source in [pictures] if pictures.is_file() else sorted(pictures.glob("*.png")):
        mask_path = masks if masks.is_file() else masks / source.name
        before, after, mask = (np.asarray(Image.open(path)) for path in (source, out / source.name, mask_path))
        assert (before[mask == 0] == after[mask == 0]).all() and (before[mask > 0] != after[mask > 0]).any(), source
    return outcome


def measure(args: Namespace) -> dict[str, Any]:
    pictures = common.draw_folder(args.work / f"folder-pictures-{args.num}", args.num, SIDE, 3, args.seed)
    masks = mask_folder(args.work / "folder-masks", args.num, args.seed)
    run = args.run or trained(args, pictures)
    first = sorted(pictures.glob("*.png"))[0]
    one = filled(args, run, first, masks / first.name)
    every = filled(args, run, pictures, masks)
    return {"images_per_second": args.num / every.seconds,
            "images_per_second_after_start": (args.num - 1) / (every.seconds - one.seconds),
            "seconds": every.seconds, "seconds_of_one_image": one.seconds, "peak_bytes": every.peak_bytes,
            "run": str(run)}  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--run", type=Path, help="a run of 64×64 colour images (default: trained here)")
    parser.add_argument("--seconds", type=int, default=120, help="of that training (default 120)")
    parser.add_argument("--num", type=int, default=2000, help="pictures (default 2,000)")
    parser.add_argument("--solver-steps", type=int, help="of the flow (default: the program's)")
    args = parser.parse_args()
    found = measure(args)
    names = ("images_per_second", "images_per_second_after_start", "seconds", "seconds_of_one_image")
    common.table([("folder to folder", *names), (f"{args.num} pictures", *(found[name] for name in names))])
    common.finish(
        "folder_speed",
        found,
        targets=[TARGET],
        protocol={"images": args.num, "side": SIDE, "families": FAMILIES, "solver_steps": args.solver_steps,
                  "seed": args.seed},
    )  # fmt: skip


if __name__ == "__main__":
    main()
