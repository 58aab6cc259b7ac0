"""A training from Python: its events one by one, or the whole of it with a progress bar."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from vae_cli.config import Layer, merge
from vae_cli.config_layers import nested
from vae_cli.jobs.events import Finished
from vae_cli.jobs.train import TrainingEvent, TrainingJob
from vae_cli.jobs.train_request import TrainingRequest
from vae_cli.screen import Standings, live
from vae_cli.stopping import StopRequest


class Training:
    """A training that has been planned and not begun. Iterate over its events, or `run` it."""

    def __init__(self, job: TrainingJob) -> None:
        self.job = job
        self._is_stopping = False

    @property
    def folder(self) -> Path:
        """The run folder, which `vae_cli.load` opens once something has been saved."""
        return self.job.folder

    def stop(self) -> None:
        """After the update that is being made, save and end; the run goes on later with resume=True."""
        self._is_stopping = True

    def __iter__(self) -> Iterator[TrainingEvent]:
        """The events of `vae_cli.training.events` and `vae_cli.jobs.events`, the last of them Finished.

        Raises DataError where no image can be used, DivergedError where the weights are lost, WriteError for a full
        disk and OutOfMemoryError.
        """
        yield from self.job.run(lambda: self._is_stopping)

    def run(self) -> dict[str, Any]:
        """All of it, with a progress bar in a terminal or a notebook. Raises as iterating does.

        An interrupt (Ctrl-C, or a notebook's stop button) saves and ends the training; a second one ends it at once.
        Returns the figures of `vae train --json`, of which `status` is finished, interrupted or nothing_to_do.
        """
        facts: dict[str, Any] = {}
        console, standings = Console(stderr=True), Standings()
        is_watched = console.is_terminal or console.is_jupyter
        heeded = [signal.SIGINT] if threading.current_thread() is threading.main_thread() else []
        stopping = StopRequest(heeded, signal.default_int_handler, self.stop, is_urgent=lambda: False)
        with stopping, live(console) if is_watched else contextlib.nullcontext(lambda standing: None) as show_standing:

            def show(event: TrainingEvent) -> None:
                if standing := standings.trained(event):
                    show_standing(standing)

            for event in self.job.run(lambda: self._is_stopping, show):
                show(event)
                if isinstance(event, Finished):
                    facts = dict(event.facts)
        return facts


def train(
    data: str | Path | None = None, *, out: str | Path | None = None, preset: str | None = None,
    config: str | Path | None = None, settings: Mapping[str, Any] | None = None,
    image_size: int | tuple[int, int] | str | None = None, channels: Literal["auto", 1, 3] | None = None,
    labels: Literal["auto", "none", "folders"] | None = None, splits: Literal["auto", "none"] | None = None,
    fit: Literal["crop", "pad", "stretch"] | None = None, background: str | None = None, steps: int | None = None,
    epochs: float | None = None, time: str | float | None = None, batch_size: int | None = None,
    seed: int | None = None, init: str | Path | None = None, resume: bool = False, overwrite: bool = False,
    workers: int | None = None, strict: bool = False, device: str = "auto",
) -> Training:  # fmt: skip
    """A training on a folder, list, zip or tar of images (None = the built-in clothes), which begins when it is run.

    The arguments are the options of `vae train`. time: "10m" or seconds, counted from this call. settings: further
    ones by their dotted keys, such as {"model.width": 64}. Raises ConfigError for settings that cannot be met and for
    a run folder that must not be written, CheckpointError for a run that cannot be resumed.
    """
    named: Layer = {
        "data": {"image_size": image_size, "channels": channels, "labels": labels, "splits": splits,
                 "fit": fit, "background": background},
        "training": {"steps": steps, "epochs": epochs, "time": time, "batch_size": batch_size, "seed": seed,
                     "init": None if init is None else str(init)},
    }  # fmt: skip
    given = {section: {key: value for key, value in part.items() if value is not None}
             for section, part in named.items()}  # fmt: skip
    options: Layer = {}
    for key, value in (settings or {}).items():
        options = merge(options, nested(key, value))
    data, out, config = (None if path is None else Path(path) for path in (data, out, config))
    request = TrainingRequest(
        data=data, out=out, preset=preset, config=config, options=merge(options, given), resume=resume,
        overwrite=overwrite, workers=workers, strict=strict, device=device,
    )  # fmt: skip
    return Training(TrainingJob(request))
