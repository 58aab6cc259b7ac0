"""DATA as `augment` uses it: training images to start from, and held-out ones that nothing may look like."""

import itertools
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from vae_cli.checkpoint import Model
from vae_cli.dataset.cache import ImageSet, load_images
from vae_cli.dataset.scan import Scan
from vae_cli.dataset.split import split_images
from vae_cli.drawing.label_sheet import folder_names
from vae_cli.errors import DataError
from vae_cli.images.image_ref import ARCHIVE_SUFFIXES, ImageRef
from vae_cli.images.recipe import ImageRecipe
from vae_cli.jobs.events import Advanced, FileDone, Remark, Report
from vae_cli.jobs.inputs import scan_as_trained
from vae_cli.jobs.outputs import key_of, picture_names

_NAME_BYTES = 255  # that file systems take
_STEM_BYTES = 240  # beside a number and a suffix


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
        is_list = self.path.is_file() and self.path.suffix.lower() not in ARCHIVE_SUFFIXES
        return str((self.path.parent if is_list else self.path) / image_id)

    @cached_property
    def places(self) -> list[PurePosixPath]:
        """Where each training image belongs below the output folder, as in DATA; each has a place of its own.

        Listed images of a class lie in a folder of its name.
        """
        classes = dict(zip(self.found.label_names, folder_names(self.found.label_names), strict=True))
        found, taken = list[PurePosixPath](), set[str]()
        numbers = defaultdict[PurePosixPath, Iterator[int]](partial(itertools.count, 2))
        for ref in self.refs:
            *folders, name = [part for part in PurePosixPath(ref.id).parts if part not in ("/", "..")]
            if ref.label is not None and ref.label not in [unicodedata.normalize("NFC", folder) for folder in folders]:
                folders = [classes[ref.label]]
            place = _shortened(PurePosixPath(*[_cut(folder, _NAME_BYTES) for folder in folders], name), _NAME_BYTES)
            short = _shortened(place, _STEM_BYTES)  # many images of a list may have one name
            numbered = (place.with_stem(f"{short.stem}-{number}") for number in numbers[place])
            found.append(_first_free(itertools.chain([place], numbered), taken))
        return found

    def targets(self, counts: Sequence[int], copies: Sequence[PurePosixPath]) -> list[list[PurePosixPath]]:
        """So many places for new images of each training image: `a.aug1.png` and on, but where no other is to lie, and
        no copy either, which may be called so since it was made by an earlier call."""
        found, taken = list[list[PurePosixPath]](), set(map(key_of, copies))
        numbers = defaultdict[PurePosixPath, Iterator[int]](partial(itertools.count, 1))
        for name, count in zip(picture_names(self.places), counts, strict=True):
            place = _shortened(name, _STEM_BYTES)
            numbered = (place.with_name(f"{place.stem}.aug{number}.png") for number in numbers[place])
            found.append([_first_free(numbered, taken) for _ in range(count)])
        return found


def _first_free(places: Iterator[PurePosixPath], taken: set[str]) -> PurePosixPath:
    """The first that is not taken, which it now is."""
    free = next(place for place in places if key_of(place) not in taken)
    taken.add(key_of(free))
    return free


def _shortened(path: PurePosixPath, most: int) -> PurePosixPath:
    """The path with as much of its name as has so many bytes, the suffix among them."""
    return path.with_name(_cut(path.stem, most - len(os.fsencode(path.suffix))) + path.suffix)


def _cut(name: str, most: int) -> str:
    encoded = os.fsencode(name)
    return name if len(encoded) <= most else encoded[:most].decode("utf-8", "ignore")


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
        report(Advanced("decoding images", done, total, is_over=done == total))

    decoded = partial(load_images, recipe=ImageRecipe.of(model.config.data), label_names=found.label_names,
                      on_progress=on_progress)  # fmt: skip
    train = decoded(list(refs.values()))
    try:
        others = decoded(held_out)
    except DataError as error:
        report(Remark(f"no held-out image can be read: {error}", "warning"))
        others = replace(train, pixels=train.pixels[:0], ids=(), labels=train.labels[:0], skipped=())
    split = SplitData(data, found, tuple(refs[image_id] for image_id in train.ids), train, others)
    for skipped in (*found.skipped, *train.skipped, *others.skipped):
        report(FileDone(split.name_of(skipped.id), "failed", reason=skipped.reason))
    for note in dict.fromkeys(found.notes + train.notes + others.notes):
        report(Remark(note))
    if others.ids:
        report(Remark(f"held out, as by `vae train`, so neither used nor copied: {len(others.ids)}"))
    return split
