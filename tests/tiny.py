"""Models, settings and pictures small enough for tests; every number that matters is given, no default taken."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vae_cli.checkpoint import Facts, Model, named_weights, read_weights, weights_file
from vae_cli.checkpoint_folders import FACTS, seal
from vae_cli.config import CompleteConfig, Layer, from_dict, merge
from vae_cli.config_layers import resolve_config
from vae_cli.dataset.cache import ImageSet
from vae_cli.images.pixels import to_unit
from vae_cli.model.flow import LatentFlow, build_flow
from vae_cli.model.ladder import LatentLayer
from vae_cli.model.vae import VAE, build_vae
from vae_cli.runtime import Runtime
from vae_cli.tasks.inpaint import Picture, inpaint
from vae_cli.training.inputs import TrainingInputs

CPU = Runtime(torch.device("cpu"))
GRID = ({"stride": 4, "layers": 1, "channels": 2},)
VECTOR = ({"stride": "global", "layers": 1, "channels": 3},)
LADDER = (
    {"stride": "global", "layers": 1, "channels": 3},
    {"stride": 4, "layers": 2, "channels": 2},
    {"stride": 2, "layers": 1, "channels": 1},
)
BASE: Layer = {
    "data": {"image_size": [8, 8], "channels": 1},
    "model": {
        "latents": list(GRID), "width": 8, "blocks": 1, "dropout": 0.0, "likelihood": {"kind": "gaussian"},
        "flow": {"net": "transformer", "width": 16, "blocks": 1, "patch": 1, "clusters": 256, "solver_steps": 3,
                 "refiner_width": 8},
    },
    "objective": {"kl_weight": 1.0, "kl_warmup_steps": 3, "free_nats": 0.0},
    "training": {
        "batch_size": 4, "learning_rate": 1e-3, "flow_learning_rate": 1e-3, "warmup_steps": 2, "decay_share": 0.4,
        "steps": 6, "flow_share": 0.5, "save_every": 100, "validate_every": 100, "log_every": 1, "preview_every": 100,
        "ema_decay": 0.9, "seed": 5, "precision": "float32", "threads": 1, "init": "none",
    },
}  # fmt: skip


def tiny_config(*layers: Layer) -> CompleteConfig:
    """A complete configuration: 8×8 grey, one 2×2×2 grid, 3 + 3 steps, with the given differences."""
    settings = BASE
    for layer in layers:
        settings = merge(settings, layer)
    return from_dict(resolve_config(preset="tiny", options=settings).as_dict(), CompleteConfig)


def pictures(num: int, size: tuple[int, int] = (8, 8), channels: int = 1, seed: int = 0) -> np.ndarray:
    """uint8 [num, H, W, channels]: a bright rectangle on a slope, different for each; both ends of the range occur."""
    random = np.random.default_rng(seed)
    height, width = size
    slope = np.linspace(0, 90, width)[None, :, None] + np.zeros((height, 1, channels))
    found = np.empty((num, height, width, channels), np.uint8)
    for picture in found:
        picture[:] = slope * random.random(channels)
        top, left = random.integers(0, height // 2), random.integers(0, width // 2)
        picture[top : top + height // 2, left : left + width // 2] = random.integers(150, 256, channels)
    return found


def image_set(num: int, size: tuple[int, int] = (8, 8), channels: int = 1, *, num_labels: int = 0) -> ImageSet:
    labels = np.arange(num) % num_labels if num_labels else np.full(num, -1)
    pixels = pictures(num, size, channels)
    return ImageSet(pixels, tuple(f"{number:03d}.png" for number in range(num)), labels.astype(np.int64))


def tiny_inputs(config: CompleteConfig, *, num_labels: int = 0, runtime: Runtime = CPU) -> TrainingInputs:
    """Ten images to train on, three held out."""
    size, channels = config.data.image_size, config.data.channels
    train, held_out = (image_set(num, size, channels, num_labels=num_labels) for num in (10, 3))
    return TrainingInputs(config, train, held_out, tuple("abcdefgh"[:num_labels]), runtime)


def randomised(module: nn.Module, scale: float = 0.5, seed: int = 0) -> nn.Module:
    """The module with no weight left at zero: a zero-initialised net hides every error behind it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 1
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
    return module


def tiny_vae(*layers: Layer) -> VAE:
    """In eval mode, with random weights everywhere."""
    vae = build_vae(tiny_config(*layers))
    randomised(vae, 0.3)
    return vae.eval()


def tiny_flow(*layers: Layer, num_labels: int = 0) -> tuple[VAE, LatentFlow]:
    """A VAE and a flow on it, both with random weights and odd latent statistics; its fills are trusted."""
    vae = tiny_vae(*layers)
    flow = build_flow(tiny_config(*layers), vae.latent_shapes[0], num_labels)
    randomised(flow, 0.3, seed=1)
    num = vae.latent_shapes[0][0]
    flow.set_statistics(torch.linspace(-1, 2, num), torch.linspace(0.5, 3, num))
    flow.fill_weight.fill_(1)
    if flow.sees_patches:
        flow.patch_fill_weight.fill_(1)
    return vae, flow.eval()


def tiny_model(*layers: Layer, has_flow: bool = True, num_labels: int = 0) -> Model:
    """A loaded model that was never trained but whose every weight matters."""
    vae, flow = tiny_flow(*layers, num_labels=num_labels)
    for module in (vae, flow):
        module.requires_grad_(False)
    phase = "flow" if has_flow else "vae"
    facts = Facts(tiny_config(*layers), tuple("abcdefgh"[:num_labels]), (1,) * num_labels + (0,), 6, phase)
    return Model(facts, vae, flow if has_flow else None, Path("run"), CPU)


@torch.no_grad()
def vivid(model: Model) -> Model:
    """The model itself, its latents and pictures now so rich in contrast that every difference shows."""
    vae = model.vae
    first = next(layer for layer in vae.ladder.modules() if isinstance(layer, LatentLayer))
    first.posterior_net[-1].weight[: first.channels].mul_(30)
    first.absorb_net.weight.mul_(3)
    decoded = vae.decode(vae.encode(to_unit(pictures(6, vae.image_size, vae.channels))))
    last, factor = vae.ladder.head[-1], 0.5 / decoded.std()
    last.weight.mul_(factor)
    last.bias.sub_(decoded.mean()).mul_(factor)
    return model


def filled(model: Model) -> np.ndarray:
    """uint8 [8, 8, 1]: a picture whose left half is missing, filled by the model."""
    hole = np.zeros((8, 8), bool)
    hole[:, :4] = True
    fill = next(inpaint(model, [Picture("a", pictures(1)[0], hole)], seed=3, solver_steps=3))
    return np.where(hole[:, :, None], fill.pixels, 0).round().astype(np.uint8)


def same_tensors(a: Any, b: Any) -> bool:
    """Whether two dictionaries of tensors agree bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rewritten(weights: Path, layer: Layer) -> None:
    """A weights file gets another configuration, soundly: only an edit that breaks its checksum is damage."""
    facts, tensors = read_weights(weights)
    weights.write_bytes(weights_file(replace(facts, config=facts.config.updated(layer)), tensors))


def resealed(folder: Path) -> None:
    """The description of a checkpoint folder gets the checksums of the files that are there now."""
    facts = json.loads((folder / FACTS).read_text())
    facts["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in facts["files"]}
    facts.pop("sha256")
    (folder / FACTS).write_text(json.dumps(facts | {"sha256": seal(facts)}))


def weights_of(vae: VAE, flow: LatentFlow | None) -> dict[str, torch.Tensor]:
    """All weights in one dictionary, as a checkpoint holds them."""
    return named_weights(vae.state_dict(), None if flow is None else flow.state_dict())
