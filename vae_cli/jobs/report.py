"""One page about a run."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from vae_cli import __version__
from vae_cli.config import CompleteConfig, from_dict
from vae_cli.config_layers import dump_yaml
from vae_cli.drawing.page import write_pieces
from vae_cli.drawing.run_page import Card, run_page
from vae_cli.errors import ConfigError
from vae_cli.jobs.info import run_facts
from vae_cli.jobs.model_warnings import fill_share_line, rebuilt_words
from vae_cli.printable import duration, shell_quoted
from vae_cli.training.run_folder import is_run
from vae_cli.training.run_record import RunRecord, read_record

NAME = "report.html"
"""Of the page in its run folder."""


def page_path(out: Path | None, folder: Path) -> Path:
    """Where the page of a run folder goes; in any folder it has its usual name. Raises ConfigError for other kinds."""
    if out is None:
        return folder / NAME
    if out.suffix.lower() in (".html", ".htm"):
        return out
    if out.suffix and not out.is_dir():
        raise ConfigError(f"--out {out}: give a file that ends in .html")
    return out / NAME


def write_report(folder: Path, path: Path, run: Path | None = None) -> None:
    """Writes the page of a run folder, about the model that `run` names (by default the folder's own).

    Raises ConfigError for a folder that is no run, CheckpointError, WriteError.
    """
    if not is_run(folder):
        what = "no run folder, which is what a report is about; give the one that train wrote"
        raise ConfigError(f"{run or folder}: {what}")
    facts, record = run_facts(run or folder), read_record(folder)
    config_yaml = dump_yaml(from_dict(facts["config"], CompleteConfig))
    pieces = run_page(record, facts, cards=list(_cards(record, facts)), commands=list(_commands(run or folder, facts)),
                      config_yaml=config_yaml, version=__version__)  # fmt: skip
    write_pieces(path, pieces)


def _cards(record: RunRecord, facts: Mapping[str, Any]) -> Iterator[Card]:
    """What the model learned from, how good it is, and what it took; what is not known is left out."""
    data, figures = record.data, record.measured(facts["step"])
    (height, width), kind = facts["image_size"], "grey" if facts["channels"] == 1 else "colour"
    source = Path(str(data["path"])).name if data.get("path") else "the built-in clothes"
    labels = f" with {len(facts['labels'])} labels" if facts["labels"] else ""
    if _is_number(images := data.get("training_images")):
        held_out = data.get("validation_images")
        more = f"; {held_out:,} more were held out to measure on" if _is_number(held_out) else ""
        yield Card("Learned from", f"{images:,} images", f"{source}{labels}, as {height}×{width} {kind}{more}")
    quality, number = figures.get("psnr_db"), figures.get("images")
    if _is_number(quality) and _is_number(number):
        words = rebuilt_words(quality, number)
        yield Card("Rebuilds images", f"{quality:.1f} dB", f"PSNR, the mean of {number:,} held-out images: {words}")
    elif not figures:
        yield Card("How good", "not measured yet", "that is done at the end of training")
    if _is_number(detail := figures.get("samples_detail")):
        yield Card("Draws new images", f"{detail:.0%} of the detail", "of held-out images is in samples")
    if _is_number(copies := figures.get("samples_copies")):
        drawn = figures.get("samples_drawn")
        yield Card("New or copied", f"{copies:,} of {drawn} copied" if copies else f"all {drawn} new",
                   "samples, beside the images that it learned from")  # fmt: skip
    if facts["fill_share"] is not None:
        yield Card("Fills holes", f"{facts['fill_share']:.0%} by the model", fill_share_line(facts["fill_share"]))
    if record.seconds is not None:
        machines = "; then ".join(record.machines) or "an unknown machine"
        yield Card("Took", duration(record.seconds), f"{record.steps:,} updates on {machines}")
    shapes = ", ".join("×".join(map(str, shape)) for shape in facts["latent_shapes"])
    flow = "with a latent flow" if facts["has_flow"] else "no latent flow"
    yield Card("Model", f"{facts['parameters']:,} parameters", f"latents {shapes}, {flow}; weights of step "
               f"{facts['step']:,} ({facts['phase']} phase)")  # fmt: skip


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) < 2**63


def _commands(run: Path, facts: Mapping[str, Any]) -> Iterator[str]:
    """Lines for a shell."""
    word = shell_quoted(run)
    yield f"vae train --config {shell_quoted(run / 'config.yaml')}  # the same training once more"
    yield f"vae sample {word} -n 64 --out grid.png"
    if facts["has_flow"]:
        yield f"vae inpaint {word} scans --mask masks --out fixed"
    yield f"vae evaluate {word}"
    yield f"vae report {word}  # this page"
