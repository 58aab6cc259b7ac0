"""Options that several commands share, declared once. Commands use them as plain annotations."""

from pathlib import Path
from typing import Annotated

import typer

COMMON = "Common options"


def _existing_device(name: str) -> str:
    """The name of a device that this machine has. Raises ConfigError, also in commands that compute nothing."""
    if name not in ("auto", "cpu"):  # which torch need not be loaded for
        from vae_cli.runtime import pick_device

        pick_device(name)
    return name


Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder, checkpoint folder or .safetensors file.", show_default=False)
]
Inputs = Annotated[list[Path], typer.Argument(metavar="INPUT", help="Image files or folders (searched recursively).")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="PATH", help="With an image suffix one file, else a folder.",
                 show_default=False),
]  # fmt: skip
SolverSteps = Annotated[
    int | None,
    typer.Option("--solver-steps", min=1, metavar="N", help="Steps of the flow's solver; default from the model."),
]
Format = Annotated[str, typer.Option("--format", metavar="NAME", help="keep, png, tiff, jpg, ...")]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave out what is there already, to go on after a stop.")
]

Device = Annotated[
    str,
    typer.Option("--device", metavar="NAME", rich_help_panel=COMMON, help="auto, cpu, cuda, cuda:N or mps.",
                 callback=_existing_device),
]  # fmt: skip
BatchSize = Annotated[
    int,
    typer.Option("--batch-size", min=1, metavar="N", rich_help_panel=COMMON,
                 help="Images read or drawn at a time; changes memory and speed, never a result."),
]  # fmt: skip
Seed = Annotated[
    int,
    typer.Option("--seed", min=0, max=2**63 - 1, metavar="N", rich_help_panel=COMMON, help="Same seed, same result."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", rich_help_panel=COMMON, help="Replace files that exist.")]
Json = Annotated[bool, typer.Option("--json", rich_help_panel=COMMON, help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", rich_help_panel=COMMON, help="No progress and no notes.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", rich_help_panel=COMMON, help="Say more.")]
Debug = Annotated[bool, typer.Option("--debug", rich_help_panel=COMMON, help="Show the traceback of an error.")]
