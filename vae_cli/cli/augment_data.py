"""DATA as `vae augment` sees it: training images to start from, and held-out ones that nothing may look like."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vae_cli.cli import output
from vae_cli.cli.inputs import scan_as_trained
from vae_cli.cli.results import Results
from vae_cli.errors import DataError
from vae_cli.printable import printable

if TYPE_CHECKING:
    from vae_cli.checkpoint import Model
    from vae_cli.dataset.cache import ImageSet
    from vae_cli.dataset.scan import Scan
    from vae_cli.images.image_ref import ImageRef


@dataclass(frozen=True)
class SplitData:
    """DATA's training images, and the held-out ones that no new image may look like."""

    path: Path
    found: "Scan"
    refs: "tuple[ImageRef, ...]"
    """Of the training images, in their order."""
    train: "ImageSet"
    held_out: "ImageSet"

    def label_of(self, position: int) -> str:
        """The name of a training image's class; empty without one."""
        label = int(self.train.labels[position])
        return self.found.label_names[label] if label >= 0 else ""

    @cached_property
    def places(self) -> list[PurePosixPath]:
        """Where each training image belongs below the output folder; each has a place of its own."""
        taken: set[str] = set()
        next_number: dict[PurePosixPath, int] = {}  # many images of a list may have one name
        found = []
        for place in map(_place_below, self.refs):
            free, number = place, next_number.get(place, 2)
            while output.key_of(free) in taken:
                free, number = place.with_stem(f"{place.stem}-{number}"), number + 1
            next_number[place] = number
            taken.add(output.key_of(free))
            found.append(free)
        return found


def read_split(data: Path, folder: Path, model: "Model", results: Results) -> SplitData:
    """Splits DATA as `vae train` does and decodes it; files that cannot be used are recorded. Raises DataError."""
    from vae_cli.dataset.split import split_images

    found = scan_as_trained(data, model, exclude=[folder])
    parts = split_images(found.images)
    held_out = (*parts.validation, *parts.test)
    names = {ref.id for ref in held_out}
    refs = tuple(ref for ref in parts.train if ref.id not in names)
    if not refs:
        raise DataError(f"{data}: a single image, which is held out; give more of them")
    train = _decoded(refs, found, model, results)
    try:
        others = _decoded(held_out, found, model, results)
    except DataError as error:
        results.messages.warn(f"no held-out image can be read: {printable(str(error))}")
        others = replace(train, pixels=train.pixels[:0], ids=(), labels=train.labels[:0], skipped=())
    for skipped in (*found.skipped, *train.skipped, *others.skipped):
        results.failed(name_of(data, skipped.id), skipped.reason)
    for note in dict.fromkeys(train.notes + others.notes):
        results.messages.note(note)
    if others.ids:
        results.messages.note(f"held out, as by `vae train`, so neither used nor copied: {len(others.ids)}")
    by_id = {ref.id: ref for ref in refs}
    return SplitData(data, found, tuple(by_id[image_id] for image_id in train.ids), train, others)


def _decoded(refs: "Sequence[ImageRef]", found: "Scan", model: "Model", results: Results) -> "ImageSet":
    """The images at the model's size. Raises DataError when none is left."""
    from vae_cli.dataset.cache import load_images
    from vae_cli.images.recipe import ImageRecipe

    return load_images(
        refs,
        ImageRecipe.of(model.config.data),
        label_names=found.label_names,
        on_progress=lambda done, total: results.messages.status(f"decoding images: {done}/{total}"),
    )


def _place_below(ref: "ImageRef") -> PurePosixPath:
    """As in DATA; listed images of a class lie in a folder of its name, where two may have one place."""
    parts = [part for part in PurePosixPath(ref.id).parts if part not in ("/", "..")]
    if ref.label is not None and ref.label not in parts[:-1]:
        parts = [ref.label.replace("/", "_").replace("..", "_"), parts[-1]]
    return PurePosixPath(*parts)


def name_of(data: Path, image_id: str) -> str:
    """What the user calls an image of DATA; ids of a list are relative to its folder."""
    is_list = data.is_file() and data.suffix.lower() != ".zip"
    return str((data.parent if is_list else data) / image_id)
