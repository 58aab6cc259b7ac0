"""A model as one file, for other programs or other machines."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vae_cli.atomic import write_atomically
from vae_cli.autoencoder_folder import CONFIG, WEIGHTS, folder_files
from vae_cli.checkpoint import digest, load_model, read_model, weights_file, weights_under
from vae_cli.config_autoencoder import AutoencoderKL
from vae_cli.errors import ConfigError
from vae_cli.jobs.outputs import own_folder, run_folder
from vae_cli.pretrained import is_photo
from vae_cli.runtime import make_runtime, pick_device
from vae_cli.tasks.export import Part, to_onnx

ONNX, SAFETENSORS = ".onnx", ".safetensors"


def export_path(out: Path | None, run: Path, part: Part | None) -> Path:
    """The file to write; its suffix says what it holds. Raises ConfigError for other kinds, and a part of a whole."""
    folder = Path() if is_photo(run) else run_folder(run)
    name = f"{part}{ONNX}" if part else f"{run if is_photo(run) else folder.resolve().name}{SAFETENSORS}"
    if out is None or (not out.suffix or out.is_dir()):
        return (out or folder) / name
    if out.suffix.lower() not in (ONNX, SAFETENSORS):
        raise ConfigError(f"--out {out}: give a file that ends in {ONNX} or {SAFETENSORS}, or a folder")
    if part and out.suffix.lower() == SAFETENSORS:
        raise ConfigError(
            f"--part {part}: a {SAFETENSORS} file holds the whole model; leave --part out, or name {ONNX}"
        )
    return out


def autoencoder_paths(out: Path | None, run: Path) -> list[Path]:
    """The files of a folder in the layout of diffusers. Raises ConfigError where `out` names a file."""
    if out is not None and out.suffix and not out.is_dir():
        raise ConfigError(f"--out {out}: give a folder for --format diffusers")
    return [(out or own_folder(run, "diffusers")) / name for name in (CONFIG, WEIGHTS)]


def export_whole(run: Path, path: Path, *, bfloat16: bool = False) -> Path:
    """Copies the weights that RUN stands for, proved whole; returns where they lay. Raises VaeError.

    bfloat16: matrices and kernels are rounded to it. What is no matrix, such as the statistics of latents, stays exact.
    """
    choice, facts, weights = read_model(run)
    if bfloat16:
        weights = {name: tensor.bfloat16() if tensor.ndim > 1 and tensor.is_floating_point() else tensor
                   for name, tensor in weights.items()}  # fmt: skip
        facts = replace(facts, weights_sha256=digest(weights))
    write_atomically(path, weights_file(facts, weights))
    return choice.path


def export_autoencoder(run: Path, files: Sequence[Path]) -> Path:
    """Writes the VAE as `autoencoder_paths` names it; returns where the model lay.

    Raises ConfigError for a VAE of our own, CheckpointError, WriteError.
    """
    choice, facts, weights = read_model(run)
    nets = facts.config.model.nets
    if not isinstance(nets, AutoencoderKL):
        raise ConfigError(f"{run}: its VAE is one of vae's own, which diffusers cannot hold; --part decoder makes ONNX")
    contents = folder_files(nets, weights_under("vae.net.", weights))
    for path in files:
        write_atomically(path, contents[path.name])
    return choice.path


def export_part(run: Path, path: Path, part: Part) -> Path:
    """Writes a part of the model as ONNX, float32; returns where the model lay.

    Raises ConfigError without the packages of the [onnx] extra, CheckpointError, WriteError.
    """
    # on the CPU always: the graph is the same whatever the device
    model = load_model(run, make_runtime(pick_device("cpu"), "float32"))
    write_atomically(path, to_onnx(model, part))
    return model.path
