"""What the loop knows of the two phases of training: a module, the loss of an update, a validation score.

All randomness of an update comes from generators seeded with (seed, phase, step, block): each is drawn from for so many
rows of the global batch, by the ranks that have some of them. Neither the number of ranks nor an interruption changes
what is drawn.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from vae_cli.dataset.batches import Batch, Batches
from vae_cli.randomness import image_generator
from vae_cli.training.adversary import Adversary
from vae_cli.training.inputs import TrainingInputs

BLOCK = 32  # rows of a batch that are drawn for together; an even number


@dataclass(frozen=True)
class Loss:
    """What an update minimises, and figures for the log."""

    total: Tensor
    figures: dict[str, Tensor]


class Phase(ABC):
    """A module and how it is trained."""

    name: ClassVar[str]
    stream: ClassVar[int]  # of randomness
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
    def draw(self, step: int, num: int, generator: Generator) -> dict[str, Tensor]:
        """What is random in update `step`, for so many images: tensors of that length by name."""

    def draws_of(self, step: int) -> dict[str, Tensor]:
        """What `draw` finds for this rank's rows of the global batch, and nothing for other rows but their block's."""
        inputs, runtime, size = self.inputs, self.inputs.runtime, self.inputs.config.training.batch_size
        first, last = (size * rank // runtime.world_size for rank in (runtime.rank, runtime.rank + 1))
        begin, parts = first // BLOCK * BLOCK, []
        for start in range(begin, last, BLOCK):
            num, generator = min(BLOCK, size - start), image_generator(inputs.seed, self.stream, step, start // BLOCK)
            parts.append(inputs.uniform(num, generator) | self.draw(step, num, generator))
        return {name: torch.cat([part[name] for part in parts])[first - begin : last - begin] for name in parts[0]}

    def drawn(self, batch: Batch) -> Batch:
        """A rank's part of a global batch on the device, with its draws; called in a thread of its own."""
        move, draws = self.inputs.runtime.move, self.draws_of(batch.step)
        x = self.inputs.as_input(batch.pixels, draws)
        draws = {name: move(value) for name, value in self.completed(draws, batch.zooms).items()}
        return replace(batch, labels=move(batch.labels), zooms=move(batch.zooms), draws=draws | {"x": x})

    def completed(self, draws: dict[str, Tensor], zooms: Tensor) -> dict[str, Tensor]:
        """Draws for images that are close-ups of these zooms [B], with what follows from both; on the CPU."""
        return draws

    def batches(self, start_step: int = 0) -> Batches:
        """This rank's batches from an update on, from `drawn`."""
        inputs, runtime, training = self.inputs, self.inputs.runtime, self.inputs.config.training
        return Batches(inputs.train, training.batch_size, patches=inputs.patches, seed=training.seed,
                       start_step=start_step, rank=runtime.rank, world_size=runtime.world_size,
                       then=self.drawn)  # fmt: skip

    @abstractmethod
    def loss(self, module: Callable[..., Any], batch: Batch, spent: float) -> Loss:
        """Of this rank's part of a global batch, from `drawn`, through `module`, the phase's own, perhaps wrapped.

        spent: share of the phase's budget, 0 to 1.
        """

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
