"""One page about a run."""

from pathlib import Path

from vae_cli import __version__
from vae_cli.atomic import writing
from vae_cli.config import CompleteConfig, from_dict
from vae_cli.config_layers import dump_yaml
from vae_cli.drawing.run_page import run_page
from vae_cli.errors import ConfigError
from vae_cli.jobs.info import run_facts
from vae_cli.training.run_folder import is_run

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
    facts = run_facts(run or folder)
    config_yaml = dump_yaml(from_dict(facts["config"], CompleteConfig))
    with writing(path) as file:
        for piece in run_page(folder, facts, config_yaml, __version__):
            file.write(piece.encode("utf-8", "backslashreplace"))
