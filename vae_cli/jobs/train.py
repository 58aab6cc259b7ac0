"""A training from the settings to the last picture."""

import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from vae_cli.checkpoint import Resumable, checkpoints_in, load_model, load_resumable, read_facts, resolve_run
from vae_cli.drawing import previews
from vae_cli.errors import ConfigError, DataError, DivergedError
from vae_cli.jobs.events import Advanced, Finished, JobEvent, Remark, Report
from vae_cli.jobs.model_warnings import few_images_line
from vae_cli.jobs.summarise_run import is_summarised, summarise_run
from vae_cli.jobs.train_request import TrainingRequest
from vae_cli.printable import printable, shell_quoted
from vae_cli.runtime import distributed, main_rank_first, make_runtime, memory_errors_explained, pick_device
from vae_cli.training import run_folder
from vae_cli.training.estimate import Estimate, estimate
from vae_cli.training.events import Event, PhaseDone, PreviewDue, Shortened, StepLogged, Validated
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.loop import train
from vae_cli.training.prepare import prepare
from vae_cli.training.training_run import TrainingRun, open_run

WORTH_A_TRIAL = 200
"""Updates from which on it is measured before they begin how long they will take."""
MAX_NAMED = 5
"""Skipped files that are named one by one."""


@dataclass(frozen=True)
class Started:
    """Everything is read, and nothing written yet."""

    run: TrainingRun
    seconds: float | None
    """That a budget in updates will take here; None where it was not measured."""


@dataclass(frozen=True)
class Estimated:
    """What a dry run ends with."""

    inputs: TrainingInputs
    cost: Estimate


TrainingEvent = Event | JobEvent | Started | Estimated


def is_main() -> bool:
    """Whether this process is rank 0, the one that speaks and writes."""
    return os.environ.get("RANK", "0") == "0"


class TrainingJob:
    """A training that has been planned; making one touches nothing on disk."""

    def __init__(self, request: TrainingRequest, *, started: float | None = None) -> None:
        """started: when a budget of time begins to count, in monotonic seconds; None = now.

        Raises ConfigError, also for a run folder that must not be written, and CheckpointError for a damaged run.
        """
        self.request, self.started = request, time.monotonic() if started is None else started
        self.is_summarising = False
        """Whether all is learned and saved, so that a KeyboardInterrupt loses nothing."""
        self.resumable: Resumable | None = None
        if request.resume:
            self.folder = request.out or run_folder.default_base(request.data)
            self.config = request.resumed_config(run_folder.stored_config(self.folder))
            if checkpoints_in(self.folder):
                self.resumable = load_resumable(self.folder)
        else:
            self.config = request.new_config()
            self.folder = request.out or run_folder.default_folder(self.config.data.path)
            if is_main():
                run_folder.require_free(self.folder, overwrite=request.overwrite)
        training, num_draws = self.config.training, self.config.objective.importance_samples
        self.runtime = make_runtime(pick_device(request.device), training.precision, training.threads)
        unit = self.runtime.world_size * num_draws
        if self.runtime.world_size > 1 and training.batch_size % unit:
            in_groups = f" in groups of {num_draws}" if num_draws > 1 else ""
            raise ConfigError(
                f"training.batch_size: {training.batch_size} cannot be shared by {self.runtime.world_size} ranks"
                f"{in_groups}; give a multiple of {unit}"
            )
        self._done = {name: PhaseDone(name, 0, 0.0, 0.0, None, 0) for name in ("vae", "flow")}
        self._shortened: set[str] = set()

    def dry_run(self, report: Report = lambda event: None) -> Iterator[TrainingEvent]:
        """Remarks, and at last what a new run would cost here."""
        inputs = yield from self._prepare(report)
        cost = estimate(inputs)
        yield from _remarks(inputs)
        yield Estimated(inputs, cost)

    def run(
        self, stop: Callable[[], bool] = lambda: False, report: Report = lambda event: None
    ) -> Iterator[TrainingEvent]:
        """Prepare, train both phases, measure, draw, report; ends with Finished on rank 0.

        stop: asked before every update. report: takes what is said while the images are read. The entries of Finished
        are those of the JSON object of `vae train`, and `status`.
        """
        hint = f"try --batch-size {max(1, self.config.training.batch_size // 2)} or a smaller --image-size"
        with distributed(self.runtime), memory_errors_explained(hint):
            run = self._open(self._with_fixed_runtime((yield from self._prepare(report))))
            if run.is_done:
                yield from self._nothing_to_do(run)
                return
            yield from _remarks(run.inputs)
            yield Started(run, self._expected_seconds(run))
            if self.runtime.is_main:  # only now: until here an older run in the folder stays as it was
                (run_folder.create if self.resumable is None else run_folder.describe)(self.folder, run.inputs)
            yield from self._train(run, stop)
            if self.runtime.is_main:
                yield from self._finish(run, stop)

    # Before

    def _prepare(self, report: Report) -> Generator[Remark, None, TrainingInputs]:
        """Read the data; rank 0 first, so that the others find its cache."""
        request = self.request
        if request.resume and self.resumable is None:
            yield Remark(f"{printable(self.folder)}: nothing was saved yet; starting from the beginning")

        def advance(what: str, done: int, total: int) -> None:
            report(Advanced(what, done, total))

        exclude = [request.out] if request.out else []
        with main_rank_first():
            inputs = prepare(self.config, self.runtime, workers=request.workers, exclude=exclude, on_progress=advance,
                             with_patches=True)  # fmt: skip
        skipped = inputs.skipped
        if request.strict and skipped:
            raise DataError(f"{skipped[0].id}: {skipped[0].reason} ({len(skipped)} such files; --strict)")
        for item in skipped[:MAX_NAMED]:
            yield Remark(f"skipped {printable(item.id)}: {printable(item.reason)}", "warning")
        if (more := len(skipped) - MAX_NAMED) > 0:
            yield Remark(f"skipped {more} more files; data.json in the run names them all", "warning")
        return inputs

    def _with_fixed_runtime(self, inputs: TrainingInputs) -> TrainingInputs:
        """Precision and threads as chosen here become part of the configuration: a run never chooses them again."""
        layer = {"precision": self.runtime.precision, "threads": torch.get_num_threads()}
        return replace(inputs, config=inputs.config.updated({"training": layer}))

    def _open(self, inputs: TrainingInputs) -> TrainingRun:
        if self.resumable is not None and self.resumable.facts.label_names != inputs.label_names:
            raise ConfigError("the labels of DATA differ from those the run was trained with; start a new run")
        return open_run(
            inputs, self.folder, started=self.started, resume=self.resumable, extend=self.request.has_budget
        )

    def _expected_seconds(self, run: TrainingRun) -> float | None:
        """Measured on a few updates; not worth it for a short budget."""
        total, left = run.budget.steps or 0, (run.budget.steps or 0) - run.state.step
        is_measured = left >= WORTH_A_TRIAL and self.runtime.world_size == 1
        return estimate(run.inputs).seconds * left / total if is_measured else None

    # During and after

    def _train(self, run: TrainingRun, stop: Callable[[], bool]) -> Iterator[Event]:
        """The loop's events; pictures are drawn and figures logged on the way."""
        log = run_folder.MetricsLog(self.folder, first_step=run.state.step) if self.runtime.is_main else None
        try:
            for event in train(run, stop):
                self._take_note(event, run, log)
                if not isinstance(event, PreviewDue):
                    yield event
        except DivergedError:
            if not stop():  # else the user has ended it, and what is ruined was to be saved
                raise
        finally:
            if log is not None:
                log.close()

    def _take_note(self, event: Event, run: TrainingRun, log: run_folder.MetricsLog | None) -> None:
        match event:
            case StepLogged() if log is not None:
                speed = {"images_per_second": event.images_per_second}
                log.write(event.step, event.phase, event.figures | speed)
            case Validated() if log is not None:
                log.write(event.step, event.phase, {"validation_loss": event.score})
            case PreviewDue():
                previews.draw_progress(event.model, run.inputs.validation, self.folder / "previews", event.step)
            case Shortened():
                self._shortened.add(event.phase)
            case PhaseDone():
                self._done[event.phase] = event

    def _finish(self, run: TrainingRun, stop: Callable[[], bool]) -> Iterator[JobEvent]:
        """Measure the best weights and draw the final pictures, unless a stop comes first."""
        facts = self._facts(run, time.monotonic() - self.started)
        self.is_summarising = True
        try:
            if not stop():
                facts["validation"] = yield from summarise_run(run, load_model(self.folder, self.runtime))
        except KeyboardInterrupt:  # all that was learned is saved, and resuming measures what is not
            pass
        finally:
            self.is_summarising = False
        is_finished = facts["validation"] is not None
        if not is_finished:
            kept = checkpoints_in(self.folder)
            saved = f"saved at step {read_facts(resolve_run(kept[-1])).step}" if kept else "nothing was saved yet"
            yield Remark(f"{saved}; go on with: vae train --out {shell_quoted(self.folder)} --resume")
        yield Finished({"status": "finished" if is_finished else "interrupted", **facts})

    def _nothing_to_do(self, run: TrainingRun) -> Iterator[JobEvent]:
        if not self.runtime.is_main:
            return
        step, model = run.state.step, load_model(self.folder, self.runtime)  # which also finds damage
        if not is_summarised(self.folder, step):
            yield from summarise_run(run, model)
        more = 2 * max(step, run.budget.steps or 0)
        yield Remark(f"{printable(self.folder)} is complete at step {step}: nothing to do; --steps {more} goes on")
        yield Finished({"status": "nothing_to_do", **self._facts(run, 0.0)})

    def _facts(self, run: TrainingRun, seconds: float) -> dict[str, Any]:
        """About the run and this invocation."""
        inputs, config, phases = run.inputs, run.inputs.config, self._done.values()
        busy, waited = sum(phase.seconds for phase in phases), sum(phase.seconds_waited for phase in phases)
        num_images = config.training.batch_size * sum(phase.steps for phase in phases)
        return {
            "run": self.folder,
            "steps": run.state.step,
            "images": len(inputs.train.ids),
            "skipped": len(inputs.skipped),
            "image_size": list(config.data.image_size),
            "channels": config.data.channels,
            "labels": list(inputs.label_names),
            "parameters": run.num_parameters,
            "precision": self.runtime.precision,
            "seconds": seconds,
            "images_per_second": num_images / busy if busy else 0.0,
            "data_wait_fraction": waited / busy if busy else 0.0,
            "phases": {phase.phase: self._phase_facts(phase) for phase in phases},
            "validation": None,
        }

    def _phase_facts(self, done: PhaseDone) -> dict[str, Any]:
        num_images = done.steps * self.config.training.batch_size
        return {
            "steps": done.steps,
            "seconds": done.seconds,
            "images_per_second": num_images / done.seconds if num_images else 0.0,
            "validation_loss": done.validation_loss,
            "shortened": done.phase in self._shortened,
        }


def _remarks(inputs: TrainingInputs) -> Iterator[Remark]:
    """What the images made of the settings, and whether they are few."""
    yield from map(Remark, inputs.notes)
    if line := few_images_line(len(inputs.train.ids)):
        yield Remark(line)
