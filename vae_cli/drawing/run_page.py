"""A run folder as one HTML page: what the model learned from, how good it is, what it can do, how training went."""

import io
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from PIL import Image

from vae_cli.atomic import read_bounded
from vae_cli.drawing.curves import Line, line_chart
from vae_cli.drawing.page import page
from vae_cli.errors import DataError
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.training.run_record import MAX_BYTES, RunRecord

MIN_WIDTH, MAX_WIDTH = 480, 1100
"""Small pictures are enlarged by a whole number to about the former; none is shown wider than the latter."""
PROGRESS_WIDTH, MAX_PROGRESS = 250, 8
PROGRESS_NAME = re.compile(r"step-(\d+)-samples\.png")
EARLY_SHARE = 0.25
"""Of the flow's updates: before, its samples say nothing about the model that it becomes."""
PICTURES = {
    "samples": "New images, drawn by the model",
    "labels": "New images of each label",
    "reconstructions": "Held-out images, each with its reconstruction to the right",
    "inpaintings": "Held-out images with a hole, three fills each, and the image as it was",
    "interpolation": "Walks between held-out images",
    "traversals": "What the latents mean: walks along the directions that carry the most",
    "map": "Where held-out images lie in the latent space",
    "manifold": "The whole latent space of two dimensions",
}
"""Those in previews/ at the end of a training, in the order of the page."""


class Card(NamedTuple):
    """One thing to know at first sight."""

    title: str
    value: str
    note: str


def run_page(
    record: RunRecord, facts: Mapping[str, Any], *, cards: Sequence[Card], commands: Sequence[str], config_yaml: str,
    version: str,
) -> Iterator[str]:  # fmt: skip
    """The page of a run folder, piece by piece.

    facts: `step`, `labels` and so on of its model. cards: the summary. commands: what repeats the run and uses it.
    Damaged lines of metrics.jsonl and damaged pictures are left out.
    """
    previews = record.folder / "previews"
    return page(
        "run.html.j2",
        title=record.folder.resolve().name,
        cards=cards,
        facts=facts,
        data=record.data,
        notes=record.listed("notes"),
        skipped=[(item.get("id"), item.get("reason")) for item in record.listed("skipped") if isinstance(item, dict)],
        pictures=PICTURES,
        preview=lambda name: preview(previews, name),
        progress=_progress(record),
        measured=record.measured(facts["step"]),
        charts=_charts(record),
        commands=commands,
        config_yaml=config_yaml,
        version=version,
        written_at=time.strftime("%Y-%m-%d %H:%M"),
    )


def preview(previews: Path, name: str) -> tuple[bytes, tuple[int, int]] | None:
    """One of PICTURES as it is, and the size to show it at."""
    return _picture(previews / f"{name}.png", MIN_WIDTH, MAX_WIDTH)


def _charts(record: RunRecord) -> Iterator[Markup]:
    """Both phases in each: they share the axis of the steps and have an axis each for their figures."""

    def chart(title: str, *lines: tuple[str, str, str, int]) -> Markup:
        drawn = [Line(name, record.points(phase, key, factor)) for name, phase, key, factor in lines]
        return line_chart(title, drawn, (0, record.steps or 1), border)

    has_both = any(line.get("phase") == "flow" for line in record.lines)
    border = record.vae_steps if has_both else None
    # The score has a chart of its own: it is not the training loss of other images, as its terms are weighted
    # differently and the weights are averaged.
    yield chart("Score of held-out images, which chooses the best weights",
                ("VAE", "vae", "validation_loss", 1), ("flow", "flow", "validation_loss", 1))  # fmt: skip
    yield chart("Training", ("negative bound of the VAE (nats an image)", "vae", "elbo_nats", -1),
                ("loss of the flow", "flow", "flow_loss", 1))  # fmt: skip
    yield chart("What the latents say, and how fills fit",
                ("rate of the VAE (nats an image)", "vae", "rate_nats", 1),
                ("loss of the refiner", "flow", "refiner_loss", 1))  # fmt: skip
    yield chart("Use of the latents", ("active latent units", "vae", "active_units", 1))


def _progress(record: RunRecord) -> Iterator[tuple[int, str, tuple[bytes, tuple[int, int]]]]:
    """Steps, what is to be expected there, and the samples that were drawn then; of many, some."""
    found = [(int(match[1]), path) for path in (record.folder / "previews").glob("*")
             if (match := PROGRESS_NAME.fullmatch(path.name))]  # fmt: skip
    last, vae_steps = record.steps or 0, record.vae_steps or 0
    for step, path in sorted(found)[:: -(-len(found) // MAX_PROGRESS) or 1]:
        if step <= vae_steps:
            stage = "before the flow: noise is expected"
        else:
            share = (step - vae_steps) / max(last - vae_steps, 1)
            stage = f"flow {share:.0%} trained" + (": noise is expected" if share < EARLY_SHARE else "")
        if picture := _picture(path, PROGRESS_WIDTH, PROGRESS_WIDTH):
            yield step, stage, picture


def _picture(path: Path, min_width: int, max_width: int) -> tuple[bytes, tuple[int, int]] | None:
    """A PNG file as it is and the size to show it at; None when it is not there or damaged."""
    try:
        with bad_bytes_are_data_errors():
            content = read_bounded(path, MAX_BYTES)
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                image.verify()
                width, height = image.size
    except DataError:
        return None
    scale = min(max(1, round(min_width / width)), max_width / width)
    return content, (round(scale * width), round(scale * height))
