"""Training as an iterator of events: phase 1 the VAE, phase 2 the latent flow, one budget, resumable at any moment."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from vae_cli import checkpoint
from vae_cli.checkpoint import Facts, Model, Resumable
from vae_cli.dataset.batches import Batch, Batches
from vae_cli.errors import DivergedError
from vae_cli.model.calibration import CALIBRATED
from vae_cli.model.flow import LatentFlow, build_flow
from vae_cli.model.vae import VAE, build_vae
from vae_cli.randomness import DROPOUT, INITIAL_WEIGHTS, image_generator
from vae_cli.training.budget import Budget, total_steps, vae_steps
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
from vae_cli.training.objective import LOWER_RATE, UpdateGuard, rate_factor_at
from vae_cli.training.optimisation import Optimisation
from vae_cli.training.phase import Phase, TrainingInputs
from vae_cli.training.run_state import Averages, RunState
from vae_cli.training.vae_phase import VaePhase


class Trainer:
    """State of one invocation; `run` yields events until the budget is spent or `stop` says so."""

    def __init__(
        self,
        inputs: TrainingInputs,
        run: Path,
        *,
        started: float,
        stop: Callable[[], bool] = lambda: False,
        resume: Resumable | None = None,
        extend: bool = False,
    ) -> None:
        """`extend`: the budget was given for this invocation, so a phase that had spent an older one goes on."""
        self.inputs, self.run_path, self.started, self.stop = inputs, run, started, stop
        self.training, self.runtime = inputs.config.training, inputs.runtime
        self.total = total_steps(self.training, inputs.images_an_epoch)
        self.progress, self.guard, self.stopped = RunState(), UpdateGuard(), False
        self._seed_weights(0)
        self.vae = build_vae(inputs.config)
        self.runtime.place(self.vae)
        self.flow: LatentFlow | None = None
        self.resume = resume
        self.seconds = self.training.time
        if resume is not None:
            self._restore_progress(resume)
            self._plan_time(extend)

    @property
    def num_parameters(self) -> int:
        """Of the whole model, the flow included before it is built."""
        modules: list[nn.Module] = [self.vae]
        if self.training.flow_share > 0 or self.flow is not None:
            modules.append(self.flow or self._flow_on(torch.device("meta")))
        return sum(parameter.numel() for module in modules for parameter in module.parameters())

    def is_done(self) -> bool:
        """Whether the budget, or what a standstill left of it, was spent before this invocation."""
        state = self.progress
        is_ended = state.spent >= 1 and state.phase == ("flow" if self.training.flow_share > 0 else "vae")
        if self.total is not None:
            return state.step >= self.total or (is_ended and state.shortened < 1)
        return is_ended

    def describe_budget(self) -> str:
        """For the first line on the screen."""
        if self.total is not None:
            return f"{self.total} updates, {vae_steps(self.training, self.total)} of them for the VAE"
        return f"{self.seconds or 0:.0f} s of training, {1 - self.training.flow_share:.0%} for the VAE"

    def run(self) -> Iterator[Event]:
        """Both phases, from wherever the run stands."""
        if self.progress.phase == "vae":
            yield from self._train(VaePhase(self.inputs, self.vae), self._vae_budget())
            if self.stopped or self.training.flow_share == 0 or self._flow_steps() == 0 or self._stops():
                return
            self._begin_flow()
        flow_phase = self._flow_phase()
        budget = Budget(self._flow_steps(), self.progress.fraction, self._deadline())
        yield from self._train(flow_phase, budget)

    # Budgets

    def _plan_time(self, extend: bool) -> None:
        """A budget of time on resuming: the whole of one given anew, else what the interruption left of the old."""
        if self.training.time is None:
            return
        share, state = self.training.flow_share, self.progress
        if extend and self.is_done():
            state.lengthen()
            state.fraction = 0.0
        elif not extend:
            vae_left = (1 - share) * (1 - state.fraction) + share
            flow_left = (share + state.unspent) * (1 - state.fraction)
            self.seconds = self.training.time * (vae_left if state.phase == "vae" else flow_left)

    def _deadline(self) -> float:
        return self.started + (self.seconds or 0.0)

    def _vae_budget(self) -> Budget:
        if self.total is not None:
            return Budget(vae_steps(self.training, self.total), 0.0, 0.0)
        share, now = self.training.flow_share, time.monotonic()
        vae_left = (1 - share) * (1 - self.progress.fraction)
        left = max(0.0, self._deadline() - now)
        return Budget(None, self.progress.fraction, now + left * vae_left / max(vae_left + share, 1e-9))

    def _flow_steps(self) -> int | None:
        """Phase 2's updates: what the total leaves after phase 1."""
        if self.total is None:
            return None
        before = self.progress.first_step if self.progress.phase == "flow" else self.progress.step
        return max(0, self.total - before)

    # One phase

    def _train(self, phase: Phase, budget: Budget) -> Iterator[Event]:
        """Updates until the phase's budget is spent; validates, keeps the best, saves, and asks for previews."""
        state, training, runtime = self.progress, self.training, self.runtime
        optimisation = Optimisation.of(phase, training, runtime.device)
        self._restore_phase(optimisation)
        wrapped = self._wrap(phase.module)
        begun, first_step, figures = time.monotonic(), state.step, Averages()
        batches = Batches(self.inputs.train, training.batch_size, patches=self.inputs.patches, seed=training.seed,
                          start_step=state.step, rank=runtime.rank, world_size=runtime.world_size)  # fmt: skip
        state.fraction = self._agreed(budget.fraction(state.step - state.first_step))
        with batches:
            # A phase makes one update at least, even when reading the data has used up the time.
            while (state.spent < 1 or state.step == state.first_step) and not self._stops():
                figures.add(self._update(optimisation, wrapped, next(batches)))
                state.step += 1
                state.fraction = self._agreed(budget.fraction(state.step - state.first_step))
                yield from self._after_update(optimisation, figures, begun, first_step)
        if self.stopped and state.step % training.save_every:
            yield from self._save(optimisation)
        if self.stopped and not state.best:  # no score yet: the newest weights stand in, outside the run's state
            self._write_best(phase, optimisation.ema.module.state_dict())
        seconds = time.monotonic() - begun
        score = state.best_score if math.isfinite(state.best_score) else None
        yield PhaseDone(phase.name, state.step - first_step, seconds, batches.seconds_waited, score,
                        self.guard.num_refused)  # fmt: skip
        self._keep_best(phase)

    def _update(self, optimisation: Optimisation, wrapped: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """One update of the weights and of their average; refused ones leave both as they are."""
        phase, state, training = optimisation.phase, self.progress, self.training
        phase.module.train()
        phase.module.zero_grad(set_to_none=True)
        dropout = image_generator(training.seed, DROPOUT, batch.step, self.runtime.rank)
        torch.manual_seed(dropout.initial_seed())
        loss = phase.loss(wrapped, batch, state.spent)
        loss.total.backward()
        norm = nn.utils.clip_grad_norm_(phase.module.parameters(), phase.gradient_clip)
        if self.guard.accepts(self._mean_over_ranks(loss.total), norm.item()):
            factor = rate_factor_at(
                state.step - state.first_step, state.spent,
                warmup_steps=training.warmup_steps, decay_share=training.decay_share,
            )  # fmt: skip
            optimisation.step(phase.learning_rate * factor * self.guard.rate_factor)
        return {**loss.figures, "gradient_norm": norm}

    def _after_update(
        self, optimisation: Optimisation, figures: Averages, begun: float, first_step: int
    ) -> Iterator[Event]:
        """Whatever is due after an update: log, validation, checkpoint, pictures."""
        state, training, phase = self.progress, self.training, optimisation.phase
        if self.guard.is_retreat_due:
            self._retreat(optimisation)
            yield Retreated(phase.name, state.step, self.guard.rate_factor)
        if state.step % training.log_every == 0 or state.spent >= 1:
            seconds = time.monotonic() - begun
            speed = (state.step - first_step) * training.batch_size / max(seconds, 1e-9)
            left = seconds / max(state.step - first_step, 1) * self._steps_left()
            yield StepLogged(phase.name, state.step, state.spent, left, speed, figures.take() | phase.probe())
        if state.step % training.validate_every == 0 or state.spent >= 1:
            yield from self._validate(optimisation)  # which may end the phase
        is_end = state.spent >= 1
        if is_end and isinstance(phase, FlowPhase):
            yield Calibrating()
            self._calibrate(phase)
        if is_end or (state.step % training.save_every == 0 and self._is_healthy(optimisation)):
            yield from self._save(optimisation)
        if state.step % training.preview_every == 0 and not is_end and self.runtime.is_main:
            yield PreviewDue(state.step, self._as_model(phase, optimisation.ema.module))

    def _retreat(self, optimisation: Optimisation) -> None:
        """Go back to weights that were good, with an optimiser that has forgotten what led away from them.

        Those with the best score, because the last accepted updates are what has ruined the newest average.
        """
        self.guard.retreat()
        optimisation.return_to(self.progress.best or optimisation.ema.module.state_dict())
        optimisation.forget()

    def _calibrate(self, phase: FlowPhase) -> None:
        """Calibrate the best weights, those that commands use; step checkpoints stay as they are.

        On rank 0 alone: nothing is trained from these weights.
        """
        if self.runtime.is_main and self.progress.best:
            best = copy.deepcopy(phase.module)
            best.load_state_dict(self.progress.best)
            phase.calibrate(best)
            measured = [name for name in best.state_dict() if name in CALIBRATED]
            self.progress.best |= {name: getattr(best, name).cpu() for name in measured}
            self._write_best(phase, self.progress.best)

    def _is_healthy(self, optimisation: Optimisation) -> bool:
        """Whether the weights are worth a checkpoint, which pushes out an older one.

        They are not while updates are refused, nor when the last one has blown them up before anything was refused.
        """
        return self.guard.num_in_a_row == 0 and optimisation.is_finite()

    def _steps_left(self) -> float:
        """Updates that the phase still has to make, guessed from the share that is spent."""
        state = self.progress
        done = state.step - state.first_step
        return done / max(state.spent, 1e-9) - done

    def _stops(self) -> bool:
        self.stopped = bool(self._agreed(float(self.stop())))
        return self.stopped

    def _validate(self, optimisation: Optimisation) -> Iterator[Event]:
        """Score the averaged weights on rank 0; a new best is kept in memory and on disk, a standstill acted upon."""
        state, phase = self.progress, optimisation.phase
        score = phase.validate(optimisation.ema.module) if self.runtime.is_main else 0.0
        score = self._agreed(score)
        keeps_newest = phase.keeps_newest(state.spent)
        is_best = state.record(score, optimisation.ema.module.state_dict(), keeps_newest=keeps_newest)
        if is_best:
            self._write_best(phase, state.best)
        if self.runtime.is_main:
            yield Validated(phase.name, state.step, score, is_best)
        is_trained = self.guard.num_in_a_row == 0  # weights that only stand still while updates are refused diverge
        if state.num_stale >= self.training.patience > 0 and is_trained and state.best and state.spent < 1:
            is_end = state.shorten(self.training.decay_share, self.total)
            optimisation.return_to(state.best)
            yield Shortened(phase.name, state.step, state.best_step, is_end)

    # Disk

    def _facts(self, step: int) -> Facts:
        inputs = self.inputs
        return Facts(inputs.config, inputs.label_names, inputs.label_images, step, self.progress.phase)

    def _weights(self, phase: Phase, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights to store: the phase's tensors, and the frozen VAE's beside a flow."""
        named = {f"{phase.name}.{name}": value.detach().cpu().contiguous() for name, value in tensors.items()}
        return named if phase.name == "vae" else named | checkpoint.weights_of(self.vae, None)

    def _write_best(self, phase: Phase, tensors: dict[str, Tensor]) -> None:
        if self.runtime.is_main:
            folder = self.run_path / "checkpoints" / "best"
            step = self.progress.best_step if self.progress.best else self.progress.step
            checkpoint.write_checkpoint(folder, self._facts(step), self._weights(phase, tensors), None)

    def _save(self, optimisation: Optimisation) -> Iterator[Event]:
        """Write a step checkpoint from which training goes on bit for bit.

        Raises DivergedError rather than write weights that are no numbers.
        """
        if not optimisation.is_finite():
            raise DivergedError(
                f"training diverged: after update {self.progress.step} the weights are not finite;\n{LOWER_RATE}"
            )
        if not self.runtime.is_main:
            return
        state = self.progress
        trainer = {
            **{name: getattr(state, name) for name in RunState.__dataclass_fields__},
            **optimisation.state(),
            "guard": self.guard.state(),
        }
        folder = self.run_path / "checkpoints" / f"step-{state.step:08d}"
        weights = self._weights(optimisation.phase, optimisation.ema.module.state_dict())
        checkpoint.write_checkpoint(folder, self._facts(state.step), weights, trainer)
        checkpoint.prune(self.run_path)
        yield Saved(folder)

    # Resuming and the change of phase

    def _restore_progress(self, resume: Resumable) -> None:
        state = self.progress
        for name in RunState.__dataclass_fields__:  # a run of an older version lacks the newer ones
            setattr(state, name, resume.trainer.get(name, getattr(state, name)))
        if state.shortened < 1 and self.total is not None and self.total > state.shortened_total:
            state.lengthen()
        self.guard.load(resume.trainer["guard"])
        if state.phase == "flow":
            frozen = {name.removeprefix("vae."): value for name, value in resume.weights.items() if name[:4] == "vae."}
            self.vae.load_state_dict(frozen)

    def _restore_phase(self, optimisation: Optimisation) -> None:
        """Weights, average, optimiser from the checkpoint; `best` on disk made to agree with it."""
        if self.resume is None:
            return
        prefix = f"{optimisation.phase.name}."
        average = {name.removeprefix(prefix): value for name, value in self.resume.weights.items()
                   if name.startswith(prefix)}  # fmt: skip
        optimisation.load(self.resume.trainer, average)
        self.resume = None
        if self.progress.best:
            self._write_best(optimisation.phase, self.progress.best)

    def _keep_best(self, phase: Phase) -> None:
        """The phase's module takes its best averaged weights: what follows builds on them."""
        if self.progress.best:
            phase.module.load_state_dict(self.progress.best)

    def _begin_flow(self) -> None:
        step, vae_share = self.progress.step, 1 - self.training.flow_share
        unspent = vae_share * (1 - self.progress.fraction)
        self.progress = RunState(phase="flow", step=step, first_step=step, unspent=unspent)
        self.guard = UpdateGuard()

    def _flow_on(self, device: torch.device) -> LatentFlow:
        with device:
            return build_flow(self.inputs.config, self.vae.latent_shapes[0], len(self.inputs.label_names))

    def _flow_phase(self) -> FlowPhase:
        self.vae.eval().requires_grad_(False)
        self._seed_weights(1)
        self.flow = self._flow_on(torch.device("cpu"))
        self.runtime.place(self.flow)
        phase = FlowPhase(self.inputs, self.flow, self.vae)
        if self.resume is None:
            phase.prepare()
        return phase

    def _as_model(self, phase: Phase, module: nn.Module) -> Model:
        facts, path = self._facts(self.progress.step), self.run_path
        vae, flow = (module, None) if phase.name == "vae" else (self.vae, module)
        assert isinstance(vae, VAE) and (flow is None or isinstance(flow, LatentFlow))
        return Model(facts, vae, flow, path, self.runtime)

    # Ranks

    def _seed_weights(self, number: int) -> None:
        torch.manual_seed(image_generator(self.training.seed, INITIAL_WEIGHTS, number).initial_seed())

    def _wrap(self, module: nn.Module) -> nn.Module:
        return DistributedDataParallel(module) if self.runtime.world_size > 1 else module

    def _agreed(self, value: float) -> float:
        """Rank 0's value on every rank."""
        if self.runtime.world_size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.runtime.device)
        dist.broadcast(shared, 0)
        return shared.item()

    def _mean_over_ranks(self, loss: Tensor) -> float:
        if self.runtime.world_size == 1:
            return loss.item()
        mean = loss.detach().double().clone()
        dist.all_reduce(mean)
        return mean.item() / self.runtime.world_size
