"""How much a run may do: updates, passes over the data, or time, shared by the two phases."""

import math
from dataclasses import dataclass

from vae_cli.config import TrainingConfig


@dataclass(frozen=True)
class Budget:
    """What one invocation may use: updates until there are `steps` of them, or `seconds` from `started` (monotonic)."""

    steps: int | None
    seconds: float = 0.0
    started: float = 0.0


def total_steps(training: TrainingConfig, num_images: int) -> int | None:
    """Updates of both phases together; None under a budget of time."""
    if training.epochs is not None:
        return math.ceil(training.epochs * num_images / training.batch_size)
    return training.steps


def vae_steps(training: TrainingConfig, total: int) -> int:
    """Updates that belong to phase 1."""
    return round(total * (1 - training.flow_share))
