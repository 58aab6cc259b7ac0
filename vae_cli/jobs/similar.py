"""The nearest images to others, as a table and as a page."""

from collections.abc import Iterator, Sequence
from itertools import tee
from pathlib import Path

import numpy as np
import torch

from vae_cli.atomic import write_atomically
from vae_cli.checkpoint import Model
from vae_cli.drawing.contact_sheet import Figure, Row, at_least, thumbnail
from vae_cli.images.recipe import ImageRecipe
from vae_cli.jobs.events import Advanced, FileDone, JobEvent, Report
from vae_cli.jobs.inputs import Input, decoded
from vae_cli.jobs.sheets import link_of_image, write_contact_sheet
from vae_cli.jobs.tables import as_csv
from vae_cli.metrics.features import nearest
from vae_cli.printable import printable
from vae_cli.tasks import encode as encoding


def similar(
    model: Model, queries: Sequence[Input], items: Sequence[Input], path: Path, report: Report,
    *, num: int = 12, batch_size: int = 64,
) -> Iterator[JobEvent]:  # fmt: skip
    """Writes the nearest `num` of the items to each query, and a page of them beside the table.

    report: takes progress, and what cannot be decoded. Raises WriteError.
    """
    recipe = ImageRecipe.of(model.config.data)

    def encoded(what: str, inputs: Sequence[Input]) -> list[tuple[Input, np.ndarray]]:
        given, images = tee(decoded(inputs, recipe, report, batch_size=batch_size))
        posteriors, found = encoding.encode(model, (pixels for _, pixels in images)), list[tuple[Input, np.ndarray]]()
        report(Advanced(what, 0, len(inputs)))
        for (item, _), posterior in zip(given, posteriors, strict=True):
            found.append((item, encoding.comparable([layer[None] for layer in posterior.means])[0]))
            report(Advanced(what, len(found), len(inputs)))
        return found

    asked, known = sides = [encoded("queries", queries), encoded("images", items)]
    if not (asked and known):
        return
    rows = [torch.from_numpy(np.stack([latents for _, latents in side])) for side in sides]
    distances, numbers = nearest(rows[0], rows[1], min(num + 1, len(known)))  # one more, in place of the query itself
    found = list[tuple[Input, list[tuple[Input, float]]]]()
    for (query, _), of_query, which in zip(asked, distances.tolist(), numbers.tolist(), strict=True):
        others = [(known[number][0], distance) for number, distance in zip(which, of_query, strict=True)
                  if not _is_same(known[number][0], query)]  # fmt: skip
        found.append((query, others[:num]))
    write_atomically(path, as_csv(_table(found)))
    page = path.with_suffix(".html")
    write_contact_sheet(page, f"The most similar of {len(known)} images", (_row(page, recipe, *each) for each in found))
    for query, others in found:
        nearby = [{"file": item.name, "distance": distance} for item, distance in others]
        yield FileDone(query.name, "ok", path, facts={"similar": nearby})
    yield FileDone(None, "ok", page)


def _is_same(a: Input, b: Input) -> bool:
    return (a.ref.path.resolve(), a.ref.member) == (b.ref.path.resolve(), b.ref.member)


def _table(found: Sequence[tuple[Input, Sequence[tuple[Input, float]]]]) -> Iterator[list[object]]:
    yield ["query", "rank", "file", "distance"]
    for query, others in found:
        for rank, (item, distance) in enumerate(others, start=1):
            yield [query.name, rank, item.name, format(distance, ".6g")]


def _row(page: Path, recipe: ImageRecipe, query: Input, others: Sequence[tuple[Input, float]]) -> Row:
    """The query and its neighbours as the model sees them, read once more."""
    captions = ["query", *(f"{printable(item.relative.name)}, distance {distance:.3g}" for item, distance in others)]
    figures = (Figure(caption, at_least(thumbnail(recipe.decode(item.ref))), link_of_image(page, item.ref))
               for caption, item in zip(captions, [query, *(item for item, _ in others)], strict=True))  # fmt: skip
    return Row(printable(query.name), "", tuple(figures))
