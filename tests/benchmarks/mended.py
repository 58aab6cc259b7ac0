"""The README's picture of mended photographs: damaged, by `photo` as it ships, by `--method classical`, the original.

    python tests/benchmarks/mended.py --work FOLDER

Coffee, chelsea and rocket (photographs.py), 240 pixels wide, with scratches, specks, a torn corner and a box that are
drawn from --seed. Prints the PSNR in the holes; no targets. Writes --work/mended.png.
"""

from pathlib import Path

import common
import filling
import numpy as np
import photographs
from PIL import Image, ImageDraw

from vae_cli.drawing.grids import grid
from vae_cli.files.new_pictures import save_picture
from vae_cli.tasks.conditional_draws import Method

NAMES, WIDTH, HEIGHT = ("coffee", "chelsea", "rocket"), 240, 160
METHODS: tuple[Method, ...] = ("auto", "classical")


def damage(rng: np.random.Generator) -> np.ndarray:
    """bool [HEIGHT, WIDTH]: three scratches, 25 specks, the lower right corner and a box in the left half."""
    mask = Image.new("1", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(mask)
    for _ in range(3):
        draw.line([rng.uniform(0, WIDTH), 0, rng.uniform(0, WIDTH), HEIGHT], fill=1, width=2)
    for _ in range(25):
        x, y, radius = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(1, 2.5)
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=1)
    corner = ((1, 1), (0.72, 1), (0.8, 0.85), (0.86, 0.8), (1, 0.66))
    draw.polygon([(x * WIDTH, y * HEIGHT) for x, y in corner], fill=1)
    draw.rectangle([0.3 * WIDTH, 0.3 * HEIGHT, 0.42 * WIDTH, 0.48 * HEIGHT], fill=1)
    return np.asarray(mask)


def main() -> None:
    args = common.parser(__doc__).parse_args()
    size, rng = (WIDTH, HEIGHT), np.random.default_rng(args.seed)
    images = np.stack(
        [
            np.asarray(Image.fromarray(photographs.picture(name)).resize(size, Image.Resampling.LANCZOS))
            for name in NAMES
        ]
    )
    holes = np.stack([damage(rng) for _ in NAMES])
    model = common.load(Path("photo"), args.device)
    fills = {method: filling.model_fills(model, images, holes, fills=1, seed=args.seed, method=method)[0]
             for method in METHODS}  # fmt: skip
    rows = zip(np.where(holes[..., None], np.uint8(255), images), *fills.values(), images, strict=True)
    save_picture(
        grid([picture for row in rows for picture in row], num_columns=4), args.work / "mended.png", seed=args.seed
    )
    figures = {f"{method}_psnr_db": filling.hole_psnr_db(images, fill, holes) for method, fill in fills.items()}
    common.table([("hole PSNR, dB", *figures), ("", *figures.values())])
    common.finish("mended", figures, protocol={"photographs": NAMES, "size": size, "seed": args.seed})


if __name__ == "__main__":
    main()
