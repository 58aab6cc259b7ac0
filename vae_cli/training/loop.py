"""Training as an iterator of events: first the VAE, then the latent flow, in one budget."""

import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vae_cli.dataset.batches import Batch, Batches
from vae_cli.errors import DivergedError
from vae_cli.randomness import DROPOUT, image_generator
from vae_cli.training.events import (
    Calibrating,
    Event,
    PhaseDone,
    PreviewDue,
    Retreated,
    Saved,
    Shortened,
    StepLogged,
    Validated,
)
from vae_cli.training.flow_phase import FlowPhase
from vae_cli.training.objective import LOWER_RATE, rate_factor_at
from vae_cli.training.optimizer import PhaseOptimizer
from vae_cli.training.phase import Phase
from vae_cli.training.ranks import mean_over_ranks, of_main_rank
from vae_cli.training.training_run import TrainingRun
from vae_cli.training.vae_phase import VaePhase


def train(run: TrainingRun, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """Both phases, from wherever the run stands, until its budget is spent or `stop` says so (asked every update).

    Raises DivergedError, and leaves the last good checkpoint.
    """
    device = run.inputs.runtime.device

    def stops() -> bool:
        return bool(of_main_rank(float(stop()), device))

    if run.state.phase == "vae":
        yield from _train_phase(run, VaePhase(run.inputs, run.vae), stops)
        if run.state.spent < 1 or not run.has_flow_ahead or stops():
            return
        run.begin_flow()
    assert run.flow is not None
    run.vae.eval().requires_grad_(False)
    flow_phase = FlowPhase(run.inputs, run.flow, run.vae)
    if run.resume is None:
        flow_phase.prepare()
    yield from _train_phase(run, flow_phase, stops)


def _train_phase(run: TrainingRun, phase: Phase, stops: Callable[[], bool]) -> Iterator[Event]:
    """Step, report, validate, save, until the phase's plan is used up; stopped, it saves what is not saved yet."""
    state, training, runtime = run.state, run.inputs.config.training, run.inputs.runtime
    optimizer = PhaseOptimizer(phase)
    run.restore(optimizer)
    wrapped = DistributedDataParallel(phase.module) if runtime.world_size > 1 else phase.module
    log = _Log(state.step)
    state.stretch(of_main_rank(run.budget.left(state.step), runtime.device))
    batches = Batches(run.inputs.train, training.batch_size, patches=run.inputs.patches, seed=training.seed,
                      start_step=state.step, rank=runtime.rank, world_size=runtime.world_size)  # fmt: skip
    with batches:
        while state.spent < 1 and not stops():
            log.add(update_weights(run, optimizer, wrapped, next(batches)))
            state.step += 1
            state.use(of_main_rank(run.budget.left(state.step), runtime.device))
            yield from _retreat(run, optimizer)
            yield from _report(run, phase, log)
            yield from _validate(run, optimizer)
            yield from _save(run, optimizer)
    if state.spent < 1 and state.step % training.save_every:
        yield from _save_now(run, optimizer)
    if state.spent < 1 and not state.best:  # nothing was validated yet: the newest weights stand in on disk
        run.write_best(optimizer.average.state_dict())
    score = state.best_score if state.best else None
    yield PhaseDone(phase.name, state.step - log.first_step, log.seconds, batches.seconds_waited, score,
                    state.guard.num_refused)  # fmt: skip
    if state.best:  # what follows builds on them
        phase.module.load_state_dict(state.best)


def update_weights(run: TrainingRun, optimizer: PhaseOptimizer, wrapped: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """One update of the weights and of their average; a refused one leaves both as they are. Returns figures."""
    phase, state, training = optimizer.phase, run.state, run.inputs.config.training
    phase.module.train()
    phase.module.zero_grad(set_to_none=True)
    dropout = image_generator(training.seed, DROPOUT, batch.step, run.inputs.runtime.rank)
    torch.manual_seed(dropout.initial_seed())
    loss = phase.loss(wrapped, batch, state.spent)
    loss.total.backward()
    norm = nn.utils.clip_grad_norm_(phase.module.parameters(), phase.gradient_clip)
    if state.guard.accepts(mean_over_ranks(loss.total.double()).item(), norm.item()):
        factor = rate_factor_at(
            state.step - state.first_step, state.spent,
            warmup_steps=training.warmup_steps, decay_share=training.decay_share,
        )  # fmt: skip
        optimizer.step(phase.learning_rate * factor * state.guard.rate_factor)
    return {**loss.figures, "gradient_norm": norm}


class _Log:
    """Means of the updates' figures since the last line of the log, and the time that the updates took."""

    def __init__(self, first_step: int) -> None:
        self.first_step, self.begun = first_step, time.monotonic()
        self.values: dict[str, list[Tensor]] = {}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def add(self, figures: Mapping[str, Tensor]) -> None:
        for name, value in figures.items():
            self.values.setdefault(name, []).append(value.detach().float().cpu())

    def take(self) -> dict[str, float]:
        """The means, each over the updates that had the figure, and start over."""
        means = {name: (sum(values[1:], values[0]) / len(values)).item() for name, values in self.values.items()}
        self.values = {}
        return means


def _retreat(run: TrainingRun, optimizer: PhaseOptimizer) -> Iterator[Event]:
    """Go back to good weights where too many updates in a row were refused."""
    state = run.state
    if state.guard.is_retreat_due:
        state.guard.retreat()
        # The last accepted updates are what has ruined the average: the best weights come before the newest.
        optimizer.return_to(state.best or optimizer.average.state_dict(), forget=True)
        yield Retreated(optimizer.phase.name, state.step, state.guard.rate_factor)


def _report(run: TrainingRun, phase: Phase, log: _Log) -> Iterator[Event]:
    """A line for the log where one is due."""
    state, training = run.state, run.inputs.config.training
    if state.step % training.log_every == 0 or state.spent >= 1:
        num_done, seconds, num_of_phase = state.step - log.first_step, log.seconds, state.step - state.first_step
        left = seconds / num_done * (num_of_phase / max(state.spent, 1e-9) - num_of_phase)
        speed = num_done * training.batch_size / max(seconds, 1e-9)
        yield StepLogged(phase.name, state.step, state.spent, left, speed, log.take() | phase.probe())


def _validate(run: TrainingRun, optimizer: PhaseOptimizer) -> Iterator[Event]:
    """Score the averaged weights where that is due, keep the best, and shorten the phase if they stand still."""
    state, phase, training, runtime = run.state, optimizer.phase, run.inputs.config.training, run.inputs.runtime
    if state.step % training.validate_every and state.spent < 1:
        return
    score = of_main_rank(phase.validate(optimizer.average) if runtime.is_main else 0.0, runtime.device)
    is_best = state.record(score, optimizer.average.state_dict(), keeps_newest=phase.keeps_newest(state.spent))
    if is_best:
        run.write_best()
    if runtime.is_main:
        yield Validated(phase.name, state.step, score, is_best)
    is_trained = state.guard.num_in_a_row == 0  # while updates are refused the weights stand still in any case
    if state.num_stale >= training.patience > 0 and is_trained and state.best and state.spent < 1:
        is_end = state.shorten(training.decay_share)
        optimizer.return_to(state.best)
        yield Shortened(phase.name, state.step, state.best_step, is_end)


def _save(run: TrainingRun, optimizer: PhaseOptimizer) -> Iterator[Event]:
    """Write a checkpoint and ask for pictures where they are due; at the end, measure the best weights first."""
    state, phase, training, runtime = run.state, optimizer.phase, run.inputs.config.training, run.inputs.runtime
    is_end = state.spent >= 1
    if is_end and phase.is_measured_at_end:
        yield Calibrating()
        if runtime.is_main and state.best:  # on rank 0 alone: nothing is trained from these weights
            state.best |= phase.finish(state.best)
            run.write_best()
    is_due, is_accepted = state.step % training.save_every == 0, state.guard.num_in_a_row == 0
    # A checkpoint pushes out an older one, so its weights must be sound.
    if is_end or (is_due and is_accepted and optimizer.is_finite()):
        yield from _save_now(run, optimizer)
    if state.step % training.preview_every == 0 and not is_end and runtime.is_main:
        yield PreviewDue(state.step, run.as_model(optimizer.average))


def _save_now(run: TrainingRun, optimizer: PhaseOptimizer) -> Iterator[Event]:
    """Raises DivergedError rather than write weights that are no numbers."""
    if not optimizer.is_finite():
        raise DivergedError(
            f"training diverged: after update {run.state.step} the weights are not finite;\n{LOWER_RATE}"
        )
    if run.inputs.runtime.is_main:
        yield Saved(run.save(optimizer))
