"""`vae encode`: latents of images, for other tools and for `vae sample --latents`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vae_cli.cli import latent_files, loading, options, output
from vae_cli.cli.inputs import Input, decoded, find_inputs
from vae_cli.cli.progress import Messages
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError
from vae_cli.printable import shell_quoted

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.checkpoint import Model
    from vae_cli.tasks.encode import Encoded


def encode(
    run: options.Run,
    inputs: options.Inputs,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="An .npz or .csv file.", show_default=False),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", metavar="DIR", help="Also draw the latents of these images: map.png, "
                     "traversals.png, and manifold.png for a model of two latents.", show_default=False),
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
    """Write the latents of images to a file.

    An .npz file holds, with one row an image: `latents` (float32 [N, C, h, w], the means of the posterior, exact, in
    units in which the prior is N(0, 1)), `std` (the same shape, its standard deviations), `files` (the images' names)
    and `labels` (their class folders, '' without). Models of several latent layers, coarse to fine, add `latents_2`,
    `std_2` and so on. A .csv file has the columns file, label, z0, z1, ...: the means of all layers, one after another,
    each in the order of its array. Without --out: <INPUT>-encode.npz beside the first INPUT. Either file, edited or
    not, is decoded by `vae sample RUN --latents FILE`.

    Example: vae encode runs/photos new-photos --out latents.npz
    """
    results = Results("encode", Messages(quiet=quiet, verbose=verbose), as_json=json)
    loading.require_run(run)
    path = _target(out, inputs[0])
    items = find_inputs(inputs, results, exclude=[pictures] if pictures else [], labels="auto")
    output.refuse_existing([path], overwrite=overwrite)
    model = loading.load(run, device, results.messages)
    from vae_cli.drawing import previews

    drawn = [pictures / f"{name}.png" for name in previews.names_of_latents(model)] if pictures else []
    output.refuse_existing(drawn, overwrite=overwrite)
    found = list(results.messages.track(_encoded(model, items, results), "encode", len(items)))
    if found:
        _write(model, found, path, drawn, results)
    results.finish(f"vae sample {shell_quoted(run)} --latents {shell_quoted(path)} --out grid.png")


def _target(out: Path | None, first_input: Path) -> Path:
    """Where the latents go. Raises ConfigError for other kinds of files."""
    if out is None:
        folder = output.default_folder(first_input, "encode")
        return folder.with_name(f"{folder.name}.npz")
    if out.suffix.lower() not in latent_files.WRITTEN_SUFFIXES:
        raise ConfigError(f"--out {out}: give a file that ends in {' or '.join(latent_files.WRITTEN_SUFFIXES)}")
    return out


def _encoded(model: "Model", items: list[Input], results: Results) -> "Iterator[tuple[Input, Encoded]]":
    """Each usable input with its posterior."""
    from vae_cli.tasks.encode import encode as task

    used: list[Input] = []

    def pixels_of_inputs() -> "Iterator[np.ndarray]":
        for item, pixels in decoded(items, model.config.data, results):
            used.append(item)
            yield pixels

    for number, posterior in enumerate(task(model, pixels_of_inputs())):
        yield used[number], posterior


def _write(
    model: "Model", found: "list[tuple[Input, Encoded]]", path: Path, drawn: list[Path], results: Results
) -> None:
    """The file of latents, and the pictures at the paths `drawn`."""
    from vae_cli.tasks.encode import stacked

    encoded = stacked([posterior for _, posterior in found])
    names, labels = [item.name for item, _ in found], [item.ref.label or "" for item, _ in found]
    latent_files.write(path, encoded, names, labels)
    results.gathered(names, path)
    if drawn:
        from vae_cli.drawing import previews

        pictures = previews.latents(model, encoded, labels)
        for target in drawn:
            output.save_picture(pictures[target.stem], target)
            results.written(None, target)
