"""Options that several commands share, declared once. Commands use them as plain annotations."""

from pathlib import Path
from typing import Annotated

import typer

COMMON = "Common options"


Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="Run folder, checkpoint folder or .safetensors file.", show_default=False),
]
Inputs = Annotated[list[Path], typer.Argument(metavar="INPUT", help="Image files or folders (searched recursively).")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="PATH", help="With an image suffix one file, else a folder.", show_default=False
    ),
]
SolverSteps = Annotated[
    int | None,
    typer.Option("--solver-steps", min=1, metavar="N", help="Steps of the flow's solver; default from the model."),
]

Device = Annotated[
    str,
    typer.Option("--device", metavar="NAME", rich_help_panel=COMMON, help="auto, cpu, cuda, cuda:N or mps."),
]
BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size",
        min=1,
        metavar="N",
        rich_help_panel=COMMON,
        help="Images computed at once by train; changes no result elsewhere.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        min=0,
        max=2**63 - 1,
        metavar="N",
        rich_help_panel=COMMON,
        help="Same seed, same result.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", rich_help_panel=COMMON, help="Replace files that exist.")]
Json = Annotated[bool, typer.Option("--json", rich_help_panel=COMMON, help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", rich_help_panel=COMMON, help="No progress and no notes.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", rich_help_panel=COMMON, help="Say more.")]
Debug = Annotated[bool, typer.Option("--debug", rich_help_panel=COMMON, help="Show the traceback of an error.")]
