"""`vae similar`: the nearest images to a query, by latents."""

from pathlib import Path
from typing import Annotated

import typer

from vae_cli.cli import options
from vae_cli.cli.results import Results
from vae_cli.jobs.inputs import find_inputs
from vae_cli.jobs.outputs import default_folder, refuse_existing, require_suffix
from vae_cli.printable import shell_quoted


def similar(
    context: typer.Context, run: options.Run,
    query: Annotated[Path, typer.Argument(metavar="QUERY", help="Image or folder.", callback=options.existing)],
    data: Annotated[Path, typer.Argument(
        metavar="DATA", help="Folder, list or zip to search.", callback=options.existing)],
    num: Annotated[int, typer.Option("--num", "-n", min=1, max=1000, metavar="N", help="How many of each.")] = 12,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", metavar="FILE", help="A .csv file; the page lies beside it.")] = None,
    batch_size: options.BatchSize = 64, overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Find the images that are most like others.

    For each image of QUERY the nearest ones of DATA, never the file itself, by the distance of their latents: what the
    model keeps of an image, rather than its pixels. Writes a table (query, rank, file, distance) and beside it a page
    of the pictures, .html. Without --out: <QUERY>-similar.csv.

    Example: vae similar runs/photos a.jpg photos -n 12
    """
    results: Results = context.obj
    require_suffix("--out", out, ".csv")
    folder = default_folder(query, "similar")
    path = out or folder.with_name(f"{folder.name}.csv")
    queries, items = (find_inputs([each], results.take, with_lists=True) for each in (query, data))
    refuse_existing([path, path.with_suffix(".html")], overwrite=overwrite)
    from vae_cli.jobs import similar as job

    results.show(job.similar(results.open_model(run), queries, items, path, results.take, num=num,
                             batch_size=batch_size))  # fmt: skip
    results.finish(f"vae score {shell_quoted(run)} {shell_quoted(data)} --sheet strange.html")
