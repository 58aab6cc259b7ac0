"""A training from the settings to the last picture."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from vae_cli import locks
from vae_cli.checkpoint import Resumable, load_model, load_resumable, read_facts
from vae_cli.checkpoint_folders import bare, checkpoints_in, require_whole, resolve_run, step_folders
from vae_cli.company import Company
from vae_cli.drawing import previews
from vae_cli.errors import CheckpointError, ConfigError, DataError, DivergedError, RanksError
from vae_cli.jobs.data_remarks import data_remarks, skipped_remarks
from vae_cli.jobs.events import Advanced, Finished, JobEvent, Remark, Report
from vae_cli.jobs.inputs import announce_stored_data
from vae_cli.jobs.summarise_run import is_summarised, summarise_run
from vae_cli.jobs.train_request import TrainingRequest, known_config, memory_advice, require_shared_batches
from vae_cli.printable import printable, printable_lines, shell_quoted
from vae_cli.ranks import Ranks, meet
from vae_cli.runtime import (
    distributed,
    is_any_rank,
    main_rank_first,
    make_runtime,
    memory_errors_explained,
    pick_device,
    wait_for_ranks,
)
from vae_cli.training import run_folder
from vae_cli.training.alike import require_alike
from vae_cli.training.estimate import Estimate, estimate
from vae_cli.training.events import Event, PhaseDone, PreviewDue, Shortened, StepLogged, Validated
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.loop import train
from vae_cli.training.prepare import prepare
from vae_cli.training.run_record import MEASURED, STARTED
from vae_cli.training.training_run import TrainingRun, open_run

WORTH_A_TRIAL = 200
"""Updates from which on it is measured before they begin how long they will take."""


@dataclass(frozen=True)
class Started:
    """All images are read, nothing is written yet. seconds: what a budget in updates will take here, if measured."""

    run: TrainingRun
    seconds: float | None


TrainingEvent = Event | JobEvent | Started
Answer = TypeVar("Answer")


class TrainingJob:
    """A training that has been planned; making one touches nothing on disk."""

    def __init__(self, request: TrainingRequest, *, started: float | None = None) -> None:
        """started: when a budget of time begins to count, in monotonic seconds; None = now.

        Raises ConfigError, also for a run folder that must not be written, and CheckpointError for a damaged run.
        """
        self.request, self.started = request, time.monotonic() if started is None else started
        self.resumable: Resumable | None = None
        self.is_summarising = False
        """Whether all is learned and saved, so that a KeyboardInterrupt loses nothing."""
        self.is_stopped = False
        """Whether a rank was asked to stop while there was something left to do."""
        ranks = Ranks.of_environment()
        if request.resume:
            self.folder = request.out or run_folder.default_base(request.data)
            if ranks.is_main:  # while another process trains, checkpoints come and go
                locks.require_unlocked(self.folder)
            self._read_run()
        else:
            self.config = request.new_config()
            self.folder = request.out or run_folder.default_folder(self.config.data.path)
            if ranks.is_main:  # the other ranks may come when it has made the folder
                self._require_free()
        training = self.config.training
        device = pick_device(request.device, ranks.local_rank)
        self.runtime = make_runtime(device, training.precision, training.threads, ranks)
        require_shared_batches(self.config, ranks.world_size)
        self._ranks, self._address, self._company = ranks, ranks.address(), Company()
        self._done = {name: PhaseDone(name, 0, 0.0, 0.0, None, 0) for name in ("vae", "flow")}
        self._shortened: set[str] = set()

    def estimate(self, report: Report = lambda event: None) -> tuple[TrainingInputs, Estimate]:
        """What would be trained, and what that would cost here. report: takes progress and remarks."""
        inputs = self._prepare(report)
        cost = estimate(inputs)
        for remark in (*skipped_remarks(inputs), *data_remarks(inputs)):
            report(remark)
        return inputs, cost

    def run(
        self, stop: Callable[[], bool] = lambda: False, report: Report = lambda event: None
    ) -> Iterator[TrainingEvent]:
        """Prepare, train both phases, measure, draw, report; ends with Finished, on rank 0 alone.

        stop: asked before every update. report: takes progress while the images are read. The facts of Finished are
        the entries of the JSON object of `vae train`, with its `status`.
        """
        advice = memory_advice(self.config, self._ranks.world_size)
        with memory_errors_explained(advice), contextlib.ExitStack() as stack:
            yield from self._claim(stack, report)
            if self.request.resume and self.resumable is None:
                yield Remark(f"{printable(self.folder)}: nothing was saved yet; starting from the beginning")
            inputs = self._prepare(report)
            wait_for_ranks()
            if self.runtime.is_main:
                yield from skipped_remarks(inputs)
            if self.resumable is not None and self.resumable.facts.label_names != inputs.label_names:
                differing = sorted({*self.resumable.facts.label_names} ^ {*inputs.label_names})[:5]
                raise ConfigError("the labels of DATA differ from those the run was trained with "
                                  f"({', '.join(map(printable, differing))}); start a new run")  # fmt: skip
            # as chosen here they become part of the configuration: a run never chooses them again
            chosen = {"precision": self.runtime.precision, "threads": torch.get_num_threads()}
            inputs = replace(inputs, config=inputs.config.updated({"training": chosen}))
            require_alike(inputs, self._company.node)
            run = open_run(inputs, self.folder, started=self.started, resume=self.resumable,
                           extend=self.request.has_budget)  # fmt: skip
            yield from self._repair(run)
            if run.is_done:
                yield from self._nothing_to_do(run)
                return
            yield from data_remarks(inputs)
            yield from map(Remark, run.notes)
            total, seconds = run.budget.steps or 0, None
            if total - run.state.step >= WORTH_A_TRIAL and self.runtime.world_size == 1:
                seconds = estimate(run.inputs).seconds * (total - run.state.step) / total
            yield Started(run, seconds)
            if self.runtime.is_main:  # only now: until here an older run in the folder stays as it was
                self._require_free()
                (run_folder.create if self.resumable is None else run_folder.describe)(self.folder, run.inputs)
            yield from self._train(run, stop)
            if self.runtime.is_main:
                yield from self._finish(run, stop)
                self._company.finished()
            else:
                self._company.await_end(stop)
                self.is_stopped = self.is_stopped or stop()
            with contextlib.suppress(RuntimeError):  # together: a launcher kills the others when one has ended
                wait_for_ranks()

    def _claim(self, stack: contextlib.ExitStack, report: Report) -> Iterator[Remark]:
        """Meet the other ranks, make the run folder rank 0's own, and look again at what is in it."""

        def end(what: str) -> None:  # from a thread, while this rank waits for ever in a collective
            report(_warning(f"rank {self._ranks.rank}: {what}; what was saved stays"))
            os._exit(RanksError.exit_code)

        store = yield from _warned(meet(self._ranks, self._address))
        group = distributed(self.runtime, store, on_loss=end, on_stop=lambda: signal.raise_signal(signal.SIGTERM))
        self._company = stack.enter_context(group)
        with main_rank_first():
            if self.runtime.is_main:
                wanted = self.folder if self.request.resume else self.request.out
                claim = run_folder.claimed(wanted, self.config.data.path)
                self.folder, doubt = stack.enter_context(claim)
                if doubt:
                    yield _warning(doubt)
                self._require_free()
                run_folder.tidy(self.folder)
            if self.request.resume:
                yield from map(_warning, self._read_run())

    def _require_free(self) -> None:
        """Raises ConfigError where a new run would take the place of something that it must not."""
        if not self.request.resume:
            run_folder.require_free(self.folder, overwrite=self.request.overwrite)

    def _read_run(self) -> list[str]:
        """Where the run stands that is to go on, and what to say about that. Raises ConfigError, CheckpointError."""
        run_folder.require_own(self.folder)
        self.resumable = load_resumable(self.folder) if step_folders(self.folder) else None
        stored, remarks = known_config(self.folder, self.resumable.facts.config if self.resumable else None)
        self.config = self.request.resumed_config(stored)
        last = run_folder.last_metrics(self.folder)
        # a kill while the first of them was written has left no more updates than that, and no final figures
        had_some = last.get("phase") == MEASURED or float(last.get("step", 0)) > stored.training.save_every
        if self.resumable is None and had_some:
            raise CheckpointError(f"{self.folder}: its step checkpoints are gone, and training cannot go on without; "
                                  "start again with --overwrite")  # fmt: skip
        problems = self.resumable.problems if self.resumable else ()
        return [*(f"{problem}; the training goes on from an older checkpoint" for problem in problems), *remarks]

    def _repair(self, run: TrainingRun) -> Iterator[Remark]:
        """Say what has changed in the data of a run that goes on, and write its best weights again if they are lost."""
        if not self.request.resume or not self.runtime.is_main:
            return
        if changes := run_folder.changes_of_data(self.folder, run.inputs):
            yield _warning(changes)
        best = self.folder / "checkpoints" / "best"
        try:
            if run.state.best:
                require_whole(best)
        except CheckpointError as error:
            run.write_best()
            yield _warning(f"{bare(error)};\nwritten again from the checkpoint of step {run.state.step}")

    def _prepare(self, report: Report) -> TrainingInputs:
        """Read the data, once on each node."""

        def advance(what: str, done: int, total: int) -> None:
            report(Advanced(what, done, total))

        if self.request.resume and self.request.data is None and self.runtime.is_main:
            announce_stored_data(self.config, report)
        exclude = [self.request.out] if self.request.out else []
        workers = self.request.workers or self._ranks.cores()
        inputs = prepare(self.config, self.runtime, workers=workers, exclude=exclude, on_progress=advance,
                         with_patches=True, company=self._company)  # fmt: skip
        if self.request.strict and inputs.skipped:
            first = inputs.skipped[0]
            raise DataError(f"{first.id}: {first.reason} ({len(inputs.skipped)} such files; --strict)")
        return inputs

    def _train(self, run: TrainingRun, stop: Callable[[], bool]) -> Iterator[Event]:
        """The loop's events; on rank 0 figures are logged and pictures drawn on the way."""

        def stops() -> bool:
            self.is_stopped = self.is_stopped or is_any_rank(stop(), self.runtime.device)
            return self.is_stopped

        log = run_folder.MetricsLog(self.folder, first_step=run.state.step) if self.runtime.is_main else None
        with closing(log) if log is not None else contextlib.nullcontext():
            if log is not None:
                log.write(run.state.step, STARTED,
                          {"machine": self.runtime.machine, "precision": self.runtime.precision})  # fmt: skip
            try:
                for event in train(run, stops):
                    match event:
                        case StepLogged() if log is not None:
                            figures = event.figures | {"images_per_second": event.images_per_second,
                                                       "seconds": log.seconds()}  # fmt: skip
                            log.write(event.step, event.phase, figures)
                        case Validated() if log is not None:
                            log.write(event.step, event.phase, {"validation_loss": event.score})
                        case PreviewDue(step, model):
                            with contextlib.suppress(DataError):  # what a diverging model draws is no picture
                                pictures = previews.draw_progress(model, run.inputs.validation,
                                                                  self.folder / "previews", step)  # fmt: skip
                                if log is not None:
                                    log.add_pictures(step, pictures)
                        case Shortened():
                            self._shortened.add(event.phase)
                        case PhaseDone():
                            self._done[event.phase] = event
                    yield event
            except DivergedError:
                if not (self.is_stopped or stop()):  # else the user has ended it, and what is ruined was to be saved
                    raise

    def _finish(self, run: TrainingRun, stop: Callable[[], bool]) -> Iterator[JobEvent]:
        """Measure the best weights and draw the final pictures, unless a stop comes first."""
        facts = self._facts(run, time.monotonic() - self.started)
        self.is_summarising = True
        try:
            if not (self.is_stopped or stop()):
                model = load_model(self.folder, self.runtime)
                facts["fill_share"] = None if model.flow is None else model.flow.fill_share
                facts |= yield from summarise_run(run, model)
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
        busy = sum(done.seconds for done in phases)

        def speed(steps: int, seconds: float) -> float:
            return steps * config.training.batch_size / seconds if steps else 0.0

        return {
            "run": self.folder, "steps": run.state.step, "images": len(inputs.train.ids),
            "skipped": len(inputs.skipped), "image_size": list(config.data.image_size),
            "channels": config.data.channels, "labels": list(inputs.label_names), "parameters": run.num_parameters,
            "precision": self.runtime.precision, "seconds": seconds,
            "images_per_second": speed(sum(done.steps for done in phases), busy),
            "data_wait_fraction": sum(done.seconds_waited for done in phases) / busy if busy else 0.0,
            "phases": {name: {"steps": done.steps, "seconds": done.seconds,
                              "images_per_second": speed(done.steps, done.seconds),
                              "validation_loss": done.validation_loss, "shortened": name in self._shortened}
                       for name, done in self._done.items()},
            "fill_share": None, "validation": None, "samples": None,
        }  # fmt: skip


def _warning(text: str) -> Remark:
    return Remark(printable_lines(text), "warning")


def _warned(texts: Generator[str, None, Answer]) -> Generator[Remark, None, Answer]:
    """Each text as a warning, which every rank may give."""
    while True:
        try:
            yield _warning(next(texts))
        except StopIteration as end:
            return end.value
