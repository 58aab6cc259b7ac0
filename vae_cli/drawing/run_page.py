"""A run folder as one HTML page: what the model learned from, how training went, what it can do."""

import io
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from vae_cli.atomic import read_bounded
from vae_cli.drawing.curves import line_chart
from vae_cli.drawing.page import page
from vae_cli.errors import DataError
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.training.run_folder import METRICS

MEASURED = "end"
"""The `phase` of the line in metrics.jsonl with the final figures; `weights_step` says which weights were measured."""
MIN_WIDTH, MAX_WIDTH = 480, 1100
"""Small pictures are enlarged by a whole number to about the former; none is shown wider than the latter."""
MAX_BYTES = 2**26
"""Of each file that is read: metrics of millions of updates, or a large picture."""
PROGRESS_WIDTH, MAX_PROGRESS = 250, 8
PROGRESS_NAME = re.compile(r"step-(\d+)-samples\.png")


def run_page(run: Path, facts: Mapping[str, Any], config_yaml: str, version: str) -> Iterator[str]:
    """The page of a run folder, piece by piece.

    facts: `step`, `phase`, `has_flow`, `image_size`, `channels`, `labels`, `parameters`, `latent_shapes` of its model.
    Damaged lines of metrics.jsonl and damaged pictures are left out.
    """
    data, previews = next(iter(_objects(run / "data.json")), {}), run / "previews"
    lines = [line for line in _objects(run / METRICS)
             if isinstance(line.get("step"), int) and 0 <= line["step"] < 2**63]  # fmt: skip
    measured = [line for line in lines if line.get("phase") == MEASURED and line.get("weights_step") == facts["step"]]
    notes, skipped = (found if isinstance(found := data.get(name), list) else [] for name in ("notes", "skipped"))

    def chart(phase: str, title: str, name: str, key: str, factor: int) -> Markup:
        """One figure over the steps of a phase; empty where there is nothing to show."""
        chosen = (line for line in lines if line.get("phase") == phase and isinstance(line.get(key), int | float))
        return line_chart(title, name, [(line["step"], factor * line[key]) for line in chosen])

    return page(
        "run.html.j2",
        title=f"vae run {run.resolve().name}",
        facts=facts,
        data=data,
        notes=notes,
        skipped=[(item.get("id"), item.get("reason")) for item in skipped if isinstance(item, dict)],
        preview=lambda name: _picture(previews / f"{name}.png", MIN_WIDTH, MAX_WIDTH),
        progress=_progress(previews),
        measured=measured[-1] if measured else {},
        chart=chart,
        config_yaml=config_yaml,
        version=version,
        written_at=time.strftime("%Y-%m-%d %H:%M"),
    )


def _objects(path: Path) -> list[dict[str, Any]]:
    """The JSON objects in a file, one for each line of a .jsonl; damaged ones are left out."""
    found = []
    with suppress(OSError):
        text = read_bounded(path, MAX_BYTES).decode("utf-8", "replace")
        for part in text.splitlines() if path.suffix == ".jsonl" else [text]:
            with suppress(ValueError, RecursionError):
                found.append(json.loads(part))
    return [value for value in found if isinstance(value, dict)]


def _progress(folder: Path) -> Iterator[tuple[int, tuple[bytes, tuple[int, int]]]]:
    """Steps, and the samples that were drawn there in the middle of training; of many, some."""
    found = sorted((int(match[1]), path) for path in folder.glob("*") if (match := PROGRESS_NAME.fullmatch(path.name)))
    for step, path in found[:: -(-len(found) // MAX_PROGRESS) or 1]:
        if picture := _picture(path, PROGRESS_WIDTH, PROGRESS_WIDTH):
            yield step, picture


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
