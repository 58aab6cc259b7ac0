"""The image sets of fills.py and denoise.py: for each a trained run and held-out images.

fashion       the first 55,000 training images of Fashion-MNIST; held out are the last 5,000
emoji         Noto Emoji split by base code point (emoji.py); training chooses its best weights by the held-out icons
photographs   6,000 crops of 64×64 colour pixels of five photographs, and 300 of another to choose the best weights by;
              held out are 200 crops of two others (photographs.py)
mnist         MNIST's training part; held out is its test part

A run is `vae train --labels none --time …` with the default preset, under --work; --run takes another.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import emoji
import numpy as np
import photographs

from vae_cli.checkpoint import Model
from vae_cli.training.prepare import prepare

MINUTES = {"fashion": 10.0, "emoji": 15.0, "photographs": 15.0, "mnist": 30.0}
"""Of training."""
NUM_CROPS, NUM_VALIDATED, NUM_HELD_OUT_CROPS, CROP_SIZE = 6000, 300, 200, (64, 64)
NUM_MNIST_TEST = 10_000


@dataclass(frozen=True)
class Subject:
    """A trained model of a set, and images uint8 [N, H, W, C] that it has not seen."""

    name: str
    run: Path
    model: Model
    images: np.ndarray

    @property
    def label(self) -> str:
        """For names of files of results."""
        return f"{self.name}-{self.run.name}"


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, help=f"of training (default {MINUTES})")
    parser.add_argument("--run", type=_named_run, action="append", default=[], metavar="SET=RUN",
                        help="a trained run instead of one under --work; repeatable")  # fmt: skip


def _named_run(text: str) -> tuple[str, Path]:
    name, _, run = text.partition("=")
    if name not in MINUTES or not Path(run).exists():
        raise ArgumentTypeError(f"{text}: write SET=RUN, SET one of {', '.join(MINUTES)} and RUN a folder")
    return name, Path(run)


def minutes_of(name: str, args: Namespace) -> float | None:
    """Of training; None for a run that was given."""
    return None if name in dict(args.run) else args.minutes or MINUTES[name]


def subject(name: str, args: Namespace) -> Subject:
    """Trains unless there is a run."""
    run = dict(args.run).get(name) or _trained(name, args)
    model = common.load(run, args.device)
    return Subject(name, run, model, _held_out(name, model, args))


def _trained(name: str, args: Namespace) -> Path:
    args = Namespace(**{**vars(args), "minutes": args.minutes or MINUTES[name]})
    if name == "emoji":
        return emoji.trained(args)[0]
    if name == "fashion":
        return common.fashion_run(
            args.work, args.data, minutes=args.minutes, device=args.device, seed=args.seed
        )[0]  # fmt: skip
    words: tuple[Any, ...] = (args.data / "mnist" / "train",)
    if name == "photographs":
        folder = args.work / "photographs"
        for split, names, num in (("train", photographs.LEARNED_FROM, NUM_CROPS),
                                  ("val", photographs.VALIDATED_ON, NUM_VALIDATED)):  # fmt: skip
            photographs.crop_folder(folder / split, names, num, CROP_SIZE, args.seed)
        words = (folder, "--image-size", "x".join(map(str, CROP_SIZE)), "--channels", 3)
    return common.train(args.work, f"{name}-{args.minutes:g}m", *words, "--labels", "none", "--time",
                        common.seconds_of(args.minutes), "--device", args.device, "--seed", args.seed)[0]  # fmt: skip


def _held_out(name: str, model: Model, args: Namespace) -> np.ndarray:
    if name == "emoji":
        return prepare(model.config).validation.pixels
    if name == "photographs":
        crops = photographs.crops(photographs.HELD_OUT, NUM_HELD_OUT_CROPS, CROP_SIZE, args.seed)
        return np.stack([np.asarray(crop) for crop in crops])
    if name == "mnist":
        return common.grey_pixels(common.indexed_files(args.data, "mnist/test", 0, NUM_MNIST_TEST))
    return common.fashion_pixels(args.data, common.NUM_TRAINED, common.NUM_FASHION)
