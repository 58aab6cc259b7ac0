"""`vae export`: a model as one file, for other programs or other machines."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vae_cli.cli import loading, options, output
from vae_cli.cli.progress import Messages
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError
from vae_cli.printable import printable, shell_quoted

ONNX, SAFETENSORS = ".onnx", ".safetensors"


def export(
    run: options.Run,
    part: Annotated[
        Literal["encoder", "decoder"] | None,
        typer.Option("--part", help="This part as an ONNX file.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="A .onnx or .safetensors file, or a folder; default: in RUN.",
                     show_default=False),
    ] = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 64,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:  # fmt: skip
    """Write a model as one file.

    A .safetensors file holds the whole model, the best weights with their configuration, and may stand for RUN in every
    command. An .onnx file holds the encoder or the decoder (without --part the decoder), float32, for programs without
    torch: images are [N, C, H, W] in 0..1, latents as `vae encode` writes them. It needs the [onnx] extra.

    Example: vae export runs/photos --part decoder --out decoder.onnx
    """
    results = Results("export", Messages(quiet=quiet, verbose=verbose), as_json=json)
    loading.require_run(run)
    loading.require_device(device)
    path = _target(out, run, part)
    output.refuse_existing([path], overwrite=overwrite)
    if path.suffix.lower() == SAFETENSORS:
        source = _write_whole(run, path)
        results.written(str(source), path)
        results.finish(f"vae info {shell_quoted(path)}")
        return
    from vae_cli.atomic import write_atomically
    from vae_cli.checkpoint import load_model
    from vae_cli.runtime import make_runtime, pick_device
    from vae_cli.tasks.export import to_onnx

    # on the CPU always: the graph is the same whatever the device
    model = load_model(run, make_runtime(pick_device("cpu"), "float32"))
    write_atomically(path, to_onnx(model, part or "decoder"))
    results.written(str(model.path), path)
    results.messages.note(_how_to_run(path, part or "decoder"))
    results.finish(f"vae export {shell_quoted(run)} --part {'decoder' if part == 'encoder' else 'encoder'}")


def _target(out: Path | None, run: Path, part: str | None) -> Path:
    """The file to write. Raises ConfigError for other kinds of files, and for a part of a whole."""
    folder = output.run_folder(run)
    name = f"{part}{ONNX}" if part else f"{folder.resolve().name}{SAFETENSORS}"
    if out is None or (not out.suffix or out.is_dir()):
        return (out or folder) / name
    if out.suffix.lower() not in (ONNX, SAFETENSORS):
        raise ConfigError(f"--out {out}: give a file that ends in {ONNX} or {SAFETENSORS}, or a folder")
    if part and out.suffix.lower() == SAFETENSORS:
        raise ConfigError(
            f"--part {part}: a {SAFETENSORS} file holds the whole model; leave --part out, or name {ONNX}"
        )
    return out


def _write_whole(run: Path, path: Path) -> Path:
    """Copies the weights that RUN stands for, proved whole; returns where they lay.

    Raises CheckpointError, WriteError.
    """
    from vae_cli.atomic import write_atomically
    from vae_cli.checkpoint import read_weights, resolve_run, weights_file

    source = resolve_run(run)
    write_atomically(path, weights_file(*read_weights(source)))
    return source


def _how_to_run(path: Path, part: str) -> str:
    given = "images" if part == "encoder" else "latents"
    return f'in Python: onnxruntime.InferenceSession("{printable(path)}").run(None, {{"{given}": …}})'
