"""`vae interpolate`: walk between images."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vae_cli.cli import options
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError
from vae_cli.jobs.inputs import require
from vae_cli.jobs.outputs import Target, default_folder, own_folder
from vae_cli.printable import shell_quoted


def interpolate(
    context: typer.Context, run: options.Run,
    images: Annotated[list[Path] | None, typer.Argument(metavar="IMAGE", help="Image files to walk between.")] = None,
    from_samples: Annotated[str | None, typer.Option(
        metavar="I,J[,K...]", help="Walk between these images of `vae sample` with the same seed.")] = None,
    steps: Annotated[int | None, typer.Option(
        min=2, max=10_000, metavar="N", help="Frames a segment, both ends counted; 9 for a strip, else 30.")] = None,
    mode: Annotated[Literal["slerp", "lerp"], options.tuning(
        help="slerp: arcs through the flow's noise, every frame as real as a sample; lerp: lines through the latents, "
        "smooth even between unlike things.")] = "slerp",
    loop: Annotated[bool, options.tuning("--loop", help="Walk back to the first image at the end.")] = False,
    fps: Annotated[float, options.tuning(
        metavar="N", min=0.1, max=100.0, help="Frames a second of an animation.")] = 15.0,
    out: options.Out = None,
    batch_size: options.BatchSize = 64, seed: options.Seed = 0, overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Walk between two or more images.

    --out walk.png is a strip, walk.gif or walk.webp an animation, anything else a folder of frames; without it frames
    go to <IMAGE>-interpolate beside the first image, or to RUN/interpolate/.

    Example: vae interpolate runs/photos a.jpg b.jpg --out walk.gif
    """
    results: Results = context.obj
    ends = images or []
    if bool(ends) == (from_samples is not None):
        raise ConfigError("interpolate: give either image files (A B) or --from-samples 3,7")
    try:
        numbers = [int(part) for part in (from_samples or "").split(",") if part.strip()]
    except ValueError as error:
        raise ConfigError(f"--from-samples {from_samples}: expected numbers such as 3,7") from error
    if len(ends or numbers) < 2 or min(numbers, default=0) < 0:
        raise ConfigError(
            "interpolate: two or more image files are needed, or two numbers from 0 on for --from-samples"
        )
    folder = default_folder(ends[0], "interpolate") if ends else own_folder(run, "interpolate")
    target = Target(out, folder, overwrite, batch_size)
    is_strip = target.is_one_file and target.out is not None and target.out.suffix.lower() not in (".gif", ".webp")
    steps = steps or (9 if is_strip else 30)
    for path in ends:
        require(path, "no such file")
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder; name image files to walk between")
    paths = target.paths((len(ends or numbers) - 1 + loop) * (steps - 1) + 1)
    from vae_cli.jobs import interpolate as job

    walk = job.Walk(ends, numbers, seed, steps, mode, loop, fps, is_strip)
    facts = results.show(job.interpolate(results.open_model(run), walk, paths, target))
    results.finish(f"vae sample {shell_quoted(run)} -n 64 --out grid.png", **facts)
