"""`vae interpolate`: walk between images."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vae_cli.cli import loading, options, output
from vae_cli.cli.inputs import decode_for, require
from vae_cli.cli.progress import Messages
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError, DataError
from vae_cli.printable import shell_quoted

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.checkpoint import Model

_STRIP_FRAMES, _ANIMATION_FRAMES = 9, 30


def interpolate(
    run: options.Run,
    images: Annotated[list[Path] | None, typer.Argument(metavar="IMAGE", help="Image files to walk between.")] = None,
    from_samples: Annotated[
        str | None,
        typer.Option(metavar="I,J[,K...]", help="Walk between these images of `vae sample` with the same seed."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="Frames a segment, both ends counted; 9 for a strip, else 30."),
    ] = None,
    mode: Annotated[
        Literal["slerp", "lerp"],
        typer.Option(help="slerp: arcs through the flow's noise, every frame as real as a sample; lerp: lines through "
                     "the latents, smooth even between unlike things."),
    ] = "slerp",
    loop: Annotated[bool, typer.Option("--loop", help="Walk back to the first image at the end.")] = False,
    fps: Annotated[
        float, typer.Option(metavar="N", min=0.1, max=100.0, help="Frames a second of an animation.")
    ] = 15.0,
    out: options.Out = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 64,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:  # fmt: skip
    """Walk between two or more images.

    --out walk.png is a strip, walk.gif or walk.webp an animation, anything else a folder of frames; without it frames
    go to <IMAGE>-interpolate beside the first image, or to RUN/interpolate/.

    Example: vae interpolate runs/photos a.jpg b.jpg --out walk.gif
    """
    results = Results("interpolate", Messages(quiet=quiet, verbose=verbose), as_json=json)
    ends = images or []
    numbers = _numbers(ends, from_samples)
    loading.require_run(run)
    _require_files(ends)
    kind = _kind(out)
    steps = steps or (_STRIP_FRAMES if kind == "strip" else _ANIMATION_FRAMES)
    num_frames = (len(ends or numbers) - 1 + loop) * (steps - 1) + 1
    folder = output.default_folder(ends[0], "interpolate") if ends else output.run_folder(run) / "interpolate"
    names = [PurePosixPath(f"{index:06d}.png") for index in range(num_frames if kind == "frames" else 1)]
    paths = output.result_paths(out, folder, names)
    output.refuse_existing(paths, overwrite=overwrite)
    model = loading.load(run, device, results.messages)
    from vae_cli.tasks import interpolate as task

    latents = task.ends_of_images(model, _decoded(ends, model)) if ends else task.ends_of_samples(model, numbers, seed)
    walk = task.interpolate(model, latents, steps=steps, mode=mode, loop=loop)
    frames = results.messages.track(walk, "interpolate", num_frames, "frames")
    drawn_with = seed if numbers else None
    _write(frames, paths, kind, fps, drawn_with, results)
    results.finish(f"vae sample {shell_quoted(run)} -n 64 --out grid.png", seed=drawn_with)


def _numbers(ends: list[Path], from_samples: str | None) -> list[int]:
    """The image numbers of --from-samples. Raises ConfigError unless there are two ends of one kind."""
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
    return numbers


def _require_files(ends: list[Path]) -> None:
    for path in ends:
        require(path, "no such file")
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder; name image files to walk between")


def _kind(out: Path | None) -> Literal["strip", "animation", "frames"]:
    if out is None or not output.is_picture(out):
        return "frames"
    return "animation" if out.suffix.lower() in output.ANIMATION_SUFFIXES else "strip"


def _decoded(ends: list[Path], model: "Model") -> "np.ndarray":
    """uint8 [M, H, W, C]; one end that cannot be used stops the walk."""
    import numpy as np

    from vae_cli.images.image_ref import ImageRef

    pixels = []
    for path in ends:
        try:
            pixels.append(decode_for(model.config.data, ImageRef(path.name, path)))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    return np.stack(pixels)


def _write(
    frames: "Iterator[np.ndarray]", paths: list[Path], kind: str, fps: float, seed: int | None, results: Results
) -> None:
    """seed: of ends that were drawn; None for those of images."""
    if kind == "strip":
        row = list(frames)
        output.save_picture(output.grid(row, num_columns=len(row)), paths[0], seed=seed)
    elif kind == "animation":
        output.save_animation(frames, paths[0], frames_per_second=fps)
    else:
        for path, frame in zip(paths, frames, strict=True):
            output.save_picture(frame, path, seed=seed)
            results.written(None, path)
        return
    results.written(None, paths[0])
