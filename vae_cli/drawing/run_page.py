"""A run folder as one HTML page: what was learned from what, how training went, what the model can do."""

import html
import io
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from vae_cli.drawing.curves import Series, line_chart
from vae_cli.drawing.page import img, page
from vae_cli.training.run_folder import METRICS

PICTURES = {
    "samples": "New images: samples of the model",
    "labels": "New images of each label",
    "reconstructions": "Held-out images, each with its reconstruction to the right",
    "inpaintings": "Held-out images with a hole, three fills each, and the image as it was",
    "interpolation": "Walks between held-out images",
    "traversals": "What the latents mean: walks along the directions that carry the most",
    "map": "Where held-out images lie in the latent space",
    "manifold": "The whole latent space of two dimensions",
}
"""The pictures of `previews/`, in the order of the page."""
CHARTS = {
    "vae": {
        "Negative bound (nats an image)": {"training": ("elbo_nats", -1)},
        "Score of held-out images, which chooses the best weights": {"validation": ("validation_loss", 1)},
        "Rate: what the latents say (nats an image)": {"training": ("rate_nats", 1)},
        "Active latent units": {"active": ("active_units", 1)},
    },
    "flow": {
        "Loss of the latent flow": {"training": ("flow_loss", 1)},
        "Loss of the refiner": {"training": ("refiner_loss", 1)},
        "Score of held-out images, which chooses the best weights": {"validation": ("validation_loss", 1)},
    },
}
"""For each phase the charts, for each chart its lines: the key in metrics.jsonl and a factor. The score is no loss of
another set: it weighs its terms as the objective does, and is of averaged weights."""
PHASE_TITLES = {"vae": "Training of the VAE", "flow": "Training of the latent flow"}
FIGURES = {
    "images": "held-out images measured", "psnr_db": "PSNR of reconstructions (dB)", "ssim": "SSIM of reconstructions",
    "elbo_nats": "bound on the log-likelihood (nats an image)", "bits_per_dim": "bits per dimension",
    "rate_nats": "rate (nats an image)", "distortion_nats": "distortion (nats an image)",
    "active_units": "active latent units", "latent_units": "latent units",
}  # fmt: skip
"""The figures of the last measurement, by their keys in `evaluate`."""
MEASURED = "end"
"""The `phase` of the line in metrics.jsonl that holds them; `weights_step` says which weights were measured."""
MIN_WIDTH, MAX_WIDTH = 480, 1100
"""Small pictures are enlarged by a whole number to about the former; none is shown wider than the latter."""
PROGRESS_WIDTH, MAX_PROGRESS = 250, 8
PROGRESS_NAME = re.compile(r"step-(\d+)-samples\.png")
MAX_SKIPPED = 50
_STYLE = """
table { border-collapse: collapse; }
td, th { padding: .25rem 1rem .25rem 0; text-align: left; vertical-align: top; border-top: 1px solid #8884; }
td.number { font-variant-numeric: tabular-nums; }
td.name { overflow-wrap: anywhere; }
pre { background: #8882; padding: .75rem; overflow-x: auto; border-radius: 4px; }
img { image-rendering: pixelated; max-width: 100%; height: auto; }
"""


def run_page(run: Path, facts: Mapping[str, Any], config_yaml: str, version: str) -> Iterator[str]:
    """The page of a run folder, piece by piece; opens without a network.

    facts: `step`, `phase`, `has_flow`, `image_size`, `channels`, `labels`, `parameters`, `latent_shapes` of its model.
    Damaged lines of metrics.jsonl and damaged pictures are left out.
    """
    return page(f"vae run {run.resolve().name}", _content(run, facts, config_yaml, version), style=_STYLE)


def _content(run: Path, facts: Mapping[str, Any], config_yaml: str, version: str) -> Iterator[str]:
    lines, data = _read_metrics(run), _read_json(run / "data.json")
    yield _table(_headline(facts, data))
    yield from _pictures(run / "previews")
    measured = [line for line in lines if line.get("phase") == MEASURED and line.get("weights_step") == facts["step"]]
    if measured:
        yield "<h2>Figures</h2>" + _table([(FIGURES[key], measured[-1][key]) for key in FIGURES if key in measured[-1]])
    for phase, title in PHASE_TITLES.items():
        charts = "".join(_charts(phase, [line for line in lines if line.get("phase") == phase]))
        yield f"<h2>{title}</h2>{charts}" if charts else ""
    yield from _progress(run / "previews")
    yield _what_was_read(data)
    text = html.escape(config_yaml)
    yield f"<h2>Configuration</h2><details><summary>config.yaml</summary><pre>{text}</pre></details>"
    yield f'<p class="note">vae {html.escape(version)}, {time.strftime("%Y-%m-%d %H:%M")}</p>\n'


def _read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that are whole."""
    found = []
    path = run / METRICS
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            found.append(line)
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _headline(facts: Mapping[str, Any], data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    height, width = facts["image_size"]
    kind = "grey" if facts["channels"] == 1 else "colour"
    shapes = ", ".join("×".join(map(str, shape)) for shape in facts["latent_shapes"])
    flow = "with a latent flow" if facts["has_flow"] else "no latent flow"
    return [
        ("data", data.get("path", "unknown") or "the built-in data set"),
        ("images to learn from", data.get("training_images", "unknown")),
        ("images held out", data.get("validation_images", "unknown")),
        ("image size", f"{height}×{width} {kind}"),
        ("labels", ", ".join(facts["labels"]) or "none"),
        ("model", f"{facts['parameters']:,} parameters, latents {shapes}, {flow}"),
        ("weights", f"step {facts['step']:,}, {facts['phase']} phase"),
    ]


def _table(rows: list[tuple[str, Any]]) -> str:
    def cell(value: Any) -> str:
        if not _is_number(value):
            return f'<td class="name">{html.escape("–" if value is None else str(value))}</td>'
        return (
            f'<td class="number">{value:,}</td>' if isinstance(value, int) else f'<td class="number">{value:,.4g}</td>'
        )

    return (
        "<table>"
        + "".join(f"<tr><th>{html.escape(name)}</th>{cell(value)}</tr>" for name, value in rows)
        + "</table>\n"
    )


def _pictures(folder: Path) -> Iterator[str]:
    for name, title in PICTURES.items():
        shown = _picture(folder / f"{name}.png", title, MIN_WIDTH, MAX_WIDTH)
        yield f"<h2>{html.escape(title)}</h2>{shown}\n" if shown else ""


def _picture(path: Path, caption: str, min_width: int, max_width: int) -> str:
    """The file itself inside the page; '' when it is not there or damaged."""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image.verify()
            width, height = image.size
    except (OSError, ValueError, SyntaxError):
        return ""
    scale = min(max(1, round(min_width / width)), max_width / width)
    return img(content, "png", (round(scale * width), round(scale * height)), caption)


def _charts(phase: str, lines: list[dict[str, Any]]) -> Iterator[str]:
    for title, wanted in CHARTS[phase].items():
        series = [
            Series(name, tuple((line["step"], factor * line[key]) for line in lines if _is_number(line.get(key))))
            for name, (key, factor) in wanted.items()
        ]
        yield line_chart(title, series)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _progress(folder: Path) -> Iterator[str]:
    """Samples in the middle of training, side by side; of many, some."""
    found = [(int(match[1]), path) for path in folder.glob("*") if (match := PROGRESS_NAME.fullmatch(path.name))]
    figures = []
    for step, path in sorted(found)[:: -(-len(found) // MAX_PROGRESS) or 1]:
        caption = f"step {step:,}"
        picture = _picture(path, caption, PROGRESS_WIDTH, PROGRESS_WIDTH)
        figures.append(f"<figure>{picture}<figcaption>{caption}</figcaption></figure>" if picture else "")
    if any(figures):
        yield f"<h2>Samples in the course of training</h2>{''.join(figures)}\n"


def _what_was_read(data: Mapping[str, Any]) -> str:
    notes = "".join(f"<li>{html.escape(str(note))}</li>" for note in _list(data.get("notes")))
    skipped = [item for item in _list(data.get("skipped")) if isinstance(item, dict)]
    rows = [(str(item.get("id")), item.get("reason")) for item in skipped[:MAX_SKIPPED]]
    more = f"<p>… and {len(skipped) - MAX_SKIPPED} more: see data.json</p>" if len(skipped) > MAX_SKIPPED else ""
    listed = f"<h3>Files that were skipped</h3>{_table(rows)}{more}" if rows else ""
    return f"<h2>What was read</h2><ul>{notes}</ul>{listed}" if notes or listed else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
