"""Pictures that a model makes, written in threads while the next ones are computed: a file for each, or one of all."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vae_cli.drawing.grids import enlarged
from vae_cli.errors import VaeError
from vae_cli.files.new_pictures import save_picture
from vae_cli.files.write_queue import Outcome, WriteQueue
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
    numbered = enumerate(enlarged(image, target.scale) for image in computed_ahead(images, target.batch_size))
    if not target.is_one_file:
        files = ((FileDone(None, "ok", paths[number], **details(number)), image) for number, image in numbered)
        yield from write_each(files, begin, seed=seed)
        return
    kept: list[np.ndarray] = []
    yield begin
    for number, image in numbered:
        kept.append(image)
        yield replace(begin, done=number + 1)
    save_all(kept)
    yield FileDone(None, "ok", paths[0])


def write_each(
    files: Iterable[tuple[FileDone, np.ndarray]], begin: Advanced, *, seed: int | None = None
) -> Iterator[JobEvent]:
    """Writes each picture uint8 [H, W, C] to the output of its event, which is given once the file is there.

    What was written before an error is reported before that. Raises WriteError.
    """
    queue, num_done = WriteQueue[FileDone](), 0

    def save(picture: np.ndarray, path: Path) -> tuple[str, ...]:
        save_picture(picture, path, seed=seed)
        return ()

    def events(outcomes: Iterable[Outcome[FileDone]]) -> Iterator[JobEvent]:
        nonlocal num_done
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
            num_done += 1
            yield outcome.key
            yield replace(begin, done=num_done)

    yield begin
    try:
        with queue:
            for file, picture in files:
                assert file.output is not None
                queue.add(file, picture[..., 0].size, partial(save, picture, file.output))
                yield from events(queue.outcomes())
        yield from events(queue.outcomes(wait=True))
    except (Exception, KeyboardInterrupt):
        with suppress(VaeError):
            yield from events(queue.outcomes(wait=True))
        raise
