"""`vae sample`: draw new images."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vae_cli.cli import label_sheet, loading, options, output
from vae_cli.cli.progress import Messages, quoted
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

NUM_IMAGES, NUM_OF_EACH = 64, 8
"""Drawn unless a number is given: in all, and of each of several labels."""


def sample(
    run: options.Run,
    num: Annotated[
        int | None,
        typer.Option(
            "--num", "-n", min=1, metavar="N", help="How many images, else 64; of several labels, of each, else 8."
        ),
    ] = None,
    out: options.Out = None,
    temperature: Annotated[float, typer.Option(metavar="T", min=0.0, help="Below 1: more typical, less varied.")] = 1.0,
    prior: Annotated[
        Literal["auto", "flow", "normal"], typer.Option(help="Learned flow or N(0, I); auto takes the flow if there.")
    ] = "auto",
    solver_steps: options.SolverSteps = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Class to draw, by its folder's name; may be repeated, all = every class."),
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0.0, metavar="G", help="How strictly to follow --label; 1 = off, else 2.")
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
    """Draw new images.

    Without --out they go to RUN/samples/ as 000000.png, 000001.png and so on. An --out with an image suffix is a
    grid of all of them. Several labels make one row each, named, or in a folder LABEL/000000.png and so on.

    Example: vae sample runs/photos -n 64 --seed 7 --out grid.png
    """
    results = Results("sample", Messages(quiet=quiet, verbose=verbose), as_json=json)
    loading.require_run(run)
    asked = list(dict.fromkeys(label or ()))
    if len(asked) < 2 and asked != ["all"]:  # before torch takes its seconds to load
        output.refuse_existing(_paths(run, out, num or NUM_IMAGES), overwrite=overwrite)
    if guidance is not None and not asked:
        raise ConfigError("--guidance: works only with --label; give a label or leave it out")
    model = loading.load(run, device, results.messages)
    from vae_cli.tasks import sample as task

    used_prior = task.resolve_prior(model, prior)
    if used_prior == "normal" and prior == "auto":
        results.messages.note("this model has no latent flow: sampling from N(0, I)")
    labels = task.chosen_labels(model, asked)
    rows = labels if len(asked) > 1 or asked == [task.ALL] != labels else []
    count = num or (NUM_OF_EACH if rows else NUM_IMAGES)
    folders = label_sheet.folder_names(model.label_names)
    paths = _paths(run, out, count, [folders[model.label_names.index(name)] for name in rows])
    output.refuse_existing(paths, overwrite=overwrite)
    used_guidance = task.DEFAULT_GUIDANCE if guidance is None else guidance
    drawn = task.sample_labels(
        model,
        labels or [None],
        count,
        seed=seed,
        temperature=temperature,
        prior=used_prior,
        solver_steps=solver_steps,
        guidance=used_guidance,
    )
    images = results.messages.track(drawn, "sample", count * max(1, len(labels)))
    _write(images, paths, seed, results, labels, is_sheet=bool(rows), as_grid=output.is_picture(out))
    used_steps = (solver_steps or model.config.model.flow.solver_steps) if used_prior == "flow" else None
    facts = {"labels": labels, "guidance": used_guidance} if labels else {}
    walk = f"vae interpolate {quoted(run)} --from-samples 0,{max(count - 1, 1)} --seed {seed} --out walk.gif"
    every = f"vae sample {quoted(run)} --label all --out labels.png"
    results.finish(every if labels and not rows else walk, seed=seed, prior=used_prior, temperature=temperature,
                   solver_steps=used_steps, **facts)  # fmt: skip


def _paths(run: Path, out: Path | None, count: int, folders: Sequence[str] = ()) -> list[Path]:
    """One path for a grid, else one an image, in each of the folders where there are any."""
    if out is not None and output.is_picture(out):
        return [out]
    names = [PurePosixPath(folder, f"{i:06d}.png") for folder in folders or [""] for i in range(count)]
    return output.result_paths(out, output.run_folder(run) / "samples", names)


def _write(
    images: "Iterator[np.ndarray]",
    paths: list[Path],
    seed: int,
    results: Results,
    labels: Sequence[str],
    *,
    is_sheet: bool,
    as_grid: bool,
) -> None:
    """A grid, which of several labels is a sheet of named rows, or a file an image."""
    if as_grid:
        drawn = list(images)
        count = len(drawn) // max(1, len(labels))
        rows = [drawn[start : start + count] for start in range(0, len(drawn), count)]
        picture = label_sheet.sheet(labels, rows) if is_sheet else output.grid(drawn)
        output.save_picture(picture, paths[0], seed=seed)
        results.written(None, paths[0])
        return
    count = len(paths) // max(1, len(labels))
    for number, (path, image) in enumerate(zip(paths, images, strict=True)):
        output.save_picture(image, path, seed=seed)
        results.written(None, path, sample=number % count, label=labels[number // count] if labels else None)
