"""Options that several commands share, declared once. Commands use them as plain annotations."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vae_cli.cli import completion

TUNING, COMMON = "Tuning", "Common options"
"""Panels of the help, below the usual options."""


def _existing_device(name: str) -> str:
    """The name of a device that this machine has. Raises ConfigError, also in commands that compute nothing."""
    if name not in ("auto", "cpu"):  # which torch need not be loaded for
        from vae_cli.runtime import pick_device

        pick_device(name)
    return name


def existing(path: Path | None) -> Path | None:
    """Raises ConfigError when there is nothing at a path that was given."""
    from vae_cli.jobs.inputs import require

    if path is not None:
        require(path)
    return path


def existing_run(run: Path | None) -> Path | None:
    """Raises ConfigError when a RUN that was given names no model."""
    from vae_cli.jobs.inputs import require_run

    if run is not None:
        require_run(run)
    return run


def _common(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=COMMON, **settings)


def tuning(*names: str, **settings: Any) -> Any:
    """A rarer option of a command: the help lists it below the usual ones."""
    return typer.Option(*names, rich_help_panel=TUNING, **settings)


_RUN_HELP = ("Folder that `vae train` wrote, or photo, the model that ships with vae; also a checkpoint or an exported "
             "file.")  # fmt: skip
Run = Annotated[Path, typer.Argument(
    metavar="RUN", autocompletion=completion.runs, help=_RUN_HELP, callback=existing_run)]  # fmt: skip
RunOrInput = Annotated[Path, typer.Argument(metavar="RUN", autocompletion=completion.runs, help=_RUN_HELP)]
Inputs = Annotated[list[Path], typer.Argument(metavar="INPUT", help="Image files or folders (searched recursively).")]
Out = Annotated[Path | None, typer.Option(
    "--out", "-o", metavar="PATH",
    help="Where to write: one file if it ends like an image, else a folder.")]  # fmt: skip
SolverSteps = Annotated[int | None, tuning(
    "--solver-steps", min=1, max=1000, metavar="N",
    help="In how many steps the flow makes latents of noise; default from the model.")]  # fmt: skip
Format = Annotated[str, tuning("--format", metavar="NAME", help="keep, png, tiff, jpg, ...")]
StripMetadata = Annotated[bool, tuning(
    "--strip-metadata", help="For sharing: keep only profile, orientation and resolution.")]  # fmt: skip
SkipExisting = Annotated[bool, typer.Option(
    "--skip-existing", help="Leave out what is there already, to go on after a stop.")]  # fmt: skip

Mask = Annotated[Path | None, typer.Option(
    "--mask", metavar="FILE|DIR", help="White marks the hole; a folder, zip or tar is paired by name.")]  # fmt: skip
MaskColor = Annotated[str | None, tuning(
    "--mask-color", metavar="COLOUR", help="Pixels of this colour are the hole.")]  # fmt: skip
MaskAlpha = Annotated[bool, tuning("--mask-alpha", help="Transparent pixels are the hole.")]
MaskAuto = Annotated[bool, typer.Option("--mask-auto", help="Find scratches and dust.")]
MaskPattern = Annotated[str | None, tuning(
    "--mask-pattern", metavar="NAME",
    help="What masks of a folder are called, as in '{stem}_damage.png'.")]  # fmt: skip
MaskValue = Annotated[int | None, tuning(
    "--mask-value", min=0, max=65535, metavar="N", help="This value marks the hole, not white.")]  # fmt: skip
MaskInvert = Annotated[bool, tuning("--mask-invert", help="Black marks the hole.")]
MaskDilate = Annotated[int, tuning(
    "--mask-dilate", min=0, max=10_000, metavar="PX", help="Grow the hole.")]  # fmt: skip

Device = Annotated[str, _common(
    "--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.", callback=_existing_device)]  # fmt: skip
BatchSize = Annotated[int, _common(
    "--batch-size", min=1, max=65536, metavar="N",
    help="Images read or drawn at a time; changes memory and speed, never a result.")]  # fmt: skip
Seed = Annotated[int, _common("--seed", min=0, max=2**63 - 1, metavar="N", help="Same seed, same result.")]
Overwrite = Annotated[bool, _common("--overwrite", help="Replace files that exist.")]
Json = Annotated[bool, _common("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, _common("--quiet", "-q", help="No progress and no notes.")]
Verbose = Annotated[bool, _common("--verbose", "-v", help="Say more.")]
Debug = Annotated[bool, _common("--debug", help="Show the traceback of an error, for a report of a bug.")]
