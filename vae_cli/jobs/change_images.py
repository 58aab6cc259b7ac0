"""Images that are changed and written back in the form in which they came: what inpaint, denoise and style share."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np

from vae_cli.errors import ConfigError, DataError, OutOfMemoryError
from vae_cli.files.formats import FORMATS
from vae_cli.files.originals import InPlaceOriginal, Original, open_original
from vae_cli.files.write_back import has_colour
from vae_cli.files.write_queue import Outcome, WriteQueue
from vae_cli.images.bad_files import NO_MEMORY, bad_bytes_are_data_errors
from vae_cli.images.bounds import require_memory
from vae_cli.images.colours import WHITE, Colour, parse_color
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.samples import PageChange
from vae_cli.jobs import outputs
from vae_cli.jobs.events import Advanced, FileDone, JobEvent, Remark, Report
from vae_cli.jobs.inputs import Input, batches, find_inputs
from vae_cli.printable import printable

if TYPE_CHECKING:
    from vae_cli.checkpoint import Model

PIXELS_AT_ONCE = 1 << 24
"""Most pixels of images that are in memory together; a larger image is there alone."""
BYTES_A_PIXEL = 64
"""Of memory, about, while an opened image is changed: as floats, before, between and after."""


@dataclass(frozen=True)
class Storage:
    """Where and how results are stored; `format` as of `file_format`."""

    out: Path | None = None
    format: str = "keep"
    overwrite: bool = False
    skip_existing: bool = False
    strip_metadata: bool = False


class Planned(NamedTuple):
    """An image to be changed, the files of its results, its mask where that is a file, and its pages' numbers."""

    item: Input
    targets: tuple[Path, ...]
    mask: ImageRef | None = None
    pages: tuple[int, ...] = (0,)


class Opened(NamedTuple):
    """An image in memory, as it is stored and as the model takes it: uint8 or uint16 [H, W, C] in the model's channels,
    laid on the background. hole: bool [H, W], the pixels that may change; None = all of them."""

    planned: Planned
    original: Original
    pixels: np.ndarray
    background: Colour
    hole: np.ndarray | None = None
    page: int = 0
    is_last: bool = True  # of the pages that are changed

    @property
    def name(self) -> str:
        return self.planned.item.name


class SharedRemark(NamedTuple):
    """A remark that may be true of many images; it is made once, with their number."""

    input: str
    text: str


class Answer(NamedTuple):
    """One result of an image. `change` puts it into the original; it runs in the thread that writes the file."""

    change: Callable[[], Original]
    sample: int | None = None
    facts: Mapping[str, object] = {}
    remarks: tuple[Remark | SharedRemark, ...] = ()


Part = FileDone | Remark | SharedRemark
_EarlierPages = defaultdict[Path, list[Future[PageChange]]]
"""By the file to be written, what changes in the pages before its last one."""


class Change(Protocol):
    """What a job does to images. unit: what is counted, `images` or what each result is called. for_grey: what it means
    for an image in colour that the model is grey. model: None where none is used."""

    seed: int
    name: str
    unit: str
    for_grey: str

    @property
    def model(self) -> "Model | None": ...

    def open(self, image: Opened) -> Iterator[Part | Opened]:
        """Yields remarks, then the image to compute, or what becomes of it without. Raises DataError if it fails."""

    def answers(self, images: list[Opened]) -> Iterator[Answer]:
        """Yields as many answers as each image has targets, in order."""

    def end(self, images: Sequence[Planned], files: Sequence[FileDone]) -> Iterator[JobEvent]:
        """Does what is left when all images are written, and reports the job's facts. files: of all images."""


def file_format(wanted: str, out: Path | None) -> str:
    """`keep` or a file format; an image named by --out decides it. Raises ConfigError."""
    name = wanted.lower().lstrip(".")
    if name not in ("keep", *FORMATS):
        raise ConfigError(f"--format {wanted}: unknown; choose keep or one of {', '.join(FORMATS)}")
    if out is None or not outputs.is_picture(out):
        return name
    of_out = out.suffix.lower().lstrip(".")
    if name != "keep" and FORMATS[name] != FORMATS[of_out]:
        raise ConfigError(f"--format {wanted}: --out {out} says {of_out}; leave one of them out")
    return of_out


def find_unzipped(paths: Sequence[Path], report: Report, exclude: Sequence[Path] = ()) -> list[Input]:
    """`find_inputs` of images that can be written back. Raises ConfigError, also for an image inside an archive."""
    items = find_inputs(paths, report, exclude=exclude)
    zipped = next((item for item in items if item.ref.member is not None), None)
    if zipped is not None:
        raise ConfigError(f"{zipped.ref.path}: results keep their input's format, which no archive can take; unpack it")
    return items


def plan_targets(
    items: Sequence[Input], folder: Path, storage: Storage, samples: int = 1, beside: Sequence[Path] = ()
) -> list[Planned]:
    """Each image with its results' files, `a.tif`, `a.v2.tif`, `a.v3.tif`, in `folder` unless --out is one file.

    beside: other files that the job writes. Raises ConfigError when two files have one name, or one exists and may
    neither be replaced nor kept.
    """
    firsts = [item.relative for item in items]
    if storage.format != "keep":
        firsts = outputs.picture_names(firsts, f".{storage.format}")
    versions = ["", *(f".v{number}" for number in range(2, samples + 1))]
    names = [name.with_suffix(version + name.suffix) if version else name for name in firsts for version in versions]
    paths = outputs.result_paths(storage.out, folder, names) if names else []
    outputs.refuse_existing([*paths, *beside], overwrite=True)  # none twice, none a folder
    outputs.refuse_existing([*([] if storage.skip_existing else paths), *beside], overwrite=storage.overwrite)
    return [Planned(item, tuple(targets)) for item, targets in zip(items, batches(paths, samples), strict=True)]


def open_for(model: "Model | None", image: Planned, page: int = 0) -> Opened:
    """A page of the image in memory, in the model's channels on the model's background; else in colour on white.

    Raises DataError.
    """
    original = open_original(image.item.ref.path, page)
    require_memory(math.prod(original.display_size) * BYTES_A_PIXEL)
    channels, background = (model.channels, parse_color(model.config.data.background)) if model else (3, WHITE)
    return Opened(image, original, original.display_array(channels, background), background, page=page)


def change_images(
    change: Change, images: Sequence[Planned], storage: Storage,
    *, left_out: Sequence[FileDone] = (), batch_size: int = 64,
) -> Iterator[JobEvent]:  # fmt: skip
    """Opens, changes and writes the images in their order, at most `batch_size` of them in memory at a time.

    left_out: what became of images that are not among them. Files that were written before an error or Ctrl-C are
    reported before it goes on. Raises WriteError, and ConfigError for a model without a flow where one is needed.
    """
    samples = len(images[0].targets) if images else 1
    counted, total = (samples, len(images)) if change.unit == "images" else (1, len(images) * samples)
    log, queue = _Log([*left_out]), WriteQueue[Part]()
    earlier: _EarlierPages = defaultdict(list)
    yield Advanced(change.name, 0, total, change.unit)
    try:
        num_results = 0
        with queue:
            for batch in _batches(change, images, storage, batch_size):
                opened = [part for part in batch if isinstance(part, Opened)]
                answers, is_alone = change.answers(opened), len(opened) == 1 == len(opened[0].planned.pages)
                for part in batch:
                    for num_new in _queued(queue, part, answers, storage, earlier, change.seed, is_alone=is_alone):
                        num_results += num_new or samples
                        yield from log.events(queue.outcomes())
                        yield Advanced(change.name, num_results // counted, total, change.unit)
        yield from log.events(queue.outcomes(wait=True))
    except (Exception, KeyboardInterrupt):
        yield from log.events(queue.outcomes(wait=True), is_stopped=True)
        raise
    yield Advanced(change.name, total, total, change.unit, is_over=True)
    for text, count in Counter(remark.text for remark in log.shared).items():
        yield Remark(f"note: {text} ({count} of {len(images)} images)")
    yield from change.end(images, log.files)


@dataclass
class _Log:
    """What became of every file, and the remarks that images share."""

    files: list[FileDone]
    shared: dict[SharedRemark, None] = field(default_factory=dict)

    def events(self, outcomes: Iterable[Outcome[Part]], *, is_stopped: bool = False) -> Iterator[JobEvent]:
        """The events of outcomes. Raises the error of a disk that takes no more files, unless the job has stopped."""
        for outcome in outcomes:
            part, error = outcome.key, outcome.error
            if error is not None and outcome.stops_all:
                if not is_stopped:
                    raise error
            elif isinstance(part, SharedRemark):
                self.shared[part] = None
            elif isinstance(part, Remark):
                yield part
            else:
                self.shared |= dict.fromkeys(SharedRemark(part.input or "", text) for text in outcome.remarks)
                self.files.append(FileDone(part.input, "failed", reason=str(error)) if error else part)
                yield self.files[-1]


def _batches(
    change: Change, images: Sequence[Planned], storage: Storage, batch_size: int
) -> Iterator[list[Part | Opened]]:
    """The opened images, as many at a time as may be in memory together, among what is reported of them and others."""
    for together in batches(images, batch_size):
        batch, num_pixels = list[Part | Opened](), 0
        for image in together:
            for part in _opened(change, image, storage):
                own_pixels = part.pixels[..., 0].size if isinstance(part, Opened) else 0
                if num_pixels and num_pixels + own_pixels > PIXELS_AT_ONCE:
                    yield batch
                    batch, num_pixels = [], 0
                batch.append(part)
                num_pixels += own_pixels
        yield batch


def _opened(change: Change, image: Planned, storage: Storage) -> Iterator[Part | Opened]:
    """The opened pages of an image, each held back until it is known whether it is the last one; or, where that fails
    or its results exist, what became of it. Before them any remarks."""
    name = image.item.name
    if storage.skip_existing and all(map(os.path.lexists, image.targets)):
        yield from (FileDone(name, "skipped", target, "exists") for target in image.targets)
        return
    held: Opened | FileDone | None = None
    try:
        for page in image.pages:
            with bad_bytes_are_data_errors() as heard:
                parts = list(change.open(open_for(change.model, image, page)))
                opened = [part for part in parts if isinstance(part, Opened) and part.pixels.shape[2] == 1]
                loses_colour = any(has_colour(part.original, part.hole) for part in opened)
            if loses_colour:
                yield SharedRemark(name, f"in colour, and the model is grey: {change.for_grey}")
            for part in parts:
                if isinstance(part, Opened):
                    if isinstance(held, Opened):
                        yield held._replace(is_last=False)
                    held = part
                elif isinstance(part, FileDone):
                    held = held or part
                else:
                    yield part
            for line in dict.fromkeys(heard):
                yield SharedRemark(name, "read, with remarks of its decoder, which --verbose shows")
                yield Remark(f"{printable(name)}: {printable(line)}", "detail")
        if held is not None:
            yield held
    except DataError as error:
        yield FileDone(name, "failed", reason=str(error))


def _queued(
    queue: WriteQueue[Part], part: Part | Opened, answers: Iterator[Answer], storage: Storage,
    earlier: _EarlierPages, seed: int, *, is_alone: bool,
) -> Iterator[int]:  # fmt: skip
    """Has the answers of an opened image written, and what is reported without one in its turn.

    A file is written with its last page; of the others only what changes in them is kept. is_alone: there are no
    answers but those of this image, which then fails where memory ends. Yields 1 for each result, and 0 for an image
    that has none.
    """

    def write(answer: Answer, target: Path) -> tuple[str, ...]:
        with bad_bytes_are_data_errors("cannot be stored in its format; try --format png") as heard:
            pages = [page.result() for page in earlier.pop(target, ())]
            changed, options = answer.change().with_text("seed", str(seed)), {"pages": pages} if pages else {}
            remarks = changed.save(
                target, format=storage.format, overwrite=storage.overwrite, strip=storage.strip_metadata, **options
            )
        return (*remarks, *dict.fromkeys(f"its encoder remarks: {line}" for line in heard))

    if not isinstance(part, Opened):
        queue.add_nothing(part)
        if isinstance(part, FileDone):
            yield 1 if part.output else 0
        return
    from vae_cli.runtime import memory_errors_explained

    try:
        for target in part.planned.targets:
            with memory_errors_explained(NO_MEMORY):
                answer = next(answers)
            if not part.is_last:
                earlier[target].append(queue.prepare(partial(_page_change, answer)))
                continue
            if storage.skip_existing and os.path.lexists(target):
                queue.add_nothing(FileDone(part.name, "skipped", target, "exists"))
            else:
                for remark in answer.remarks:
                    queue.add_nothing(remark)
                done = FileDone(part.name, "ok", target, sample=answer.sample, facts=answer.facts)
                queue.add(done, part.pixels.size, partial(write, answer, target))
            yield 1
    except OutOfMemoryError:
        if not is_alone:  # it may be any one's fault, and nothing more can be computed of the others
            raise
        queue.add_nothing(FileDone(part.name, "failed", reason=NO_MEMORY))


def _page_change(answer: Answer) -> PageChange:
    return cast(InPlaceOriginal, answer.change()).page_change()  # no other has several pages
