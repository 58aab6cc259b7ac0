"""`vae sample`: draw new images."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vae_cli.cli import completion, options
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError
from vae_cli.jobs.outputs import NUM_IMAGES, Target, own_folder, refuse_existing, require_suffix
from vae_cli.printable import shell_quoted

_OF_DRAWING = {"num": "-n", "temperature": "--temperature", "prior": "--prior", "solver_steps": "--solver-steps",
               "label": "--label", "guidance": "--guidance", "save_latents": "--save-latents"}  # fmt: skip
"""Options that say what to draw, and have no meaning where latents are given."""


def sample(
    context: typer.Context, run: options.Run,
    num: Annotated[int | None, typer.Option(
        "--num", "-n", min=1, max=1_000_000, metavar="N",
        help="How many images, else 64; of several labels, of each, else 8.")] = None,
    out: options.Out = None,
    temperature: Annotated[float, options.tuning(
        metavar="T", min=0.0, max=100.0, help="Below 1: more typical, less varied.")] = 1.0,
    prior: Annotated[Literal["auto", "flow", "normal"], options.tuning(
        help="Draw latents from the flow, or as plain noise; auto = the flow if there.")] = "auto",
    solver_steps: options.SolverSteps = None,
    label: Annotated[list[str] | None, typer.Option(
        metavar="NAME", autocompletion=completion.labels,
        help="Class to draw, by its folder's name; may be repeated, all = every class.")] = None,
    guidance: Annotated[float | None, options.tuning(
        min=0.0, max=100.0, metavar="G", help="How strictly to follow --label, or what is typical; 1 = off.")] = None,
    latents: Annotated[Path | None, options.tuning(
        "--latents", metavar="FILE", help="Decode these instead: a file of `vae encode`, "
        "or a plain array [N, C, h, w] or [N, D] as .npz or .npy.")] = None,
    save_latents: Annotated[Path | None, typer.Option(
        "--save-latents", metavar="FILE", help="Also write the latents: .npz, .csv or .safetensors.")] = None,
    scale: Annotated[int, typer.Option(
        "--scale", min=1, max=64, metavar="K", help="Write every pixel as a square of K × K.")] = 1,
    batch_size: options.BatchSize = 64, seed: options.Seed = 0, overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Draw new images.

    Without --out they go to RUN/samples/, or photo-samples/, as 000000.png, 000001.png and so on. An --out with an
    image suffix is a grid of all of them. Several labels make one row each, named, or in a folder LABEL/000000.png and
    so on.

    Example: vae sample runs/photos -n 64 --seed 7 --out grid.png
    """
    results: Results = context.obj
    target = Target(out, own_folder(run, "samples"), overwrite, batch_size, scale)
    command = f"vae sample {shell_quoted(run)}"
    if latents is not None:
        for name, option in _OF_DRAWING.items():
            source = context.get_parameter_source(name)
            if source is not None and source.name != "DEFAULT":
                raise ConfigError(f"{option}: nothing is drawn with --latents; leave one of the two out")
        from vae_cli.jobs import latent_files
        from vae_cli.jobs.sample import decode

        arrays = latent_files.read(latents)
        facts = results.show(decode(results.open_model(run), arrays, latents, target))
        results.finish(f"{command} -n {NUM_IMAGES} --out grid.png", **facts)
        return
    labels = tuple(dict.fromkeys(label or ()))
    if len(labels) < 2 and labels != ("all",):
        target.paths(num or NUM_IMAGES)  # refused before torch takes its seconds to load
    require_suffix("--save-latents", save_latents, ".npz", ".csv", ".safetensors")
    refuse_existing([save_latents] if save_latents else [], overwrite=overwrite)
    from vae_cli.jobs import sample as job

    request = job.Request(num, labels, temperature, prior, solver_steps, guidance, seed, save_latents)
    facts = results.show(job.sample(results.open_model(run), request, target))
    last, drawn = (num or NUM_IMAGES) - 1, facts.get("labels", [])
    if request.has_rows(drawn):
        next_step = f"vae evaluate {shell_quoted(run)}"
    elif drawn:
        next_step = f"{command} --label all --out labels.png"
    elif last == 0:
        next_step = f"{command} -n {NUM_IMAGES} --out grid.png"
    else:
        ends = f"--from-samples {shell_quoted(f'0,{last}')} --seed {seed}"
        next_step = f"vae interpolate {shell_quoted(run)} {ends} --out walk.gif"
    results.finish(next_step, **facts)
