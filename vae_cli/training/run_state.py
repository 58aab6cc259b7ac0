"""Where a run stands: everything that survives a checkpoint beside weights and optimisers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from vae_cli.errors import CheckpointError
from vae_cli.training.objective import UpdateGuard

LEAST = 1e-3  # of a budget: a phase makes one update even when reading the data took all the time


@dataclass
class RunState:
    """Where a run stands.

    Its budget is counted in updates or in seconds. Only the ratio of `used` to `planned` steers the training, so the
    unit may change when a run is resumed.
    """

    phase: str = "vae"
    step: int = 0  # updates of both phases
    first_step: int = 0  # updates before the current phase
    total: int | None = None  # the run's budget in updates; None = it is one of time
    left: float = 1.0  # of the run's budget
    used: float = 0.0  # by the current phase
    planned: float = 1.0  # all that the current phase is going to use
    best_score: float = math.inf
    best_step: int = -1
    best: dict[str, Tensor] = field(default_factory=dict)  # the current phase's averaged weights when they scored best
    num_stale: int = 0  # validations since the best one, or since the phase was shortened
    guard: UpdateGuard = field(default_factory=UpdateGuard)

    @property
    def spent(self) -> float:
        """Share of its plan that the current phase has used, 0 to 1: what schedules go by."""
        return min(1.0, self.used / self.planned)

    @property
    def vae_steps(self) -> int:
        """Updates of the VAE so far."""
        return self.step if self.phase == "vae" else self.first_step

    def plan(self, left: float, planned: float, used: float = 0.0) -> None:
        """Plan the current phase anew: so much of what is left of the run's budget, beside what it has used."""
        self.left, self.planned, self.used, self.num_stale = left, max(planned, LEAST), used, 0

    def stretch(self, left: float) -> None:
        """Fit the plan to what is really left, as the clock went on meanwhile; the share that is spent stays."""
        factor = max(left, LEAST) / max(self.left, LEAST)
        self.left, self.used, self.planned = max(left, LEAST), self.used * factor, self.planned * factor

    def use(self, left: float) -> None:
        """Take note that only this much is left of the run's budget."""
        self.used += self.left - left
        self.left = left

    def shorten(self, decay_share: float) -> bool:
        """Plan less for the phase, as its score has stopped getting better; True when the phase ends now.

        The first standstill begins at once the decay of the learning rate, the phase's last `decay_share`, which nearly
        always improves the score once more; a second one ends the phase. The caller goes back to the best weights.
        """
        before_decay = 1 - decay_share
        self.planned = self.used if self.spent >= before_decay else self.used / before_decay
        self.num_stale = 0
        return self.spent >= 1

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

    def as_dict(self) -> dict[str, Any]:
        """Tensors and plain containers only; `from_dict` inverts it."""
        return {**vars(self), "guard": {**vars(self.guard)}}

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> "RunState":
        """Inverse of `as_dict`. Raises CheckpointError for anything else."""
        try:
            own = {item.name: stored[item.name] for item in fields(RunState)}
            state = RunState(**{**own, "guard": UpdateGuard(**stored["guard"])})
            counts = (state.step, state.first_step, state.best_step, state.num_stale, state.total or 0)
            shares = (state.left, state.used, state.planned, state.best_score)
            if not (state.phase in ("vae", "flow") and all(isinstance(count, int) for count in counts)
                    and all(isinstance(share, int | float) for share in shares) and state.planned > 0):  # fmt: skip
                raise TypeError("values of other kinds")
            return state
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"trainer.pt: not the state of a training ({error}); start a new run") from error
