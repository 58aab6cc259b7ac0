"""What a new image has to pass before it joins a data set: it looks like its class, and like no held-out image."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_cli.dataset.cache import ImageSet
from vae_cli.dataset.ordered_threads import OnProgress
from vae_cli.images.pixels import to_unit
from vae_cli.metrics import classifier
from vae_cli.metrics.features import nearest_distance

MIN_CONFIDENCE = 0.5  # probability of its class below which a new image is not kept
THUMBNAIL_SIDE = 16
"""Distances to held-out images are measured at this size at most, where noise and small shifts matter little."""
MIN_DISTANCE = 2.0  # root mean square grey levels between thumbnails below which two images are one
NEAR_SHARE, NUM_MEASURED = 0.01, 2000
"""A new image may come as near to a held-out one as all but this share of (so many) training images do."""
NUM_PASSES, MAX_STEPS = 8, 6000
"""How long the classifier learns: so many passes over the images, up to so many steps. It has to know unusual images,
too, or it would refuse what is made of them."""
CHUNK = 256
UNSURE, NEAR_HELD_OUT = "unsure", "near_held_out"


@dataclass(frozen=True)
class Verdict:
    """What the checks say about one image."""

    problem: str | None  # UNSURE, NEAR_HELD_OUT, or None for an image that may be kept
    confidence: float | None  # probability of its class; None where that cannot be told
    held_out_distance: float | None
    """To the nearest held-out image, root mean square grey levels between thumbnails."""


@dataclass(frozen=True)
class Checks:
    """The classifier and the held-out images that new images are compared with."""

    net: nn.Sequential | None  # None where there are no two classes
    held_out: Tensor  # float64 [M, D] thumbnails
    least_distance: float
    """To the nearest held-out image, root mean square grey levels. What is nearer is kept only if it is nearer still to
    its own source: a blurred picture is near to many images, and a copy of none."""

    def verdicts(self, pixels: np.ndarray, sources: np.ndarray, labels: np.ndarray) -> list[Verdict]:
        """One for each image uint8 [N, H, W, C], made from the image `sources` of label int64 [N] (-1 = none)."""
        confidences: list[float | None] = [None] * len(pixels)
        distances: list[float | None] = [None] * len(pixels)
        is_near = [False] * len(pixels)
        if self.net is not None:
            rows = zip(classifier.probabilities(self.net, pixels), labels, strict=True)
            confidences = [row[label].item() if label >= 0 else None for row, label in rows]
        if len(self.held_out):
            small = thumbnails(pixels)
            found = nearest_distance(small, self.held_out)
            from_source = (small - thumbnails(sources)).norm(dim=1)
            is_near = ((found < MIN_DISTANCE) | ((found < self.least_distance) & (found < from_source))).tolist()
            distances = found.tolist()
        verdicts = []
        for near, confidence, distance in zip(is_near, confidences, distances, strict=True):
            is_sure = confidence is None or confidence >= MIN_CONFIDENCE
            problem = NEAR_HELD_OUT if near else None if is_sure else UNSURE
            verdicts.append(Verdict(problem, confidence, distance))
        return verdicts


def prepare_checks(
    sources: ImageSet,
    held_out: np.ndarray,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    on_progress: OnProgress | None = None,
) -> Checks:
    """Trains a classifier on the sources, if they have two classes, and measures how near they come to `held_out`.

    held_out: uint8 [M, H, W, C]. on_progress counts the classifier's steps.
    """
    net, known, least_distance = None, thumbnails(held_out), MIN_DISTANCE
    if has_classes(sources):
        net = classifier.train_classifier(sources.pixels, sources.labels, seed=seed, num_steps=num_steps(sources),
                                          device=device, on_progress=on_progress)  # fmt: skip
    if len(known):
        measured = np.unique(np.linspace(0, len(sources.ids) - 1, NUM_MEASURED).astype(int))
        usual = nearest_distance(thumbnails(sources.pixels[measured]), known)
        least_distance = usual.quantile(NEAR_SHARE).item()
    return Checks(net, known, least_distance)


def has_classes(images: ImageSet) -> bool:
    """Whether there are two classes that a classifier can tell apart."""
    return len(np.unique(images.labels[images.labels >= 0])) >= 2


def num_steps(images: ImageSet) -> int:
    """Training steps of the classifier of these images."""
    passes = NUM_PASSES * len(images.ids) // classifier.BATCH_SIZE
    return min(MAX_STEPS, max(classifier.NUM_STEPS, passes))


def thumbnails(pixels: np.ndarray) -> Tensor:
    """float64 [N, D] of images uint8 [N, H, W, C]; distances between rows are root mean square grey levels."""
    size = (min(pixels.shape[1], THUMBNAIL_SIDE), min(pixels.shape[2], THUMBNAIL_SIDE))
    rows = [torch.empty(0, size[0] * size[1] * pixels.shape[3], dtype=torch.float64)]
    for start in range(0, len(pixels), CHUNK):
        small = F.adaptive_avg_pool2d(to_unit(pixels[start : start + CHUNK]), size)
        rows.append(small.flatten(1).double() * 127.5)
    return torch.cat(rows) / rows[0].shape[1] ** 0.5
