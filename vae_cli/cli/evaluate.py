"""`vae evaluate`: measure a model on images."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from vae_cli.cli import evaluate_tables, options
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError
from vae_cli.images.image_ref import IMAGE_SUFFIXES
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.inputs import require, require_flow
from vae_cli.jobs.outputs import refuse_existing
from vae_cli.printable import shell_quoted

Family = Literal["center", "half", "brush", "random", "scattered"]


def evaluate(
    context: typer.Context, run: options.Run,
    data: Annotated[Path | None, typer.Argument(
        metavar="[DATA]", help="Folder, list, zip or tar; none = the images held out in training.",
        callback=options.existing)] = None,
    importance_samples: Annotated[int, options.tuning(
        "--importance-samples", min=0, max=100_000, metavar="K",
        help="Draws an image for a closer estimate of its likelihood; 0 = off.")] = 0,
    limit: Annotated[int | None, typer.Option(
        "--limit", min=1, max=10**9, metavar="N", help="Use N images, always the same ones.")] = None,
    holes: Annotated[Family | None, typer.Option(
        "--holes", help="Also cut such holes into the images and measure their fills.")] = None,
    sheet: Annotated[Path | None, typer.Option(
        "--sheet", metavar="FILE", help="With --holes: a picture of them, before | mask | after | truth.")] = None,
    feature_weights: Annotated[str | None, options.tuning(
        "--feature-weights", metavar="FILE", help="Compare samples with the images by the features "
        "of this network (Inception's weights or a classifier's); auto = train a classifier on the run's labelled "
        "images.")] = None,
    batch_size: options.BatchSize = 64, seed: options.Seed = 0, overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Measure a model on images.

    The bound on the likelihood and its parts, active latent units, and how well images are rebuilt. With
    --feature-weights also how far samples are from the images, and whether they are copies of training images; with
    --holes how near fills come to what was there.

    Example: vae evaluate runs/photos new-photos --json
    """
    results: Results = context.obj
    if sheet is not None:
        if holes is None:
            raise ConfigError(f"--sheet {sheet}: shows filled holes; say which: --holes center")
        if sheet.suffix.lower() not in IMAGE_SUFFIXES:
            raise ConfigError(f"--sheet {sheet}: is a picture; end it with .png")
        refuse_existing([sheet], overwrite=overwrite)
    if feature_weights not in (None, "auto"):
        require(Path(feature_weights), "no such file for --feature-weights; or `auto` to train a classifier")
    from vae_cli.jobs.evaluate import Evaluation

    model = results.open_model(run)
    if holes is not None:
        require_flow(model, run, "fills holes")
    workers = min(batch_size, os.cpu_count() or 1)
    facts = Evaluation(
        model, data, importance_samples, limit, holes, sheet, feature_weights, seed, workers, results.take
    ).run()
    if not results.as_json:
        evaluate_tables.show(facts, verbose=results.messages.verbose)
    if sheet is not None:
        results.take(FileDone(None, "ok", sheet))
    results.num_settled += facts["images"]  # which need no entry of their own
    results.finish(f"vae sample {shell_quoted(run)} -n 64 --out grid.png", **facts)
