"""`vae denoise`: remove noise from images."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vae_cli.cli import options
from vae_cli.cli.restored import Writers, file_format, marked, refuse_zips, require_flow, target_paths, with_changes
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError, DataError
from vae_cli.jobs import outputs
from vae_cli.jobs.inputs import Input, find_inputs, require_run
from vae_cli.printable import printable, shell_quoted

if TYPE_CHECKING:
    from vae_cli.checkpoint import Model

_MAX_SIGMA = 255.0


@dataclass(frozen=True)
class _Settings:
    """How noise is removed and the results are stored."""

    sigma: float | None
    """None = estimated for each image."""
    samples: int
    seed: int
    solver_steps: int | None
    format: str
    overwrite: bool
    skip_existing: bool


def denoise(
    run: options.Run,
    inputs: options.Inputs,
    sigma: Annotated[
        str, typer.Option("--sigma", metavar="auto|FLOAT", help="Standard deviation of the noise, 0-255 scale.")
    ] = "auto",
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, metavar="K", help="Different pictures that may have been, not their mean."),
    ] = None,
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="keep, png, tiff, jpg, ...")] = "keep",
    solver_steps: options.SolverSteps = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out what is there already, to go on after a stop.")
    ] = False,
    out: options.Out = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 64,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Remove noise from images of any size.

    The model knows what such pictures look like and finds the mean of all that may lie under the noise; --samples
    draws some of them instead, with more detail and less certainty. Size, format and metadata stay as they are.
    Without --out the results go to <INPUT>-denoise beside the first INPUT.

    Example: vae denoise runs/photos night-shots --sigma 25 --out clean
    """
    results = Results("denoise", as_json=json, quiet=quiet, verbose=verbose)
    settings = _Settings(
        _sigma(sigma), samples or 0, seed, solver_steps, file_format(format, out), overwrite, skip_existing
    )
    if solver_steps is not None and not samples:
        raise ConfigError("--solver-steps: works only with --samples; the mean has a way of its own")
    require_run(run)
    folder = out or outputs.default_folder(inputs[0], "denoise")
    items = find_inputs(inputs, results.take, exclude=[folder])
    refuse_zips(items)
    targets = target_paths(items, out, folder, file_format=settings.format, samples=settings.samples or 1)
    outputs.refuse_existing([path for paths in targets for path in paths], overwrite=overwrite or skip_existing)
    model = results.open_model(run, device)
    require_flow(model, run, "removes noise")
    found = _denoise_all(model, list(zip(items, targets, strict=True)), settings, results)
    results.messages.note(f"{results.num_written} written, {results.num_failed} failed")
    noise = "" if sigma == "auto" else f"--sigma {sigma} "
    others = f"{noise}--samples 3 --out {shell_quoted(folder)}-samples"
    again = f"vae denoise {shell_quoted(run)} {' '.join(map(shell_quoted, inputs))} {others}"
    results.finish(None if samples else again, seed=seed, sigma=found)


def _sigma(text: str) -> float | None:
    """None for `auto`. Raises ConfigError."""
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= _MAX_SIGMA:
        raise ConfigError(f"--sigma {text}: give auto or a number above 0, at most {_MAX_SIGMA:.0f} (0-255 scale)")
    return value


def _denoise_all(
    model: "Model", jobs: list[tuple[Input, tuple[Path, ...]]], settings: _Settings, results: Results
) -> dict[str, float]:
    """The noise's sigma of every image that was used, by its name; an image that cannot be used is recorded."""
    sigmas: dict[str, float] = {}
    with results.messages.progress("denoise", len(jobs), "images") as progress, Writers(results) as writers:
        for item, targets in jobs:
            if settings.skip_existing and all(outputs.is_there(path) for path in targets):
                for target in targets:
                    writers.present(item.name, target)
            else:
                try:
                    sigmas[item.name] = _denoise(model, item, targets, settings, writers)
                except DataError as error:
                    writers.failed(item.name, str(error))
            progress.advance(1)
    writers.tell_remarks(len(jobs))
    return sigmas


def _denoise(model: "Model", item: Input, targets: tuple[Path, ...], settings: _Settings, writers: Writers) -> float:
    """Hands over the results of one image, to be written; returns the noise's sigma. Raises DataError."""
    from vae_cli.dataset.random_masks import DENOISING_SIGMA
    from vae_cli.files.originals import open_original
    from vae_cli.images.colours import parse_color
    from vae_cli.tasks.denoise import denoise as task
    from vae_cli.windows.picture_noise import estimate_sigma

    original, messages = open_original(item.ref.path), writers.results.messages
    background = parse_color(model.config.data.background)
    image = original.display_array(model.channels, background)
    writers.remark_on_grey(model, item.name, original, "colours keep their noise")
    sigma = estimate_sigma(image) if settings.sigma is None else settings.sigma
    messages.detail(f"{printable(item.name)}: sigma {sigma:.1f}")
    if sigma > DENOISING_SIGMA[1]:  # it is still removed, less well
        messages.warn(f"{printable(item.name)}: noise of sigma {sigma:.0f}, more than models are trained on")
    pictures = task(model, image, sigma=sigma, image_id=item.ref.id, seed=settings.seed, samples=settings.samples,
                    solver_steps=settings.solver_steps)  # fmt: skip
    for number, (picture, target) in enumerate(zip(pictures, targets, strict=True)):
        if settings.skip_existing and outputs.is_there(target):
            writers.present(item.name, target)
            continue
        clean = with_changes(marked(original, settings.seed), image, picture, background)
        save = partial(clean.save, target, format=settings.format, overwrite=settings.overwrite)
        writers.add(item.name, target, picture.size, save, sample=number if settings.samples else None)
    return sigma
