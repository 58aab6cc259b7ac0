"""`vae reconstruct`: encode and decode images."""

from typing import Annotated

import typer

from vae_cli.cli import options
from vae_cli.cli.results import Results
from vae_cli.jobs.inputs import find_inputs
from vae_cli.jobs.outputs import default_folder, picture_names, refuse_existing, result_paths
from vae_cli.printable import shell_quoted


def reconstruct(
    context: typer.Context, run: options.Run, inputs: options.Inputs,
    out: options.Out = None,
    compare: Annotated[bool, typer.Option("--compare", help="Write the input beside its reconstruction.")] = False,
    draw: Annotated[bool, typer.Option(
        "--sample", help="Decode a draw of the latents that may be meant, not their mean.")] = False,
    batch_size: options.BatchSize = 64, seed: options.Seed = 0, overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Encode images and decode them again.

    The results are PNGs at the model's size: what the model keeps of an image. Without --out they go to
    <INPUT>-reconstruct beside the first INPUT; folders keep their tree.

    Example: vae reconstruct runs/photos new-photos --out recon --compare
    """
    results: Results = context.obj
    folder = out or default_folder(inputs[0], "reconstruct")
    items = find_inputs(inputs, results.take, exclude=[folder])
    paths = result_paths(out, folder, picture_names([item.relative for item in items]))
    refuse_existing(paths, overwrite=overwrite)
    from vae_cli.jobs import reconstruct as job

    results.show(job.reconstruct(results.open_model(run), dict(zip(items, paths, strict=True)), results.take,
                                 compare=compare, draw=draw, seed=seed, batch_size=batch_size))  # fmt: skip
    results.finish(f"vae evaluate {shell_quoted(run)} {shell_quoted(inputs[0])}")
