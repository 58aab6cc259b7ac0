"""The user's images: INPUT files and folders become a list, and files become arrays a batch at a time."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, tee
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from vae_cli.dataset.image_lists import LIST_SUFFIXES
from vae_cli.dataset.ordered_threads import ordered_map
from vae_cli.dataset.scan import Scan, scan
from vae_cli.errors import ConfigError, DataError
from vae_cli.images.image_ref import ARCHIVE_SUFFIXES, ImageRef
from vae_cli.jobs.events import FileDone, Remark, Report
from vae_cli.jobs.outputs import picture_names, run_folder
from vae_cli.pretrained import is_photo, located, meant
from vae_cli.printable import printable, shell_quoted

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.checkpoint import Model
    from vae_cli.config import RunConfig
    from vae_cli.images.recipe import ImageRecipe

Item = TypeVar("Item")


@dataclass(frozen=True)
class Input:
    """One image of the user's. relative: its place below the output folder. name: what the user calls it, which is the
    path, within an archive followed by the member."""

    ref: ImageRef
    relative: PurePosixPath
    name: str


def require(path: Path, problem: str = "no such file or folder") -> None:
    """Raises ConfigError when there is nothing at `path`, or no way to it."""
    try:
        found = path.exists()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if not found:
        raise ConfigError(f"{path}: {problem}")


def require_run(run: Path) -> None:
    """Raises ConfigError when RUN names no model, before torch takes its seconds to load."""
    require(located(run), f"no such run{meant(run)}; train one with: vae train DATA --out {run}")


def names_model(path: Path) -> bool:
    """Whether a path that may be RUN or the first INPUT is a model, and not an image or a folder of images."""
    if path.is_dir():
        return (path / "model.safetensors").is_file() or (path / "checkpoints").is_dir()
    return is_photo(path) or path.suffix.lower() == ".safetensors"


def require_flow(model: "Model", run: Path, purpose: str) -> None:
    """Raises ConfigError naming the command that trains a flow. `purpose`: what a flow does here."""
    if model.flow is not None:
        return
    command = f"vae train --out {shell_quoted(run_folder(run))} --resume"
    training = model.config.training
    is_planned = training.steps is None or training.vae_steps(training.steps) < training.steps
    if training.flow_share == 0 or not is_planned:  # else the training was stopped before it came to the flow
        share = 0.6
        steps = max(model.facts.step + 1, round(model.facts.step / (1 - share)))
        command += f" --set training.flow_share={share} --steps {steps}"
    raise ConfigError(f"{run}: this model has no latent flow yet, and that is what {purpose}; train it with", command)


def announce_stored_data(config: "RunConfig", report: Report) -> None:
    """Says which images a model or run names as its own, before they are read: a stranger's may name anything.

    Raises ConfigError for what is no image data, such as a pipe, and for the root of a disk.
    """
    if config.data.path is None:
        return
    path = Path(config.data.path)
    report(Remark(f"reading the images that the run itself names: {printable(path)}"))
    require(path)
    if not (path.is_file() or path.is_dir()):
        raise ConfigError(f"{path}: neither a folder nor a regular file, so no images are there")
    if path.resolve() == Path(path.resolve().anchor):
        raise ConfigError(f"{path}: the root of a disk is not read because a file says so; give the images themselves")


def find_inputs(
    paths: Sequence[Path], report: Report, *, exclude: Sequence[Path] = (), labels: str = "none",
    with_lists: bool = False,
) -> list[Input]:  # fmt: skip
    """Every image of INPUT, in order; what a folder holds that is no usable image is reported as failed.

    `exclude` are folders of outputs and masks that may lie inside; labels: none | auto, as for `scan`. with_lists: a
    path may be DATA, of which lists are a form as well; their images' places may lead anywhere. Raises ConfigError for
    a path that does not exist.
    """
    inputs: list[Input] = []
    for path in paths:
        require(path)
        is_list = with_lists and path.is_file() and path.suffix.lower() in LIST_SUFFIXES
        if not path.is_dir() and path.suffix.lower() not in ARCHIVE_SUFFIXES and not is_list:
            inputs.append(Input(ImageRef(path.name, path), PurePosixPath(path.name), str(path)))
            continue
        found = scan(path, labels=labels, splits=labels, exclude=exclude)
        root = path.parent if is_list else path
        for skipped in found.skipped:
            report(FileDone(f"{root / skipped.id}", "failed", reason=skipped.reason))
        above = path.resolve().name if len(paths) > 1 else ""
        inputs += [Input(ref, PurePosixPath(above, ref.id), str(root / ref.id)) for ref in found.images]
    return inputs


def places_below(folder: Path, inputs: Sequence[Input]) -> list[Path]:
    """A PNG for each below the folder, as it lies below INPUT; those of a list may lie elsewhere, these never do."""
    inside = (PurePosixPath(*(part for part in each.relative.parts if part not in ("/", ".."))) for each in inputs)
    return [folder / name for name in picture_names(list(inside))]


def scan_as_trained(data: Path, model: "Model", *, exclude: Sequence[Path] = ()) -> Scan:
    """DATA's images, labelled as the run's own where folders allow that, else as `auto` does. Raises ConfigError."""
    splits = "none" if model.config.data.splits == "none" else "auto"  # the run's own folders are no rule for others
    if model.config.data.labels == "folders" and data.exists():
        with contextlib.suppress(ConfigError):  # no class folders here
            return scan(data, labels="folders", splits=splits, exclude=exclude)
    return scan(data, splits=splits, exclude=exclude)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one shorter."""
    remaining = iter(items)
    return iter(lambda: list(islice(remaining, size)), [])


def computed_ahead(items: Iterable[Item], size: int) -> Iterator[Item]:
    """The items, so many of them made before the first of those is given."""
    return chain.from_iterable(batches(items, size))


def decoded(
    inputs: Iterable[Input], recipe: "ImageRecipe", report: Report, *, batch_size: int = 64
) -> "Iterator[tuple[Input, np.ndarray]]":
    """Each usable input with its pixels, uint8 [H, W, C] as the model takes them; the others are reported as failed.

    All cores decode while the earlier ones are used, at most `batch_size` ahead of them.
    """
    from vae_cli.images.bad_files import with_remarks  # which loads Pillow

    items, for_threads = tee(inputs)
    refs = (item.ref for item in for_threads)
    outcomes = ordered_map(with_remarks(recipe.decode), refs, os.cpu_count() or 1, ahead=batch_size)
    for item, outcome in zip(items, outcomes, strict=True):
        if isinstance(outcome, DataError):
            report(FileDone(item.name, "failed", reason=str(outcome)))
            continue
        pixels, lines = outcome
        for line in lines:
            report(Remark(f"{printable(item.name)}: read, with a remark of its decoder: {printable(line)}", "detail"))
        yield item, pixels
