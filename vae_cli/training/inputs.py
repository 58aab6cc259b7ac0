"""What training reads: images for its updates and between them, on the device and as the VAE sees them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from vae_cli.checkpoint import Facts
from vae_cli.config import CompleteConfig
from vae_cli.dataset.batches import PATCH_EVERY, Batch
from vae_cli.dataset.cache import ImageSet
from vae_cli.images.image_ref import Skipped
from vae_cli.images.pixels import to_unit
from vae_cli.metrics.likelihood import binarized
from vae_cli.randomness import STATISTICS, VALIDATION, image_generator
from vae_cli.runtime import Runtime

CPU = Runtime(torch.device("cpu"))
VALIDATION_IMAGES = 512  # held-out images that a validation during training measures, at most
CHUNK, CHUNK_PIXELS = 128, 1 << 21  # images computed together between updates, at most, and pixels of them


@dataclass(frozen=True)
class TrainingInputs:
    """The completed configuration and the images, split and decoded."""

    config: CompleteConfig
    train: ImageSet
    validation: ImageSet
    label_names: tuple[str, ...]
    runtime: Runtime = CPU
    patches: ImageSet | None = None  # close-ups of training images to learn from as well, where there are any
    validation_patches: ImageSet | None = None
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()  # what was decided and may surprise; each worth a line on the screen

    @property
    def images_an_epoch(self) -> int:
        """Images that updates take until each training image had its turn, with the close-ups in between."""
        num = len(self.train.ids)
        return num if self.patches is None else round(num * PATCH_EVERY / (PATCH_EVERY - 1))

    @property
    def seed(self) -> int:
        return self.config.training.seed

    def facts(self, step: int = 0, phase: str = "vae") -> Facts:
        """What a checkpoint of this training says about itself."""
        labels, num = self.train.labels, len(self.label_names)
        counts = np.bincount(np.where(labels < 0, num, labels), minlength=num + 1)
        return Facts(self.config, self.label_names, tuple(counts.tolist()), step, phase)

    def part(self, batch: Batch, drawn: Tensor) -> Tensor:
        """A batch's rows of something drawn for the global one, on the device."""
        return self.runtime.move(drawn[batch.first : batch.first + len(batch.pixels)])

    def images(self, batch: Batch, generator: Generator) -> Tensor:
        """[b, C, H, W] in [-1, 1], binarised anew at every visit where the configuration says so."""
        return self._as_input(batch.pixels, generator, self.config.training.batch_size, batch.first)

    def validation_chunks(self) -> Iterator[tuple[Tensor, Tensor, Generator]]:
        """(x, labels, generator) of the held-out images that are measured during training, always the same."""
        num_images = len(self.validation.ids)
        rows = np.unique(np.linspace(0, num_images - 1, min(num_images, VALIDATION_IMAGES)).astype(np.int64))
        for number, part in enumerate(self._chunks(rows)):
            generator = image_generator(self.seed, VALIDATION, number)
            labels = torch.from_numpy(self.validation.labels[part])
            yield self._as_input(self.validation.pixels[part], generator), labels, generator

    def train_chunks(self, rows: np.ndarray) -> Iterator[Tensor]:
        """Some of the training images, each binarised once where the configuration says so."""
        for number, part in enumerate(self._chunks(rows)):
            yield self._as_input(self.train.pixels[part], image_generator(self.seed, STATISTICS, number))

    def close_ups(self, num: int) -> tuple[Tensor, Tensor]:
        """At most `num` close-ups of held-out images [N, C, H, W], on the CPU, and their zooms [N]; perhaps none."""
        images = self.validation_patches
        if images is None or images.zooms is None:
            return torch.empty(0, *to_unit(self.train.pixels[:1]).shape[1:]), torch.empty(0)
        rows = np.linspace(0, len(images.ids) - 1, min(len(images.ids), num)).astype(np.int64)
        generator = image_generator(self.seed, VALIDATION, len(images.ids))
        return self._as_input(images.pixels[rows], generator).cpu(), torch.from_numpy(images.zooms[rows])

    @property
    def chunk_size(self) -> int:
        """Images that are computed together between updates."""
        height, width = self.train.pixels.shape[1:3]
        return max(1, min(CHUNK, CHUNK_PIXELS // (height * width)))

    def _chunks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(rows), self.chunk_size):
            yield rows[start : start + self.chunk_size]

    def _as_input(
        self, pixels: np.ndarray | Tensor, generator: Generator, num_drawn: int | None = None, first: int = 0
    ) -> Tensor:
        """[b, C, H, W] on the device; num_drawn: images that random numbers are drawn for, of which it has the `first`
        and those after it."""
        x = to_unit(pixels)
        if self.config.data.binarize == "dynamic":
            uniform = torch.rand((num_drawn or len(x), *x.shape[1:]), generator=generator)
            x = binarized(x, uniform[first : first + len(x)])
        return self.runtime.move(x)
