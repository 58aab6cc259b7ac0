"""`vae score`: how usual each image is to a model."""

from pathlib import Path
from typing import Annotated

import typer

from vae_cli.cli import options
from vae_cli.cli.results import Results
from vae_cli.jobs.inputs import find_inputs, places_below
from vae_cli.jobs.outputs import default_folder, refuse_existing, require_page, require_suffix
from vae_cli.printable import shell_quoted


def score(
    context: typer.Context, run: options.Run,
    data: Annotated[Path, typer.Argument(
        metavar="DATA", help="Folder, list, zip or image.", callback=options.existing)],
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="A .csv file.")] = None,
    sheet: Annotated[Path | None, typer.Option(
        "--sheet", metavar="FILE", help="Also a page (.html) of the strangest images.")] = None,
    heatmaps: Annotated[Path | None, typer.Option(
        "--heatmaps", metavar="DIR",
        help="Also, of each image, a picture of where it is unlike what the model knows.")] = None,
    normal: Annotated[Path | None, typer.Option(
        "--normal", metavar="DATA", help="Images that count as usual, instead of the run's training images.",
        callback=options.existing)] = None,
    batch_size: options.BatchSize = 64, seed: options.Seed = 0, overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Rank images from the strangest to the most usual.

    A table with a row for each image: how strange it is (strangeness: how far it lies, by its latents, from the nearest
    training images, as a multiple of what is usual there), than what share of the training images it is stranger
    (stranger_than), the training image that is nearest, how well it is rebuilt (psnr_db), and its likelihood
    (elbo_nats, bits_per_dim), which says little: it ranks what is detailed above what is odd. Training images are read
    again from where the run found them and may be in DATA, too; --normal names others. Without --out: <DATA>-score.csv.

    Example: vae score runs/photos new --sheet strange.html
    """
    results: Results = context.obj
    require_suffix("--out", out, ".csv")
    if sheet is not None:
        require_page(sheet, "--sheet")
    folder = default_folder(data, "score")
    path = out or folder.with_name(f"{folder.name}.csv")
    items = find_inputs([data], results.take, exclude=[heatmaps] if heatmaps else [], with_lists=True)
    drawn = dict(zip(items, places_below(heatmaps, items), strict=True)) if heatmaps else {}
    refuse_existing([path, *([sheet] if sheet else []), *drawn.values()], overwrite=overwrite)
    from vae_cli.jobs import score as job

    request = job.Request(path, sheet, drawn, normal, seed, batch_size)
    facts = results.show(job.score(results.open_model(run), items, request, results.take))
    strangest = next((str(entry["input"]) for entry in results.files if entry["status"] == "ok"), str(data))
    results.finish(f"vae similar {shell_quoted(run)} {shell_quoted(Path(strangest))} {shell_quoted(data)}", **facts)
