"""`vae style`: carry a look over to other images."""

from pathlib import Path
from typing import Annotated

import typer

from vae_cli.cli import completion, options
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError
from vae_cli.jobs.inputs import require_flow
from vae_cli.jobs.outputs import default_folder, is_picture
from vae_cli.printable import shell_quoted


def style(
    context: typer.Context, run: options.Run, inputs: options.Inputs,
    to: Annotated[str | None, typer.Option(
        "--to", metavar="LABEL", autocompletion=completion.labels,
        help="Class to carry to, by its folder's name.")] = None,
    like: Annotated[Path | None, typer.Option(
        "--like", metavar="FILE|DIR", help="Images whose look is taken on.")] = None,
    unlike: Annotated[Path | None, typer.Option(
        "--from", metavar="FILE|DIR", help="Images whose look is given up; default each INPUT's own.")] = None,
    strength: Annotated[float | None, typer.Option(
        "--strength", min=0.0, max=1.0, metavar="S", help="0 keeps all of the content, 1 the least.")] = None,
    sheet: Annotated[Path | None, typer.Option(
        "--sheet", metavar="FILE", help="Also one picture: content, style, result in rows.")] = None,
    format: options.Format = "keep", solver_steps: options.SolverSteps = None,
    strip_metadata: options.StripMetadata = False, skip_existing: options.SkipExisting = False, out: options.Out = None,
    batch_size: options.BatchSize = 64, seed: options.Seed = 0, overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Carry a look over to other images.

    With --to (a model trained on class folders) images become what they would be under another label. With --like (any
    model) they take on what other images have in common, and with --from what tells those from a second set. Size,
    format and metadata stay as they are. Without --out the results go to <INPUT>-style beside the first INPUT.

    Example: vae style runs/clothes pullovers --to coat --sheet sheet.png
    """
    results: Results = context.obj
    if (to is None) == (like is None):
        raise ConfigError("give either --to LABEL or --like FILE|DIR: the look that the images shall take on")
    if unlike is not None and like is None:
        raise ConfigError("--from: works only with --like; with --to each image's own label is found")
    if solver_steps is not None and to is None:
        raise ConfigError("--solver-steps: works only with --to; --like does not solve anything")
    from vae_cli.jobs.change_images import Storage, change_images, file_format, find_unzipped, plan_targets

    storage = Storage(out, file_format(format, out), overwrite, skip_existing, strip_metadata)
    folder = out or default_folder(inputs[0], "style")
    items = find_unzipped(inputs, results.take, [path for path in (folder, like, unlike, sheet) if path is not None])
    if sheet is not None and not is_picture(sheet):
        raise ConfigError(f"--sheet {sheet}: give a file name with the suffix of an image, such as sheet.png")
    images = plan_targets(items, folder, storage, beside=[sheet] if sheet is not None else [])
    from vae_cli.jobs.style import find_look

    model = results.open_model(run)
    if to is not None and model.label_names:
        require_flow(model, run, "knows the labels")
    change = find_look(model, results.take, to=to, like=like, unlike=unlike, strength=strength,
                       solver_steps=solver_steps, seed=seed, sheet=sheet)  # fmt: skip
    facts = results.show(change_images(change, images, storage, batch_size=batch_size))
    results.messages.note(f"{results.num_written} written, {results.num_failed} failed")
    other = round(change.strength + (-0.2 if change.strength > 0.5 else 0.2), 2)  # worth trying next
    words = {"--to": to, "--like": like, "--from": unlike, "--strength": f"{other:g}"}
    again = " ".join(f"{option} {shell_quoted(word)}" for option, word in words.items() if word is not None)
    results.finish(f"vae style {shell_quoted(run)} {shell_quoted(inputs[0])} {again} "
                   f"--out {shell_quoted(folder)}-{other:g}", **facts)  # fmt: skip
