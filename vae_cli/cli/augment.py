"""`vae augment`: write a larger data set like this one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vae_cli.cli import loading, options, output
from vae_cli.cli.augment_data import SplitData, read_split
from vae_cli.cli.augment_writer import MANIFEST, Writer, facts_of, open_manifest, report
from vae_cli.cli.inputs import require
from vae_cli.cli.progress import Messages
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError
from vae_cli.printable import shell_quoted

if TYPE_CHECKING:
    from vae_cli.checkpoint import Model
    from vae_cli.tasks.augment_checks import Checks


@dataclass(frozen=True)
class _Request:
    """What the user asked for."""

    per_image: int | None
    strength: float | None
    balance: bool
    method: str
    candidates: int | None
    include_originals: bool
    seed: int
    overwrite: bool


def augment(
    run: options.Run,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder, list or zip of images.", show_default=False)],
    per_image: Annotated[
        int | None,
        typer.Option(
            "--per-image",
            min=0,
            metavar="K",
            help="New images of each training image; 4, with --balance 0.",
            show_default=False,
        ),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="S",
            help="How far from the image: 0 = rebuilt, 1 = as far as it goes; 0.5.",
            show_default=False,
        ),
    ] = None,
    balance: Annotated[
        bool, typer.Option("--balance", help="More for small classes, up to the size of the largest.")
    ] = False,
    method: Annotated[
        Literal["auto", "style", "extrapolate"],
        typer.Option(help="How images are made; auto = style, with models of one vector extrapolate."),
    ] = "auto",
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="With classes: make N of each, keep the hardest to tell; 8.",
            show_default=False,
        ),
    ] = None,
    include_originals: Annotated[
        bool, typer.Option("--include-originals", help="Copy the training images beside the new ones.")
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
    """Write new images near each training image of DATA.

    Class folders and names are kept (cat/a.jpg leads to cat/a.aug1.png and so on), at the model's size; manifest.csv
    tells where each comes from. By default a new image keeps its content and takes on the look of any other; models
    of one vector lead beyond the image, away from one of its class. Where there are classes, the one of several
    candidates is kept that a classifier of DATA finds hardest to tell and still takes for its class. Images of val/
    and test/ and those that `vae train` would hold out are neither used nor copied, and new images that come too near
    to one of them, or that the classifier takes for another class, are drawn anew. Without --out everything goes to
    <DATA>-augment.

    Example: vae augment runs/photos photos --balance --out larger
    """
    results = Results("augment", Messages(quiet=quiet, verbose=verbose), as_json=json)
    request = _Request(per_image, strength, balance, method, candidates, include_originals, seed, overwrite)
    loading.require_run(run)
    require(data)
    folder = _folder(data, out, overwrite=overwrite)
    model = loading.load(run, device, results.messages)
    images = read_split(data, folder, model, results)
    _require_usable(model, images, request)
    counts = _counts(images, request)
    targets = _targets(images, counts, folder)
    copies = [folder / place for place in images.places if include_originals]
    output.refuse_existing([*(path for paths in targets for path in paths), *copies], overwrite=overwrite)
    _make_all(model, images, counts, targets, folder, request, results)


def _folder(data: Path, out: Path | None, *, overwrite: bool) -> Path:
    """Where everything goes. Raises ConfigError."""
    if out is not None and output.is_picture(out):
        raise ConfigError(f"--out {out}: one file for many images; give a folder")
    folder = out or output.default_folder(data, "augment")
    if folder.exists() and folder.samefile(data):
        raise ConfigError(f"--out {out}: is DATA itself, where old and new images would mix; choose another folder")
    output.refuse_existing([folder / MANIFEST], overwrite=overwrite)
    return folder


def _require_usable(model: "Model", images: SplitData, request: _Request) -> None:
    """Raises ConfigError for a method that cannot be used, and for candidates that nothing could choose from."""
    from vae_cli.tasks.augment import require_usable
    from vae_cli.tasks.augment_checks import has_classes

    require_usable(model, images.train, request.method)
    if (request.candidates or 1) > 1 and not has_classes(images.train):
        raise ConfigError(
            f"--candidates {request.candidates}: without two classes nothing tells which is the hardest; leave it out"
        )


def _counts(images: SplitData, request: _Request) -> list[int]:
    """New images of each training image. Raises ConfigError when there is nothing to do."""
    from vae_cli.tasks.augment import PER_IMAGE, new_counts

    if request.balance and not images.found.label_names:
        raise ConfigError(f"--balance: {images.path} has no classes; sort its images into class folders")
    per_image = request.per_image
    if per_image is None:
        per_image = 0 if request.balance else PER_IMAGE
    counts = new_counts(images.train, per_image=per_image, balance=request.balance)
    if not sum(counts) and not request.include_originals:
        why = "--balance: the classes are of one size" if request.balance else "--per-image 0"
        raise ConfigError(f"{why}, so there is nothing to make; give --per-image 1 or more")
    return counts


def _targets(images: SplitData, counts: Sequence[int], folder: Path) -> list[list[Path]]:
    """For each training image where its new ones go: cat/a.aug1.png, cat/a.aug2.png."""
    names = output.picture_names(images.places)
    return [
        [folder / name.with_name(f"{name.stem}.aug{number}.png") for number in range(1, count + 1)]
        for name, count in zip(names, counts, strict=True)
    ]


def _make_all(
    model: "Model", images: SplitData, counts: list[int], targets: list[list[Path]], folder: Path,
    request: _Request, results: Results,
) -> None:  # fmt: skip
    """Makes and writes every image and the manifest, and reports."""
    from vae_cli.tasks import augment as task

    checks = _checks(model, images, request.seed, results.messages)
    strength = task.STRENGTH if request.strength is None else request.strength
    candidates = request.candidates or task.CANDIDATES
    made = task.augment(model, images.train, counts, checks, method=request.method,
                        strength=strength, candidates=candidates, seed=request.seed)  # fmt: skip
    with open_manifest(folder) as write_row:
        writer = Writer(images, folder, request.seed, strength, write_row, results)
        for position, place in enumerate(images.places if request.include_originals else ()):
            writer.copy(position, folder / place)
        for image in results.messages.track(made, "augment", sum(counts)):
            writer.write(image, targets[image.source])
    report(writer, sum(counts))
    results.finish(f"vae check {shell_quoted(folder)}", **facts_of(writer))


def _checks(model: "Model", images: SplitData, seed: int, messages: Messages) -> "Checks":
    """Trains the classifier that watches over the classes, if there are two."""
    from vae_cli.metrics.classifier import accuracy
    from vae_cli.tasks.augment_checks import has_classes, num_steps, prepare_checks

    device, held_out = model.runtime.device, images.held_out
    if not has_classes(images.train):
        return prepare_checks(images.train, held_out.pixels, seed=seed, device=device)
    with messages.progress("train a classifier", num_steps(images.train), "steps") as progress:
        checks = prepare_checks(images.train, held_out.pixels, seed=seed, device=device, on_progress=progress.reach)
    if checks.net is not None and (held_out.labels >= 0).any():
        share_right = accuracy(checks.net, held_out.pixels, held_out.labels)
        messages.note(f"the classifier names {share_right:.1%} of the {len(held_out.ids)} held-out images rightly")
    return checks
