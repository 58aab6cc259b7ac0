"""`vae compare`: runs side by side."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vae_cli.cli import options
from vae_cli.cli.results import Results, say
from vae_cli.errors import ConfigError
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.inputs import require_run
from vae_cli.jobs.outputs import refuse_existing, require_page
from vae_cli.printable import duration, printable, shell_quoted

if TYPE_CHECKING:
    from vae_cli.jobs.compare import Compared

MAX_WIDTH, MAX_CELL = 80, 24
"""Columns of the terminal, and of one cell: what is longer loses its middle, as paths differ at their ends."""
_FIGURES = {
    "training images": "images", "steps": "steps", "time": "seconds", "parameters": "parameters",
    "held-out images": "validation.images", "PSNR (dB)": "validation.psnr_db", "SSIM": "validation.ssim",
    "ELBO (nats)": "validation.elbo_nats", "bits per dimension": "validation.bits_per_dim",
    "rate (nats)": "validation.rate_nats", "active latent units": "validation.active_units",
    "model's part in fills": "fill_share", "detail of samples": "samples.detail", "samples copied": "samples.copies",
}  # fmt: skip


def compare(
    context: typer.Context,
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Two runs or more.")],
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", metavar="FILE.html", help="Also a page, with the pictures of all of them.")] = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Show runs side by side: figures, settings, pictures.

    A table of their figures on the images that each has held out, and of the settings that differ; with --out also a
    page with their pictures, which opens without a network.

    Example: vae compare runs/a runs/b --out both.html
    """
    results: Results = context.obj
    if len(runs) < 2:
        raise ConfigError("RUN: give two runs or more to compare")
    for run in runs:
        require_run(run)
    if out is not None:
        require_page(out, "--out")
        refuse_existing([out], overwrite=overwrite)
    from vae_cli.jobs.compare import differing, read_runs, write_comparison

    found = read_runs(runs, results.take)
    names, figures = _names(found), _figures(found)
    settings = differing(found)
    told = {key: [_text(key, value) for value in values] for key, values in settings.items()}
    if not results.as_json:
        say("\n".join(_table({"": names, **figures, **({"settings that differ": [], **told} if told else {})})))
    if out is not None:
        write_comparison(out, found, names, figures, told)
        results.take(FileDone(None, "ok", out))
    results.num_written += len(found)
    results.finish(f"vae report {shell_quoted(runs[0])}", runs=[run.facts for run in found], settings=settings)


def _names(found: Sequence["Compared"]) -> list[str]:
    """The folders' names, or their paths where two have one name."""
    names = [printable(run.record.folder.resolve().name) for run in found]
    return names if len({*names}) == len(names) else [printable(run.facts["run"]) for run in found]


def _figures(found: Sequence["Compared"]) -> dict[str, list[str]]:
    """Those that any of the runs has."""

    def value(facts: Mapping[str, Any], key: str) -> Any:
        group, _, name = key.rpartition(".")
        return (facts[group] or {}).get(name) if group else facts[name]

    rows = {title: [_text(key, value(run.facts, key)) for run in found] for title, key in _FIGURES.items()}
    return {title: row for title, row in rows.items() if {*row} != {"–"}}


def _text(key: str, value: Any) -> str:
    """A value in a cell; what is no number of the kind that is expected comes from a damaged file."""
    if value is None:
        return "–"
    if key == "model.latents" and isinstance(value, list) and all(isinstance(layer, Mapping) for layer in value):
        words = ([f"{name} {told}" for name, told in layer.items() if (name, told) != ("layers", 1)] for layer in value)
        return printable("; ".join(map(", ".join, words)))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return printable(str(value))
    if key == "seconds":
        return duration(value)
    if key in ("fill_share", "samples.detail"):
        return f"{value:.0%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _table(rows: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Lines of at most MAX_WIDTH columns: as many runs beside one another as fit, the others below."""
    cells = [(title, [_cut(text) for text in row]) for title, row in rows.items()]
    first = max(len(title) for title, _ in cells) + 2
    widths = [max(len(texts[number]) for _, texts in cells if texts) + 2 for number in range(len(cells[0][1]))]
    start = 0
    while start < len(widths):
        end = start + 1
        while end < len(widths) and first + sum(widths[start : end + 1]) <= MAX_WIDTH:
            end += 1
        if start:
            yield ""
        for title, texts in cells:
            beside = "".join(f"{texts[number]:>{widths[number]}}" for number in range(start, end) if texts)
            yield f"{title:<{first}}{beside}".rstrip()
        start = end


def _cut(text: str) -> str:
    half = MAX_CELL // 2
    return text if len(text) <= MAX_CELL else f"{text[: half - 1]}…{text[-half:]}"
