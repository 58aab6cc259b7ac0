"""`vae export`: a model as one file, for other programs or other machines."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vae_cli.cli import options
from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.outputs import refuse_existing
from vae_cli.printable import printable, shell_quoted


def export(
    context: typer.Context, run: options.Run,
    part: Annotated[Literal["encoder", "decoder"] | None, typer.Option(
        "--part", help="This part as an ONNX file.")] = None,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", metavar="PATH", help="A .onnx or .safetensors file, or a folder; default: in RUN.")] = None,
    format_: Annotated[Literal["diffusers"] | None, typer.Option(
        "--format", help="A folder that diffusers loads, of a VAE that came from one.")] = None,
    bfloat16: Annotated[bool, options.tuning(
        "--bfloat16", help="A .safetensors file of half the size, its weights rounded.")] = False,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Write a model as one file.

    A .safetensors file holds the whole model, the best weights with their configuration, and may stand for RUN in every
    command; a folder given with --out also gets a model card, README.md, unless it has one. An .onnx file holds the
    encoder or the decoder (without --part the decoder), float32, for programs without torch: images are [N, C, H, W] in
    0..1, latents as `vae encode` writes them. It needs `pip install onnx onnxscript`. --format diffusers writes the VAE
    of a run that began with `vae train --init FOLDER` back in the layout of that folder.

    Example: vae export runs/photos --part decoder --out decoder.onnx
    """
    results: Results = context.obj
    from vae_cli.jobs import export as job
    from vae_cli.jobs.model_card import write_card

    if format_ and (part or bfloat16):
        raise ConfigError("--format diffusers: writes the whole VAE in float32; leave out --part and --bfloat16")
    paths = job.autoencoder_paths(out, run) if format_ else [job.export_path(out, run, part)]
    refuse_existing(paths, overwrite=overwrite)
    path, remark = paths[0], ""
    if format_:
        source, next_step = job.export_autoencoder(run, paths), f"vae train DATA --init {shell_quoted(path.parent)}"
    elif path.suffix.lower() == job.SAFETENSORS:
        source, next_step = job.export_whole(run, path, bfloat16=bfloat16), f"vae info {shell_quoted(path)}"
        if path.parent == out and (card := write_card(out, run, path.name)):
            paths.append(card)
    elif bfloat16:
        hint = f"leave it out, or name a {job.SAFETENSORS}"
        raise ConfigError(f"--bfloat16: {path.name} holds float32; {hint}")
    else:
        given, other = ("images", "decoder") if part == "encoder" else ("latents", "encoder")
        remark = f'in Python: onnxruntime.InferenceSession("{printable(path)}").run(None, {{"{given}": …}})'
        source = job.export_part(run, path, part or "decoder")
        next_step = f"vae export {shell_quoted(run)} --part {other}"
    for written in paths:
        results.take(FileDone(str(source), "ok", written))
    if remark:
        results.messages.note(remark)
    results.finish(next_step)
