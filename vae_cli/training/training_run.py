"""A run that is being trained: what it reads, where it stands, its networks, and their way to disk and back."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from vae_cli import checkpoint
from vae_cli.checkpoint import Model, Resumable
from vae_cli.checkpoint_folders import prune
from vae_cli.errors import CheckpointError, ConfigError
from vae_cli.model.flow import LatentFlow
from vae_cli.model.pretrained_vae import PretrainedVAE
from vae_cli.model.vae import VAE
from vae_cli.runtime import of_main_rank
from vae_cli.training.initial_weights import take_over
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.optimizer import PhaseOptimizer
from vae_cli.training.run_state import RunState

FITTED_IMAGES = 64  # training images on which the likelihood of an autoencoder that was made elsewhere is fitted
_FLOW = "flow"
"""In a checkpoint of the first phase: the weights that the second one starts from, if they are an earlier model's."""


@dataclass(frozen=True)
class Budget:
    """What one invocation may use: updates until there are `steps` of them, or `seconds` from `started` (monotonic)."""

    steps: int | None
    seconds: float
    started: float


@dataclass
class TrainingRun:
    """All that one invocation trains."""

    inputs: TrainingInputs
    folder: Path
    budget: Budget
    state: RunState
    vae: VAE
    flow: LatentFlow | None  # None for a run without one; untrained in the first phase
    resume: Resumable | None = None  # the checkpoint to go on from, until its phase has been restored
    notes: tuple[str, ...] = ()  # what of an earlier model did not fit

    @property
    def num_parameters(self) -> int:
        """Of both networks."""
        return checkpoint.count_parameters(self.vae, self.flow)

    @property
    def has_flow_ahead(self) -> bool:
        """Whether a second phase follows the first."""
        is_left = self.budget.steps is None or self.state.step < self.budget.steps
        return self.state.phase == "vae" and is_left and self.inputs.config.training.flow_share > 0

    @property
    def is_done(self) -> bool:
        """Whether the budget, or what a standstill left of it, is spent."""
        return self.state.spent >= 1 and not self.has_flow_ahead

    def plan_further(self, *, extend: bool) -> None:
        """Fit the stored plan to the budget of a resumed run; see `open_run`."""
        state, training, total = self.state, self.inputs.config.training, self.budget.steps
        is_new = extend or state.total is not None
        if total is None and not is_new:
            self.budget = replace(self.budget, seconds=state.left)
        elif total is None and self.is_done:
            state.plan(self.budget.seconds, self.budget.seconds)
        elif total is not None and total != state.total:
            if total <= state.step and state.spent < 1:
                wanted = "leave the budget out to go on" if extend else "give more with --steps"
                raise ConfigError(f"training.steps: {total}, but the run has made {state.step} already; {wanted}")
            end = training.vae_steps(total) if state.phase == "vae" else total
            state.plan(total - state.step, end - state.first_step, used=state.step - state.first_step)
        state.total = total

    def budget_left(self) -> float:
        """Updates, or seconds (below 0 where the time is over); the same on all ranks."""
        budget = self.budget
        ends_at = budget.started + budget.seconds
        left = ends_at - time.monotonic() if budget.steps is None else budget.steps - self.state.step
        return of_main_rank(left, self.inputs.runtime.device)

    def as_model(self, module: nn.Module) -> Model:
        """The model with the current phase's averaged module in its place."""
        modules = (module, None) if self.state.phase == "vae" else (self.vae, module)
        facts = self.inputs.facts(self.state.step, self.state.phase)
        return Model(facts, *cast(tuple[VAE, LatentFlow | None], modules), self.folder, self.inputs.runtime)

    def restore(self, optimizer: PhaseOptimizer) -> None:
        """Load a phase that goes on from the checkpoint; `best` on disk may be ahead of it and is written again."""
        if self.resume is not None:
            weights = checkpoint.weights_under(f"{self.state.phase}.", self.resume.weights)
            optimizer.load(self.resume.trainer, weights)
            self.resume = None
            if self.state.best:
                self.write_best()

    def write_best(self, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Keep the current phase's best weights as what commands use; `tensors` stand in where there are none yet."""
        if self.inputs.runtime.is_main:
            step = self.state.best_step if tensors is None else self.state.step
            self._write("best", step, tensors or self.state.best, None)

    def save(self, optimizer: PhaseOptimizer) -> Path:
        """Write a step checkpoint from which training goes on bit for bit, and remove the oldest. For rank 0 alone."""
        name, trainer = f"step-{self.state.step:08d}", {**self.state.as_dict(), **optimizer.state()}
        if self.flow is not None and self.state.phase == "vae" and self.inputs.config.training.init != "none":
            trainer[_FLOW] = self.flow.state_dict()  # so that the model that it is from may be gone
        path = self._write(name, self.state.step, optimizer.average.state_dict(), trainer)
        prune(self.folder, self.state.step)
        return path

    def _write(self, name: str, step: int, own: Mapping[str, Tensor], trainer: Mapping[str, Any] | None) -> Path:
        """own: the current phase's weights; beside a flow the frozen VAE's are written, too."""
        folder, phase = self.folder / "checkpoints" / name, self.state.phase
        states = (own, None) if phase == "vae" else (self.vae.state_dict(), own)
        facts, weights = self.inputs.facts(step, phase), checkpoint.named_weights(*states)
        checkpoint.write_checkpoint(folder, facts, weights, trainer)
        return folder


def open_run(
    inputs: TrainingInputs, folder: Path, *, started: float, resume: Resumable | None = None, extend: bool = False
) -> TrainingRun:
    """A run before its next update: a new one, or one that goes on from a checkpoint.

    started: when a budget of time begins to count (monotonic seconds). extend: the budget was given for this
    invocation, so that time counts anew and a run that had used all of an older one goes on.
    Raises ConfigError for a budget in updates of which the run has made more, CheckpointError for a state of training
    that is none of ours.
    """
    training, total = inputs.config.training, inputs.config.training.total_steps(inputs.images_an_epoch)
    state = RunState(total=total) if resume is None else RunState.from_dict(resume.trainer)
    has_flow = training.flow_share > 0 or state.phase == "flow"
    vae, flow = checkpoint.build_modules(inputs.facts(), has_flow=has_flow)
    notes: Sequence[str] = ()
    if resume is not None and flow is not None and _FLOW in resume.trainer:
        try:
            flow.load_state_dict(resume.trainer[_FLOW])
        except (RuntimeError, TypeError, AttributeError) as error:
            raise CheckpointError(f"trainer.pt: not the start of this run's flow ({error}); start a new run") from error
    elif state.phase == "vae" and training.init != "none":
        notes = take_over(training.init, vae, flow)
    inputs.runtime.place(vae)
    if isinstance(vae, PretrainedVAE) and resume is None:
        rows = np.linspace(0, len(inputs.train.ids) - 1, min(len(inputs.train.ids), FITTED_IMAGES)).astype(int)
        vae.eval().fit_likelihood(inputs.train_chunks(rows))
    budget = Budget(total, training.time or 0.0, started)
    run = TrainingRun(inputs, folder, budget, state, vae, flow, resume, tuple(notes))
    if flow is not None:
        inputs.runtime.place(flow)
    if resume is None:
        whole = budget.seconds if total is None else total
        state.plan(whole, whole * (1 - training.flow_share) if total is None else training.vae_steps(total))
        return run
    run.plan_further(extend=extend)
    if state.phase == "flow":
        vae.load_state_dict(checkpoint.weights_under("vae.", resume.weights))
    return run
