"""`vae report`: one page about a run."""

from pathlib import Path
from typing import Annotated

import typer

from vae_cli import __version__
from vae_cli.cli import info, loading, options, output
from vae_cli.cli.progress import Messages
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError
from vae_cli.printable import shell_quoted

NAME = "report.html"


def report(
    run: options.Run,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE.html", help="The page; default: RUN/report.html.", show_default=False
        ),
    ] = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 64,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Write one page about a run.

    It shows what the run learned from, how training went and what the model can do, holds its pictures and curves, and
    opens without a network. `vae train` writes it at its end; this command writes it anew, also while the training is
    running.

    Example: vae report runs/photos --out photos.html
    """
    results = Results("report", Messages(quiet=quiet, verbose=verbose), as_json=json)
    loading.require_run(run)
    loading.require_device(device)
    folder = output.run_folder(run)
    path = _target(out, folder)
    # The run's own page is made anew without asking: nothing in it is the user's.
    output.refuse_existing([path], overwrite=overwrite or path.resolve() == (folder / NAME).resolve())
    write_report(folder, path, run)
    results.written(str(folder), path)
    results.finish(f"vae sample {shell_quoted(run)} -n 64 --out grid.png")


def write_report(folder: Path, path: Path, run: Path | None = None) -> None:
    """The page of a run folder, about the model that `run` names. Raises ConfigError, CheckpointError, WriteError."""
    from vae_cli.atomic import writing
    from vae_cli.config import CompleteConfig, from_dict
    from vae_cli.config_layers import dump_yaml
    from vae_cli.drawing.run_page import run_page
    from vae_cli.training.run_folder import is_run

    if not is_run(folder):
        raise ConfigError(
            f"{run or folder}: no run folder, which is what a report is about; give the one that train wrote"
        )
    facts = info.run_facts(run or folder)
    config_yaml = dump_yaml(from_dict(facts["config"], CompleteConfig))
    with writing(path) as file:
        for piece in run_page(folder, facts, config_yaml, __version__):
            file.write(piece.encode("utf-8", "backslashreplace"))


def _target(out: Path | None, folder: Path) -> Path:
    """Where the page goes; in a folder it keeps its usual name. Raises ConfigError for other kinds of files."""
    if out is None:
        return folder / NAME
    if out.suffix.lower() in (".html", ".htm"):
        return out
    if out.suffix and not out.is_dir():
        raise ConfigError(f"--out {out}: give a file that ends in .html")
    return out / NAME
