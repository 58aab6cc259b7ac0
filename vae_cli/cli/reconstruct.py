"""`vae reconstruct`: encode and decode images."""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from vae_cli.cli import loading, options, output
from vae_cli.cli.inputs import Input, decoded, find_inputs
from vae_cli.cli.progress import Messages
from vae_cli.cli.results import Results
from vae_cli.printable import shell_quoted

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.checkpoint import Model


def reconstruct(
    run: options.Run,
    inputs: options.Inputs,
    out: options.Out = None,
    compare: Annotated[bool, typer.Option("--compare", help="Write the input beside its reconstruction.")] = False,
    draw: Annotated[
        bool, typer.Option("--sample", help="Decode a sample of the posterior instead of its mean.")
    ] = False,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 64,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Encode images and decode them again.

    The results are PNGs at the model's size: what the model keeps of an image. Without --out they go to
    <INPUT>-reconstruct beside the first INPUT; folders keep their tree.

    Example: vae reconstruct runs/photos new-photos --out recon --compare
    """
    results = Results("reconstruct", Messages(quiet=quiet, verbose=verbose), as_json=json)
    loading.require_run(run)
    folder = out or output.default_folder(inputs[0], "reconstruct")
    items = find_inputs(inputs, results, exclude=[folder])
    paths = output.result_paths(out, folder, output.picture_names([item.relative for item in items]))
    output.refuse_existing(paths, overwrite=overwrite)
    model = loading.load(run, device, results.messages)
    targets = dict(zip((item.relative for item in items), paths, strict=True))
    pairs = _reconstructed(model, items, results, draw=draw, seed=seed)
    for item, pixels, rebuilt in results.messages.track(pairs, "reconstruct", len(items)):
        picture = output.grid([pixels, rebuilt], num_columns=2) if compare else rebuilt
        output.save_picture(picture, targets[item.relative], seed=seed if draw else None)
        results.written(item.name, targets[item.relative])
    results.finish(f"vae evaluate {shell_quoted(run)} {shell_quoted(inputs[0])}")


def _reconstructed(
    model: "Model", items: list[Input], results: Results, *, draw: bool, seed: int
) -> "Iterator[tuple[Input, np.ndarray, np.ndarray]]":
    """Each usable input, its pixels and its reconstruction, both uint8 [H, W, C] at model size."""
    from vae_cli.tasks import reconstruct as task

    waiting: deque[tuple[Input, np.ndarray]] = deque()

    def pictures() -> "Iterator[tuple[str, np.ndarray]]":
        for item, pixels in decoded(items, model.config.data, results):
            waiting.append((item, pixels))
            yield item.ref.id, pixels

    means = (pixels for _, pixels in pictures())
    for rebuilt in task.reconstruct_draws(model, pictures(), seed=seed) if draw else task.reconstruct(model, means):
        yield *waiting.popleft(), rebuilt
