"""`vae inpaint`: fill the holes of damaged images."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vae_cli.cli import options
from vae_cli.cli.found_masks import write_masks
from vae_cli.cli.holes import (
    NOTHING_FOUND,
    SUSPICIOUS_COVER,
    Damaged,
    MaskSource,
    num_undamaged,
    num_without_mask,
    pair,
    read_hole_of,
    without_mask,
)
from vae_cli.cli.inpaint_sheet import check_sheet, write_sheet
from vae_cli.cli.progress import Messages
from vae_cli.cli.restored import Writers, file_format, marked, own_colours, refuse_zips, require_flow, target_paths
from vae_cli.cli.results import Results, say
from vae_cli.errors import ConfigError, DataError
from vae_cli.jobs import outputs
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.inputs import find_inputs, require_run
from vae_cli.printable import printable, shell_quoted

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.checkpoint import Model
    from vae_cli.files.originals import Original
    from vae_cli.tasks.inpaint import Fill, Picture


Method = Literal["auto", "model", "classical"]


@dataclass(frozen=True)
class _Job:
    """One image, its mask and the files of its fills."""

    damaged: Damaged
    targets: tuple[Path, ...]


@dataclass(frozen=True)
class _Settings:
    """How holes are filled and the results stored."""

    masks: MaskSource
    format: str
    feather: float
    samples: int
    seed: int
    solver_steps: int | None
    method: Method
    overwrite: bool
    skip_existing: bool


def inpaint(
    run: options.Run,
    inputs: options.Inputs,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", metavar="FILE|DIR", help="White marks the hole; a folder is paired by name."),
    ] = None,
    mask_color: Annotated[
        str | None, typer.Option("--mask-color", metavar="COLOUR", help="Pixels of this colour are the hole.")
    ] = None,
    mask_alpha: Annotated[bool, typer.Option("--mask-alpha", help="Transparent pixels are the hole.")] = False,
    mask_auto: Annotated[
        bool, typer.Option("--mask-auto", help="Find scratches and dust; --dry-run writes the masks.")
    ] = False,
    mask_invert: Annotated[bool, typer.Option("--mask-invert", help="Black marks the hole.")] = False,
    mask_dilate: Annotated[int, typer.Option("--mask-dilate", min=0, metavar="PX", help="Grow the hole.")] = 0,
    feather: Annotated[
        float, typer.Option("--feather", min=0.0, metavar="PX", help="Blend this far inside the hole's edge.")
    ] = 0.0,
    samples: Annotated[int, typer.Option("--samples", min=1, metavar="K", help="Different fills of each image.")] = 1,
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="keep, png, tiff, jpg, ...")] = "keep",
    solver_steps: options.SolverSteps = None,
    method: Annotated[
        Method, typer.Option("--method", help="The model's fill, a smooth one, or what measured better at each pixel.")
    ] = "auto",
    skip_missing: Annotated[bool, typer.Option("--skip-missing", help="Images without a mask are no failure.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out what is there already, to go on after a stop.")
    ] = False,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE.html", help="Also a page: before, hole, after.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
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
    """Fill the holes of damaged images.

    Pixels outside the mask stay as they are, and so do size, format and metadata. Masks are found by name (a.jpg and
    a.png or a_mask.png), or found by themselves: --mask-auto --dry-run writes what it takes for scratches and dust to
    <INPUT>-masks, to be corrected and given back with --mask. Without --out the results go to <INPUT>-inpaint beside
    the first INPUT.

    Example: vae inpaint runs/photos scans --mask masks --out fixed
    """
    results = Results("inpaint", as_json=json, quiet=quiet, verbose=verbose)
    masks = MaskSource(mask, mask_color, mask_alpha, mask_auto, mask_invert, mask_dilate)
    settings = _Settings(
        masks, file_format(format, out), feather, samples, seed, solver_steps, method, overwrite, skip_existing
    )
    if method == "classical" and (samples > 1 or solver_steps is not None):
        raise ConfigError("--method classical: has one answer and no solver; leave out --samples and --solver-steps")
    masks.check()
    check_sheet(sheet, overwrite=overwrite, goes_on=skip_existing)
    require_run(run)
    if dry_run and mask_auto:
        write_masks(run, inputs, out, masks, results, overwrite=overwrite, skip_existing=skip_existing)
        return
    jobs = _plan(inputs, out, settings, results, skip_missing=skip_missing)
    if dry_run:
        _describe(jobs, settings, results)
        return
    model = results.open_model(run, device)
    if method != "classical":
        require_flow(model, run, "fills holes")
    _fill_all(model, jobs, settings, results)
    if sheet is not None:
        write_sheet(sheet, [(job.damaged, job.targets) for job in jobs], masks, results)
    without = f"{num_undamaged(results)} without damage" if mask_auto else f"{num_without_mask(results)} without a mask"
    results.messages.note(f"{results.num_written} written, {without}, {results.num_failed} failed")
    others = f"--samples 3 --seed {seed + 1} --out {shell_quoted(_folder(inputs, None))}-{seed + 1}"
    again = f"vae inpaint {shell_quoted(run)} {' '.join(map(shell_quoted, inputs))} {masks.words()} {others}"
    results.finish(again if results.num_written else None, seed=seed, method=method, sheet=sheet)


def _plan(
    inputs: Sequence[Path], out: Path | None, settings: _Settings, results: Results, *, skip_missing: bool
) -> list[_Job]:
    """What is to be filled and where it goes; images without a mask are recorded. Raises ConfigError."""
    folder = _folder(inputs, out)
    mask_folders = [settings.masks.path] if settings.masks.path else []
    items = find_inputs(inputs, results.take, exclude=[folder, *mask_folders])
    refuse_zips(items)
    paired = list(pair(items, settings.masks))
    for damaged in paired:
        if damaged.is_missing:
            results.take(without_mask(damaged, is_allowed=skip_missing))
            results.messages.note(f"no mask for {printable(damaged.item.name)}")
        elif damaged.problem:
            results.take(FileDone(damaged.item.name, "failed", reason=damaged.problem))
    usable = [damaged for damaged in paired if damaged.problem is None]
    targets = target_paths(
        [damaged.item for damaged in usable], out, folder, file_format=settings.format, samples=settings.samples
    )
    paths = [path for variants in targets for path in variants]
    outputs.refuse_existing(paths, overwrite=settings.overwrite or settings.skip_existing)
    return list(map(_Job, usable, targets))


def _folder(inputs: Sequence[Path], out: Path | None) -> Path:
    return out or outputs.default_folder(inputs[0], "inpaint")


def _describe(jobs: list[_Job], settings: _Settings, results: Results) -> None:
    """The dry run: pairs, what is missing, and how much of each image its mask covers."""
    from vae_cli.files.originals import size_of

    covers: list[float] = []
    watch = _Covers(results.messages)
    for job in jobs:
        item = job.damaged.item
        try:
            cover = watch.check(read_hole_of(job.damaged, size_of(item.ref.path), settings.masks), item.name)
        except DataError as error:
            results.take(FileDone(item.name, "failed", reason=str(error)))
            continue
        covers.append(cover)
        results.take(FileDone(item.name, "skipped", job.targets[0], "dry run"))
        if not results.as_json:
            mask = job.damaged.mask
            say(f"{printable(item.name)}  {printable(mask.path) if mask else settings.masks.words()}  {cover:.1%}")
    watch.tell()
    if not results.as_json:
        say(f"{len(covers)} pairs, {num_without_mask(results)} images without a mask, {results.num_failed} failed")
        if covers:
            say(f"mask cover {min(covers):.1%} to {max(covers):.1%} (white = fill)")
    extremes = [min(covers), max(covers)] if covers else None
    results.finish("the same command without --dry-run", dry_run=True, pairs=len(covers), mask_cover=extremes)


class _Covers:
    """Watches for masks that look inverted: the first is told at once, how many there were at the end."""

    def __init__(self, messages: Messages) -> None:
        self.messages, self.num_suspicious = messages, 0

    def check(self, hole: "np.ndarray", name: str) -> float:
        """The share of the image that is hole."""
        cover = float(hole.mean())
        if cover > SUSPICIOUS_COVER:
            self.num_suspicious += 1
            if self.num_suspicious == 1:
                self.messages.warn(f"{printable(name)}: its mask covers {cover:.0%}; inverted? (--mask-invert)")
        return cover

    def tell(self) -> None:
        """Says how many there were, where that was more than the first."""
        if self.num_suspicious > 1:
            self.messages.warn(f"{self.num_suspicious} masks in all cover more than {SUSPICIOUS_COVER:.0%}")


def _fill_all(model: "Model", jobs: list[_Job], settings: _Settings, results: Results) -> None:
    """Fills every image; one that cannot be used is recorded and left out."""
    from vae_cli.tasks.inpaint import inpaint as task

    opened: deque[_Opened] = deque()
    covers = _Covers(results.messages)
    num_fills = len(jobs) * settings.samples
    with results.messages.progress("inpaint", num_fills, "fills") as progress, Writers(results) as writers:

        def leave_out() -> None:
            progress.advance(settings.samples)

        fills = task(
            model,
            _pictures(model, jobs, settings, writers, covers, opened, leave_out),
            seed=settings.seed,
            samples=settings.samples,
            solver_steps=settings.solver_steps,
            feather=settings.feather,
            method=settings.method,
        )
        for fill in fills:
            current = opened[0]
            if fill.number == settings.samples - 1:
                opened.popleft()
            name, target = current.job.damaged.item.name, current.job.targets[fill.number]
            if settings.skip_existing and outputs.is_there(target):
                writers.present(name, target)
            else:
                save = partial(_save, current, fill, target, settings)
                writers.add(name, target, fill.pixels.size, save, sample=fill.number, scale=round(fill.scale, 2))
                _tell_scale(fill, target, results.messages)
            progress.advance(1)
    writers.tell_remarks(len(jobs))
    covers.tell()


@dataclass
class _Opened:
    """An image whose fills are being computed."""

    job: _Job
    original: "Original"
    hole: "np.ndarray"
    background: tuple[int, int, int]


def _pictures(
    model: "Model",
    jobs: list[_Job],
    settings: _Settings,
    writers: Writers,
    covers: _Covers,
    opened: deque[_Opened],
    leave_out: Callable[[], None],
) -> "Iterator[Picture]":
    """Each image that can be and is to be filled, noted in `opened` as its turn comes."""
    from vae_cli.files.originals import open_original
    from vae_cli.images.colours import parse_color
    from vae_cli.tasks.inpaint import Picture

    background = parse_color(model.config.data.background)
    for job in jobs:
        item = job.damaged.item
        if settings.skip_existing and all(outputs.is_there(path) for path in job.targets):
            for target in job.targets:
                writers.present(item.name, target)
            leave_out()
            continue
        try:
            original = open_original(item.ref.path)
            hole = read_hole_of(job.damaged, original.display_size, settings.masks)
            if not hole.any():
                writers.unneeded(item.name, NOTHING_FOUND)
                leave_out()
                continue
            covers.check(hole, item.name)
            writers.remark_on_grey(model, item.name, original, "so are the fills", hole)
            picture = Picture(item.ref.id, original.display_array(model.channels, background), hole)
        except DataError as error:
            writers.failed(item.name, str(error))
            leave_out()
            continue
        opened.append(_Opened(job, original, hole, background))
        yield picture


def _tell_scale(fill: "Fill", target: Path, messages: Messages) -> None:
    if fill.scale > 1:
        told = f"filled at 1/{fill.scale:.1f} of its resolution, where the model sees the hole in its surroundings"
        messages.detail(f"{printable(target)}: {told}")


def _save(current: _Opened, fill: "Fill", target: Path, settings: _Settings) -> tuple[str, ...]:
    """Writes one fill; returns remarks about what its format could not keep. Raises DataError."""
    original = marked(current.original, settings.seed)
    pixels, is_opaque = fill.pixels, settings.masks.alpha
    if not is_opaque:
        pixels = own_colours(original, pixels, current.hole, current.background)
    filled = original.with_fill(pixels, current.hole, opaque_hole=is_opaque)
    return filled.save(target, format=settings.format, overwrite=settings.overwrite)
