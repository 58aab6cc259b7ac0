"""DATA as `augment` uses it: training images to start from, and held-out ones that nothing may look like."""

import os
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from vae_cli.checkpoint import Model
from vae_cli.dataset.cache import ImageSet, load_images
from vae_cli.dataset.scan import Scan
from vae_cli.dataset.split import split_images
from vae_cli.drawing.label_sheet import MAX_FOLDER_CHARACTERS, folder_names
from vae_cli.errors import DataError
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.recipe import ImageRecipe
from vae_cli.jobs.events import FileDone, Remark, Report
from vae_cli.jobs.inputs import scan_as_trained
from vae_cli.jobs.outputs import key_of
from vae_cli.printable import printable


@dataclass(frozen=True)
class SplitData:
    """DATA's training images, with their `refs` in the same order, and the held-out ones."""

    path: Path
    found: Scan
    refs: tuple[ImageRef, ...]
    train: ImageSet
    held_out: ImageSet

    def label_of(self, position: int) -> str:
        """The name of a training image's class; empty without one."""
        label = int(self.train.labels[position])
        return self.found.label_names[label] if label >= 0 else ""

    def name_of(self, image_id: str) -> str:
        """What the user calls an image; ids of a list are relative to its folder."""
        is_list = self.path.is_file() and self.path.suffix.lower() != ".zip"
        return str((self.path.parent if is_list else self.path) / image_id)

    @cached_property
    def places(self) -> list[PurePosixPath]:
        """Where each training image belongs below the output folder, as in DATA; each has a place of its own.

        Listed images of a class lie in a folder of its name.
        """
        names, taken = self.found.label_names, set[str]()
        folders = dict(zip(names, folder_names(names), strict=True))  # a list may call a class anything
        next_number: dict[PurePosixPath, int] = {}  # many images of a list may have one name
        found = []
        for ref in self.refs:
            *above, name = [part for part in PurePosixPath(ref.id).parts if part not in ("/", "..")]
            if ref.label is not None and ref.label not in above:
                above = [folders[ref.label]]
            # only a zip has folders whose names are too long for a disk
            above = [part if len(os.fsencode(part)) < 256 else part[:MAX_FOLDER_CHARACTERS] for part in above]
            parts = [*above, name]
            free = place = PurePosixPath(*parts)
            number = next_number.get(place, 2)
            while key_of(free) in taken:
                free, number = place.with_stem(f"{place.stem}-{number}"), number + 1
            next_number[place] = number
            taken.add(key_of(free))
            found.append(free)
        return found


def read_split(data: Path, folder: Path, model: Model, report: Report) -> SplitData:
    """Splits DATA as `vae train` does and decodes it; files that cannot be used are reported. Raises DataError.

    folder: of results, which may lie inside DATA.
    """
    found = scan_as_trained(data, model, exclude=[folder])
    parts = split_images(found.images)
    held_out = (*parts.validation, *parts.test)
    names = {ref.id for ref in held_out}
    refs = {ref.id: ref for ref in parts.train if ref.id not in names}
    if not refs:
        raise DataError(f"{data}: a single image, which is held out; give more of them")

    def on_progress(done: int, total: int) -> None:
        report(Remark(f"decoding images: {done}/{total}", "status"))

    decoded = partial(load_images, recipe=ImageRecipe.of(model.config.data), label_names=found.label_names,
                      on_progress=on_progress)  # fmt: skip
    train = decoded(list(refs.values()))
    try:
        others = decoded(held_out)
    except DataError as error:
        report(Remark(f"no held-out image can be read: {printable(str(error))}", "warning"))
        others = replace(train, pixels=train.pixels[:0], ids=(), labels=train.labels[:0], skipped=())
    split = SplitData(data, found, tuple(refs[image_id] for image_id in train.ids), train, others)
    for skipped in (*found.skipped, *train.skipped, *others.skipped):
        report(FileDone(split.name_of(skipped.id), "failed", reason=skipped.reason))
    for note in dict.fromkeys(train.notes + others.notes):
        report(Remark(note))
    if others.ids:
        report(Remark(f"held out, as by `vae train`, so neither used nor copied: {len(others.ids)}"))
    return split
