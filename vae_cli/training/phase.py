"""What is trained, as the loop sees it: a module, the loss of an update and a validation score.

All randomness of an update comes from generators seeded with (seed, phase, step) and is drawn for the global batch, of
which each rank takes its part: neither the number of ranks nor an interruption changes it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vae_cli.config import CompleteConfig
from vae_cli.dataset.batches import PATCH_EVERY, Batch
from vae_cli.dataset.cache import ImageSet
from vae_cli.images.pixels import to_unit
from vae_cli.metrics.likelihood import binarized
from vae_cli.randomness import STATISTICS, VALIDATION, image_generator
from vae_cli.runtime import Runtime
from vae_cli.training.adversary import Adversary

VALIDATION_IMAGES = 512
"""Validated during training on this many held-out images at most; the end measures all."""
CHUNK, CHUNK_PIXELS = 128, 1 << 21
"""Images that are looked at together between updates: so many, or fewer large ones, of so many pixels in all."""


@dataclass(frozen=True)
class Loss:
    """What an update minimises, and figures worth a log line."""

    total: Tensor
    figures: dict[str, Tensor]


class Phase(Protocol):
    """What the loop has to know about the thing it trains."""

    name: str
    learning_rate: float
    gradient_clip: float
    adversary: Adversary | None
    """What learns beside the module, after each of its updates."""

    def keeps_newest(self, spent: float) -> bool:
        """Whether the score no longer tells which weights are better, so that the newest are kept."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Of the module, for the optimisers: `params`, the `rate_factor` by which they learn slower than others, and
        `orthogonal` where Muon is to make their steps and not AdamW."""

    def loss(self, module: Callable[..., Any], batch: Batch, spent: float) -> Loss:
        """The loss of one global batch's part on this rank, through `module` (the phase's own, perhaps wrapped).

        spent: share of the phase's budget, 0 to 1.
        """

    def probe(self) -> dict[str, float]:
        """Figures too costly for every update, measured for a line of the log."""

    def validate(self, module: nn.Module) -> float:
        """Score of a module on held-out images with fixed noise; lower is better."""


@dataclass(frozen=True)
class TrainingInputs:
    """What both phases share."""

    config: CompleteConfig
    train: ImageSet
    validation: ImageSet
    label_names: tuple[str, ...]
    runtime: Runtime
    patches: ImageSet | None = None
    """Close-ups to train on beside `train`; below some of held-out images. None = without."""
    validation_patches: ImageSet | None = None

    @property
    def images_an_epoch(self) -> int:
        """Until every training image was seen once, close-ups in between included."""
        num = len(self.train.ids)
        return num if self.patches is None else round(num * PATCH_EVERY / (PATCH_EVERY - 1))

    @property
    def seed(self) -> int:
        return self.config.training.seed

    @property
    def label_images(self) -> tuple[int, ...]:
        """Training images of each label, and last those without one."""
        num = len(self.label_names)
        return tuple(np.bincount(np.where(self.train.labels < 0, num, self.train.labels), minlength=num + 1).tolist())

    def part(self, drawn: Tensor) -> Tensor:
        """This rank's rows of something drawn for the global batch, on the device."""
        share = len(drawn) // self.runtime.world_size
        return self.runtime.move(drawn[self.runtime.rank * share : (self.runtime.rank + 1) * share])

    def images(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """[b, C, H, W] in [-1, 1] of this rank, binarised anew at every visit where the configuration says so."""
        x = to_unit(batch.pixels)
        if self.config.data.binarize == "dynamic":
            total = (self.config.training.batch_size, *x.shape[1:])
            share = len(x) * self.runtime.rank
            x = binarized(x, torch.rand(total, generator=generator)[share : share + len(x)])
        return self.runtime.move(x)

    def validation_chunks(self) -> Iterator[tuple[Tensor, Tensor, torch.Generator]]:
        """(x, labels, generator) of the held-out images that are looked at during training; always the same."""
        num_images = len(self.validation.ids)
        rows = np.unique(np.linspace(0, num_images - 1, min(num_images, VALIDATION_IMAGES)).astype(np.int64))
        for number, part in enumerate(self._chunks(rows)):
            generator = image_generator(self.seed, VALIDATION, number)
            labels = torch.from_numpy(self.validation.labels[part])
            yield self._unit_images(self.validation, part, generator), labels, generator

    def train_chunks(self, rows: np.ndarray) -> Iterator[Tensor]:
        """Some of the training images, each binarised once where the configuration says so."""
        for number, part in enumerate(self._chunks(rows)):
            yield self._unit_images(self.train, part, image_generator(self.seed, STATISTICS, number))

    def close_ups(self, num: int) -> tuple[Tensor, Tensor]:
        """At most `num` of those of held-out images [N, C, H, W], on the CPU, and their zooms [N]; perhaps none."""
        images = self.validation_patches
        if images is None or images.zooms is None:
            return torch.empty(0, *to_unit(self.train.pixels[:1]).shape[1:]), torch.empty(0)
        rows = np.linspace(0, len(images.ids) - 1, min(len(images.ids), num)).astype(np.int64)
        generator = image_generator(self.seed, VALIDATION, len(images.ids))
        return self._unit_images(images, rows, generator).cpu(), torch.from_numpy(images.zooms[rows])

    def _unit_images(self, images: ImageSet, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """[b, C, H, W] as the VAE sees them, on the device."""
        x = to_unit(images.pixels[rows])
        if self.config.data.binarize == "dynamic":
            x = binarized(x, torch.rand(x.shape, generator=generator))
        return self.runtime.move(x)

    @property
    def chunk_size(self) -> int:
        """Images that are looked at together between updates."""
        height, width = self.train.pixels.shape[1:3]
        return max(1, min(CHUNK, CHUNK_PIXELS // (height * width)))

    def _chunks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(rows), self.chunk_size):
            yield rows[start : start + self.chunk_size]
