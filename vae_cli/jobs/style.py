"""Images with another look."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from vae_cli.checkpoint import Model
from vae_cli.drawing.grids import grid
from vae_cli.errors import DataError
from vae_cli.files.new_pictures import save_picture
from vae_cli.files.write_back import with_changes
from vae_cli.images.recipe import fit_to
from vae_cli.jobs.change_images import Answer, Opened, Part, Planned, SharedRemark, find_unzipped, open_for
from vae_cli.jobs.events import Advanced, FileDone, Finished, JobEvent, Remark, Report
from vae_cli.printable import printable
from vae_cli.tasks import style as styling

MAX_LIKE = 256
"""Pictures of a folder whose look is taken, spread evenly."""
SHEET_ROWS, SHEET_SIDE = 32, 256
"""Rows of a sheet and pixels of a picture's longer side there, at most."""


@dataclass
class Restyling:
    """The change that carries a look over, as `find_look` makes it. to: the label that it carries to. sheet: where a
    picture goes with a row for each of the first images: before, an example of the look, after."""

    model: Model
    task: styling.Change
    strength: float
    seed: int = 0
    sheet: Path | None = None
    to: str | None = None
    examples: list[np.ndarray] = field(default_factory=list)
    rows: list[list[np.ndarray]] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    """What each image was taken for, by its name, where labels matter."""
    name, unit, for_grey = "style", "images", "colours change in brightness alone"

    def open(self, image: Opened) -> Iterator[Part | Opened]:
        yield image

    def answers(self, images: list[Opened]) -> Iterator[Answer]:
        names, contents = self.model.label_names, []
        for image in images:
            ref = image.planned.item.ref
            folder = unicodedata.normalize("NFC", ref.path.absolute().parent.name)  # may be called like a label
            contents.append(styling.Content(image.pixels, ref.id, names.index(folder) if folder in names else None))
        for image, styled in zip(images, styling.restyle(contents, self.task), strict=True):
            remarks: tuple[SharedRemark, ...] = ()
            if styled.label is not None:
                label = self.labels[image.name] = names[styled.label]
                if label == self.to:
                    remarks = (SharedRemark(image.name, f"already {self.to}, left as it is"),)
            if self.sheet is not None and len(self.rows) < SHEET_ROWS:
                example = [self.examples[len(self.rows) % len(self.examples)]] if self.examples else []
                self.rows.append([_eight_bit(image.pixels), *example, _eight_bit(styled.pixels)])
            change = partial(with_changes, image.original, image.pixels, styled.pixels, image.background)
            yield Answer(change, remarks=remarks)

    def end(self, images: Sequence[Planned], files: Sequence[FileDone]) -> Iterator[JobEvent]:
        sheet = self.sheet if self.rows else None
        if sheet is not None:
            cells = [cell for row in self.rows for cell in row]
            side = [min(SHEET_SIDE, max(cell.shape[axis] for cell in cells)) for axis in (0, 1)]
            cells = [fit_to(cell, (side[0], side[1]), "pad") for cell in cells]
            save_picture(grid(cells, num_columns=len(self.rows[0])), sheet, seed=self.seed)
            yield Remark(f"{printable(sheet)}: {len(self.rows)} images")
        yield Finished({"seed": self.seed, "strength": self.strength, "labels": self.labels, "sheet": sheet})


def find_look(
    model: Model, report: Report, *, to: str | None = None, like: Path | None = None, unlike: Path | None = None,
    strength: float | None = None, solver_steps: int | None = None, seed: int = 0, sheet: Path | None = None,
) -> Restyling:  # fmt: skip
    """Images become what they would be under the label `to`, or take on the look of the pictures `like`.

    With `like` they give up the look of the pictures `unlike`, or each its own. strength: None = what was found to be
    best. Raises ConfigError for an unknown label or path, DataError where no picture can be used.
    """
    if like is None:
        used = styling.LABEL_STRENGTH if strength is None else strength
        change = styling.to_label(model, str(to), strength=used, seed=seed, steps=solver_steps or styling.LABEL_STEPS)
        return Restyling(model, change, used, seed, sheet, to)
    used, examples = styling.LIKE_STRENGTH if strength is None else strength, list[np.ndarray]()
    others = _pictures(model, unlike, report) if unlike is not None else None
    change = styling.to_look(model, _pictures(model, like, report, examples if sheet else None), others, strength=used)
    return Restyling(model, change, used, seed, sheet, examples=examples)


def _pictures(
    model: Model, path: Path, report: Report, examples: list[np.ndarray] | None = None
) -> Iterator[np.ndarray]:
    """The pictures at a path, as the model takes them; the first ones are also put into `examples`."""
    items = find_unzipped([path], report)
    count, num_used, what = min(len(items), MAX_LIKE), 0, f"look at {printable(path.name)}"
    if len(items) > count:
        report(Remark(f"{printable(path)}: the look of {count} of {len(items)} images, spread evenly"))
    for number in range(count):
        report(Advanced(what, number, count))
        item = items[number * len(items) // count]
        try:
            picture = open_for(model, Planned(item, ())).pixels
        except DataError as error:
            report(FileDone(item.name, "failed", reason=str(error)))
            continue
        num_used += 1
        if examples is not None and len(examples) < SHEET_ROWS:
            examples.append(_eight_bit(picture))
        yield picture
    report(Advanced(what, count, count, is_over=True))
    if not num_used:
        raise DataError(f"{path}: no image in it can be used; give another one")


def _eight_bit(picture: np.ndarray) -> np.ndarray:
    """uint8 of a picture uint8 or uint16, or float32 in 0..255."""
    scale = 255 / np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1.0
    return np.rint(picture * scale).clip(0, 255).astype(np.uint8)
