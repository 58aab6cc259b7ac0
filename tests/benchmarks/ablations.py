"""What each default is worth: one training a variant, all of the same length, one after the other.

    python tests/benchmarks/ablations.py --data FOLDER --features FILE.py --work FOLDER [--minutes 5] [--only NAME …]

`vae train --labels none` on the first 50,000 training images of Fashion-MNIST with one setting changed at a time, then
the Fréchet distance, precision, recall and coverage of 5,000 samples (10 solver steps) and the distance and PSNR of
reconstructions, all against training images 50,000 to 54,999. These images serve for choosing only: the figures that
are reported elsewhere use the last 5,000, which no choice has seen.

One seed a variant unless `--seeds` says otherwise; differences of a few per cent are noise on a machine that others
use too. There are no targets: the last line is the table as JSON.

Tried: a width of 64 instead of 32, 8 minutes on one core, made less than half as many updates: FD of samples 12.5
instead of 9.0, PSNR 27.9 dB instead of 28.6.
Muon for large convolutions saved the flow four updates out of ten; in the VAE it makes 29.06 dB (FD of reconstructions
1.20) of AdamW's 28.30 (1.81), after 2,500 updates. A transformer of width 128 with 4 blocks as the flow, centroids of
4×4 fields and noise on the latents together: FD of samples 13.0, coverage .79, PSNR 28.3 dB after 8 minutes on one
core, where the UNet on plain latents had 4.2, .89 and 29.4. On photographs of 64 px the transformer (256×6) wins at
equal seconds: held-out loss 1.24 instead of 1.29 after 90 s. On vectors, after 25 s of one core, token blocks (3, width
128) have a held-out loss of 0.94 under AdamW and 1.01 under Muon, and residual blocks 1.08. The scale of the noise,
measured on 512 samples, has a standard error of about 0.005.
"""

from argparse import Namespace
from types import ModuleType
from typing import Any

import common
import numpy as np
from samples import NAMES, as_features_want

from vae_cli.images.pixels import to_unit
from vae_cli.metrics.pictures import psnr_db
from vae_cli.tasks.reconstruct import reconstruct
from vae_cli.tasks.sample import sample

NUM_TRAINED, NUM = 50_000, 5_000
SOLVER_STEPS = 10
VARIANTS: dict[str, tuple[str, ...]] = {
    "default": (),
    "KL weight 0.03": ("objective.kl_weight=0.03",),
    "KL weight 0.3": ("objective.kl_weight=0.3",),
    "KL weight 1": ("objective.kl_weight=1",),
    "KL weight 1, free nats 100": ("objective.kl_weight=1", "objective.free_nats=100"),
    "KL warm-up 100": ("objective.kl_warmup_steps=100",),
    "one cluster": ("model.flow.clusters=1",),
    "64 clusters": ("model.flow.clusters=64",),
    "1024 clusters": ("model.flow.clusters=1024",),
    "batch 16": ("training.batch_size=16",),
    "batch 64": ("training.batch_size=64",),
    "batch 128": ("training.batch_size=128",),
    "flow of width 128": ("model.flow.width=128",),
    "flow of width 192": ("model.flow.width=192",),
    "flow of 4 blocks": ("model.flow.blocks=4",),
    "transformer": ("model.flow.net=transformer", "model.flow.width=128", "model.flow.blocks=4"),
    "AdamW for all of the flow": ("training.flow_optimizer=adamw",),
    "AdamW for all of the VAE": ("training.vae_optimizer=adamw",),
    "noise on latents": ("objective.latent_noise=0.3",),
    "flow share 0.4": ("training.flow_share=0.4",),
    "flow share 0.75": ("training.flow_share=0.75",),
    "learning rates 1e-3": ("training.learning_rate=1e-3", "training.flow_learning_rate=1e-3"),
    "VAE of width 24": ("model.width=24",),
    "VAE of width 64": ("model.width=64",),
    "8 latent channels": ("model.latents=[{stride: 4, channels: 8}]",),
    "dropout 0.1": ("model.dropout=0.1",),
    "discretised logistic": ("model.likelihood.kind=discretized_logistic",),
    "perceptual 3": ("objective.perceptual=3",),
    "adversarial 0.5": ("objective.adversarial=0.5",),
}
"""What is changed against the defaults; every one of them is a setting that users have."""


def measure(args: Namespace, features: ModuleType, name: str, seed: int) -> dict[str, Any]:
    """Train one variant, unless it was before, and measure it."""
    folder = common.link_images(
        args.work / f"fashion-first-{NUM_TRAINED}",
        common.indexed_files(args.data, "fashion-mnist/train", 0, NUM_TRAINED),
    )
    sets = [word for setting in VARIANTS[name] for word in ("--set", setting)]
    slug = "".join(letter if letter.isalnum() else "-" for letter in f"{name}-{seed}-{args.minutes:g}m")
    run, trained = common.train(
        args.work, slug, folder, "--labels", "none", "--time", common.seconds_of(args.minutes), "--device",
        args.device, "--seed", seed, *sets,
    )  # fmt: skip

    def make() -> dict[str, Any]:
        model = common.load(run, args.device)
        held_out = common.fashion_pixels(args.data, NUM_TRAINED, NUM_TRAINED + NUM)
        real = as_features_want(held_out)
        drawn = np.stack(list(sample(model, NUM, seed=seed, solver_steps=SOLVER_STEPS)))
        rebuilt = np.stack(list(reconstruct(model, held_out)))
        psnr = psnr_db((to_unit(held_out) + 1) / 2, (to_unit(rebuilt) + 1) / 2).mean().item()
        compared = features.compare(real, as_features_want(drawn))
        return {**{key: compared[key] for key in NAMES}, "psnr_db": psnr,
                "reconstructions_fd": features.compare(real, as_features_want(rebuilt))["fd"]}  # fmt: skip

    figures = common.part(args.work, f"{slug}-figures", [NUM, str(args.features)], make)
    steps = {phase: facts["steps"] for phase, facts in trained["phases"].items()}
    return {"variant": name, "seed": seed, "steps": steps, **figures}


def main() -> None:
    parser = common.parser(__doc__, data=True, features=True)
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, each (default 5)")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    features = common.load_features(args.features)
    found = [measure(args, features, name, seed) for seed in args.seeds for name in args.only]
    columns = (*NAMES, "reconstructions_fd", "psnr_db")
    rows = [("variant", "seed", "updates", *columns)]
    rows += [(row["variant"], row["seed"], " + ".join(str(steps) for steps in row["steps"].values()),
              *(row[key] for key in columns)) for row in found]  # fmt: skip
    common.table(rows)
    common.finish(
        "ablations", {"variants": found},
        protocol={"training_images": NUM_TRAINED, "minutes": args.minutes, "samples": NUM, "solver_steps": SOLVER_STEPS,
                  "compared_with": f"training images {NUM_TRAINED} to {NUM_TRAINED + NUM - 1}"},
    )  # fmt: skip


if __name__ == "__main__":
    main()
