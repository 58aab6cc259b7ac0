"""What training tells whoever watches it."""

from dataclasses import dataclass
from pathlib import Path

from vae_cli.checkpoint import Model


@dataclass(frozen=True)
class StepLogged:
    """A line for the log: figures are averages since the last one."""

    phase: str
    step: int
    fraction: float
    """Of what the phase is going to use of its budget, 0 to 1."""
    seconds_left: float
    """Of the phase, estimated."""
    images_per_second: float
    figures: dict[str, float]


@dataclass(frozen=True)
class Validated:
    phase: str
    step: int
    score: float
    is_best: bool


@dataclass(frozen=True)
class Shortened:
    """The score has not got better for `training.patience` validations; training went back to the best weights."""

    phase: str
    step: int
    best_step: int
    is_end: bool
    """Whether the phase ends here; otherwise its learning rate begins to fall."""


@dataclass(frozen=True)
class Retreated:
    """Too many updates in a row were refused; training went back to its best weights, at a lower rate."""

    phase: str
    step: int
    rate_factor: float
    """Share of the scheduled learning rate that is used from here on."""


@dataclass(frozen=True)
class Saved:
    path: Path


@dataclass(frozen=True)
class PreviewDue:
    """A good moment for pictures; `model` holds the averaged weights."""

    step: int
    model: Model


@dataclass(frozen=True)
class Calibrating:
    """The last update is done; what the weights need to be used well is measured before they are saved."""


@dataclass(frozen=True)
class PhaseDone:
    """What one phase did in this invocation."""

    phase: str
    steps: int
    seconds: float
    seconds_waited: float
    validation_loss: float | None
    num_refused: int


Event = StepLogged | Validated | Shortened | Retreated | Saved | PreviewDue | Calibrating | PhaseDone
