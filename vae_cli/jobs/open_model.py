"""From RUN and --device to a model that is ready to work."""

from pathlib import Path

from vae_cli.checkpoint import Model, load_model, read_facts
from vae_cli.checkpoint_folders import resolve_run
from vae_cli.runtime import make_runtime, multiplies_bfloat16, pick_device


def open_model(run: Path, device: str = "auto") -> Model:
    """The model of RUN on the device, in the precision that it was trained in where the device has it.

    Raises ConfigError for a run or device that does not exist, CheckpointError for a damaged one.
    """
    target = pick_device(device)
    trained_in = read_facts(resolve_run(run)).config.training.precision
    return load_model(run, make_runtime(target, trained_in if multiplies_bfloat16(target) else "float32"))
