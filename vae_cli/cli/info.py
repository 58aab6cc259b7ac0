"""`vae info`: a run's facts; without a run the machine's."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vae_cli.cli import completion, options
from vae_cli.cli.results import Results, print_json, say
from vae_cli.printable import printable, shell_quoted

_GIB = 2**30
NUM_LISTED = 20
"""Labels that are named without --verbose."""


def info(
    context: typer.Context,
    run: Annotated[Path | None, typer.Argument(
        metavar="[RUN]", autocompletion=completion.runs, callback=options.existing_run,
        help="As in other commands; none = this machine.")] = None,
) -> None:  # fmt: skip
    """Tell the facts about a run, or about this machine.

    Example: vae info runs/photos
    """
    results: Results = context.obj
    from vae_cli.jobs.info import machine_facts, run_facts

    facts = machine_facts(results.device) if run is None else run_facts(run)
    if results.as_json:
        print_json("info", "ok", **facts)
    else:
        say("\n".join(_machine_lines(facts) if run is None else _run_lines(facts, verbose=results.messages.verbose)))
    results.messages.next_step(f"vae sample {shell_quoted(run)} -n 64 --out grid.png" if run else "vae train DATA")


def _run_lines(facts: dict[str, Any], *, verbose: bool) -> list[str]:
    height, width = facts["image_size"]
    share = facts["fill_share"]
    fills = "none: it has no flow" if share is None else (
        f"the model's part in them is {share:.0%}; the rest continues what is around a hole")  # fmt: skip
    shapes = ", ".join("x".join(map(str, shape)) for shape in facts["latent_shapes"])
    lines = [
        f"weights     {printable(facts['path'])}",
        f"step        {facts['step']} (phase {facts['phase']}, {'with' if facts['has_flow'] else 'no'} latent flow)",
        f"images      {height}x{width}, {'grey' if facts['channels'] == 1 else 'colour'}",
        f"labels      {_labels_line(facts, len(facts['labels']) if verbose else NUM_LISTED)}",
        f"parameters  {facts['parameters']:,}",
        f"latents     {shapes} (channels x height x width)",
        f"fills       {fills}",
        f"preset      {printable(facts['config']['preset'])}",
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


def _machine_lines(facts: dict[str, Any]) -> list[str]:
    memory = f"{facts['memory_bytes'] / _GIB:.1f} GiB" if facts["memory_bytes"] else "unknown"
    rows = [(name, version or "not installed") for name, version in facts["versions"].items()]
    rows += [("platform", facts["platform"]), ("cores", facts["cores"]), ("memory", memory)]
    for device in facts["devices"]:
        room = f", {device['memory_bytes'] / _GIB:.1f} GiB" if "memory_bytes" in device else ""
        rows.append(("device", f"{device['name']} ({device['description']}{room})"))
    return [f"{name:<12} {value}" for name, value in (*rows, ("auto", f"{facts['device']} in {facts['precision']}"))]
