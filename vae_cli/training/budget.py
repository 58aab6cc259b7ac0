"""How much a run may do: updates, passes over the data, or time, shared by the two phases."""

import math
import time

from vae_cli.config import TrainingConfig


class Budget:
    """How far a phase is, by updates or by the clock."""

    def __init__(self, num_steps: int | None, first_fraction: float, end: float) -> None:
        self.num_steps, self.first_fraction = num_steps, first_fraction
        self.start, self.end = time.monotonic(), end

    def fraction(self, steps_done: int) -> float:
        """Spent share of the phase, 0 to 1."""
        if self.num_steps is not None:
            return min(1.0, steps_done / self.num_steps) if self.num_steps else 1.0
        spent = (time.monotonic() - self.start) / max(self.end - self.start, 1e-9)
        return min(1.0, self.first_fraction + (1 - self.first_fraction) * spent)


def total_steps(training: TrainingConfig, num_images: int) -> int | None:
    """Updates of both phases together; None under a budget of time."""
    if training.epochs is not None:
        return math.ceil(training.epochs * num_images / training.batch_size)
    return training.steps


def vae_steps(training: TrainingConfig, total: int) -> int:
    """Updates that belong to phase 1."""
    return round(total * (1 - training.flow_share))
