"""`vae train`: learn a model from images."""

import contextlib
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vae_cli.cli import completion, options
from vae_cli.cli.results import Results, print_json, say
from vae_cli.cli.stops import EXIT_CODES, heeded, stop
from vae_cli.cli.training_messages import cost_text, finished_lines, show_event
from vae_cli.errors import ConfigError
from vae_cli.jobs.events import Finished
from vae_cli.printable import printable, shell_quoted
from vae_cli.screen import Standings
from vae_cli.stopping import StopRequest

if TYPE_CHECKING:
    from vae_cli.config import Layer
    from vae_cli.jobs.train import TrainingJob


def train(
    context: typer.Context,
    data: Annotated[Path | None, typer.Argument(
        metavar="[DATA]", help="Folder, list, zip or tar of images; none = built-in clothes.",
        callback=options.existing)] = None,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", metavar="RUN", help="Run folder; default runs/<DATA's name>.")] = None,
    time_: Annotated[str | None, typer.Option(
        "--time", metavar="10m", help="Budget in time, from now to the last update.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, metavar="N", help="Budget in updates, both phases.")] = None,
    preset: Annotated[str | None, typer.Option(
        metavar="NAME", autocompletion=completion.presets, help="tiny, flat, small (default), base or nll.")] = None,
    config: Annotated[Path | None, options.tuning(
        "--config", metavar="FILE", help="YAML file of settings that differ, or a sample by name: emoji, ...")] = None,
    set_: Annotated[list[str] | None, options.tuning(
        "--set", metavar="KEY=VALUE", autocompletion=completion.settings,
        help="One setting; may be repeated.")] = None,
    image_size: Annotated[str | None, typer.Option(
        metavar="H[xW]", help="Model size in pixels; default from the images, at most 64.")] = None,
    channels: Annotated[Literal["auto", "1", "3"] | None, options.tuning(help="Grey (1) or colour (3).")] = None,
    labels: Annotated[Literal["auto", "none", "folders"] | None, typer.Option(
        help="Class folders make a labelled model.")] = None,
    splits: Annotated[Literal["auto", "none"] | None, options.tuning(
        help="Whether train/, val/ and test/ at the top are splits.")] = None,
    fit: Annotated[Literal["crop", "pad", "stretch"] | None, options.tuning(
        help="How other shapes become the model's.")] = None,
    background: Annotated[str | None, options.tuning(
        metavar="COLOUR", help="Behind transparent pixels and padding; default white.")] = None,
    epochs: Annotated[float | None, options.tuning(min=0, metavar="N", help="Budget in passes over DATA.")] = None,
    init: Annotated[str | None, typer.Option(
        metavar="auto|none|photo|RUN|FOLDER", autocompletion=completion.runs,
        help="Model to start from, or the folder of a Stable Diffusion VAE; "
        "auto = photo for colour images of 48 px and more.",
    )] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    workers: Annotated[int | None, options.tuning(
        min=1, max=1024, metavar="N", help="Threads that decode images; default one a core.")] = None,
    strict: Annotated[bool, options.tuning("--strict", help="A file that cannot be read ends the run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print settings and cost; train nothing.")] = False,
    batch_size: Annotated[int | None, options.tuning(
        "--batch-size", min=1, metavar="N", help="Images an update.")] = None,
    seed: Annotated[int | None, typer.Option(
        "--seed", min=0, max=2**63 - 1, metavar="N", rich_help_panel=options.COMMON,
        help="Same seed, same model (default 0).")] = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Learn a model from a folder of images.

    Trains a VAE and then a latent flow on it, keeps the best weights, and leaves pictures in RUN/previews/. Stop it
    with Ctrl-C (or SIGTERM, SIGHUP, SIGUSR1) and go on later with --resume. A run belongs to one process at a time.

    Example: vae train photos --time 10m
    """
    results: Results = context.obj
    if dry_run and resume:
        raise ConfigError("--dry-run: shows what a new run would cost; leave out --resume")
    from vae_cli.cli import app
    from vae_cli.jobs.train import TrainingJob
    from vae_cli.jobs.train_request import TrainingRequest

    named: Layer = {
        "data": {"image_size": image_size, "fit": fit, "labels": labels, "splits": splits, "background": background,
                 "channels": int(channels) if channels in ("1", "3") else channels},
        "training": {"steps": steps, "epochs": epochs, "time": time_, "batch_size": batch_size, "seed": seed,
                     "init": init},
    }  # fmt: skip
    given = {section: {key: value for key, value in settings.items() if value is not None}
             for section, settings in named.items()}  # fmt: skip
    request = TrainingRequest(data, out, preset, config, tuple(set_ or ()), given, resume, overwrite, workers, strict,
                              results.device)  # fmt: skip
    job = TrainingJob(request, started=app.STARTED)
    results.messages.quiet |= not job.runtime.is_main
    if not dry_run:
        _follow(job, results)
        return
    with results.messages.progress() as show:
        inputs, cost = job.estimate(partial(show_event, messages=results.messages, patience=0, show=show,
                                            standings=Standings()))  # fmt: skip
    if results.as_json:
        print_json("train", "dry_run", config=inputs.config.as_dict(), images=len(inputs.train.ids),
                   skipped=len(inputs.skipped), precision=inputs.runtime.precision, estimate=vars(cost))  # fmt: skip
    else:
        say(cost_text(inputs, cost))


def _follow(job: "TrainingJob", results: Results) -> None:
    """Show the job's events. Once it has started, a signal lets the update finish, saves, and ends it there."""
    from vae_cli.jobs.train import Started
    from vae_cli.training.events import Calibrating

    messages, waited_for, facts = results.messages, "this update", dict[str, Any]()
    # launchers of several ranks pass signals on that each rank has got already
    impatient = (signal.SIGINT, signal.SIGTERM) if job.runtime.world_size == 1 else ()

    def announce_stop() -> None:
        messages.note(f"stopping after {waited_for}{'; Ctrl-C again stops at once' if impatient else ''} …")

    stopping = StopRequest(heeded(), stop, announce_stop, lambda: job.is_summarising, impatient)
    with contextlib.ExitStack() as stack:
        with messages.progress() as show_standing:
            show = partial(show_event, messages=messages, patience=job.config.training.patience,
                           standings=Standings(), show=show_standing)  # fmt: skip
            for event in job.run(lambda: stopping.number is not None, show):
                show(event)
                match event:
                    case Started():
                        stack.enter_context(stopping)
                    case Calibrating():
                        waited_for = "measuring"
                    case Finished():
                        facts = dict(event.facts)
        messages.count_alike()
        is_finished = facts.get("status") == "finished"
        for line in finished_lines(facts) if is_finished else ():
            messages.note(line, indent=17)
        if facts:
            print_json("train", **facts) if results.as_json else say(printable(facts["run"]))
        if is_finished:
            messages.next_step(f"vae sample {shell_quoted(job.folder)} -n 64 --out grid.png")
    if job.is_stopped or facts.get("status") == "interrupted":
        raise typer.Exit(EXIT_CODES[signal.Signals(stopping.number or signal.SIGTERM)])  # or another rank was stopped
