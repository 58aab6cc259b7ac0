"""`vae denoise`: remove noise from images."""

from typing import Annotated

import typer

from vae_cli.cli import options
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError
from vae_cli.jobs.inputs import require_flow
from vae_cli.jobs.outputs import default_folder
from vae_cli.printable import shell_quoted

_MAX_SIGMA = 255.0


def denoise(
    context: typer.Context, run: options.Run, inputs: options.Inputs,
    sigma: Annotated[str, typer.Option(
        "--sigma", metavar="auto|NUMBER", help="Standard deviation of the noise, 0-255 scale.")] = "auto",
    samples: Annotated[int | None, typer.Option(
        "--samples", min=1, max=1000, metavar="K",
        help="Different pictures that may have been, not their mean.")] = None,
    format: options.Format = "keep", solver_steps: options.SolverSteps = None,
    strip_metadata: options.StripMetadata = False, skip_existing: options.SkipExisting = False, out: options.Out = None,
    batch_size: options.BatchSize = 64, seed: options.Seed = 0, overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Remove noise from images of any size.

    The model knows what such pictures look like and finds the mean of all that may lie under the noise; --samples
    draws some of them instead, with more detail and less certainty. Size, format and metadata stay as they are.
    Without --out the results go to <INPUT>-denoise beside the first INPUT.

    Example: vae denoise runs/photos night-shots --sigma 25 --out clean
    """
    results: Results = context.obj
    try:
        given_sigma = None if sigma == "auto" else float(sigma)
    except ValueError:
        given_sigma = -1.0
    if given_sigma is not None and not 0 < given_sigma <= _MAX_SIGMA:
        raise ConfigError(f"--sigma {sigma}: give auto or a number above 0, at most {_MAX_SIGMA:.0f} (0-255 scale)")
    if solver_steps is not None and not samples:
        raise ConfigError("--solver-steps: works only with --samples; the mean has a way of its own")
    from vae_cli.jobs.change_images import Storage, change_images, file_format, find_unzipped, plan_targets

    storage = Storage(out, file_format(format, out), overwrite, skip_existing, strip_metadata)
    folder = out or default_folder(inputs[0], "denoise")
    images = plan_targets(find_unzipped(inputs, results.take, [folder]), folder, storage, samples or 1)
    from vae_cli.jobs.denoise import Denoising

    model = results.open_model(run)
    require_flow(model, run, "removes noise")
    change = Denoising(model, seed, given_sigma, samples, solver_steps)
    facts = results.show(change_images(change, images, storage, batch_size=batch_size))
    results.messages.note(f"{results.num_written} written, {results.num_failed} failed")
    noise = "" if sigma == "auto" else f"--sigma {sigma} "
    again = f"vae denoise {shell_quoted(run)} {' '.join(map(shell_quoted, inputs))} {noise}--samples 3"
    results.finish(None if samples else f"{again} --out {shell_quoted(folder)}-samples", **facts)
