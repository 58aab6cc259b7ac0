"""`vae encode`: latents of images, for other tools and for `vae sample --latents`."""

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from vae_cli.cli import options
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError
from vae_cli.jobs.inputs import find_inputs
from vae_cli.jobs.outputs import default_folder, refuse_existing
from vae_cli.printable import shell_quoted

Kind = Literal["npz", "csv", "safetensors", "parquet"]


def encode(
    context: typer.Context, run: options.Run, inputs: options.Inputs,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", metavar="FILE", help="An .npz, .csv, .safetensors or .parquet file.")] = None,
    format_: Annotated[Kind | None, typer.Option(
        "--format", help="Where no suffix says it; default npz.")] = None,
    pictures: Annotated[Path | None, typer.Option(
        "--pictures", metavar="DIR", help="Also draw the latents of these images: map.png, "
        "traversals.png, and manifold.png for a model of two latents.")] = None,
    batch_size: options.BatchSize = 64, overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Write the latents of images to a file.

    An .npz file holds, with one row an image: `latents` (float32 [N, C, h, w], the means of what the VAE takes it for),
    `std` (the same shape, the standard deviations), `files` (the images' names) and `labels` (their class folders, ''
    without). Models of several latent layers, coarse to fine, add `latents_2`, `std_2` and so on. (latents -
    `shift_factor`) * `scaling_factor` has mean 0 and standard deviation 1, as flows and diffusion models of other tools
    expect.

    A .safetensors file has the same arrays, and files and labels as JSON in its header; a .parquet file has columns of
    flattened arrays, and their shapes and the two factors as JSON in its metadata. A .csv file has the columns file,
    label, z0, z1, ...: the means of all layers, one after another, each in the order of its array. Without --out:
    <INPUT>-encode.npz beside the first INPUT. Every one of them, edited or not, is decoded by `vae sample RUN --latents
    FILE`.

    Example: vae encode runs/photos new-photos --out latents.npz
    """
    results: Results = context.obj
    folder, suffix = default_folder(inputs[0], "encode"), out.suffix.lower().removeprefix(".") if out else None
    if suffix in get_args(Kind) and (format_ or suffix) != suffix:
        raise ConfigError(f"--format {format_}: --out {out} says another; leave one of them out")
    if suffix not in get_args(Kind) and out and format_ is None:
        raise ConfigError(f"--out {out}: give a file that ends in .npz, .csv, .safetensors or .parquet, or a --format")
    kind = format_ or suffix or "npz"
    path = out or folder.with_name(f"{folder.name}.{kind}")
    items = find_inputs(inputs, results.take, exclude=[pictures] if pictures else [], labels="auto")
    refuse_existing([path], overwrite=overwrite)
    from vae_cli.jobs import encode as job

    results.show(job.encode(results.open_model(run), items, path, kind, results.take, pictures=pictures,
                            overwrite=overwrite, batch_size=batch_size))  # fmt: skip
    results.finish(f"vae sample {shell_quoted(run)} --latents {shell_quoted(path)} --out grid.png")
