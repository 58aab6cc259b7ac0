"""Pictures that a model makes, written as they come: a file for each, or one of all."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vae_cli.files.new_pictures import save_picture
from vae_cli.jobs.events import Advanced, FileDone, JobEvent
from vae_cli.jobs.inputs import computed_ahead


def write_pictures(
    images: Iterable[np.ndarray],
    paths: Sequence[Path],
    begin: Advanced,
    *,
    seed: int | None = None,
    batch_size: int = 64,
    save_all: Callable[[list[np.ndarray]], None] | None = None,
    details: Callable[[int], Mapping[str, Any]] = lambda _: {},
) -> Iterator[JobEvent]:
    """Writes each image uint8 [H, W, C] to its path, or with `save_all` all of them at once to the only path.

    `batch_size` images are made before the first of them is written. details: of the number of an image, further
    fields of its event. Raises WriteError.
    """
    kept: list[np.ndarray] = []
    yield begin
    for number, image in enumerate(computed_ahead(images, batch_size)):
        if save_all is not None:
            kept.append(image)
        else:
            save_picture(image, paths[number], seed=seed)
            yield FileDone(None, "ok", paths[number], **details(number))
        yield replace(begin, done=number + 1)
    if save_all is not None:
        save_all(kept)
        yield FileDone(None, "ok", paths[0])
