"""Two models that were never trained but whose every weight matters, drawn alike on every machine."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from vae_cli.checkpoint import WEIGHTS, Facts, named_weights, write_checkpoint
from vae_cli.config import CompleteConfig, Layer, from_dict
from vae_cli.config_layers import resolve_config
from vae_cli.model.flow import LatentFlow, build_flow
from vae_cli.model.vae import build_vae

LABELS, IMAGES_OF_LABELS = ("cat", "dog"), (7, 9, 0)
SETTINGS: dict[str, Layer] = {
    "tiny": {
        "data": {"image_size": [16, 16], "channels": 1},
        "model": {"latents": [{"stride": 4, "layers": 1, "channels": 4}], "width": 16,
                  "flow": {"net": "unet", "patch": 1, "clusters": 256}},
    },
    "small": {
        "data": {"image_size": [32, 32], "channels": 3, "patches": 8},
        "model": {"latents": [{"stride": 8, "layers": 1, "channels": 8}, {"stride": 4, "layers": 1, "channels": 2}],
                  "width": 32, "flow": {"net": "transformer", "width": 256, "blocks": 6, "patch": 2, "clusters": 256}},
        "objective": {"latent_noise": 0.3},
    },
}  # fmt: skip
"""By preset: what the data would have settled."""


def write_model(preset: str, folder: Path) -> Path:
    """A checkpoint of the preset's model with labels and a flow; returns its weights file."""
    fixed = {"model": {"likelihood": {"kind": "gaussian"}},
             "training": {"precision": "float32", "threads": 1, "flow_share": 0.6}}  # fmt: skip
    settings = resolve_config(preset=preset, options=SETTINGS[preset]).updated(fixed)
    config = from_dict(settings.as_dict(), CompleteConfig)
    torch.manual_seed(0)
    vae = build_vae(config)
    flow = build_flow(config, vae.latent_shapes[0], len(LABELS))
    random = np.random.default_rng(0)
    for module in (vae, flow):
        _draw_weights(module, random)
    with torch.no_grad():
        vae.last_weight.mul_(20)  # pictures so rich in contrast that every difference of latents shows
    _draw_buffers(flow, random)
    facts = Facts(config, LABELS, IMAGES_OF_LABELS, 7, "flow")
    write_checkpoint(folder / preset, facts, named_weights(vae.state_dict(), flow.state_dict()), None)
    return folder / preset / WEIGHTS


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(random.standard_normal(shape).astype(np.float32))


@torch.no_grad()
def _draw_weights(module: nn.Module, random: np.random.Generator) -> None:
    """Matrices that keep the size of what they are given, half as strong; vectors near where they start."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.copy_(0.5 * _normal(random, parameter.shape) / parameter[0].numel() ** 0.5)
        else:
            parameter.add_(0.1 * _normal(random, parameter.shape))


@torch.no_grad()
def _draw_buffers(flow: LatentFlow, random: np.random.Generator) -> None:
    """What training would have measured."""
    channels = flow.shape[0]
    flow.set_statistics(torch.linspace(-0.5, 0.5, channels), torch.linspace(0.8, 1.5, channels))
    flow.centroids.copy_(_normal(random, flow.centroids.shape))
    counts = torch.from_numpy(random.integers(0, 5, (len(LABELS), flow.centroids.shape[0]))).float()
    flow.cluster_counts.copy_(torch.cat([counts, counts.sum(0, keepdim=True)]))
    flow.noise_scale.fill_(1.03)
    flow.fill_weight.copy_(torch.from_numpy(random.random(flow.fill_weight.shape)))
    if flow.sees_patches:
        flow.patch_fill_weight.copy_(torch.from_numpy(random.random(flow.fill_weight.shape)))
        flow.most_zoom.fill_(2)
