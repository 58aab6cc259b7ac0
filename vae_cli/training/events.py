"""What training reports while it goes on."""

from dataclasses import dataclass
from pathlib import Path

from vae_cli.checkpoint import Model


@dataclass(frozen=True)
class StepLogged:
    """A line for the log; figures are means since the last one."""

    phase: str
    step: int
    fraction: float
    """Of the phase's plan, 0 to 1."""
    seconds_left: float
    """Of the phase, estimated."""
    images_per_second: float
    figures: dict[str, float]


@dataclass(frozen=True)
class Validated:
    """The averaged weights were scored on held-out images; lower is better."""

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
    """A checkpoint was written, from which training can go on."""

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
    """For images."""
    validation_loss: float | None
    num_refused: int
    """Updates that the guard did not let pass, since the phase began."""


Event = StepLogged | Validated | Shortened | Retreated | Saved | PreviewDue | Calibrating | PhaseDone
