"""`vae report`: one page about a run."""

from pathlib import Path
from typing import Annotated

import typer

from vae_cli.cli import options
from vae_cli.cli.results import Results
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.outputs import refuse_existing, run_folder
from vae_cli.printable import shell_quoted


def report(
    context: typer.Context, run: options.Run,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", metavar="FILE.html", help="The page; default: RUN/report.html.")] = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Write one page about a run.

    It shows what the run learned from, how training went and what the model can do, holds its pictures and curves, and
    opens without a network. `vae train` writes it at its end; this command writes it anew, also while the training is
    running.

    Example: vae report runs/photos --out photos.html
    """
    results: Results = context.obj
    from vae_cli.jobs.report import NAME, page_path, write_report

    folder = run_folder(run)
    path = page_path(out, folder)
    # The run's own page is made anew without asking: nothing in it is the user's.
    refuse_existing([path], overwrite=overwrite or path.resolve() == (folder / NAME).resolve())
    write_report(folder, path, run)
    results.take(FileDone(str(folder), "ok", path))
    results.finish(f"vae sample {shell_quoted(run)} -n 64 --out grid.png")
