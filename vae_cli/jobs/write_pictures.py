"""Pictures that a model makes, written as they come: a file for each, or one of all."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vae_cli.drawing.grids import enlarged
from vae_cli.files.new_pictures import save_picture
from vae_cli.jobs.events import Advanced, FileDone, JobEvent
from vae_cli.jobs.inputs import computed_ahead
from vae_cli.jobs.outputs import Target


def write_pictures(
    images: Iterable[np.ndarray],
    paths: Sequence[Path],
    target: Target,
    begin: Advanced,
    save_all: Callable[[list[np.ndarray]], None],
    *,
    seed: int | None = None,
    details: Callable[[int], Mapping[str, Any]] = lambda _: {},
) -> Iterator[JobEvent]:
    """Writes each image uint8 [H, W, C] to its path of `target.paths`, or with `save_all` all of them to the only one.

    details: of the number of an image, further fields of its event. Raises WriteError.
    """
    kept: list[np.ndarray] = []
    yield begin
    for number, small in enumerate(computed_ahead(images, target.batch_size)):
        image = enlarged(small, target.scale)
        if target.is_one_file:
            kept.append(image)
        else:
            save_picture(image, paths[number], seed=seed)
            yield FileDone(None, "ok", paths[number], **details(number))
        yield replace(begin, done=number + 1)
    if target.is_one_file:
        save_all(kept)
        yield FileDone(None, "ok", paths[0])
