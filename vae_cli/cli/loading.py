"""From RUN and --device to a model that is ready to work."""

from pathlib import Path
from typing import TYPE_CHECKING

from vae_cli.cli.inputs import require
from vae_cli.cli.progress import Messages
from vae_cli.printable import printable

if TYPE_CHECKING:
    from vae_cli.checkpoint import Model


def load(run: Path, device: str, messages: Messages) -> "Model":
    """The model of RUN on the device, in the precision that it was trained in where the device has it; both are said.

    Raises ConfigError for a path that does not exist.
    """
    require_run(run)
    from vae_cli.checkpoint import load_model, read_facts, resolve_run
    from vae_cli.runtime import make_runtime, multiplies_bfloat16, pick_device

    target = pick_device(device)
    trained_in = read_facts(resolve_run(run)).config.training.precision
    runtime = make_runtime(target, trained_in if multiplies_bfloat16(target) else "float32")
    model = load_model(run, runtime)
    messages.note(f"{printable(model.path)} at step {model.facts.step} on {runtime.device} ({runtime.precision})")
    return model


def require_run(run: Path) -> None:
    """Raises ConfigError when there is nothing at RUN, before torch takes its seconds to load."""
    require(run, f"no such run; train one with: vae train DATA --out {run}")


def require_device(name: str) -> None:
    """Raises ConfigError for a --device this machine lacks, also where none is needed."""
    if name not in ("auto", "cpu"):  # which torch need not be loaded for
        from vae_cli.runtime import pick_device

        pick_device(name)
