"""What the shell offers after Tab, as soon as one looks for it: nothing here loads torch."""

import json
import os
from pathlib import Path

import typer


def presets(incomplete: str) -> list[str]:
    from vae_cli.presets import PRESETS

    return [name for name in PRESETS if name.startswith(incomplete)]


def settings(incomplete: str) -> list[str]:
    from vae_cli.config import known_keys

    return [f"{key}=" for key in known_keys() if key.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """`photo`, and the run folders and weights files in the folder that is being typed; at first also those of runs/.

    Where there are none the shell offers what else is there, and so leads to deeper folders.
    """
    from vae_cli.jobs.inputs import names_model
    from vae_cli.pretrained import NAME

    above = os.path.dirname(incomplete)
    places = [Path(above)] if above else [Path(), Path("runs")]
    found = [path for place in places if place.is_dir() for path in sorted(place.iterdir()) if names_model(path)]
    return [name for name in (NAME, *map(str, found)) if name.startswith(incomplete)]


def labels(context: typer.Context, incomplete: str) -> list[str]:
    """The labels of the model that RUN names."""
    from safetensors import safe_open

    from vae_cli.checkpoint_folders import HEADER_KEY, resolve_run

    try:
        with safe_open(resolve_run(Path(context.params["run"])), framework="numpy") as file:
            names: list[str] = json.loads(file.metadata()[HEADER_KEY])["label_names"]
    except Exception:  # of whatever kind: there is nobody to be told
        return []
    return [name for name in names if name.startswith(incomplete)]
