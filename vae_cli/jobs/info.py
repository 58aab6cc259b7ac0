"""The facts about a run, and about this machine."""

import contextlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from vae_cli import __version__
from vae_cli.checkpoint import format_of, outline
from vae_cli.checkpoint_folders import resolve_run
from vae_cli.runtime import cpu_name, pick_device, pick_dtype

_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "typer", "rich", "pydantic", "pyyaml", "safetensors")


def run_facts(run: Path) -> dict[str, Any]:
    """From the header of the weights; the modules are built without memory, to count and measure them.

    Raises ConfigError for a path that does not exist, CheckpointError for a damaged run.
    """
    model = outline(resolve_run(run))
    facts = model.facts
    return {
        "path": str(model.path),
        "format_version": format_of(model.config),
        "step": facts.step,
        "phase": facts.phase,
        "has_flow": model.flow is not None,
        "image_size": list(model.image_size),
        "channels": model.channels,
        "labels": list(facts.label_names),
        "label_images": dict(zip(facts.label_names, facts.label_images, strict=False)) or None,
        "unlabelled_images": facts.label_images[-1],
        "parameters": model.num_parameters,
        "fill_share": None if model.flow is None else model.flow.fill_share,
        "latent_shapes": [list(shape) for shape in model.vae.latent_shapes],
        "config": facts.config.as_dict(),
    }


def machine_facts(device: str = "auto") -> dict[str, Any]:
    """Versions, devices and memory, and the precision that would be chosen on the device. Raises ConfigError."""
    chosen = pick_device(device)
    versions: dict[str, str | None] = {"vae-cli": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        versions[package] = None
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    devices: list[dict[str, Any]] = [{"name": "cpu", "description": cpu_name()}]
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        devices.append({"name": f"cuda:{index}", "description": found.name, "memory_bytes": found.total_memory})
    if torch.backends.mps.is_available():
        devices.append({"name": "mps", "description": "Apple GPU"})
    memory_bytes = None
    with contextlib.suppress(AttributeError, ValueError, OSError):  # where the system does not tell
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "versions": versions, "platform": platform.platform(), "devices": devices, "device": str(chosen),
        "precision": str(pick_dtype(chosen)).removeprefix("torch."),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": memory_bytes,
    }  # fmt: skip
