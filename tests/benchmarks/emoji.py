"""Half an hour on colour icons of 64 px: PSNR of unseen icons (>= 30 dB), coverage of samples (>= 0.6), pictures.

    python tests/benchmarks/emoji.py --data FOLDER --work FOLDER [--minutes 30] [--pythae]

Split by base code point: an icon is held out when the hash of its name's first code point falls in the lowest 8 %, so
that skin tones, genders and families of an icon lie on one side (281 of 3,528 images of Noto Emoji). `vae train --time
30m` on the others with no option that matters: sizes, colour, labels and likelihood are what the program chooses.

PSNR: mean over the held-out icons of the decoded posterior mean's, as in the training's own JSON. Coverage: 3,000
samples with default settings against 3,000 training icons, evenly spaced, k = 5, on the 64 features of a small
classifier of the ten categories, trained on the training icons (vae_cli.metrics). `coverage_held_out` is the same
against the icons held out; beside both stands what real icons reach: the held-out ones are of kinds that no sampler can
know, so that even the training icons cover them in part only. The target is on the former. As copies of training icons
would cover them best, `nearest_training` compares the samples' distances to them with those of held-out icons. --pythae
adds pythae's VAE with its convolutional networks for 64×64 pixels and its three samplers, after the same minutes on the
same icons (peer.py).

Writes under --work: emoji-samples.png (64 samples), emoji-reconstructions.png (held-out icons, each with its
reconstruction to the right) and emoji-fills.png (rows: damaged image, four fills, the image; box, half, brush and
scattered pixels in turn). Hole PSNR is measured as in fills.py on held-out icons.

Tried: a refiner twice as wide (`model.flow.refiner_width`), at equal updates, is no better on these icons.
"""

import hashlib
from argparse import Namespace
from pathlib import Path
from typing import Any, TypeVar

import common
import filling
import numpy as np
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.drawing.grids import grid
from vae_cli.files.new_pictures import save_picture
from vae_cli.metrics.classifier import accuracy, features, train_classifier
from vae_cli.metrics.features import NUM_NEIGHBOURS, nearest_training, neighbourhoods
from vae_cli.metrics.pictures import psnr_db
from vae_cli.tasks.reconstruct import reconstruct
from vae_cli.tasks.sample import sample
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.prepare import prepare

TARGETS = (common.Target("psnr_db", 30.0, at_least=True), common.Target("coverage", 0.6, at_least=True))
HELD_OUT_SHARE = 0.08
FAMILIES = ("center", "half", "brush", "scattered")
SAMPLERS = ("normal", "mixture", "maf")
NUM_SHOWN = 12
NUM_FILLS = 4
Rows = TypeVar("Rows", np.ndarray, Tensor)


def is_held_out(path: Path) -> bool:
    """By the first code point of names such as 1f3c3-1f3fb-200d-2640-fe0f.png."""
    digest = hashlib.sha256(path.stem.split("-")[0].encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < HELD_OUT_SHARE


def split_folder(args: Namespace) -> Path:
    """train/ and val/ with links to the icons."""
    folder, icons = args.work / "emoji-split", sorted((args.data / "noto-emoji-64").glob("*/*.png"))
    common.link_images(folder / "train", [icon for icon in icons if not is_held_out(icon)])
    common.link_images(folder / "val", [icon for icon in icons if is_held_out(icon)])
    return folder


def trained(args: Namespace) -> tuple[Path, dict[str, Any]]:
    """The run after args.minutes and the JSON object of its training."""
    return common.train(
        args.work, f"emoji-{args.minutes:g}m", split_folder(args), "--labels", "none", "--time",
        common.seconds_of(args.minutes), "--device", args.device, "--seed", args.seed,
    )  # fmt: skip


def spread(rows: Rows, num: int) -> Rows:
    """At most `num` evenly spaced images or features: files lie category by category."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(num, len(rows))).astype(int))]


# ---- coverage


class Yardstick:
    """Compares pictures with the training icons and with the held-out ones."""

    def __init__(self, images: TrainingInputs, args: Namespace) -> None:
        """Trains the classifier; needs the icons' labels."""
        self.net = train_classifier(images.train.pixels, images.train.labels, seed=args.seed)
        self.accuracy = accuracy(self.net, images.validation.pixels, images.validation.labels)
        self.trained_on = features(self.net, images.train.pixels)
        self.held_out = features(self.net, images.validation.pixels)
        self.num = args.num_samples

    def of(self, pixels: np.ndarray) -> dict[str, Any]:
        """uint8 [N, H, W, C]."""
        found = features(self.net, pixels)
        return {**_against(self.held_out, spread(self.trained_on, self.num), found),
                "nearest_training": nearest_training(found, self.held_out, self.trained_on)._asdict()}  # fmt: skip

    def ceilings(self) -> dict[str, Any]:
        """Real icons against real icons: one half of the training icons against the other, and all against held-out."""
        half = _against(self.held_out, self.trained_on[::2], self.trained_on[1::2])
        return half | {"coverage_held_out": neighbourhoods(self.held_out, self.trained_on).coverage}


def _against(held_out: Tensor, trained_on: Tensor, found: Tensor) -> dict[str, Any]:
    near = neighbourhoods(trained_on, found)
    return {"coverage": near.coverage, "coverage_held_out": neighbourhoods(held_out, found).coverage,
            "precision": near.precision, "recall": near.recall, "density": near.density}  # fmt: skip


def our_coverage(model: Model, yardstick: Yardstick, args: Namespace) -> dict[str, Any]:
    def make() -> dict[str, Any]:
        drawn = np.stack(list(sample(model, args.num_samples, seed=args.seed)))
        return {**yardstick.of(drawn), "real": yardstick.ceilings(), "classifier_accuracy": yardstick.accuracy}

    key = [args.num_samples, args.seed, model.facts.step]
    return common.part(args.work, f"emoji-{args.minutes:g}m-coverage", key, make)


def pythae_figures(images: TrainingInputs, yardstick: Yardstick, args: Namespace) -> dict[str, Any]:
    """PSNR and, sampler by sampler, coverage of pythae's VAE after the same minutes."""
    import peer

    name, model = f"pythae-emoji-{args.minutes:g}m", peer.celeba_vae()
    weights, pixels = args.work / f"{name}.pt", np.array(images.train.pixels)
    config = peer.settings(args.work / "pythae", device=args.device, seed=args.seed)

    def make() -> dict[str, Any]:
        return peer.train(model, peer.as_dataset(peer.as_input(pixels)), config, peer.Clock(60 * args.minutes))

    facts = common.part(args.work, name, [args.minutes, args.device, args.seed], peer.trained(weights, model, make))
    peer.load_weights(weights, model)
    fit = peer.settings(args.work / "pythae", device=args.device, seed=args.seed, epochs=args.maf_epochs)
    key = [args.num_samples, args.seed, facts["updates"], args.maf_epochs]

    def of_sampler(sampler: str) -> dict[str, Any]:
        return dict(yardstick.of(peer.draw(model, sampler, args.num_samples, peer.as_input(pixels), fit)))

    drawn = {sampler: common.part(args.work, f"{name}-{sampler}", key, lambda sampler=sampler: of_sampler(sampler))
             for sampler in SAMPLERS}  # fmt: skip
    held_out = np.array(images.validation.pixels)
    known, rebuilt = (peer.as_input(shown) for shown in (held_out, peer.reconstruct(model, held_out)))
    return {"psnr_db": psnr_db(known, rebuilt).mean().item(), "samplers": drawn, "training": facts,
            "coverage": max(figures["coverage"] for figures in drawn.values())}  # fmt: skip


# ---- pictures


def draw_samples(model: Model, path: Path, seed: int) -> None:
    save_picture(grid(list(sample(model, 64, seed=seed))), path, seed=seed)


def draw_reconstructions(model: Model, images: np.ndarray, path: Path) -> None:
    pairs = zip(images, reconstruct(model, images), strict=True)
    save_picture(grid([picture for pair in pairs for picture in pair], num_columns=8), path)


def draw_fills(model: Model, images: np.ndarray, path: Path, seed: int) -> None:
    """Rows of damaged image, fills put into its hole, and the image itself."""
    holes = np.stack([filling.holes_of(FAMILIES[number % len(FAMILIES)], image[None], seed + number)[0]
                      for number, image in enumerate(images)])  # fmt: skip
    drawn = filling.model_fills(model, images, holes, fills=NUM_FILLS, seed=seed, solver_steps=None)
    inside = holes[..., None]
    columns = [np.where(inside, np.uint8(128), images), *(np.where(inside, fill, images) for fill in drawn), images]
    rows = [picture for row in zip(*columns, strict=True) for picture in row]
    save_picture(grid(rows, num_columns=len(columns)), path, seed=seed)


def draw_all(model: Model, images: np.ndarray, args: Namespace) -> dict[str, str]:
    """The three pictures; images are held-out icons."""
    paths = {name: args.work / f"emoji-{name}.png" for name in ("samples", "reconstructions", "fills")}
    draw_samples(model, paths["samples"], args.seed)
    draw_reconstructions(model, spread(images, 16), paths["reconstructions"])
    draw_fills(model, spread(images, NUM_SHOWN), paths["fills"], args.seed)
    return {name: str(path) for name, path in paths.items()}


def hole_psnr(model: Model, images: np.ndarray, args: Namespace) -> dict[str, Any]:
    """By family of masks, in dB; empty for --num 0."""
    if not args.num:
        return {}
    chosen = spread(images, args.num)

    def make() -> dict[str, Any]:
        return {
            family: filling.with_gain(
                filling.measure_ours(model, chosen, family, fills=args.fills, seed=args.seed),
                filling.measure_classical(chosen, family, seed=args.seed),
            )
            for family in FAMILIES
        }

    key = [args.num, args.fills, args.seed, model.facts.step]
    return common.part(args.work, f"emoji-{args.minutes:g}m-holes", key, make)


def options() -> Namespace:
    parser = common.parser(__doc__, data=True)
    parser.add_argument("--minutes", type=float, default=30.0, help="of training (default 30)")
    parser.add_argument("--num-samples", type=int, default=3000, help="for coverage (default 3000)")
    parser.add_argument("--num", type=int, default=40, help="held-out images for hole PSNR; 0 = off (default 40)")
    parser.add_argument("--fills", type=int, default=5, help="of each of them (default 5)")
    parser.add_argument("--pythae", action="store_true", help="compare with pythae after the same minutes")
    parser.add_argument("--maf-epochs", type=int, default=20, help="to fit pythae's flow (default 20)")
    return parser.parse_args()


def show(ours: dict[str, Any], theirs: dict[str, Any] | None, holes: dict[str, Any]) -> None:
    names = ("psnr_db", "coverage", "coverage_held_out")
    rows: list[tuple[object, ...]] = [("colour icons", *names), ("vae", *(ours[name] for name in names))]
    if theirs is not None:
        rows += [(f"pythae, {sampler}", theirs["psnr_db"], figures["coverage"], figures["coverage_held_out"])
                 for sampler, figures in theirs["samplers"].items()]  # fmt: skip
    common.table([*rows, ("real", "", *(ours["real"][name] for name in names[1:]))])
    if holes:
        common.table([("hole PSNR, dB", *holes["center"]), *((name, *psnr.values()) for name, psnr in holes.items())])


def main() -> None:
    args = options()
    run, facts = trained(args)
    model = common.load(run, args.device)
    images = prepare(model.config.updated({"data": {"labels": "folders"}}))  # for the classifier alone
    yardstick = Yardstick(images, args)
    found = {"psnr_db": facts["validation"]["psnr_db"], "ssim": facts["validation"]["ssim"],
             **our_coverage(model, yardstick, args)}  # fmt: skip
    theirs = pythae_figures(images, yardstick, args) if args.pythae else None
    holes = hole_psnr(model, images.validation.pixels, args)
    pictures = draw_all(model, images.validation.pixels, args)
    show(found, theirs, holes)
    print("\n".join(pictures.values()))
    common.finish(
        "emoji",
        {**found, "pythae": theirs, "psnr_hole_db": holes, "pictures": pictures, "training": facts},
        targets=TARGETS,
        protocol={"minutes": args.minutes, "training_images": len(images.train.ids),
                  "held_out_images": len(images.validation.ids), "samples": args.num_samples,
                  "neighbours": NUM_NEIGHBOURS,
                  "hole_images": args.num, "fills": args.fills, "seed": args.seed},
        precision=facts["precision"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
