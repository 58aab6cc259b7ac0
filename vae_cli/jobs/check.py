"""What is in a folder of images, before anything is trained on it."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from vae_cli.dataset import doubtful_images
from vae_cli.dataset.ordered_threads import ordered_map
from vae_cli.dataset.scan import scan
from vae_cli.errors import DataError
from vae_cli.images.bad_files import with_remarks
from vae_cli.images.decode import open_image
from vae_cli.images.image_ref import ImageRef
from vae_cli.jobs.events import Advanced, Finished, JobEvent, Remark
from vae_cli.jobs.inputs import batches
from vae_cli.printable import printable


def check(
    data: Path, *, labels: str = "auto", splits: str = "auto", duplicates: bool = False, batch_size: int = 64
) -> Iterator[JobEvent]:
    """Decodes every image of DATA once, `batch_size` at a time on all cores. labels, splits: as for `scan`.

    The facts at the end: how many images have which `sizes` (`HxW` as displayed), `modes` and `labels`, each a Counter,
    and `bad`, the reason by id of what cannot be used. With duplicates also `doubtful`: groups of ids of `duplicates`,
    and lists of `blurred`, `dark` and `odd_sizes`. Raises ConfigError, DataError when there are no images.
    """

    def decode(ref: ImageRef) -> tuple[str, tuple[int, int], doubtful_images.Look | None]:
        image = open_image(ref)
        return image.mode, (image.height, image.width), doubtful_images.look_at(image) if duplicates else None

    found = scan(data, labels=labels, splits=splits)
    yield from map(Remark, found.notes)
    sizes, modes, by_label = Counter[str](), Counter[str](), Counter[str]()
    bad, looks = {skipped.id: skipped.reason for skipped in found.skipped}, dict[str, doubtful_images.Look]()
    outcomes = chain.from_iterable(
        ordered_map(with_remarks(decode), batch, os.cpu_count() or 1) for batch in batches(found.images, batch_size)
    )
    yield Advanced("check", 0, len(found.images))
    for number, (ref, outcome) in enumerate(zip(found.images, outcomes, strict=True), start=1):
        if isinstance(outcome, DataError):
            bad[ref.id] = str(outcome)
        else:
            (mode, (height, width), look), lines = outcome
            looks |= {} if look is None else {ref.id: look}
            for line in lines:
                yield Remark(f"{printable(ref.id)}: read, with a remark of its decoder: {printable(line)}", "detail")
            sizes[f"{height}x{width}"] += 1
            modes[mode] += 1
            by_label.update([ref.label] if ref.label is not None else [])
        yield Advanced("check", number, len(found.images))
    doubtful = {"doubtful": _doubtful(looks)} if duplicates else {}
    yield Finished({"sizes": sizes, "modes": modes, "labels": by_label, "bad": bad, **doubtful})


def _doubtful(looks: Mapping[str, doubtful_images.Look]) -> dict[str, list[Any]]:
    """Ids of images to be looked at, by what may be wrong with them."""
    ids = list(looks)
    groups = doubtful_images.near_copies([look.thumbnail for look in looks.values()])
    return {
        "duplicates": [[ids[number] for number in group] for group in groups],
        "blurred": [name for name, look in looks.items() if look.is_blurred],
        "dark": [name for name, look in looks.items() if look.is_dark],
        "odd_sizes": [ids[number] for number in doubtful_images.odd_sizes([look.size for look in looks.values()])],
    }
