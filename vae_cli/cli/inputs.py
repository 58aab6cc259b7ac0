"""The user's images: INPUT files and folders become a list, and each file is decoded when its turn comes."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vae_cli.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.checkpoint import Model
    from vae_cli.cli.results import Results
    from vae_cli.config import CompleteData
    from vae_cli.dataset.scan import Scan
    from vae_cli.images.image_ref import ImageRef


@dataclass(frozen=True)
class Input:
    """One image of the user's."""

    ref: "ImageRef"
    relative: PurePosixPath
    """Its place below the output folder."""
    name: str
    """What the user calls it: the path, within a zip followed by the member."""


def require(path: Path, problem: str = "no such file or folder") -> None:
    """Raises ConfigError when there is nothing at `path`, or no way to it."""
    try:
        found = path.exists()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if not found:
        raise ConfigError(f"{path}: {problem}")


def find_inputs(
    paths: Sequence[Path], results: "Results", *, exclude: Sequence[Path] = (), labels: str = "none"
) -> list[Input]:
    """Every image of INPUT, in order; what a folder holds that is no usable image is recorded in `results`.

    `exclude` are folders of outputs and masks that may lie inside; labels: none | auto, as for `scan`. Raises
    ConfigError for a path that does not exist.
    """
    from vae_cli.images.image_ref import ImageRef

    inputs: list[Input] = []
    several = len(paths) > 1
    for path in paths:
        require(path)
        if path.is_dir() or path.suffix.lower() == ".zip":
            inputs += _found_in(path, results, exclude, labels, prefix=path.resolve().name if several else "")
        else:
            inputs.append(Input(ImageRef(path.name, path), PurePosixPath(path.name), str(path)))
    return inputs


def _found_in(root: Path, results: "Results", exclude: Sequence[Path], labels: str, prefix: str) -> Iterator[Input]:
    from vae_cli.dataset.scan import scan

    found = scan(root, labels=labels, exclude=exclude)
    for skipped in found.skipped:
        results.failed(f"{root / skipped.id}", skipped.reason)
    for ref in found.images:
        yield Input(ref, PurePosixPath(prefix, ref.id), str(root / ref.id))


def scan_as_trained(data: Path, model: "Model", *, exclude: Sequence[Path] = ()) -> "Scan":
    """DATA's images, labelled as the run's own where folders allow that, else as `auto` does. Raises ConfigError."""
    from vae_cli.dataset.scan import scan

    if model.config.data.labels == "folders" and data.exists():
        with contextlib.suppress(ConfigError):  # no class folders here
            return scan(data, labels="folders", exclude=exclude)
    return scan(data, exclude=exclude)


def decoded(
    inputs: Sequence[Input], config: "CompleteData", results: "Results"
) -> Iterator[tuple[Input, "np.ndarray"]]:
    """Each usable input with its pixels, uint8 [H, W, C] as the model takes them; the others are recorded as failed."""
    for item in inputs:
        try:
            pixels = decode_for(config, item.ref)
        except DataError as error:
            results.failed(item.name, str(error))
            continue
        yield item, pixels


def decode_for(config: "CompleteData", ref: "ImageRef") -> "np.ndarray":
    """uint8 [H, W, C] as a model with this finished configuration takes it. Raises DataError."""
    from vae_cli.images.recipe import ImageRecipe

    return ImageRecipe.of(config).decode(ref)
