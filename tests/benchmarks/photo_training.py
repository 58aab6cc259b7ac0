"""What a training on photographs gives, from nothing and from `photo`: reconstructions, samples, fills.

    python tests/benchmarks/photo_training.py --pictures FOLDER --features FILE.py --work FOLDER [--minutes 15]
                                              [--init none photo] [--limit 300] [--samples 1500]
                                              [--guidance 1 3]

FOLDER of --pictures holds photographs, perhaps in class folders. Every tenth of the sorted names (number 7, 17, …) is
held out; `vae train --labels none --image-size 64` learns from the others (of --limit N, from N of them). Then the PSNR
of the held-out photographs' reconstructions, their Fréchet distance to them, and the distance, coverage and recall of
samples against as many of the photographs that were learned from, all by `compare` of FILE.py at 64 pixels.

--guidance: samples are also measured under these, not only under the program's own.

Found, on 400 samples of flowers by `photo` (6,144 updates of its flow ago), FD and coverage: without guidance 62.5 and
0.38; towards the cluster alone, at 2, 55.0 and 0.41; towards the label alone, at 1.5, 58.4 and 0.41; towards both at 2,
which is what the program does, 52.6 and 0.44, at 3 53.5 and 0.44. Worse: guidance at times 0.2 to 0.8 only (60.4), with
the net without its third block as what is led away from (57.9). No better: 20 steps for 10, noise added in each step.

Found, on 400 samples of flowers after 450 updates of the flow from `photo`, by what they start from: one of 206
clusters of 4×4 fields 55.0 and 0.425; the layout of 4×4 fields of a training image, with noise of a tenth, 52.7 and
0.435; with views of which nothing is known 58 of 100 instead of 30 besides, 50.9 and 0.48; layouts of 8×8 fields with
noise of a third 46.4 and 0.50, but nine of 400 copy an image (`copied`; of held-out photographs 1 of 367). So layouts
are mixed with more noise, and the flow is told with how much; by the share of the layout that is left, before `photo`
had learned to its end: all 45.6 and 0.47, 14 copies; 0.9 52.5 and 0.445, one copy; 0.8 58.1 (earlier). Layouts of crops
of training images, without noise: 52.8 and 0.43, two copies. Guidance 3 instead of 2: 55.6.

Found after 15 minutes from `photo` (the one before the last), 1,500 samples: layouts drawn with and without repeats,
37.3 and 36.8, coverage 0.47 of both. By then nearly half of the distance is that of the means of the features (16.6),
which neither sharpening, contrast nor colour moves; samples have 1.2 times the power of photographs at 4 to 16 waves a
side and 0.4 times at 24 to 32. Temperature 0.9, 400 samples: 43.5 for 43.7. The VAE alone, updates from `photo` and
what they give, flowers: none 28.6 dB and 7.8, 300 28.7 and 6.9, 1,270 28.7 and 7.1; trashnet: none 34.4 and 8.5, 320
35.0 and 7.5. So the flow takes 85 of 100 parts of the time, not 60: 1,438 updates in 15 minutes instead of 868.
Perceptual 3 and adversarial 0.3, 300 updates of the VAE on flowers: 28.7 and 7.0, 28.6 and 7.5.

Distances depend on the number of pictures: compare rows of one run of this script only.
"""

from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import common
import numpy as np
import torch
from PIL import Image

from vae_cli.drawing.grids import grid
from vae_cli.files.new_pictures import save_picture
from vae_cli.images.pixels import to_unit
from vae_cli.metrics.pictures import psnr_db
from vae_cli.tasks.reconstruct import reconstruct
from vae_cli.tasks.sample import sample

SIZE, HELD_OUT = 64, 7
SUFFIXES = (".jpg", ".jpeg", ".png")
COLUMNS = ("psnr", "recon_fd", "fd", "coverage", "recall", "precision", "fill_share", "steps")


def split(pictures: Path, work: Path, limit: int | None) -> tuple[Path, Path]:
    """Folders of links to the photographs that are learned from, and to the held-out ones."""
    files = sorted(path for path in pictures.rglob("*") if path.suffix.lower() in SUFFIXES)
    held_out = files[HELD_OUT::10]
    learned = [path for number, path in enumerate(files) if number % 10 != HELD_OUT]
    chosen = (
        learned if limit is None else [learned[i] for i in np.random.default_rng(0).permutation(len(learned))[:limit]]
    )
    for folder, part in ((work / "learned", chosen), (work / "held-out", held_out)):
        folder.mkdir(parents=True, exist_ok=True)
        for path in part:
            link = folder / "-".join(path.relative_to(pictures).parts)
            if not link.exists():
                link.symlink_to(path.resolve())
    return work / "learned", work / "held-out"


def shown(folder: Path, num: int | None = None) -> np.ndarray:
    """uint8 [N, 64, 64, 3]: centre crops, area-averaged; `num` of them in a fixed order."""
    paths = sorted(folder.iterdir())
    if num is not None:
        paths = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))[:num]]
    found = []
    for path in paths:
        with Image.open(path) as image:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            box = (left, top, left + side, top + side)
            found.append(np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX, box=box)))
    return np.stack(found)


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [N, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def measured(init: str, learned: Path, held_out: Path, features: ModuleType, args: Namespace) -> dict[str, Any]:
    run, trained = common.train(args.work, f"from-{init}", learned, "--labels", "none", "--image-size", SIZE, "--time",
                                common.seconds_of(args.minutes), "--init", init, "--device", args.device, "--seed",
                                args.seed)  # fmt: skip

    def make() -> dict[str, Any]:
        model, real = common.load(run, args.device), shown(held_out)
        rebuilt = np.stack(list(reconstruct(model, real)))
        drawn = np.stack(list(sample(model, args.samples, seed=args.seed)))
        save_picture(grid(list(drawn[:96])), args.work / f"from-{init}-samples.png", seed=args.seed)
        psnr = psnr_db(*((to_unit(part) + 1) / 2 for part in (real, rebuilt)))
        seen = as_tensor(shown(learned, args.samples))
        figures = features.compare(seen, as_tensor(drawn))
        for guidance in args.guidance:
            other = np.stack(list(sample(model, args.samples, seed=args.seed, guidance=guidance)))
            figures[f"guidance_{guidance:g}"] = features.compare(seen, as_tensor(other))
        return {**figures, "psnr": float(psnr.mean()),
                "recon_fd": features.compare(as_tensor(real), as_tensor(rebuilt))["fd"]}  # fmt: skip

    figures = common.part(args.work, f"from-{init}-figures", [args.samples, str(args.features), args.guidance], make)
    return {**figures, "fill_share": trained["fill_share"], "steps": trained["steps"]}


def main() -> None:
    parser = common.parser(__doc__, features=True)
    parser.add_argument("--pictures", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--init", nargs="+", default=["none", "photo"])
    parser.add_argument("--limit", type=int)
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--guidance", type=float, nargs="*", default=[])
    args = parser.parse_args()
    learned, held_out = split(args.pictures, args.work, args.limit)
    features = common.load_features(args.features)
    found = {init: measured(init, learned, held_out, features, args) for init in args.init}
    common.table(
        [("init", *COLUMNS), *((init, *(figures[name] for name in COLUMNS)) for init, figures in found.items())]
    )
    common.finish("photo_training", found, protocol=vars(args))


if __name__ == "__main__":
    main()
