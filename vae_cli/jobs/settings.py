"""The settings of a run, a model or a preset."""

from pathlib import Path

from vae_cli.config import RunConfig
from vae_cli.config_layers import resolve_config
from vae_cli.errors import ConfigError
from vae_cli.jobs.inputs import require_run
from vae_cli.training.run_folder import is_run, stored_config


def settings_of(run: Path | None, preset: str | None) -> RunConfig:
    """Those that RUN was made with, else the preset's. Raises ConfigError, CheckpointError for a damaged run."""
    if run is None:
        return resolve_config(preset=preset)
    if preset is not None:
        raise ConfigError(f"--preset {preset}: a run has its own settings; leave out one of the two")
    require_run(run)
    if is_run(run):
        return stored_config(run)
    from vae_cli.checkpoint import read_facts  # which loads torch
    from vae_cli.checkpoint_folders import resolve_run

    return read_facts(resolve_run(run)).config
