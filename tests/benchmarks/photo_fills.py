"""Holes in photographs at their own size, filled by a model as it is, against classical methods.

    python tests/benchmarks/photo_fills.py --photos FOLDER … --run RUN --features FILE.py --masks FOLDER --work FOLDER
        [--side 128] [--num 40] [--young RUN …]

--num evenly spread photographs of each folder, their middle --side pixels square (smaller ones are enlarged).

gains   damaged by the families center (a box of half the side), half, brush and scattered (75 % missing) of
        `vae evaluate --holes`: hole PSNR of the mean of ten fills over the best of filling.CLASSICAL, as in fills.py.
frechet `compare` of FILE.py between the photographs and the same with the box filled once: the best classical distance
        over ours, for `--method auto` and, without any model, `classical`.
dust    the masks of scans in --masks (white = dust), a part of each picture's size that shows some, at a random place:
        PSNR in the dust over the best classical method.
young   runs or checkpoints of trainings that were stopped: by how much `auto` is behind `classical`, box, single fills.

Copied texture alone, boxes in 200 photographs and paintings of 128 px: FD 11.0 and 16.5 dB, where a smooth continuation
has 24.9 and 17.0, the best of the others (biharmonic, Telea) 26.4 and 16.1.

Tried on 60 of them: patches of 5, 7 and 9 pixels are alike; certainty by distance is worth a tenth of the distance,
the fit along the edge as much; ten times the spread costs a seventh. Always copying is no better than where evidence
asks for it (24.8 and 25.5; half of the boxes), which leaves plain grounds plain.

Tried with `photo` on 20 of them, one fill of a box and the mean of ten in dB, where a smooth continuation has 15.4, and
FD of the single ones: the model's fills as they are, 14.7, 16.2 and 20.7; mixed with the smooth ones, trusted to 0.42,
15.3, 16.0 and 21.4; that from noise of 0.2 instead of 0.8, trusted to 0.8, 15.5, the mean of two 15.7, and 22.2. The
mean of a fill and of that from mirrored noise is no better than one (15.3 and 16.0), nor is half of a fill's difference
from the mean of four (15.4, 16.0, 21.3). Whole pictures of 64 px, one mixed fill from noise of 0.8 and of 0.2: boxes
18.4 and 18.9, halves 15.0 and 15.4, strokes 21.0 and 21.3, scattered 23.55 and 23.8. So what is mixed is drawn from
little noise; several fills are the model's own where it foresees pixels beside the hole best.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import common
import filling
import numpy as np
import torch
from PIL import Image

from vae_cli.checkpoint import Model
from vae_cli.tasks.conditional_draws import Method

GAINS = {"center": 1.0, "half": 1.0, "brush": 0.5, "scattered": 0.3}
LEAST_RATIO, LEAST_DUST_GAIN, MOST_BEHIND = 2.0, 0.0, 0.3
DUST_PLACES = 200


def photographs(folders: list[Path], num: int, side: int) -> np.ndarray:
    """uint8 [folders · num, side, side, 3]."""
    found = []
    for folder in folders:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        for path in (files[index] for index in np.linspace(0, len(files) - 1, num).astype(int)):
            picture = Image.open(path).convert("RGB")
            scale = max(1, side / min(picture.size))
            picture = picture.resize(
                (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC
            )
            left, top = ((length - side) // 2 for length in picture.size)
            found.append(np.asarray(picture.crop((left, top, left + side, top + side))))
    return np.stack(found)


def dust(folder: Path, num: int, side: int, seed: int) -> np.ndarray:
    """bool [num, side, side]: parts of the masks, in turn, that show some dust."""
    masks = [np.asarray(Image.open(path).convert("L")) >= 128 for path in sorted(folder.glob("*.png"))]
    rng, found = np.random.default_rng(seed), []
    for index in range(num):
        mask = masks[index % len(masks)]
        for _ in range(DUST_PLACES):
            top, left = (int(rng.integers(length - side + 1)) for length in mask.shape)
            part = mask[top : top + side, left : left + side]
            if part.any() and not part.all():
                break
        found.append(part)
    return np.stack(found)


def filled(model: Model, images: np.ndarray, holes: np.ndarray, args: Namespace, method: Method = "auto") -> np.ndarray:
    """uint8 [N, H, W, C]: one fill of each."""
    return filling.model_fills(model, images, holes, fills=1, seed=args.seed, method=method)[0]


def gains(model: Model, images: np.ndarray, args: Namespace) -> dict[str, Any]:
    found = {family: filling.with_gain(filling.measure_ours(model, images, family, fills=10, seed=args.seed),
                                       filling.measure_classical(images, family, seed=args.seed))
             for family in GAINS}  # fmt: skip
    names = list(found["center"])
    common.table([("hole PSNR, dB", *names), *((family, *(row[name] for name in names))
                                               for family, row in found.items())])  # fmt: skip
    return {f"{family}_gain_db": row["gain"] for family, row in found.items()} | {"psnr_hole_db": found}


def frechet(model: Model, images: np.ndarray, args: Namespace) -> dict[str, Any]:
    holes, features = filling.holes_of("center", images, args.seed), common.load_features(args.features)
    pictures = {name: filling.classical_fills(name, images, holes) for name in filling.CLASSICAL}
    methods: tuple[Method, ...] = ("auto", "classical")
    pictures |= {f"ours_{method}": filled(model, images, holes, args, method) for method in methods}
    real, *others = (torch.from_numpy(each).permute(0, 3, 1, 2).contiguous() for each in (images, *pictures.values()))
    found = {name: features.compare(real, other)["fd"] for name, other in zip(pictures, others, strict=True)}
    common.table([("one fill of a box, FD", *found), ("", *found.values())])
    best = min(found[name] for name in filling.CLASSICAL)
    return {"frechet_ratio": best / found["ours_auto"], "frechet_ratio_without_model": best / found["ours_classical"],
            "frechet": found}  # fmt: skip


def dust_gain(model: Model, images: np.ndarray, args: Namespace) -> dict[str, Any]:
    holes = dust(args.masks, len(images), args.side, args.seed)
    pictures = {name: filling.classical_fills(name, images, holes) for name in filling.CLASSICAL}
    pictures["ours_classical"] = filled(model, images, holes, args, "classical")
    found = {name: filling.hole_psnr_db(images, picture, holes) for name, picture in pictures.items()}
    drawn = filling.model_fills(model, images, holes, fills=10, seed=args.seed)
    found["ours"] = filling.hole_psnr_db(images, drawn.mean(0), holes)
    common.table([("dust, hole PSNR, dB", *found), ("", *found.values())])
    return {"dust_gain_db": found["ours"] - max(found[name] for name in filling.CLASSICAL), "dust": found}


def behind(images: np.ndarray, args: Namespace) -> dict[str, Any]:
    holes, found = filling.holes_of("center", images, args.seed), {}
    for run in args.young:
        model = common.load(run, args.device)
        auto, classical = (filling.hole_psnr_db(images, filled(model, images, holes, args, method), holes)
                           for method in ("auto", "classical"))  # fmt: skip
        found[str(run)] = classical - auto
    common.table([("stopped training, dB behind", *found), ("", *found.values())])
    return {"most_behind_db": max(found.values()), "behind_db": found}


def main() -> None:
    parser = common.parser(__doc__, features=True)
    parser.add_argument("--photos", type=Path, nargs="+", required=True, metavar="FOLDER")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--masks", type=Path, metavar="FOLDER", help="of real scans; for `dust`")
    parser.add_argument("--young", type=Path, nargs="*", default=[], metavar="RUN")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--num", type=int, default=40, help="photographs of each folder (default 40)")
    args = parser.parse_args()
    model, images = common.load(args.run, args.device), photographs(args.photos, args.num, args.side)
    figures = gains(model, images, args) | frechet(model, images, args)
    targets = [common.Target(f"{family}_gain_db", bound, at_least=True) for family, bound in GAINS.items()]
    targets.append(common.Target("frechet_ratio", LEAST_RATIO, at_least=True))
    if args.masks:
        figures |= dust_gain(model, images, args)
        targets.append(common.Target("dust_gain_db", LEAST_DUST_GAIN, at_least=True))
    if args.young:
        figures |= behind(images, args)
        targets.append(common.Target("most_behind_db", MOST_BEHIND))
    common.finish("photo_fills", figures, targets=targets, precision=model.runtime.precision,
                  protocol={"run": str(args.run), "step": model.facts.step, "images": len(images), "side": args.side,
                            "photos": [str(folder) for folder in args.photos], "seed": args.seed})  # fmt: skip


if __name__ == "__main__":
    main()
