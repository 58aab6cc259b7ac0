"""`vae augment`: write a larger data set like this one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vae_cli.cli import options
from vae_cli.cli.results import Results
from vae_cli.printable import shell_quoted


def augment(
    context: typer.Context, run: options.Run,
    data: Annotated[Path, typer.Argument(
        metavar="DATA", help="Folder, list, zip or tar of images.", callback=options.existing)],
    per_image: Annotated[int | None, typer.Option(
        min=0, max=100_000, metavar="K", help="New images of each training image; 4, with --balance 0.")] = None,
    strength: Annotated[float | None, options.tuning(
        min=0.0, max=1.0, metavar="S", help="How far from the image: 0 = rebuilt, 1 = as far as it goes; 0.5.")] = None,
    balance: Annotated[bool, typer.Option(
        "--balance", help="More for small classes, up to the size of the largest.")] = False,
    method: Annotated[Literal["auto", "style", "extrapolate"], options.tuning(
        help="How images are made; auto = style, with models of one vector extrapolate.")] = "auto",
    candidates: Annotated[int | None, options.tuning(
        min=1, max=1000, metavar="N", help="With classes: make N of each, keep the hardest to tell; 8.")] = None,
    include_originals: Annotated[bool, typer.Option(
        "--include-originals", help="Copy the training images beside the new ones.")] = False,
    out: options.Out = None,
    batch_size: options.BatchSize = 64, seed: options.Seed = 0, overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Write new images near each training image of DATA.

    Class folders and names are kept (cat/a.jpg leads to cat/a.aug1.png and so on), at the model's size; manifest.csv
    tells where each comes from. By default a new image keeps its content and takes on the look of any other; models
    of one vector lead beyond the image, away from one of its class. Where there are classes, the one of several
    candidates is kept that a classifier of DATA finds hardest to tell and still takes for its class. Images of val/
    and test/ and those that `vae train` would hold out are neither used nor copied, and new images that come too near
    to one of them, or that the classifier takes for another class, are drawn anew. Without --out everything goes to
    <DATA>-augment.

    Example: vae augment runs/photos photos --balance --out larger
    """
    results: Results = context.obj
    from vae_cli.jobs import augment as job

    request = job.Request(data, per_image, strength, balance, method, candidates, include_originals, seed, overwrite)
    folder = request.folder(out)
    model = results.open_model(run)
    facts = results.show(job.augment(model, request, folder, results.take, batch_size=batch_size))
    results.finish(f"vae check {shell_quoted(folder)}", **facts)
