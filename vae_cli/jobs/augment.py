"""A data set made larger: new images near each training image, copies of those, and a manifest."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from vae_cli.atomic import write_atomically
from vae_cli.checkpoint import Model
from vae_cli.errors import ConfigError, DataError
from vae_cli.files.new_pictures import save_picture
from vae_cli.images.decode import read_bytes
from vae_cli.jobs.augment_data import SplitData, read_split
from vae_cli.jobs.events import Advanced, FileDone, Finished, JobEvent, Remark, Report
from vae_cli.jobs.inputs import computed_ahead
from vae_cli.jobs.outputs import default_folder, is_picture, refuse_existing
from vae_cli.jobs.tables import as_csv
from vae_cli.metrics.classifier import accuracy
from vae_cli.printable import printable
from vae_cli.tasks import augment as task
from vae_cli.tasks.augment_checks import NEAR_HELD_OUT, UNSURE, Checks, has_classes, num_steps, prepare_checks

MANIFEST = "manifest.csv"
COLUMNS = ("output", "source", "label", "method", "number", "seed", "strength", "partner", "confidence",
           "held_out_distance")  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What is made of DATA. per_image: by default 4, with `balance` 0. strength: how far from the image, 0 to 1."""

    data: Path
    per_image: int | None = None
    strength: float | None = None
    balance: bool = False
    method: str = "auto"
    candidates: int | None = None
    include_originals: bool = False
    seed: int = 0
    overwrite: bool = False

    def folder(self, out: Path | None = None) -> Path:
        """Where everything goes. Raises ConfigError where it cannot."""
        if out is not None and is_picture(out):
            raise ConfigError(f"--out {out}: one file for many images; give a folder")
        folder = out or default_folder(self.data, "augment")
        if folder.exists() and folder.samefile(self.data):
            raise ConfigError(f"--out {out}: is DATA itself, where old and new images would mix; choose another folder")
        refuse_existing([folder / MANIFEST], overwrite=self.overwrite)
        return folder


def augment(
    model: Model, request: Request, folder: Path, report: Report, *, batch_size: int = 64
) -> Iterator[JobEvent]:
    """Writes everything to the folder; `report` takes what is said of DATA's files while they are read.

    Raises ConfigError for a request that cannot be met, DataError when no new image passes the checks, WriteError.
    """
    images = read_split(request.data, folder, model, report)
    task.require_usable(model, images.train, request.method)
    if (request.candidates or 1) > 1 and not has_classes(images.train):
        why = "without two classes nothing tells which is the hardest"
        raise ConfigError(f"--candidates {request.candidates}: {why}; leave it out")
    counts = _counts(images, request)
    total, originals = sum(counts), images.places if request.include_originals else []
    targets = [[folder / place for place in of_image] for of_image in images.targets(counts, originals)]
    copies = [folder / place for place in originals]
    refuse_existing([*chain.from_iterable(targets), *copies], overwrite=request.overwrite)
    checks = _checks(model, images, request.seed, report)
    strength = task.STRENGTH if request.strength is None else request.strength
    made = task.augment(model, images.train, counts, checks, method=request.method, strength=strength,
                        candidates=request.candidates or task.CANDIDATES, seed=request.seed)  # fmt: skip
    writer = Writer(images, folder, request.seed, strength)
    try:
        for position, path in enumerate(copies):
            yield writer.copy(position, path)
        yield Advanced("augment", 0, total, is_over=not total)
        for number, image in enumerate(computed_ahead(made, batch_size), start=1):
            yield from writer.write(image, targets[image.source])
            yield Advanced("augment", number, total, is_over=number == total)
    finally:  # also after a stop
        write_atomically(folder / MANIFEST, as_csv([COLUMNS, *writer.rows]))
    yield from writer.remarks(total)
    yield Finished(writer.facts(), is_partial=bool(writer.empty_labels))


def _counts(images: SplitData, request: Request) -> list[int]:
    """New images of each training image. Raises ConfigError when there is nothing to do."""
    if request.balance and not images.found.label_names:
        raise ConfigError(f"--balance: {images.path} has no classes; sort its images into class folders")
    per_image = request.per_image
    if per_image is None:
        per_image = 0 if request.balance else task.PER_IMAGE
    counts = task.new_counts(images.train, per_image=per_image, balance=request.balance)
    if not sum(counts) and not request.include_originals:
        why = "--balance: the classes are of one size" if request.balance else "--per-image 0"
        raise ConfigError(f"{why}, so there is nothing to make; give --per-image 1 or more")
    return counts


def _checks(model: Model, images: SplitData, seed: int, report: Report) -> Checks:
    """Trains the classifier that watches over the classes, if there are two."""

    def on_progress(done: int, total: int) -> None:
        report(Advanced("train a classifier", done, total, "steps", is_over=done == total))

    held_out = images.held_out
    if has_classes(images.train):
        on_progress(0, num_steps(images.train))
    checks = prepare_checks(images.train, held_out.pixels, seed=seed, device=model.runtime.device,
                            on_progress=on_progress)  # fmt: skip
    if checks.net is not None and (held_out.labels >= 0).any():
        share_right = accuracy(checks.net, held_out.pixels, held_out.labels)
        report(Remark(f"the classifier names {share_right:.1%} of the {len(held_out.ids)} held-out images rightly"))
    return checks


@dataclass
class Writer:
    """Writes images and their rows of the manifest, and counts."""

    images: SplitData
    folder: Path
    seed: int
    strength: float
    rows: list[list[Any]] = field(default_factory=list)
    methods: Counter[str] = field(default_factory=Counter)
    """Of the new images, as `labels`."""
    labels: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    """Attempts of which no candidate passed, by what was wrong."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Images that were given up, by their label ('' = none)."""
    num_originals: int = 0

    def copy(self, position: int, target: Path) -> FileDone:
        """An original, byte for byte. Raises DataError when it can no longer be read."""
        ref = self.images.refs[position]
        try:
            write_atomically(target, read_bytes(ref))
        except DataError as error:
            raise DataError(f"{self.images.name_of(ref.id)}: {error}") from error
        self.num_originals += 1
        return self._done(position, target, "original", None)

    def write(self, image: task.Augmented, targets: Sequence[Path]) -> Iterator[FileDone]:
        """A new image, if there is one; `targets` are those of its source."""
        self.rejected.update(image.rejections)
        label = self.images.label_of(image.source)
        if image.pixels is None:
            self.dropped[label] += 1
            return
        target, verdict = targets[image.number - 1], image.verdict
        save_picture(image.pixels, target, seed=self.seed)
        self.methods[image.method] += 1
        self.labels[label] += 1
        yield self._done(
            image.source, target, image.method, image.number, seed=self.seed, strength=self.strength,
            partner=self.images.train.ids[image.partner],
            confidence=None if verdict.confidence is None else round(verdict.confidence, 4),
            held_out_distance=None if verdict.held_out_distance is None else round(verdict.held_out_distance, 4),
        )  # fmt: skip

    def _done(self, position: int, target: Path, method: str, number: int | None, **facts: Any) -> FileDone:
        source = self.images.train.ids[position]
        row = {"output": target.relative_to(self.folder).as_posix(), "source": source, "method": method,
               "label": self.images.label_of(position), "number": number, **facts}  # fmt: skip
        self.rows.append([row.get(name) for name in COLUMNS])
        sample = None if number is None else number - 1  # counted from 0, as everywhere
        return FileDone(self.images.name_of(source), "ok", target, sample=sample)

    @property
    def empty_labels(self) -> list[str]:
        """Labels of which no image passed the checks."""
        return sorted(name for name in self.dropped if name and not self.labels[name])

    def remarks(self, num_asked: int) -> Iterator[Remark]:
        """What was made and what was not. Raises DataError when nothing passed the checks."""
        rejected = (f"rejected: {self.rejected[UNSURE]} unlike their class, "
                    f"{self.rejected[NEAR_HELD_OUT]} too near to a held-out image")  # fmt: skip
        if self.dropped and not (self.methods or self.num_originals):
            none = f"none of {num_asked} new images passed the checks"
            raise DataError(none, rejected, "lower --strength, or train longer")
        made = ", ".join(f"{count} by {name}" for name, count in sorted(self.methods.items())) or "none"
        yield Remark(f"{self.methods.total()} new images ({made}), {self.num_originals} copied; {rejected}")
        if not self.dropped:
            return
        (worst, count), *others = self.dropped.most_common()
        where = f" ({count} of them of {printable(worst)})" if worst and (others or len(self.labels) > 1) else ""
        lost = f"{self.dropped.total()} of {num_asked} images were given up{where}: no attempt passed the checks"
        yield Remark(lost, "warning")
        if self.empty_labels:
            names = ", ".join(map(printable, self.empty_labels))
            yield Remark(f"no new image of {names}: lower --strength, or train longer", "warning")

    def facts(self) -> dict[str, Any]:
        """What --json tells beside the files."""
        return {
            "seed": self.seed, "strength": self.strength, "manifest": self.folder / MANIFEST,
            "images": self.methods.total(), "originals": self.num_originals,
            "methods": dict(sorted(self.methods.items())),
            "labels": {name: count for name, count in sorted(self.labels.items()) if name},
            "training_images": len(self.images.refs), "held_out_images": len(self.images.held_out.ids),
            "rejected": {name: self.rejected[name] for name in (UNSURE, NEAR_HELD_OUT)},
            "dropped": self.dropped.total(),
            "dropped_labels": {name: count for name, count in sorted(self.dropped.items()) if name},
        }  # fmt: skip
