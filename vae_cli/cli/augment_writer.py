"""What `vae augment` leaves behind: images, copies of the originals, a manifest and a report."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_cli.cli import output
from vae_cli.cli.augment_data import SplitData, name_of
from vae_cli.cli.results import Results
from vae_cli.errors import DataError
from vae_cli.printable import printable

if TYPE_CHECKING:
    from vae_cli.tasks.augment import Augmented

MANIFEST = "manifest.csv"
_COLUMNS = ("output", "source", "label", "method", "number", "seed", "strength", "partner", "confidence",
            "held_out_distance")  # fmt: skip
_ORIGINAL = "original"


@dataclass
class Writer:
    """Writes images and their rows of the manifest, and counts."""

    images: SplitData
    folder: Path
    seed: int
    strength: float
    write_row: "Callable[[dict[str, Any]], object]"
    results: Results
    methods: Counter[str] = field(default_factory=Counter)
    """Of the new images."""
    labels: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    """Attempts of which no candidate passed, by what was wrong."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Images that were given up, by their label ('' = none)."""
    originals: int = 0

    def copy(self, position: int, target: Path) -> None:
        """An original, byte for byte."""
        from vae_cli.atomic import write_atomically
        from vae_cli.images.decode import read_bytes

        ref = self.images.refs[position]
        try:
            content = read_bytes(ref)
        except DataError as error:
            raise DataError(f"{name_of(self.images.path, ref.id)}: {error}") from error
        write_atomically(target, content)
        self.originals += 1
        self._add(position, target, _ORIGINAL, None)

    def write(self, image: "Augmented", targets: Sequence[Path]) -> None:
        """A new image, if there is one; `targets` are those of its source."""
        self.rejected.update(image.rejections)
        if image.pixels is None:
            self.dropped[self.images.label_of(image.source)] += 1
            return
        target = targets[image.number - 1]
        output.save_picture(image.pixels, target, seed=self.seed)
        self.methods[image.method] += 1
        self.labels[self.images.label_of(image.source)] += 1
        facts = {
            "seed": self.seed,
            "strength": self.strength,
            "partner": None if image.partner is None else self.images.train.ids[image.partner],
            "confidence": _rounded(image.verdict.confidence),
            "held_out_distance": _rounded(image.verdict.held_out_distance),
        }
        self._add(image.source, target, image.method, image.number, **facts)

    def _add(self, position: int, target: Path, method: str, number: int | None, **facts: Any) -> None:
        source = self.images.train.ids[position]
        row = {"output": target.relative_to(self.folder).as_posix(), "source": source, "method": method,
               "label": self.images.label_of(position), "number": number, **facts}  # fmt: skip
        self.write_row(row)
        sample = None if number is None else number - 1  # counted from 0, as everywhere
        self.results.written(name_of(self.images.path, source), target, sample=sample)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


@contextmanager
def open_manifest(folder: Path) -> "Iterator[Callable[[dict[str, Any]], object]]":
    """Takes the rows of the manifest and writes them at the end, also when it comes early: of what is there then."""
    from vae_cli.atomic import write_atomically

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS)
    writer.writeheader()
    try:
        yield writer.writerow
    finally:
        write_atomically(folder / MANIFEST, text.getvalue().encode("utf-8", "surrogateescape"))


def report(writer: Writer, asked: int) -> None:
    """Says what was made and what was not. Raises DataError when nothing passed the checks."""
    from vae_cli.tasks.augment_checks import NEAR_HELD_OUT, UNSURE

    made = ", ".join(f"{count} by {name}" for name, count in sorted(writer.methods.items()))
    rejected = (f"rejected: {writer.rejected[UNSURE]} unlike their class, "
                f"{writer.rejected[NEAR_HELD_OUT]} too near to a held-out image")  # fmt: skip
    if writer.dropped and not (writer.methods or writer.originals):
        raise DataError(f"none of {asked} new images passed the checks\n{rejected}\nlower --strength, or train longer")
    messages = writer.results.messages
    messages.note(f"{writer.methods.total()} new images ({made or 'none'}), {writer.originals} copied; {rejected}")
    if writer.dropped:
        (worst, count), *others = writer.dropped.most_common()
        where = f" ({count} of them of {printable(worst)})" if worst and (others or len(writer.labels) > 1) else ""
        messages.warn(f"{writer.dropped.total()} of {asked} images were given up{where}: no attempt passed the checks")
        empty = sorted(name for name in writer.dropped if name and not writer.labels[name])
        if empty:
            messages.warn(f"no new image of {', '.join(map(printable, empty))}: lower --strength, or train longer")
            writer.results.num_missing += len(empty)


def facts_of(writer: Writer) -> dict[str, Any]:
    """What --json tells beside the files."""
    from vae_cli.tasks.augment_checks import NEAR_HELD_OUT, UNSURE

    return {
        "seed": writer.seed,
        "strength": writer.strength,
        "manifest": writer.folder / MANIFEST,
        "images": writer.methods.total(),
        "originals": writer.originals,
        "methods": dict(sorted(writer.methods.items())),
        "labels": {name: count for name, count in sorted(writer.labels.items()) if name},
        "training_images": len(writer.images.refs),
        "held_out_images": len(writer.images.held_out.ids),
        "rejected": {name: writer.rejected[name] for name in (UNSURE, NEAR_HELD_OUT)},
        "dropped": writer.dropped.total(),
        "dropped_labels": {name: count for name, count in sorted(writer.dropped.items()) if name},
    }
