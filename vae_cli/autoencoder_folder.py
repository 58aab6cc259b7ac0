"""Folders in the layout of diffusers' AutoencoderKL: `config.json` beside `diffusion_pytorch_model.safetensors`.

They are strangers' files: nothing in them runs, nothing is fetched, and nothing is made of a size that they choose
unless the tensors have the shapes of the networks that they describe.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vae_cli.atomic import read_bounded
from vae_cli.config import known_keys
from vae_cli.config_autoencoder import AutoencoderKL
from vae_cli.config_values import explanations
from vae_cli.errors import CheckpointError
from vae_cli.model.pretrained_vae import build_net
from vae_cli.printable import shortened

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
_CLASS = "AutoencoderKL"
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Of attention in files of before 2023, such as those of Stable Diffusion 1."""
_MAX_CONFIG_BYTES = 2**20


def autoencoder_folder(path: Path) -> Path | None:
    """The folder with the autoencoder that a path names: itself, or `vae/` in that of a whole pipeline; else None."""
    return next((folder for folder in (path, path / "vae") if os.path.isfile(folder / WEIGHTS)), None)


def read_spec(folder: Path) -> AutoencoderKL:
    """What the networks are like. Raises CheckpointError."""
    path = folder / CONFIG
    try:
        settings = json.loads(read_bounded(path, _MAX_CONFIG_BYTES))
        if (name := settings.get("_class_name")) != _CLASS:
            raise ValueError(f"of class {shortened(name)}, and only {_CLASS} can be used")
        return AutoencoderKL(**{key: value for key, value in settings.items() if not key.startswith("_")})
    except ValidationError as error:
        problem = explanations(error.errors()[:50], known_keys(AutoencoderKL))[0]
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        problem = getattr(error, "strerror", None) or str(error)
    raise CheckpointError(f"{path}: not the description of an autoencoder that can be used: {problem}")


def read_tensors(folder: Path, spec: AutoencoderKL) -> dict[str, Tensor]:
    """The weights, float32, by the names that the networks of `spec` have. Raises CheckpointError, ConfigError."""
    path = folder / WEIGHTS
    try:
        with torch.device("meta"):
            wanted = {name: list(tensor.shape) for name, tensor in build_net(spec).state_dict().items()}
        with safe_open(path, framework="pt") as file:
            names = {_present_name(name): name for name in file.keys()}  # noqa: SIM118 - no dictionary
            pieces = {name: file.get_slice(stored) for name, stored in names.items()}
            if not all(piece.get_dtype() in ("F32", "F16", "BF16") for piece in pieces.values()):
                raise ValueError("numbers of another kind than float32, float16 and bfloat16")
            if wanted != {name: piece.get_shape() for name, piece in pieces.items()}:
                raise ValueError(f"the weights do not fit the networks that {CONFIG} describes")
            tensors = {name: file.get_tensor(stored).float() for name, stored in names.items()}
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise ValueError("some weights are not finite")
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    return tensors


def _present_name(name: str) -> str:
    before, dot, last = name.rpartition(".")
    block, _, part = before.rpartition(".")
    return f"{block}.{_OLD_NAMES[part]}{dot}{last}" if part in _OLD_NAMES and ".attentions." in name else name


def folder_files(spec: AutoencoderKL, tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    """The files of a folder by their names, as diffusers itself would write them."""
    settings = {"_class_name": _CLASS, **spec.model_dump(mode="json", exclude={"kind"})}
    return {CONFIG: json.dumps(settings, indent=2).encode(), WEIGHTS: save(dict(tensors), metadata={"format": "pt"})}
