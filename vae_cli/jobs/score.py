"""Images of DATA from the strangest to the most usual: a table, a page, and where in each picture the surprise lies."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from vae_cli.atomic import write_atomically
from vae_cli.checkpoint import Model
from vae_cli.dataset.cache import load_images
from vae_cli.drawing.contact_sheet import Figure, Row, at_least, thumbnail, with_heat
from vae_cli.drawing.grids import grid
from vae_cli.errors import DataError, VaeError, first_line
from vae_cli.files.new_pictures import save_picture, to_image
from vae_cli.images.recipe import ImageRecipe
from vae_cli.jobs.events import Advanced, FileDone, Finished, JobEvent, Remark, Report
from vae_cli.jobs.inputs import Input, announce_stored_data, decoded, find_inputs
from vae_cli.jobs.sheets import link_of_image, write_contact_sheet
from vae_cli.jobs.tables import as_csv
from vae_cli.printable import printable
from vae_cli.tasks import encode as encoding
from vae_cli.tasks import score as task
from vae_cli.training.prepare import prepare

NUM_ROWS, NUM_MEASURED, NUM_NAMED = 60, 256, 3
"""Images on the sheet; usual images whose surprise says what is none; strangest images that are named at the end."""
ALARM = 0.99
"""An image stranger than this share of the usual ones is counted as odd."""
HEAT_SIDE = 256  # pixels of a heat map's longer side, about
_NONE = np.empty(0)
Ranked = tuple[Input, dict[str, Any]]
"""An image and its figures, under their names in files and JSON."""
Heat = Callable[[np.ndarray], np.ndarray]
"""float [H, W] from 0 to 1, of the surprise of each pixel."""


@dataclass(frozen=True)
class Request:
    """What is written: the table `out`, the page `sheet`, and `heatmaps`, an overlay of each image.

    normal: images that count as usual; None = those that the model was trained on.
    """

    out: Path
    sheet: Path | None = None
    heatmaps: Mapping[Input, Path] = field(default_factory=dict)
    normal: Path | None = None
    seed: int = 0
    batch_size: int = 64


@dataclass(frozen=True)
class Usual:
    """Images uint8 [N, H, W, C] that count as usual, their names and their latents."""

    pixels: np.ndarray
    names: tuple[str, ...]
    latents: task.KnownLatents


def score(model: Model, items: Sequence[Input], request: Request, report: Report) -> Iterator[JobEvent]:
    """Scores every image that can be decoded; the others are reported.

    The facts at the end: `order`, by which images are sorted, and `usual_images`, how many their latents were compared
    with. Raises ConfigError for a path of usual images that does not exist, DataError where it holds none, WriteError.
    """
    usual, used, scores = _usual(model, request, report), list[Input](), list[task.Score]()
    yield Advanced("score", 0, len(items))
    for item, _, one in _scored(model, items, request, report):
        used.append(item)
        scores.append(replace(one, rebuilt=_NONE, surprise=_NONE))  # there is no room for those of all images
        yield Advanced("score", len(used), len(items))
    if not used:
        return
    of_images = task.figures(model, scores, usual.latents if usual else None)
    if usual:
        for facts in of_images:
            facts["nearest"] = usual.names[facts["nearest"]]
    ranked = [(used[number], of_images[number]) for number in task.strangest_first(of_images)]
    write_atomically(request.out, as_csv(_table(ranked)))
    yield from (FileDone(item.name, "ok", request.out, facts=facts) for item, facts in ranked)
    yield from _draw(model, ranked, usual, request)
    yield Remark(f"the strangest: {', '.join(printable(item.name) for item, _ in ranked[:NUM_NAMED])}")
    if usual:
        num = sum(facts["stranger_than"] > ALARM for _, facts in ranked)
        yield Remark(f"{num} of {len(ranked)} images are stranger than {ALARM:.0%} of the usual ones")
    order_by, num_usual = ("strangeness", len(usual.names)) if usual else ("elbo_nats", 0)
    yield Finished({"order": order_by, "usual_images": num_usual})


def _scored(
    model: Model, items: Sequence[Input], request: Request, report: Report
) -> Iterator[tuple[Input, np.ndarray, task.Score]]:
    given, images = tee(decoded(items, ImageRecipe.of(model.config.data), report, batch_size=request.batch_size))
    found = task.score(model, ((item.ref.id, pixels) for item, pixels in images), seed=request.seed)
    return ((item, pixels, one) for (item, pixels), one in zip(given, found, strict=True))


def _usual(model: Model, request: Request, report: Report) -> Usual | None:
    """The images that count as usual; None, and a warning, where the run's own cannot be read."""
    workers = min(request.batch_size, os.cpu_count() or 1)
    if request.normal is not None:
        refs = [item.ref for item in find_inputs([request.normal], report, with_lists=True)]
        images = load_images(refs, ImageRecipe.of(model.config.data), workers=workers)
    else:
        try:
            announce_stored_data(model.config, report)
            images = prepare(model.config, workers=workers).train
        except VaeError as error:
            why = f"the run's training images cannot be read ({first_line(error)})"
            report(Remark(f"{why}: images are sorted by likelihood alone, which says little; give usual images with "
                          "--normal", "warning"))  # fmt: skip
            return None
    if len(images.ids) < 2:
        raise DataError(f"{request.normal or 'the run'}: a single usual image; others cannot be compared with it")
    chosen = task.thinned(np.arange(len(images.ids)), task.MAX_KNOWN)
    pixels = images.pixels[chosen]
    latents = list[np.ndarray]()
    report(Advanced("usual images", 0, len(pixels)))
    for each in encoding.encode(model, pixels):
        latents.append(encoding.comparable([layer[None] for layer in each.means]))
        report(Advanced("usual images", len(latents), len(pixels), is_over=len(latents) == len(pixels)))
    known = task.KnownLatents.of(np.concatenate(latents))
    return Usual(pixels, tuple(images.ids[number] for number in chosen), known)


def _table(ranked: Sequence[Ranked]) -> Iterator[list[object]]:
    yield ["file", *ranked[0][1]]
    for item, facts in ranked:
        yield [item.name, *(format(value, ".6g") if isinstance(value, float) else value for value in facts.values())]


# ---- pictures


def _draw(model: Model, ranked: Sequence[Ranked], usual: Usual | None, request: Request) -> Iterator[JobEvent]:
    """The sheet of the strangest images, and a heat map of every one; images are read and scored once more."""
    num = len(ranked) if request.heatmaps else min(NUM_ROWS, len(ranked)) if request.sheet else 0
    if not num:
        return
    facts_of, rows = {item.name: facts for item, facts in ranked}, list[Row]()
    yield Advanced("draw", 0, num)
    scored = _scored(model, [item for item, _ in ranked[:num]], request, lambda _: None)
    if usual is None:  # the most usual of these images have to do
        last = [item for item, _ in ranked[-NUM_MEASURED:]]
        known = np.stack([pixels for _, pixels, _ in _scored(model, last, request, lambda _: None)])
    else:
        known = usual.pixels
    heat = _heat(model, known)
    for number, (item, pixels, one) in enumerate(scored, start=1):
        overlay = with_heat(pixels, heat(one.surprise))
        if request.heatmaps:
            path = request.heatmaps[item]
            both = [np.asarray(at_least(each.convert("RGB"), HEAT_SIDE)) for each in (to_image(pixels), overlay)]
            save_picture(grid(both, num_columns=2), path)
            yield FileDone(item.name, "ok", path)
        if request.sheet is not None and number <= NUM_ROWS:
            rows.append(_row(request.sheet, item, facts_of[item.name], (pixels, one.rebuilt, overlay), usual))
        yield Advanced("draw", number, num)
    if request.sheet is not None:
        write_contact_sheet(request.sheet, f"The strangest of {len(ranked)} images", rows)
        yield FileDone(None, "ok", request.sheet)


def _row(
    page: Path, item: Input, facts: dict[str, Any], shown: tuple[np.ndarray, np.ndarray, Image.Image],
    usual: Usual | None,
) -> Row:  # fmt: skip
    """What there is to say, and the image, its reconstruction, its heat map and the usual image that is nearest."""
    address, told = link_of_image(page, item.ref), f"rebuilt to {facts['psnr_db']:.1f} dB"
    images = {"image": thumbnail(shown[0]), "as the model sees it": thumbnail(shown[1]),
              "red: unlike what it knows": shown[2]}  # fmt: skip
    figures = [Figure(caption, at_least(image), address) for caption, image in images.items()]
    if usual:
        share = facts["stranger_than"]
        told = f"stranger than {'all' if share == 1 else f'{share:.0%} of the'} usual images; {told}"
        nearest = thumbnail(usual.pixels[usual.names.index(facts["nearest"])])
        figures.append(Figure(f"nearest: {printable(facts['nearest'])}", at_least(nearest)))
    return Row(printable(item.name), told, tuple(figures))


def _heat(model: Model, usual: np.ndarray) -> Heat:
    """From 0 at the surprise that half of the pixels of usual images exceed to 1 at more than nearly any of them has;
    smoothed, as single pixels say nothing."""
    sigma = max(model.image_size) / 40

    def smooth(surprise: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(surprise, sigma, mode="nearest")

    some = enumerate(task.thinned(usual, NUM_MEASURED))
    known = np.stack([smooth(one.surprise) for one in task.score(model, ((str(n), pixels) for n, pixels in some))])
    low, high = np.quantile(known, (0.5, 0.999))
    return lambda surprise: (smooth(surprise) - low) / max(high - low, 1e-6)
