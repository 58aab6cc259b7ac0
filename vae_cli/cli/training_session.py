"""One invocation of `vae train`: what was asked for, done step by step, shown and summed up."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from vae_cli.cli import advice
from vae_cli.cli.progress import Messages, clock
from vae_cli.cli.results import print_json, say
from vae_cli.cli.stops import EXIT_CODES, stop
from vae_cli.cli.training_request import Request
from vae_cli.errors import ConfigError, DataError, DivergedError
from vae_cli.printable import printable, shell_quoted

if TYPE_CHECKING:
    from vae_cli.checkpoint import Resumable
    from vae_cli.config import RunConfig
    from vae_cli.runtime import Runtime
    from vae_cli.training.events import Event, PhaseDone
    from vae_cli.training.loop import Trainer
    from vae_cli.training.prepare import Prepared

WORTH_A_TRIAL = 200
"""Updates from which on the start line measures how long they will take."""
_NOTHING_DONE = {"steps": 0, "seconds": 0.0, "images_per_second": 0.0, "validation_loss": None, "shortened": False}
"""By a phase that this invocation had no part in."""


def is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _expected(trainer: "Trainer") -> str:
    """How long a budget in updates will take here, measured on a few of them; nothing for a short one."""
    updates_left = (trainer.total or 0) - trainer.progress.step
    if updates_left < WORTH_A_TRIAL or trainer.runtime.world_size > 1:
        return ""
    from vae_cli.training.estimate import estimate

    return f", about {clock(estimate(trainer.inputs).seconds * updates_left / (trainer.total or 1))}"


def _with_fixed_runtime(prepared: "Prepared", runtime: "Runtime") -> "Prepared":
    """Precision and threads as chosen here become part of the configuration: a run never chooses them again."""
    import torch

    layer = {"precision": runtime.precision, "threads": torch.get_num_threads()}
    return replace(prepared, config=prepared.config.updated({"training": layer}))


@dataclass
class Session:
    """One invocation of `vae train`."""

    request: Request
    messages: Messages
    started: float
    workers: int
    strict: bool
    device: str
    signal_number: int | None = None
    phases: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {name: dict(_NOTHING_DONE) for name in ("vae", "flow")}
    )
    shortened: set[str] = field(default_factory=set)
    """Phases that used less than their budget because they had stopped getting better."""
    seconds_waited: float = 0.0
    is_calibrating: bool = False
    """The last update is done, what is measured then is not."""
    is_concluding: bool = False
    """The best weights are being measured and drawn from."""

    def dry_run(self, *, as_json: bool) -> None:
        """Print the resolved configuration and what it would cost."""
        from vae_cli.config_layers import dump_yaml
        from vae_cli.training.estimate import estimate

        config, _, _ = self._plan()
        runtime = self._runtime(config)
        prepared = self._prepare(config)
        inputs = prepared.inputs(runtime)
        cost = estimate(inputs)
        for text in prepared.notes:
            self.messages.note(text)
        self._say_if_few(prepared)
        if as_json:
            facts = {name: getattr(cost, name) for name in cost.__dataclass_fields__}
            print_json("train", "dry_run", config=prepared.config.as_dict(), images=len(prepared.train.ids),
                       skipped=len(prepared.skipped), precision=runtime.precision, estimate=facts)  # fmt: skip
            return
        say(dump_yaml(prepared.config).rstrip())
        steps = f"{cost.steps} updates, " if cost.steps else ""
        say(f"# {len(prepared.train.ids)} images, {cost.parameters / 1e6:.1f} M parameters, {steps}"
              f"about {clock(cost.seconds)}, {cost.memory_bytes / 2**30:.1f} GiB of memory, "
              f"{cost.disk_bytes / 2**20:.0f} MiB of disk")  # fmt: skip

    def train(self, *, as_json: bool) -> None:
        """The whole job: prepare, train both phases, measure, draw, report."""
        from vae_cli.runtime import distributed, memory_errors_explained

        config, folder, resumable = self._plan()
        runtime = self._runtime(config)
        hint = f"try --batch-size {max(1, config.training.batch_size // 2)} or a smaller --image-size"
        with distributed(runtime), memory_errors_explained(hint):
            prepared = _with_fixed_runtime(self._prepare(config), runtime)
            trainer = self._trainer(prepared, runtime, folder, resumable)
            if trainer.is_done():
                self._report_nothing_to_do(folder, trainer, prepared, runtime, as_json)
                return
            self._announce(prepared, trainer, runtime, folder)
            if runtime.is_main:  # only now: until here a run that is there already stays as it was
                self._open_folder(folder, prepared, resumable)
            with self._signals_heeded():
                self._run(trainer, prepared, folder)
                if runtime.is_main:
                    self._finish(trainer, prepared, runtime, folder, as_json)
        if self.signal_number is not None:
            raise typer.Exit(EXIT_CODES[signal.Signals(self.signal_number)])

    # Before

    def _plan(self) -> "tuple[RunConfig, Path, Resumable | None]":
        """Configuration, run folder, and the checkpoint to go on from. Raises ConfigError, CheckpointError."""
        from vae_cli.checkpoint import load_resumable
        from vae_cli.training import run_folder

        request = self.request
        path = str(request.data) if request.data is not None else None
        if not request.resume:
            config = request.new_config()
            folder = request.out or run_folder.default_folder(config.data.path)
            if is_main():
                run_folder.require_free(folder, overwrite=request.overwrite)
            return config, folder, None
        folder = request.out or run_folder.default_base(path)
        config = request.resumed_config(run_folder.stored_config(folder))
        if not run_folder.has_checkpoint(folder):
            self.messages.note(f"{printable(folder)}: nothing was saved yet; starting from the beginning")
            return config, folder, None
        return config, folder, load_resumable(folder)

    def _runtime(self, config: "RunConfig") -> "Runtime":
        from vae_cli.runtime import make_runtime, pick_device

        runtime = make_runtime(pick_device(self.device), config.training.precision, config.training.threads)
        batch_size, num_draws = config.training.batch_size, config.objective.importance_samples
        unit = runtime.world_size * num_draws
        if runtime.world_size > 1 and batch_size % unit:
            in_groups = f" in groups of {num_draws}" if num_draws > 1 else ""
            raise ConfigError(
                f"training.batch_size: {batch_size} cannot be shared by {runtime.world_size} ranks{in_groups}; "
                f"give a multiple of {unit}"
            )
        return runtime

    def _prepare(self, config: "RunConfig") -> "Prepared":
        """Read the data; rank 0 first, so that the others find its cache."""
        from vae_cli.runtime import main_rank_first
        from vae_cli.training.prepare import prepare

        def report(what: str, done: int, total: int) -> None:
            self.messages.status(f"{what}: {done}/{total}")

        exclude = (self.request.out,) if self.request.out else ()
        with main_rank_first():
            prepared = prepare(config, workers=self.workers, exclude=exclude, on_progress=report, with_patches=True)
        if self.strict and prepared.skipped:
            first = prepared.skipped[0]
            raise DataError(f"{first.id}: {first.reason} ({len(prepared.skipped)} such files; --strict)")
        for item in prepared.skipped[:5]:
            self.messages.warn(f"skipped {printable(item.id)}: {printable(item.reason)}")
        if len(prepared.skipped) > 5:
            self.messages.warn(f"skipped {len(prepared.skipped) - 5} more files; data.json in the run names them all")
        return prepared

    def _open_folder(self, folder: Path, prepared: "Prepared", resumable: "Resumable | None") -> None:
        from vae_cli.training import run_folder

        if resumable is None:
            run_folder.create(folder, prepared)
        else:
            run_folder.describe(folder, prepared)

    def _trainer(
        self, prepared: "Prepared", runtime: "Runtime", folder: Path, resumable: "Resumable | None"
    ) -> "Trainer":
        from vae_cli.training.loop import Trainer

        if resumable is not None and resumable.facts.label_names != prepared.label_names:
            raise ConfigError("the labels of DATA differ from those the run was trained with; start a new run")
        trainer = Trainer(
            prepared.inputs(runtime), folder, started=self.started, stop=lambda: self.signal_number is not None,
            resume=resumable, extend=self.request.budget_given,
        )  # fmt: skip
        state = trainer.progress
        if trainer.total is not None and trainer.total <= state.step and state.spent < 1:
            wanted = "leave the budget out to go on" if self.request.budget_given else "give more with --steps"
            raise ConfigError(f"training.steps: {trainer.total}, but the run has made {state.step} already; {wanted}")
        return trainer

    def _announce(self, prepared: "Prepared", trainer: "Trainer", runtime: "Runtime", folder: Path) -> None:
        """The first lines: what was read, what is trained, for how long."""
        config, note = prepared.config, self.messages.note
        for text in prepared.notes:
            note(text)
        height, width = config.data.image_size or (0, 0)
        labels = f", {len(prepared.label_names)} labels" if prepared.label_names else ""
        kind = "grey" if config.data.channels == 1 else "colour"
        note(f"{len(prepared.train.ids)} images to learn from, {len(prepared.validation.ids)} held out, "
             f"{len(prepared.skipped)} skipped; {height}×{width} {kind}{labels}")  # fmt: skip
        self._say_if_few(prepared)
        note(f"device {runtime.device} ({runtime.precision}), preset {config.preset}, seed {config.training.seed}")
        note(f"{trainer.describe_budget()}{_expected(trainer)}; run folder {printable(folder)}; Ctrl-C stops and saves")
        if trainer.progress.step:
            note(advice.going_on_line(trainer.progress, trainer.guard.rate_factor))

    def _say_if_few(self, prepared: "Prepared") -> None:
        if line := advice.few_images_line(len(prepared.train.ids)):
            self.messages.note(line)

    # During

    @contextlib.contextmanager
    def _signals_heeded(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM let the update finish, but not the pictures at the end; a second one ends at once."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            is_second, self.signal_number = self.signal_number is not None, number
            if is_second or self.is_concluding:
                stop(number)
            what = "measuring" if self.is_calibrating else "this update"
            self.messages.note(f"stopping after {what}; Ctrl-C again stops at once …")

        previous = {number: signal.signal(number, on_signal) for number in EXIT_CODES}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _run(self, trainer: "Trainer", prepared: "Prepared", folder: Path) -> None:
        """Follow the events."""
        from vae_cli.training.run_folder import MetricsLog

        log = MetricsLog(folder, first_step=trainer.progress.step) if trainer.runtime.is_main else None
        try:
            for event in trainer.run():
                self._on_event(event, log, prepared, folder)
        except DivergedError:
            if self.signal_number is None:  # else the user has ended it, and what is ruined was to be saved
                raise
        finally:
            if log is not None:
                log.close()

    def _on_event(self, event: "Event", log: Any, prepared: "Prepared", folder: Path) -> None:
        from vae_cli.drawing import previews
        from vae_cli.training import events

        match event:
            case events.StepLogged():
                figures = {**event.figures, "images_per_second": event.images_per_second}
                if log is not None:
                    log.write(event.step, event.phase, figures)
                self.messages.status(
                    f"{event.phase} {event.fraction:4.0%}  step {event.step}  {advice.figures_line(event.figures)}  "
                    f"{event.images_per_second:.0f} images/s  {clock(event.seconds_left)} left"
                )
            case events.Validated():
                if log is not None:
                    log.write(event.step, event.phase, {"validation_loss": event.score})
                best = " (best)" if event.is_best else ""
                self.messages.detail(f"{event.phase} step {event.step}: validation loss {event.score:.4f}{best}")
            case events.Shortened():
                self.shortened.add(event.phase)
                self.messages.note(advice.shortened_line(event, prepared.config.training.patience))
            case events.Retreated():
                self.messages.note(advice.retreated_line(event))
            case events.PreviewDue():
                previews.draw_progress(event.model, prepared.validation, folder / "previews", event.step)
            case events.Calibrating():
                self.is_calibrating = True
                self.messages.note("trained; now measuring how samples are best drawn and fills best trusted …")
            case events.PhaseDone():
                self._record_phase(event, prepared)
            case events.Saved():
                self.messages.detail(f"saved {printable(event.path)}")

    def _record_phase(self, event: "PhaseDone", prepared: "Prepared") -> None:
        batch_size = prepared.config.training.batch_size
        self.seconds_waited += event.seconds_waited
        self.phases[event.phase] = {
            "steps": event.steps,
            "seconds": event.seconds,
            "images_per_second": event.steps * batch_size / event.seconds if event.steps else 0.0,
            "validation_loss": event.validation_loss,
            "shortened": event.phase in self.shortened,
        }
        if event.num_refused:
            self.messages.warn(f"{event.num_refused} updates of the {event.phase} phase were refused as out of bounds")

    # After

    def _finish(
        self, trainer: "Trainer", prepared: "Prepared", runtime: "Runtime", folder: Path, as_json: bool
    ) -> None:
        """Measure the best weights, draw the final pictures, print the summary; after a signal the summary alone."""
        from vae_cli.checkpoint import checkpoints_in, read_facts, resolve_run

        facts = self._facts(trainer, prepared, runtime, folder, time.monotonic() - self.started)
        facts["validation"] = self._concluded(trainer, prepared, runtime, folder)
        status = "interrupted" if facts["validation"] is None else "finished"
        if status == "interrupted":
            kept = checkpoints_in(folder)
            state = f"saved at step {read_facts(resolve_run(kept[-1])).step}" if kept else "nothing was saved yet"
            self.messages.note(f"{state}; go on with: vae train --out {shell_quoted(folder)} --resume")
        if as_json:
            print_json("train", status, **facts)
        else:
            say(printable(folder))
        if status == "finished":
            self.messages.next_step(f"vae sample {shell_quoted(folder)} -n 64 --out grid.png")
            self.signal_number = None  # whatever came after the last picture came too late

    def _concluded(
        self, trainer: "Trainer", prepared: "Prepared", runtime: "Runtime", folder: Path
    ) -> dict[str, Any] | None:
        """What was measured; None where a signal came before the end of it."""
        self.is_concluding = True
        try:
            if self.signal_number is not None:
                return None
            from vae_cli.checkpoint import load_model
            from vae_cli.cli.conclusion import conclude

            model = load_model(folder, runtime)
            return conclude(folder, model, prepared, self.messages, progress=trainer.progress)
        except KeyboardInterrupt:  # all that was learned is saved, and --resume measures what is not
            return None
        finally:
            self.is_concluding = False

    def _facts(
        self, trainer: "Trainer", prepared: "Prepared", runtime: "Runtime", folder: Path, seconds: float
    ) -> dict[str, Any]:
        """The JSON object's facts about the run and this invocation."""
        steps = sum(phase["steps"] for phase in self.phases.values())
        busy = sum(phase["seconds"] for phase in self.phases.values())
        batch_size = prepared.config.training.batch_size
        return {
            "run": folder,
            "steps": trainer.progress.step,
            "images": len(prepared.train.ids),
            "skipped": len(prepared.skipped),
            "image_size": list(prepared.config.data.image_size or ()),
            "channels": prepared.config.data.channels,
            "labels": list(prepared.label_names),
            "parameters": trainer.num_parameters,
            "precision": runtime.precision,
            "seconds": seconds,
            "images_per_second": steps * batch_size / busy if busy else 0.0,
            "data_wait_fraction": self.seconds_waited / busy if busy else 0.0,
            "phases": self.phases,
            "validation": None,
        }

    def _report_nothing_to_do(
        self, folder: Path, trainer: "Trainer", prepared: "Prepared", runtime: "Runtime", as_json: bool
    ) -> None:
        from vae_cli.checkpoint import load_model
        from vae_cli.cli.conclusion import conclude, is_concluded

        if not runtime.is_main:
            return
        step, model = trainer.progress.step, load_model(folder, runtime)  # which also finds damage
        if not is_concluded(folder, step):
            conclude(folder, model, prepared, self.messages, progress=trainer.progress)
        more = 2 * max(step, trainer.total or 0)
        self.messages.note(f"{printable(folder)} is complete at step {step}: nothing to do; --steps {more} goes on")
        if as_json:
            print_json("train", "nothing_to_do", **self._facts(trainer, prepared, runtime, folder, 0.0))
        else:
            say(printable(folder))
