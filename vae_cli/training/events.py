"""What training reports while it goes on."""

from dataclasses import dataclass
from pathlib import Path

from vae_cli.checkpoint import Model


@dataclass(frozen=True)
class StepLogged:
    """A line for the log."""

    phase: str
    step: int
    fraction: float  # of the phase's plan, 0 to 1
    run_fraction: float  # of the budget of the whole run
    seconds_left: float  # of the whole run
    images_per_second: float
    figures: dict[str, float]  # means since the last line


@dataclass(frozen=True)
class Validated:
    """The averaged weights were scored on held-out images; lower is better."""

    phase: str
    step: int
    score: float
    is_best: bool


@dataclass(frozen=True)
class Shortened:
    """The score has not improved for `training.patience` validations: back to the best weights, from which on the
    learning rate falls or, with is_end, the phase ends."""

    phase: str
    step: int
    best_step: int
    is_end: bool


@dataclass(frozen=True)
class Retreated:
    """Too many updates in a row were refused: back to the best weights, at this share of the learning rate."""

    phase: str
    step: int
    rate_factor: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written, from which training can go on."""

    path: Path


@dataclass(frozen=True)
class PreviewDue:
    """A good moment for pictures of the model with averaged weights."""

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
    seconds_waited: float  # for images
    validation_loss: float | None
    num_refused: int  # updates, since the phase began


Event = StepLogged | Validated | Shortened | Retreated | Saved | PreviewDue | Calibrating | PhaseDone
