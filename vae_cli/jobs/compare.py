"""Runs side by side: their figures, the settings that differ, their pictures. Run folders are read without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae_cli.config import CompleteConfig, from_dict
from vae_cli.config_layers import read_layer
from vae_cli.config_values import flattened
from vae_cli.drawing.compare_page import compare_page
from vae_cli.drawing.page import write_pieces
from vae_cli.errors import CheckpointError, ConfigError, VaeError, first_line
from vae_cli.jobs.events import FileDone, Report
from vae_cli.jobs.outputs import run_folder
from vae_cli.training.run_folder import is_run
from vae_cli.training.run_record import RunRecord, read_record

SAMPLES = ("drawn", "detail", "copies")
VALIDATION = ("images", "elbo_nats", "nll_nats", "importance_samples", "bits_per_dim", "rate_nats", "distortion_nats",
              "active_units", "latent_units", "psnr_db", "ssim")  # fmt: skip
"""Figures of held-out images, named as `evaluate` names them."""


@dataclass(frozen=True)
class Compared:
    """A run that could be read. facts: named as in the JSON objects of `train` and `evaluate`. settings: by dotted
    keys."""

    record: RunRecord
    facts: Mapping[str, Any]
    settings: Mapping[str, Any]


def read_runs(runs: Sequence[Path], report: Report) -> list[Compared]:
    """The runs in their order; one that cannot be read is reported as failed and left out.

    Raises CheckpointError where no two are left, as nothing is then compared.
    """
    found, problems = list[Compared](), list[str]()
    for run in runs:
        try:
            compared, doubt = _read(run)
            found.append(compared)
        except VaeError as error:
            doubt = str(error)
            problems.append(doubt)
        if doubt:
            report(FileDone(str(run), "failed", reason=doubt))
    if len(found) < 2:
        raise CheckpointError(problems[0])
    return found


def _read(run: Path) -> tuple[Compared, str | None]:
    """What a run says of itself, and what is wrong with that. Raises VaeError where nothing can be read."""
    folder, doubt = run_folder(run), None
    if is_run(folder):
        config = read_layer(folder / "config.yaml")
        try:
            from_dict(config, CompleteConfig)
        except ConfigError as error:
            doubt = f"{folder / 'config.yaml'}: damaged, or of another version of vae ({first_line(error)})"
    else:
        from vae_cli.checkpoint import read_facts  # which loads torch
        from vae_cli.checkpoint_folders import resolve_run

        folder, config = run, read_facts(resolve_run(run)).config.as_dict()
    record, settings = read_record(folder), flattened(config)
    return Compared(record, _facts(run, record, settings), settings), doubt


def _facts(run: Path, record: RunRecord, settings: Mapping[str, Any]) -> dict[str, Any]:
    figures = record.measured()
    return {
        "run": run, "preset": settings.get("preset"), "steps": record.steps, "seconds": record.seconds,
        "images": record.number("training_images"), "skipped": len(record.listed("skipped")),
        "image_size": settings.get("data.image_size"), "channels": settings.get("data.channels"),
        "labels": record.listed("label_names"), "parameters": figures.get("parameters"),
        "precision": settings.get("training.precision"), "fill_share": figures.get("fill_share"),
        "validation": {name: figures.get(name) for name in VALIDATION} if figures else None,
        "samples": {name: figures.get(f"samples_{name}") for name in SAMPLES} if figures else None,
    }  # fmt: skip


def differing(runs: Sequence[Compared]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs: the value of each run, None where it has none."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    values = {key: [run.settings.get(key) for run in runs] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def write_comparison(
    path: Path, runs: Sequence[Compared], names: Sequence[str], figures: Mapping[str, Sequence[str]],
    settings: Mapping[str, Sequence[str]],
) -> None:  # fmt: skip
    """names: of the runs. figures, settings: a text for each run. Raises WriteError."""
    write_pieces(path, compare_page([run.record for run in runs], names, figures, settings))
