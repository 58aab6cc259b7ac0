"""A default run on colour icons of 64 px: pictures for the eye, PSNR of reconstructions and of fills.

    python tests/benchmarks/emoji.py --data FOLDER --work FOLDER [--minutes 15]

`vae train --time 15m` on the emoji folder with no other option that matters (--seed and --device are the defaults), so
sizes, colour, labels and likelihood are what the program chooses. Writes under --work: emoji-samples.png (64 samples
of `vae sample`), emoji-reconstructions.png (held-out images, each with its reconstruction to the right) and
emoji-fills.png (rows: damaged image, four fills, the image; box, half, brush and scattered pixels in turn). PSNR of
reconstructions is that of the training's own JSON; hole PSNR is measured as in fills.py on held-out images.

No targets: the pictures are judged by looking at them.
"""

from pathlib import Path

import common
import fills
import numpy as np

from vae_cli.cli.output import grid, save_picture
from vae_cli.tasks.reconstruct import reconstruct
from vae_cli.training.checkpoint import LoadedModel
from vae_cli.training.prepare import held_out

FAMILIES = ("center", "half", "brush", "scattered")
NUM_SHOWN = 12
NUM_FILLS = 4


def spread(pixels: np.ndarray, num: int) -> np.ndarray:
    """At most `num` evenly spaced images: files lie category by category."""
    return pixels[np.unique(np.linspace(0, len(pixels) - 1, min(num, len(pixels))).astype(int))]


def draw_reconstructions(model: LoadedModel, images: np.ndarray, path: Path) -> None:
    pairs = zip(images, reconstruct(model, images), strict=True)
    save_picture(grid([picture for pair in pairs for picture in pair], num_columns=8), path)


def draw_fills(model: LoadedModel, images: np.ndarray, path: Path, seed: int) -> None:
    """Rows of damaged image, fills put into its hole, and the image itself."""
    holes = np.stack([fills.holes_of(FAMILIES[number % len(FAMILIES)], image[None], seed + number)[0]
                      for number, image in enumerate(images)])  # fmt: skip
    drawn = fills.model_fills(model, images, holes, fills=NUM_FILLS, seed=seed, solver_steps=None)
    inside = holes[..., None]
    columns = [np.where(inside, np.uint8(128), images), *(np.where(inside, fill, images) for fill in drawn), images]
    rows = [picture for row in zip(*columns, strict=True) for picture in row]
    save_picture(grid(rows, num_columns=len(columns)), path, seed=seed)


def main() -> None:
    parser = common.parser(__doc__, data=True)
    parser.add_argument("--minutes", type=float, default=15.0, help="of training (default 15)")
    parser.add_argument("--num", type=int, default=40, help="held-out images for hole PSNR; 0 = off (default 40)")
    parser.add_argument("--fills", type=int, default=5, help="of each of them (default 5)")
    args = parser.parse_args()
    run, trained = common.train(
        args.work, "emoji", args.data / "noto-emoji-64", "--time", common.seconds_of(args.minutes),
        "--device", args.device, "--seed", args.seed,
    )  # fmt: skip
    pictures = {name: args.work / f"emoji-{name}.png" for name in ("samples", "reconstructions", "fills")}
    common.vae_json(args.work, "sample", run, "-n", 64, "--out", pictures["samples"], "--overwrite",
                    "--device", args.device, "--seed", args.seed)  # fmt: skip
    model = common.load(run, args.device)
    images = held_out(model.config).pixels
    draw_reconstructions(model, spread(images, 16), pictures["reconstructions"])
    draw_fills(model, spread(images, NUM_SHOWN), pictures["fills"], args.seed)
    chosen = spread(images, args.num) if args.num else images[:0]
    found = {family: fills.measure(model, chosen, family, fills=args.fills, seed=args.seed)
             for family in ("center", "half", "scattered") if len(chosen)}  # fmt: skip

    validation = trained["validation"]
    common.table([("reconstructions", "value"), *((name, validation[name]) for name in ("psnr_db", "ssim"))])
    if found:
        common.table([("hole PSNR, dB", *found["center"]), *((name, *psnr.values()) for name, psnr in found.items())])
    for path in pictures.values():
        print(path)
    common.finish(
        "emoji",
        {"psnr_db": validation["psnr_db"], "ssim": validation["ssim"], "psnr_hole_db": found,
         "pictures": {name: str(path) for name, path in pictures.items()}, "training": trained},
        protocol={"minutes": args.minutes, "held_out_images": len(images), "hole_images": len(chosen),
                  "fills": args.fills, "seed": args.seed},
        precision=trained["precision"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
