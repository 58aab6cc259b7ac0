"""What the loop knows of the two phases of training: a module, the loss of an update, a validation score.

All randomness of an update comes from generators seeded with (seed, phase, step) and is drawn for the global batch, of
which each rank takes its part, one micro-batch after another: neither the number of these or of ranks nor an
interruption changes it.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vae_cli.dataset.batches import Batch
from vae_cli.training.adversary import Adversary
from vae_cli.training.inputs import TrainingInputs


@dataclass(frozen=True)
class Loss:
    """What an update minimises, and figures for the log."""

    total: Tensor
    figures: dict[str, Tensor]

    @staticmethod
    def mean(losses: "Sequence[Loss]") -> "Loss":
        """Without their graphs; of a figure, over those that have it."""

        def mean(values: list[Tensor]) -> Tensor:
            return torch.stack(values).mean().detach()

        names = dict.fromkeys(name for loss in losses for name in loss.figures)
        figures = {name: mean([loss.figures[name] for loss in losses if name in loss.figures]) for name in names}
        return Loss(mean([loss.total for loss in losses]), figures)


class Phase(ABC):
    """A module and how it is trained."""

    name: ClassVar[str]
    is_measured_at_end: ClassVar[bool] = False  # whether `finish` has anything to do
    inputs: TrainingInputs
    module: nn.Module
    learning_rate: float
    gradient_clip: float
    adversary: Adversary | None = None  # what learns beside the module, after each of its updates

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """For the optimisers: `params`, their `rate_factor` on the learning rate, and `orthogonal` where Muon makes
        their steps instead of AdamW."""

    @abstractmethod
    def loss(self, module: Callable[..., Any], batch: Batch, spent: float) -> Loss:
        """Of a micro-batch through `module`, the phase's own, perhaps wrapped; a mean over images.

        spent: share of the phase's budget, 0 to 1.
        """

    def micro_batches(self, batch: Batch) -> list[Batch]:
        """The parts that this rank's part of a global batch is worked through in."""
        return batch.micro_batches(self.inputs.config.training.gradient_accumulation)

    def add_gradients(self, module: nn.Module, batch: Batch, spent: float) -> Loss:
        """Add the gradients of the loss of a whole batch, which is returned, to those of the module."""
        losses, parts = [], self.micro_batches(batch)
        # Ranks exchange gradients once, when each has added up its own.
        apart = module.no_sync if isinstance(module, DistributedDataParallel) else contextlib.nullcontext
        for part in parts:
            with contextlib.nullcontext() if part is parts[-1] else apart():
                losses.append(self.loss(module, part, spent))
                (losses[-1].total / len(parts)).backward()
        return Loss.mean(losses)

    @abstractmethod
    def score(self, module: nn.Module, x: Tensor, labels: Tensor, generator: Generator) -> float:
        """Mean over held-out images x [B, C, H, W] of what `validate` returns."""

    @torch.inference_mode()
    def validate(self, module: nn.Module) -> float:
        """Score of a module on held-out images with fixed noise; lower is better."""
        total, num_images = 0.0, 0
        for x, labels, generator in self.inputs.validation_chunks():
            total += self.score(module, x, labels, generator) * len(x)
            num_images += len(x)
        return total / num_images

    def keeps_newest(self, spent: float) -> bool:
        """Whether the score no longer tells which weights are better, so that the newest are kept."""
        return False

    def probe(self) -> dict[str, float]:
        """Figures too costly for every update, measured for a line of the log."""
        return {}

    def finish(self, best: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What has to be measured once on the best weights after the last update: the tensors of theirs to replace."""
        return {}
