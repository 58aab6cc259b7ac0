"""Training as an iterator of events: first the VAE, then the latent flow, in one budget."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vae_cli.dataset.batches import Batch, Batches
from vae_cli.errors import DivergedError
from vae_cli.randomness import DROPOUT, image_generator
from vae_cli.runtime import mean_over_ranks, of_main_rank
from vae_cli.training import events
from vae_cli.training.flow_phase import FlowPhase
from vae_cli.training.objective import LOWER_RATE, rate_factor_at
from vae_cli.training.optimizer import PhaseOptimizer
from vae_cli.training.phase import Phase
from vae_cli.training.run_state import RunState
from vae_cli.training.training_run import TrainingRun
from vae_cli.training.vae_phase import VaePhase

SECONDS_BETWEEN_SAVES = 600.0
"""At most, besides the steps of `training.save_every`, which may be hours apart."""


def train(run: TrainingRun, stop: Callable[[], bool] = lambda: False) -> Iterator[events.Event]:
    """Both phases, from wherever the run stands, until its budget is spent or `stop`, asked before updates, says so.

    stop: answers alike on all ranks. Raises DivergedError, and leaves the last good checkpoint.
    """
    if run.state.phase == "vae":
        if run.inputs.config.training.flow_share < 1:
            yield from _train_phase(run, VaePhase(run.inputs, run.vae), stop)
            if run.state.spent < 1:
                return
        if not run.has_flow_ahead or stop():
            return
        done = run.state
        run.state = RunState("flow", done.step, first_step=done.step, total=done.total)
        run.state.plan(done.left, done.left)  # all that the first phase has left of the budget
    assert run.flow is not None
    run.vae.eval().requires_grad_(False)
    flow_phase = FlowPhase(run.inputs, run.flow, run.vae)
    if run.resume is None:
        flow_phase.prepare()
    yield from _train_phase(run, flow_phase, stop)


def _train_phase(run: TrainingRun, phase: Phase, stop: Callable[[], bool]) -> Iterator[events.Event]:
    """Step, report, validate, save, until the phase's plan is used up or it is stopped."""
    state, training, runtime = run.state, run.inputs.config.training, run.inputs.runtime
    optimizer = PhaseOptimizer(phase)
    run.restore(optimizer)
    wrapped = DistributedDataParallel(phase.module) if runtime.world_size > 1 else phase.module
    log, saved_step, saved_at = _Log(state.step), state.step, time.monotonic()

    def is_due(every: int) -> bool:
        return state.step % every == 0 or state.spent >= 1

    def is_save_due() -> bool:
        return state.step % training.save_every == 0 or time.monotonic() - saved_at >= SECONDS_BETWEEN_SAVES

    state.stretch(run.budget_left())
    batches = Batches(run.inputs.train, training.batch_size, patches=run.inputs.patches, seed=training.seed,
                      start_step=state.step, rank=runtime.rank, world_size=runtime.world_size)  # fmt: skip
    with closing(batches):
        while state.spent < 1 and not stop():
            log.add(update_weights(run, optimizer, wrapped, next(batches)))
            state.step += 1
            state.use(run.budget_left())
            if state.guard.is_retreat_due:
                state.guard.retreat()
                # To the best ones, as the last accepted updates are what has ruined the newest average.
                optimizer.return_to(state.best or optimizer.average.state_dict(), forget=True)
                yield events.Retreated(phase.name, state.step, state.guard.rate_factor)
            if is_due(training.log_every):
                yield log.line(run, phase)
            if is_due(training.validate_every):
                yield from _validate(run, optimizer)  # which may end the phase
            if state.spent >= 1:
                if phase.is_measured_at_end:
                    yield events.Calibrating()
                    if runtime.is_main and state.best:  # on rank 0 alone: nothing is trained from these weights
                        state.best |= phase.finish(state.best)
                        run.write_best()
                yield from _save(run, optimizer)
            elif is_save_due() and state.guard.num_in_a_row == 0 and optimizer.is_finite():
                yield from _save(run, optimizer)  # only sound weights, as they push out older ones
                saved_step, saved_at = state.step, time.monotonic()
            if state.step % training.preview_every == 0 and state.spent < 1 and runtime.is_main:
                yield events.PreviewDue(state.step, run.as_model(optimizer.average))
    if state.spent < 1 and state.step != saved_step:
        yield from _save(run, optimizer)
    if state.spent < 1 and not state.best and state.step > log.first_step:
        # nothing was validated yet: the newest weights stand in on disk
        run.write_best(optimizer.average.state_dict())
    yield events.PhaseDone(phase.name, state.step - log.first_step, log.seconds(), batches.seconds_waited,
                           state.best_score if state.best else None, state.guard.num_refused)  # fmt: skip
    if state.best:  # what follows builds on them
        phase.module.load_state_dict(state.best)


def update_weights(run: TrainingRun, optimizer: PhaseOptimizer, wrapped: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """One update of the weights and of their average; a refused one leaves both as they are. Returns figures."""
    phase, state, training = optimizer.phase, run.state, run.inputs.config.training
    phase.module.train()
    phase.module.zero_grad(set_to_none=True)
    dropout = image_generator(training.seed, DROPOUT, batch.step, run.inputs.runtime.rank)
    torch.manual_seed(dropout.initial_seed())
    loss = phase.add_gradients(wrapped, batch, state.spent)
    norm = nn.utils.clip_grad_norm_(phase.module.parameters(), phase.gradient_clip)
    if state.guard.accepts(mean_over_ranks(loss.total.double()).item(), norm.item()):
        factor = rate_factor_at(state.step - state.first_step, state.spent, warmup_steps=training.warmup_steps,
                                decay_share=training.decay_share)  # fmt: skip
        optimizer.step(phase.learning_rate * factor * state.guard.rate_factor)
    return {**loss.figures, "gradient_norm": norm}


class _Log:
    """The figures since the last line of the log, and the time since the phase began in this invocation."""

    def __init__(self, first_step: int) -> None:
        self.first_step, self.begun = first_step, time.monotonic()
        self.figures: defaultdict[str, list[Tensor]] = defaultdict(list)

    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def add(self, figures: Mapping[str, Tensor]) -> None:
        for name, value in figures.items():
            self.figures[name].append(value.detach().float().cpu())

    def line(self, run: TrainingRun, phase: Phase) -> events.StepLogged:
        """Means, each over the updates that had the figure; then it starts over."""
        state, seconds, num_done = run.state, self.seconds(), run.state.step - self.first_step
        means = {name: (sum(values[1:], values[0]) / len(values)).item() for name, values in self.figures.items()}
        self.figures.clear()
        budget, left = run.budget, 0.0 if run.is_done else max(0.0, state.left)
        whole, seconds_each = (budget.seconds, 1.0) if budget.steps is None else (budget.steps, seconds / num_done)
        speed = num_done * run.inputs.config.training.batch_size / max(seconds, 1e-9)
        share = 1 - min(1.0, left / max(whole, 1e-9))
        return events.StepLogged(phase.name, state.step, state.spent, share, left * seconds_each, speed,
                                 means | phase.probe())  # fmt: skip


def _validate(run: TrainingRun, optimizer: PhaseOptimizer) -> Iterator[events.Event]:
    """Score the averaged weights, keep the best, and shorten the phase if the score stands still."""
    state, phase, training, runtime = run.state, optimizer.phase, run.inputs.config.training, run.inputs.runtime
    score = of_main_rank(phase.validate(optimizer.average) if runtime.is_main else 0.0, runtime.device)
    is_best = state.record(score, optimizer.average.state_dict(), keeps_newest=phase.keeps_newest(state.spent))
    if is_best:
        run.write_best()
    if runtime.is_main:
        yield events.Validated(phase.name, state.step, score, is_best)
    is_trained = state.guard.num_in_a_row == 0  # while updates are refused the score stands still in any case
    if state.num_stale >= training.patience > 0 and is_trained and state.best and state.spent < 1:
        is_end = state.shorten(training.decay_share)
        optimizer.return_to(state.best)
        yield events.Shortened(phase.name, state.step, state.best_step, is_end)


def _save(run: TrainingRun, optimizer: PhaseOptimizer) -> Iterator[events.Event]:
    """Raises DivergedError rather than write weights that are no numbers."""
    if not optimizer.is_finite():
        reason = f"after update {run.state.step} the weights are not finite"
        raise DivergedError(f"training diverged: {reason};", LOWER_RATE)
    if run.inputs.runtime.is_main:
        yield events.Saved(run.save(optimizer))
