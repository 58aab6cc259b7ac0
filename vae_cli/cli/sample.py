"""`vae sample`: draw new images."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vae_cli.cli import latent_files, loading, options, output
from vae_cli.cli.progress import Messages
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError, DataError
from vae_cli.printable import shell_quoted

if TYPE_CHECKING:
    import numpy as np

NUM_IMAGES, NUM_OF_EACH = 64, 8
"""Drawn unless a number is given: in all, and of each of several labels."""


_OF_DRAWING = {"num": "-n", "temperature": "--temperature", "prior": "--prior", "solver_steps": "--solver-steps",
               "label": "--label", "guidance": "--guidance"}  # fmt: skip
"""Options that say what to draw, and have no meaning where latents are given."""


def sample(
    context: typer.Context,
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
    latents: Annotated[
        Path | None,
        typer.Option("--latents", metavar="FILE", help="Decode these instead: an .npz or .csv of `vae encode`, or a "
                     "plain array [N, C, h, w] or [N, D] as .npz or .npy.", show_default=False),
    ] = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 64,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:  # fmt: skip
    """Draw new images.

    Without --out they go to RUN/samples/ as 000000.png, 000001.png and so on. An --out with an image suffix is a
    grid of all of them. Several labels make one row each, named, or in a folder LABEL/000000.png and so on.

    Example: vae sample runs/photos -n 64 --seed 7 --out grid.png
    """
    results = Results("sample", Messages(quiet=quiet, verbose=verbose), as_json=json)
    loading.require_run(run)
    if latents is not None:
        _refuse_given(context)
        _decode(run, latents, out, device, results, overwrite=overwrite)
        return
    asked = list(dict.fromkeys(label or ()))
    if len(asked) < 2 and asked != ["all"]:  # before torch takes its seconds to load
        output.refuse_existing(_paths(run, out, num or NUM_IMAGES), overwrite=overwrite)
    if guidance is not None and not asked:
        raise ConfigError("--guidance: works only with --label; give a label or leave it out")
    model = loading.load(run, device, results.messages)
    from vae_cli.drawing import label_sheet
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
    following = _next_step(run, count, seed, is_labelled=bool(labels), has_rows=bool(rows))
    results.finish(following, seed=seed, prior=used_prior, temperature=temperature,
                   solver_steps=used_steps, **facts)  # fmt: skip


def _refuse_given(context: typer.Context) -> None:
    """Raises ConfigError for options that --latents leaves nothing to do for."""
    for name, option in _OF_DRAWING.items():
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise ConfigError(f"{option}: nothing is drawn with --latents; leave one of the two out")


def _next_step(run: Path, count: int, seed: int, *, is_labelled: bool, has_rows: bool) -> str:
    if has_rows:
        return f"vae evaluate {shell_quoted(run)}"
    if is_labelled:
        return f"vae sample {shell_quoted(run)} --label all --out labels.png"
    if count == 1:
        return f"vae sample {shell_quoted(run)} -n {NUM_IMAGES} --out grid.png"
    return f"vae interpolate {shell_quoted(run)} --from-samples 0,{count - 1} --seed {seed} --out walk.gif"


def _decode(run: Path, latents: Path, out: Path | None, device: str, results: Results, *, overwrite: bool) -> None:
    """The images of a file of latents."""
    arrays = latent_files.read(latents)
    model = loading.load(run, device, results.messages)
    from vae_cli.tasks import encode as task

    try:
        rows = task.latents_from(arrays, model.vae.latent_shapes)
        paths = _paths(run, out, len(rows))
        output.refuse_existing(paths, overwrite=overwrite)
        images = results.messages.track(task.decode(model, rows), "decode", len(rows))
        _write(images, paths, None, results, as_grid=output.is_picture(out))
    except DataError as error:
        raise DataError(f"{latents}: {error}") from error
    results.finish(f"vae sample {shell_quoted(run)} -n 64 --out grid.png",
                   seed=None, prior=None, temperature=None, solver_steps=None)  # fmt: skip


def _paths(run: Path, out: Path | None, count: int, folders: Sequence[str] = ()) -> list[Path]:
    """One path for a grid, else one an image, in each of the folders where there are any."""
    if out is not None and output.is_picture(out):
        return [out]
    names = [PurePosixPath(folder, f"{i:06d}.png") for folder in folders or [""] for i in range(count)]
    return output.result_paths(out, output.run_folder(run) / "samples", names)


def _write(
    images: "Iterator[np.ndarray]",
    paths: list[Path],
    seed: int | None,
    results: Results,
    labels: Sequence[str] = (),
    *,
    is_sheet: bool = False,
    as_grid: bool,
) -> None:
    """A grid, which of several labels is a sheet of named rows, or a file an image."""
    if as_grid:
        from vae_cli.drawing import label_sheet

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
        facts = {"label": labels[number // count]} if labels else {}
        results.written(None, path, sample=number % count, **facts)
