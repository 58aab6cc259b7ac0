"""`vae sample`: draw new images."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vae_cli.cli import latent_files, loading, options, output
from vae_cli.cli.progress import Messages, quoted
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np


_OF_DRAWING = {"num": "-n", "temperature": "--temperature", "prior": "--prior", "solver_steps": "--solver-steps",
               "label": "--label", "guidance": "--guidance"}  # fmt: skip
"""Options that say what to draw, and have no meaning where latents are given."""


def sample(
    context: typer.Context,
    run: options.Run,
    num: Annotated[int, typer.Option("--num", "-n", min=1, metavar="N", help="How many images.")] = 64,
    out: options.Out = None,
    temperature: Annotated[float, typer.Option(metavar="T", min=0.0, help="Below 1: more typical, less varied.")] = 1.0,
    prior: Annotated[
        Literal["auto", "flow", "normal"], typer.Option(help="Learned flow or N(0, I); auto takes the flow if there.")
    ] = "auto",
    solver_steps: options.SolverSteps = None,
    label: Annotated[str | None, typer.Option(metavar="NAME", help="Class to draw, by its folder's name.")] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0.0, metavar="G", help="How strictly to follow --label; 1 = off.")
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
    grid of all of them.

    Example: vae sample runs/photos -n 64 --seed 7 --out grid.png
    """
    results = Results("sample", Messages(quiet=quiet, verbose=verbose), as_json=json)
    loading.require_run(run)
    if latents is not None:
        _refuse_given(context)
        _decode(run, latents, out, device, results, overwrite=overwrite)
        return
    paths = _paths(run, out, num)
    output.refuse_existing(paths, overwrite=overwrite)
    if guidance is not None and label is None:
        raise ConfigError("--guidance: works only with --label; give a label or leave it out")
    model = loading.load(run, device, results.messages)
    from vae_cli.tasks import sample as task

    used_prior = task.resolve_prior(model, prior)
    if used_prior == "normal" and prior == "auto":
        results.messages.note("this model has no latent flow: sampling from N(0, I)")
    drawn = task.sample(
        model,
        num,
        seed=seed,
        temperature=temperature,
        prior=used_prior,
        solver_steps=solver_steps,
        label=label,
        guidance=1.0 if guidance is None else guidance,
    )
    images = results.messages.track(drawn, "sample", num)
    _write(images, paths, seed, results, as_grid=output.is_picture(out))
    used_steps = (solver_steps or model.config.model.flow.solver_steps) if used_prior == "flow" else None
    walk = f"vae interpolate {quoted(run)} --from-samples 0,{max(num - 1, 1)} --seed {seed} --out walk.gif"
    results.finish(walk, seed=seed, prior=used_prior, temperature=temperature, solver_steps=used_steps)


def _refuse_given(context: typer.Context) -> None:
    """Raises ConfigError for options that --latents leaves nothing to do for."""
    for name, option in _OF_DRAWING.items():
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise ConfigError(f"{option}: nothing is drawn with --latents; leave one of the two out")


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
    results.finish(f"vae sample {quoted(run)} -n 64 --out grid.png",
                   seed=None, prior=None, temperature=None, solver_steps=None)  # fmt: skip


def _paths(run: Path, out: Path | None, num: int) -> list[Path]:
    """One path for a grid, else one an image."""
    if out is not None and output.is_picture(out):
        return [out]
    return output.result_paths(
        out, output.run_folder(run) / "samples", [PurePosixPath(f"{i:06d}.png") for i in range(num)]
    )


def _write(
    images: "Iterator[np.ndarray]", paths: list[Path], seed: int | None, results: Results, *, as_grid: bool
) -> None:
    if as_grid:
        output.save_picture(output.grid(list(images)), paths[0], seed=seed)
        results.written(None, paths[0])
        return
    for index, image in enumerate(images):
        output.save_picture(image, paths[index], seed=seed)
        results.written(None, paths[index], sample=index)
