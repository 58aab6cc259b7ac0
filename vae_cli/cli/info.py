"""`vae info`: a run's facts; without a run the machine's."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from vae_cli import __version__
from vae_cli.cli import loading, options
from vae_cli.cli.progress import Messages
from vae_cli.cli.results import print_json, say
from vae_cli.printable import printable, shell_quoted

_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "typer", "rich", "pydantic", "pyyaml", "safetensors")
_GIB = 2**30
NUM_LISTED = 20
"""Labels that are named without --verbose."""


def info(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Run folder, checkpoint folder or .safetensors file.")
    ] = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 64,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Tell the facts about a run, or about this machine.

    Example: vae info runs/photos
    """
    messages = Messages(quiet=quiet, verbose=verbose)
    if run is None:
        facts = _machine_facts(device)
        lines = _machine_lines(facts)
    else:
        loading.require_run(run)
        loading.require_device(device)
        facts = run_facts(run)
        lines = _run_lines(facts, verbose=verbose)
    if json:
        print_json("info", "ok", **facts)
    else:
        say("\n".join(lines))
    messages.next_step(f"vae sample {shell_quoted(run)} -n 64 --out grid.png" if run else "vae train DATA")


def run_facts(run: Path) -> dict[str, Any]:
    """From the header of the weights; the modules are built without memory, to count and measure them."""
    from vae_cli.checkpoint import FORMAT_VERSION, outline, resolve_run

    model = outline(resolve_run(run))
    facts = model.facts
    return {
        "path": str(model.path),
        "format_version": FORMAT_VERSION,
        "step": facts.step,
        "phase": facts.phase,
        "has_flow": model.flow is not None,
        "image_size": list(model.image_size),
        "channels": model.channels,
        "labels": list(facts.label_names),
        "label_images": dict(zip(facts.label_names, facts.label_images, strict=False)) or None,
        "unlabelled_images": facts.label_images[-1],
        "parameters": model.num_parameters,
        "latent_shapes": [list(shape) for shape in model.vae.latent_shapes],
        "config": facts.config.as_dict(),
    }


def _run_lines(facts: dict[str, Any], *, verbose: bool) -> list[str]:
    height, width = facts["image_size"]
    shapes = ", ".join("x".join(map(str, shape)) for shape in facts["latent_shapes"])
    lines = [
        f"weights     {printable(facts['path'])}",
        f"step        {facts['step']} (phase {facts['phase']}, {'with' if facts['has_flow'] else 'no'} latent flow)",
        f"images      {height}x{width}, {'grey' if facts['channels'] == 1 else 'colour'}",
        f"labels      {_labels_line(facts, len(facts['labels']) if verbose else NUM_LISTED)}",
        f"parameters  {facts['parameters']:,}",
        f"latents     {shapes} (channels x height x width)",
        f"preset      {facts['config']['preset']}",
    ]
    if verbose:
        from vae_cli.config import CompleteConfig, from_dict
        from vae_cli.config_layers import dump_yaml

        lines += ["", dump_yaml(from_dict(facts["config"], CompleteConfig)).rstrip()]
    return lines


def _labels_line(facts: dict[str, Any], limit: int) -> str:
    """Labels with their numbers of training images, as far as the file knows them."""
    names, counts = facts["labels"], facts["label_images"] or {}
    if not names:
        return "none"
    listed = [f"{printable(name)} ({counts[name]})" if name in counts else printable(name) for name in names[:limit]]
    rest = f", … {len(names)} in all" if len(names) > limit else ""
    unlabelled = f"; {facts['unlabelled_images']} images without" if facts["unlabelled_images"] else ""
    return ", ".join(listed) + rest + unlabelled


def _machine_facts(device: str) -> dict[str, Any]:
    import platform

    from vae_cli.runtime import pick_device, pick_dtype

    chosen = pick_device(device)
    return {
        "versions": {"vae-cli": __version__, "python": platform.python_version(), **_package_versions()},
        "platform": platform.platform(),
        "devices": _devices(),
        "device": str(chosen),
        "precision": str(pick_dtype(chosen)).removeprefix("torch."),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
    }


def _package_versions() -> dict[str, str | None]:
    from importlib import metadata

    found: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _devices() -> list[dict[str, Any]]:
    import platform

    import torch

    devices: list[dict[str, Any]] = [{"name": "cpu", "description": platform.processor() or platform.machine()}]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory
        devices.append({"name": f"cuda:{index}", "description": properties.name, "memory_bytes": memory})
    if torch.backends.mps.is_available():
        devices.append({"name": "mps", "description": "Apple GPU"})
    return devices


def _memory_bytes() -> int | None:
    """This machine's main memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _machine_lines(facts: dict[str, Any]) -> list[str]:
    memory = f"{facts['memory_bytes'] / _GIB:.1f} GiB" if facts["memory_bytes"] else "unknown"
    lines = [f"{name:<12} {version or 'not installed'}" for name, version in facts["versions"].items()]
    lines += [f"{'platform':<12} {facts['platform']}", f"{'cores':<12} {facts['cores']}", f"{'memory':<12} {memory}"]
    for device in facts["devices"]:
        room = f", {device['memory_bytes'] / _GIB:.1f} GiB" if "memory_bytes" in device else ""
        lines.append(f"{'device':<12} {device['name']} ({device['description']}{room})")
    return [*lines, f"{'auto':<12} {facts['device']} in {facts['precision']}"]
