"""What the settings of the `nll` preset are worth: one training a variant, the likelihood of images that it held out.

    python tests/benchmarks/nll_ablations.py --data FOLDER --work FOLDER [--set mnist] [--steps 3000] [--only NAME …]

`vae train --preset nll --labels none --set data.binarize=dynamic` on the training images of MNIST or on the first
55,000 of Fashion-MNIST, one setting changed at a time. All variants hold out the same images, about 5 % of them, each
drawn black or white once; the bound is that of the averaged weights with one draw of the posterior, the NLL that
of `vae evaluate --importance-samples 50 --limit 500`: a bound also tells how well the posterior is fitted, the NLL how
good the model is. Rates of the layers, coarse to fine, show which ones carry anything at all.

All make equally many updates, because on a machine that others use too minutes are not equal; `images a second` tells
what an update costs, and `--minutes` gives all the same time instead. One seed a variant: differences below 0.1 nats
are noise. There are no targets: the last line is the table as JSON.
"""

from argparse import Namespace
from typing import Any

import common

VARIANTS: dict[str, tuple[str, ...]] = {
    "default": (),
    "no free nats": ("objective.free_nats=0",),
    "free nats 0.5": ("objective.free_nats=0.5",),
    "free nats 2": ("objective.free_nats=2",),
    "no free nats, KL warm-up 1500": ("objective.free_nats=0", "objective.kl_warmup_steps=1500"),
    "one layer at half the side": (
        "model.latents=[{stride: global, layers: 2, channels: 16}, {stride: 4, layers: 4, channels: 8},"
        " {stride: 2, layers: 1, channels: 4}]",
    ),
    "five layers at a quarter of it": (
        "model.latents=[{stride: global, layers: 1, channels: 16}, {stride: 4, layers: 5, channels: 8},"
        " {stride: 2, layers: 2, channels: 4}]",
    ),
    "plain bound to the end": ("objective.importance_samples=1",),
    "importance-weighted from half of it on": ("objective.importance_start=0.5",),
    "learning rate 1e-3": ("training.learning_rate=1e-3",),
    "width 24": ("model.width=24",),
    "width 48": ("model.width=48",),
    "batch 64": ("training.batch_size=64",),
}
"""What is changed against the preset; every one of them is a setting that users have."""


def measure(args: Namespace, name: str) -> dict[str, Any]:
    """Train one variant, unless it was before."""
    if args.set == "mnist":
        folder = args.data / "mnist" / "train"
    else:
        files = common.indexed_files(args.data, common.FASHION, 0, common.NUM_TRAINED)
        folder = common.link_images(args.work / f"fashion-first-{common.NUM_TRAINED}", files)
    budget = ("--time", common.seconds_of(args.minutes)) if args.minutes else ("--steps", args.steps)
    length = f"{args.minutes:g}m" if args.minutes else f"{args.steps}"
    slug = "".join(letter if letter.isalnum() else "-" for letter in f"nll-{args.set}-{name}-{length}")
    run, trained = common.train(
        args.work, slug, folder, "--preset", "nll", "--labels", "none", "--set", "data.binarize=dynamic",
        *(word for setting in VARIANTS[name] for word in ("--set", setting)),
        *budget, "--device", args.device, "--seed", args.seed,
    )  # fmt: skip
    vae = trained["phases"]["vae"]
    words = ("--importance-samples", 50, "--limit", 500, "--device", args.device, "--seed", args.seed)
    facts = common.part(args.work, f"{slug}-likelihood", [str(run), *words],
                        lambda: common.vae_json(args.work, "evaluate", run, *words).facts)  # fmt: skip
    return {
        "variant": name,
        "bound_nats": vae["validation_loss"],
        "nll_nats": facts["nll_nats"],
        "layer_rates_nats": [layer["rate_nats"] for layer in trained["validation"]["layers"]],
        "updates": vae["steps"],
        "images_per_second": vae["images_per_second"],
        "parameters": trained["parameters"],
    }


def main() -> None:
    parser = common.parser(__doc__, data=True)
    parser.add_argument("--set", choices=("mnist", "fashion"), default="mnist", help="images to learn (default mnist)")
    parser.add_argument("--steps", type=int, default=3000, help="updates, each (default 3000)")
    parser.add_argument("--minutes", type=float, help="of training, each, instead of updates")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    args = parser.parse_args()
    found = [measure(args, name) for name in args.only]
    common.table([
        ("variant", "bound (nats)", "NLL (nats)", "layers (nats)", "updates", "images a second"),
        *((row["variant"], row["bound_nats"], row["nll_nats"],
           " ".join(f"{rate:.1f}" for rate in row["layer_rates_nats"]), row["updates"], row["images_per_second"])
          for row in found),
    ])  # fmt: skip
    common.finish(
        "nll_ablations", {"variants": found},
        protocol={"set": args.set, "steps": None if args.minutes else args.steps, "minutes": args.minutes,
                  "seed": args.seed},
    )  # fmt: skip


if __name__ == "__main__":
    main()
