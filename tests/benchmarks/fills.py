"""Hole PSNR of fills against classical inpainting: at least 3 dB more on box and half.

    python tests/benchmarks/fills.py --data FOLDER --work FOLDER [--run RUN] [--num 200]

With RUN, trained as by samples.py (without --run that run under --work is used or made), 200 of the last 5,000
Fashion-MNIST training images, evenly spaced, are damaged by each family of masks and filled: by the model, once and as
the mean of 10 fills, and by OpenCV's Telea and Navier-Stokes and scikit-image's biharmonic inpainting, all on the same
images and masks. A fill is rounded to grey levels as it would be written; the mean of fills is not rounded.

Hole PSNR: mean squared error over the pixels of an image's hole, values in [0, 1], in dB, then the mean over images.
Errors below 1e-6 count as 1e-6 (60 dB), so that holes in the plain black ground cannot be infinitely good. The gain is
that of the mean of 10 fills over the best classical method; a single fill is a draw of what may be there, not an
estimate of it, and has a higher error by nature.
"""

from collections.abc import Callable
from pathlib import Path

import common
import cv2
import numpy as np
import torch
from skimage.restoration import inpaint_biharmonic

from vae_cli.data.damage import FAMILIES, draw_observed
from vae_cli.data.pixels import to_pixels, to_unit
from vae_cli.model.priors import image_generator
from vae_cli.model.vae import Latents, draw_noise
from vae_cli.tasks.posterior import posterior_pictures
from vae_cli.training.checkpoint import LoadedModel

TARGETS = tuple(common.Target(f"{family}_gain_db", 3.0, at_least=True) for family in ("center", "half"))
SMALLEST_ERROR = 1e-6
OURS = ("mean_of_fills", "single_fill")


def opencv(method: int, radius: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A filler of uint8 [H, W, C] in the hole, bool [H, W]."""
    return lambda image, hole: cv2.inpaint(image, hole.astype(np.uint8), radius, method).reshape(image.shape)


def biharmonic(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """uint8 [H, W, C]."""
    filled = inpaint_biharmonic(image / 255.0, hole, channel_axis=-1)
    return (filled.clip(0, 1) * 255).round().astype(np.uint8)


def classical(radius: float) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    return {"telea": opencv(cv2.INPAINT_TELEA, radius), "navier_stokes": opencv(cv2.INPAINT_NS, radius),
            "biharmonic": biharmonic}  # fmt: skip


def model_fills(
    model: LoadedModel, images: np.ndarray, holes: np.ndarray, *, fills: int, seed: int, solver_steps: int | None,
    batch_size: int = 100,
) -> np.ndarray:  # fmt: skip
    """uint8 [fills, N, H, W, C]: whole pictures from posterior_pictures; fill k of image i depends on (seed, i, k).

    images: uint8 [N, H, W, C] at the model's size, holes: bool [N, H, W].
    """
    places = [(image, fill) for fill in range(fills) for image in range(len(images))]
    observed = torch.from_numpy(~holes).float()[:, None]
    hidden = to_unit(images) * observed
    answers = []
    for start in range(0, len(places), batch_size):
        chosen = places[start : start + batch_size]
        rows = [image for image, _ in chosen]
        each = [draw_noise(model.vae.latent_shapes, 1, image_generator(seed, *place)) for place in chosen]
        noise = Latents(tuple(torch.cat(layer) for layer in zip(*each, strict=True)))
        answers.append(
            to_pixels(posterior_pictures(model, hidden[rows], observed[rows], noise, solver_steps=solver_steps))
        )
    return np.concatenate(answers).reshape(fills, *images.shape)


def hole_psnr_db(images: np.ndarray, filled: np.ndarray, holes: np.ndarray) -> float:
    """Mean over images of the PSNR in their holes; images and filled [N, H, W, C] in 0..255."""
    squares = np.square((images.astype(np.float64) - filled) / 255).mean(-1)
    errors = (squares * holes).sum((1, 2)) / holes.sum((1, 2))
    return float(np.mean(-10 * np.log10(np.maximum(errors, SMALLEST_ERROR))))


def holes_of(family: str, images: np.ndarray, seed: int) -> np.ndarray:
    """bool [N, H, W], at least one pixel in each."""
    generator = torch.Generator().manual_seed(seed)
    holes = draw_observed(family, *images.shape[:3], generator)[:, 0].numpy() == 0
    assert holes.any((1, 2)).all()
    return holes


def measure(
    model: LoadedModel, images: np.ndarray, family: str, *, fills: int, seed: int, solver_steps: int | None = None,
    radius: float = 3.0,
) -> dict[str, float]:  # fmt: skip
    """Hole PSNR in dB of the model's fills and of each classical method, and the gain over the best of those."""
    holes = holes_of(family, images, seed)
    drawn = model_fills(model, images, holes, fills=fills, seed=seed, solver_steps=solver_steps)
    psnr = {
        "mean_of_fills": hole_psnr_db(images, drawn.astype(np.float64).mean(0), holes),
        "single_fill": hole_psnr_db(images, drawn[0], holes),
    }
    for name, fill in classical(radius).items():
        answers = np.stack([fill(image, hole) for image, hole in zip(images, holes, strict=True)])
        psnr[name] = hole_psnr_db(images, answers, holes)
    return psnr | {"gain": psnr["mean_of_fills"] - max(psnr[name] for name in classical(radius))}


def main() -> None:
    parser = common.parser(__doc__, data=True)
    parser.add_argument("--run", type=Path, help="a trained run; default: the one of samples.py under --work")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training where a run is made (default 10)")
    parser.add_argument("--num", type=int, default=200, help="images (default 200)")
    parser.add_argument("--fills", type=int, default=10, help="of each image (default 10)")
    parser.add_argument("--solver-steps", type=int, default=None, help="of the flow (default: the model's)")
    parser.add_argument("--radius", type=float, default=3.0, help="of OpenCV's methods, pixels (default 3)")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    args = parser.parse_args()
    run = args.run or common.fashion_run(
        args.work, args.data, minutes=args.minutes, device=args.device, seed=args.seed
    )[0]  # fmt: skip
    model = common.load(run, args.device)
    held_out = common.fashion_pixels(args.data, common.NUM_TRAINED, common.NUM_FASHION)
    images = held_out[np.linspace(0, len(held_out) - 1, args.num).astype(int)]

    found = {family: measure(model, images, family, fills=args.fills, seed=args.seed, solver_steps=args.solver_steps,
                             radius=args.radius) for family in args.families}  # fmt: skip
    names = (*OURS, *classical(args.radius), "gain")
    common.table([("hole PSNR, dB", *names),
                  *((family, *(psnr[name] for name in names)) for family, psnr in found.items())])  # fmt: skip
    common.finish(
        "fills",
        {f"{family}_gain_db": psnr["gain"] for family, psnr in found.items()} | {"psnr_hole_db": found},
        targets=[target for target in TARGETS if target.figure.removesuffix("_gain_db") in found],
        protocol={"run": str(run), "step": model.step, "images": args.num, "fills": args.fills, "seed": args.seed,
                  "solver_steps": args.solver_steps or model.config.model.flow.solver_steps,
                  "opencv_radius_pixels": args.radius, "smallest_error": SMALLEST_ERROR},
        precision=model.runtime.precision,
    )  # fmt: skip


if __name__ == "__main__":
    main()
