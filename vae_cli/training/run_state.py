"""Where a run stands, and when a phase has learnt what its data can teach: what survives a checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class RunState:
    """Where a run stands; everything here survives a checkpoint."""

    phase: str = "vae"
    step: int = 0
    """Updates of both phases."""
    first_step: int = 0
    """Updates before the current phase."""
    fraction: float = 0.0
    """Of the current phase's whole budget, 0 to 1."""
    best_score: float = math.inf
    best_step: int = -1
    best: dict[str, Tensor] = field(default_factory=dict)
    """The current phase's averaged weights when they scored best."""
    num_stale: int = 0
    """Validations since the best one, or since the phase was shortened."""
    shortened: float = 1.0
    """Share of the current phase's budget that it is going to use."""
    shortened_total: int = 0
    """The run's budget in updates when that was decided; 0 = it was one in time."""
    unspent: float = 0.0
    """Share of the run's budget in time that the VAE left to the flow beyond the flow's own."""

    @property
    def vae_steps(self) -> int:
        """Updates of the VAE so far."""
        return self.step if self.phase == "vae" else self.first_step

    @property
    def spent(self) -> float:
        """Share of what the current phase is going to use, 0 to 1: what schedules go by."""
        return min(1.0, self.fraction / self.shortened)

    def record(self, score: float, average: Mapping[str, Tensor], *, keeps_newest: bool = False) -> bool:
        """Take note of a validation of the averaged weights; True when they are the ones to keep.

        `keeps_newest`: any finite score will do, because no score can tell which weights are better.
        """
        is_best = score < self.best_score or (keeps_newest and math.isfinite(score))
        self.num_stale = 0 if is_best else self.num_stale + 1
        if is_best:
            self.best_score, self.best_step = score, self.step
            self.best = {name: value.detach().cpu().clone() for name, value in average.items()}
        return is_best

    def shorten(self, decay_share: float, total: int | None) -> bool:
        """Use less of the phase's budget, since its score has stopped getting better; True when it ends now.

        A phase learns at the full rate and then, over its last `decay_share`, at a falling one, which nearly always
        improves the score once more. To end at the first standstill would forgo that, and to go on as planned would
        leave the small rates for weights that have long been memorising. So the first standstill is taken for the
        beginning of the decay, the budget cut to what makes it so; a second one, inside the decay, ends the phase.
        The caller goes back to the best weights. `total`: the run's budget in updates, None for one in time.
        """
        before_decay = 1 - decay_share
        is_decaying = self.spent >= before_decay
        self.shortened = max(1e-9, self.fraction if is_decaying else self.fraction / before_decay)
        self.shortened_total, self.num_stale = total or 0, 0
        return self.spent >= 1

    def lengthen(self) -> None:
        """Use the whole budget again: it has been raised."""
        self.shortened, self.shortened_total, self.num_stale = 1.0, 0, 0


class Averages:
    """Means of named figures since the last log line; each over the updates that had it."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, figures: Mapping[str, Tensor]) -> None:
        for name, value in figures.items():
            value = value.detach().float().cpu()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means, and start over."""
        means = {name: (total / self.counts[name]).item() for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means
