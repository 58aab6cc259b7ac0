"""`vae sample`: draw new images."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vae_cli.cli import loading, options, output
from vae_cli.cli.progress import Messages, quoted
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


def sample(
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
    grid of all of them.

    Example: vae sample runs/photos -n 64 --seed 7 --out grid.png
    """
    results = Results("sample", Messages(quiet=quiet, verbose=verbose), as_json=json)
    loading.require_run(run)
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


def _paths(run: Path, out: Path | None, num: int) -> list[Path]:
    """One path for a grid, else one an image."""
    if out is not None and output.is_picture(out):
        return [out]
    return output.result_paths(
        out, output.run_folder(run) / "samples", [PurePosixPath(f"{i:06d}.png") for i in range(num)]
    )


def _write(images: "Iterator[np.ndarray]", paths: list[Path], seed: int, results: Results, *, as_grid: bool) -> None:
    if as_grid:
        output.save_picture(output.grid(list(images)), paths[0], seed=seed)
        results.written(None, paths[0])
        return
    for index, image in enumerate(images):
        output.save_picture(image, paths[index], seed=seed)
        results.written(None, paths[index], sample=index)
