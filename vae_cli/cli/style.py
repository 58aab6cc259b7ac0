"""`vae style`: carry a look over to other images."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vae_cli.cli import options
from vae_cli.cli.restored import Writers, file_format, marked, refuse_zips, require_flow, target_paths, with_changes
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError, DataError
from vae_cli.jobs import outputs
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.inputs import Input, find_inputs, require_run
from vae_cli.printable import printable, shell_quoted

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.checkpoint import Model
    from vae_cli.files.originals import Original
    from vae_cli.tasks.style import Change, Content

_MAX_LIKE = 256
"""Pictures of a folder whose look is taken, spread evenly."""
_SHEET_ROWS, _SHEET_SIDE = 32, 256
"""Rows of a sheet and pixels of a picture's longer side there, at most."""


@dataclass(frozen=True)
class _Settings:
    """What is carried over and how the results are stored."""

    to: str | None
    like: Path | None
    unlike: Path | None
    strength: float | None
    """None = as much as was found best."""
    solver_steps: int | None
    seed: int
    format: str
    overwrite: bool
    skip_existing: bool

    def check(self) -> None:
        """Raises ConfigError unless there is one look to carry over."""
        if (self.to is None) == (self.like is None):
            raise ConfigError("give either --to LABEL or --like FILE|DIR: the look that the images shall take on")
        if self.unlike is not None and self.like is None:
            raise ConfigError("--from: works only with --like; with --to each image's own label is found")
        if self.solver_steps is not None and self.to is None:
            raise ConfigError("--solver-steps: works only with --to; --like does not solve anything")

    def words(self) -> str:
        """The look, as on the command line."""
        if self.to is not None:
            return f"--to {shell_quoted(self.to)}"
        assert self.like is not None, "`check` has seen to it"
        return f"--like {shell_quoted(self.like)}" + (f" --from {shell_quoted(self.unlike)}" if self.unlike else "")


@dataclass
class _Sheet:
    """Rows of pictures, uint8 [H, W, C]: content, style where there is a picture of it, result."""

    styles: list["np.ndarray"] = field(default_factory=list)
    rows: list[list["np.ndarray"]] = field(default_factory=list)

    def add(self, content: "np.ndarray", result: "np.ndarray") -> None:
        if len(self.rows) < _SHEET_ROWS:
            style = [self.styles[len(self.rows) % len(self.styles)]] if self.styles else []
            self.rows.append([content, *style, result])

    def picture(self) -> "np.ndarray":
        """All rows on white, as large as the largest picture among them; larger ones are made smaller."""
        from vae_cli.drawing import grids
        from vae_cli.images.recipe import fit_to

        cells = [cell for row in self.rows for cell in row]
        size = tuple(min(_SHEET_SIDE, max(cell.shape[axis] for cell in cells)) for axis in (0, 1))
        fitted = [fit_to(cell, (size[0], size[1]), "pad") for cell in cells]
        return grids.grid(fitted, num_columns=len(self.rows[0]))


def style(
    run: options.Run,
    inputs: options.Inputs,
    to: Annotated[
        str | None, typer.Option("--to", metavar="LABEL", help="Class to carry to, by its folder's name.")
    ] = None,
    like: Annotated[
        Path | None, typer.Option("--like", metavar="FILE|DIR", help="Images whose look is taken on.")
    ] = None,
    unlike: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE|DIR", help="Images whose look is given up; default each INPUT's own."),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option("--strength", min=0.0, max=1.0, metavar="S", help="0 keeps all of the content, 1 the least."),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE", help="Also one picture: content, style, result in rows.")
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
    """Carry a look over to other images.

    With --to (a model trained on class folders) images become what they would be under another label. With --like (any
    model) they take on what other images have in common, and with --from what tells those from a second set. Size,
    format and metadata stay as they are. Without --out the results go to <INPUT>-style beside the first INPUT.

    Example: vae style runs/clothes pullovers --to coat --sheet sheet.png
    """
    results = Results("style", as_json=json, quiet=quiet, verbose=verbose)
    settings = _Settings(
        to, like, unlike, strength, solver_steps, seed, file_format(format, out), overwrite, skip_existing
    )
    settings.check()
    require_run(run)
    folder = out or outputs.default_folder(inputs[0], "style")
    looks = [path for path in (like, unlike) if path is not None]
    items = find_inputs(inputs, results.take, exclude=[folder, *looks, *([sheet] if sheet else [])])
    refuse_zips(items)
    targets = [paths[0] for paths in target_paths(items, out, folder, file_format=settings.format, samples=1)]
    _refuse(targets, sheet, settings)
    model = results.open_model(run, device)
    pages = _Sheet() if sheet is not None else None
    change, strength = _change(model, run, settings, results, pages)
    labels = _restyle_all(change, list(zip(items, targets, strict=True)), settings, results, pages)
    if sheet is not None and pages is not None and pages.rows:
        from vae_cli.files.new_pictures import save_picture

        save_picture(pages.picture(), sheet, seed=seed)
        results.messages.note(f"{printable(sheet)}: {len(pages.rows)} images")
    results.messages.note(f"{results.num_written} written, {results.num_failed} failed")
    again = (
        f"vae style {shell_quoted(run)} {shell_quoted(inputs[0])} {settings.words()} --strength {_other(strength):g}"
    )
    results.finish(f"{again} --out {shell_quoted(folder)}-{_other(strength):g}", seed=seed, strength=strength,
                   labels=labels,
                   sheet=sheet if pages is not None and pages.rows else None)  # fmt: skip


def _other(strength: float) -> float:
    """A strength worth trying next."""
    return round(strength - 0.2, 2) if strength > 0.5 else round(strength + 0.2, 2)


def _refuse(targets: Sequence[Path], sheet: Path | None, settings: _Settings) -> None:
    """Raises ConfigError when a result is there already, or a sheet has no image's name."""
    if sheet is not None and not outputs.is_picture(sheet):
        raise ConfigError(f"--sheet {sheet}: give a file name with the suffix of an image, such as sheet.png")
    outputs.refuse_existing([*targets, *([sheet] if sheet else [])], overwrite=True)  # none twice, none a folder
    new = [] if settings.skip_existing else targets
    outputs.refuse_existing([*new, *([sheet] if sheet else [])], overwrite=settings.overwrite)


def _change(
    model: "Model", run: Path, settings: _Settings, results: Results, sheet: _Sheet | None
) -> tuple["Change", float]:
    """What is done to the images, and how strongly. Pictures of the style go to the sheet. Raises ConfigError."""
    from vae_cli.tasks import style as task

    if settings.to is not None:
        if model.label_names:
            require_flow(model, run, "knows the labels")
        strength = task.LABEL_STRENGTH if settings.strength is None else settings.strength
        steps = settings.solver_steps or task.LABEL_STEPS
        return task.ToLabel.of(model, settings.to, strength=strength, seed=settings.seed, steps=steps), strength
    assert settings.like is not None
    strength = task.LIKE_STRENGTH if settings.strength is None else settings.strength
    like = _pictures(model, settings.like, results, sheet)
    unlike = _pictures(model, settings.unlike, results, None) if settings.unlike is not None else None
    return task.LikeLook.of(model, like, unlike, strength=strength), strength


def _pictures(model: "Model", path: Path, results: Results, sheet: _Sheet | None) -> "Iterator[np.ndarray]":
    """The pictures of --like or --from, as the model takes them; those that cannot be used are recorded.

    Raises DataError where there is none.
    """
    items = find_inputs([path], results.take)
    refuse_zips(items)
    count, num_used = min(len(items), _MAX_LIKE), 0
    if len(items) > count:
        results.messages.note(f"{printable(path)}: the look of {count} of {len(items)} images, spread evenly")
    chosen = [items[number * len(items) // count] for number in range(count)]
    for item in results.messages.track(chosen, f"look at {printable(path.name)}", count):
        try:
            _, picture = _opened(model, item)
        except DataError as error:
            results.take(FileDone(item.name, "failed", reason=str(error)))
            continue
        num_used += 1
        if sheet is not None and len(sheet.styles) < _SHEET_ROWS:
            sheet.styles.append(_eight_bit(picture))
        yield picture
    if not num_used:
        raise DataError(f"{path}: no image in it can be used; give another one")


def _opened(model: "Model", item: Input) -> tuple["Original", "np.ndarray"]:
    """The file as stored, and its picture as the model takes it. Raises DataError."""
    from vae_cli.files.originals import open_original
    from vae_cli.images.colours import parse_color

    original = open_original(item.ref.path)
    return original, original.display_array(model.channels, parse_color(model.config.data.background))


def _eight_bit(picture: "np.ndarray") -> "np.ndarray":
    """uint8 of a picture uint8 or uint16, or float32 in 0..255."""
    import numpy as np

    scale = 255 / np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1.0
    return np.rint(picture * scale).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Pending:
    """An image whose result is being computed."""

    item: Input
    target: Path
    original: "Original"
    picture: "np.ndarray"


def _restyle_all(
    change: "Change", jobs: list[tuple[Input, Path]], settings: _Settings, results: Results, sheet: _Sheet | None
) -> dict[str, str]:
    """The label that each image was taken for, by its name, where labels matter; writes the results."""
    from vae_cli.images.colours import parse_color
    from vae_cli.tasks.style import restyle

    background = parse_color(change.model.config.data.background)
    waiting: deque[_Pending] = deque()
    labels: dict[str, str] = {}
    names = change.model.label_names
    with results.messages.progress("style", len(jobs), "images") as progress, Writers(results) as writers:
        for styled in restyle(_contents(change.model, jobs, settings, writers, waiting), change):
            done = waiting.popleft()
            name = done.item.name
            writers.remark_on_grey(change.model, name, done.original, "colours change in brightness alone")
            result = with_changes(marked(done.original, settings.seed), done.picture, styled.pixels, background)
            save = partial(result.save, done.target, format=settings.format, overwrite=settings.overwrite)
            writers.add(name, done.target, styled.pixels.size, save)
            if styled.label is not None:
                labels[name] = names[styled.label]
                if labels[name] == settings.to:
                    writers.remark(name, f"already {settings.to}, left as it is")
            if sheet is not None:
                sheet.add(_eight_bit(done.picture), _eight_bit(styled.pixels))
            progress.advance(1)
    writers.tell_remarks(len(jobs))
    return labels


def _contents(
    model: "Model",
    jobs: list[tuple[Input, Path]],
    settings: _Settings,
    writers: Writers,
    waiting: deque[_Pending],
) -> "Iterator[Content]":
    """The usable images, each also appended to `waiting`; the others are recorded.

    An image in a folder that has a label's name has that label.
    """
    from vae_cli.tasks.style import Content

    for item, target in jobs:
        if settings.skip_existing and outputs.is_there(target):
            writers.present(item.name, target)
            continue
        try:
            original, picture = _opened(model, item)
        except DataError as error:
            writers.failed(item.name, str(error))
            continue
        waiting.append(_Pending(item, target, original, picture))
        folder = item.ref.path.absolute().parent.name
        yield Content(picture, item.ref.id, model.label_names.index(folder) if folder in model.label_names else None)
