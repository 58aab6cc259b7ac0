"""What a new run starts from: weights drawn anew, or those of an earlier model as far as they fit (`training.init`)."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vae_cli import pretrained
from vae_cli.autoencoder_folder import autoencoder_folder, read_spec, read_tensors
from vae_cli.checkpoint import read_facts, read_model, weights_under
from vae_cli.checkpoint_folders import resolve_run
from vae_cli.config import SMALL_SIDE, CompleteConfig, CompleteModel, LatentSpec, ModelConfig, RunConfig
from vae_cli.config_autoencoder import AutoencoderKL
from vae_cli.errors import ConfigError
from vae_cli.model.clusters import config_has_layouts
from vae_cli.model.flow import LatentFlow
from vae_cli.model.pretrained_vae import PretrainedVAE
from vae_cli.model.vae import VAE, auto_latents, coarsest_stride

AUTO_WIDTH = 32  # channels at half resolution that keep an update affordable on a CPU
LEAST_SIDE = 48  # pixels from which on colour images are taken for photographs
NUM_CLUSTERS, NUM_LAYOUTS = 256, 2048  # that samples start from, at most; see `clusters`
TOKEN_STRIDE = 8  # pixels that a token of a transformer is wide and high
LABELS = "velocity_net.embed_label.weight"


Earlier = CompleteModel | AutoencoderKL | None
"""What a run starts from: a model of ours, an autoencoder that was made elsewhere, or nothing."""


def settled_init(config: RunConfig, size: tuple[int, int], channels: int) -> tuple[str, Earlier]:
    """The completed `training.init` for images of this size, and what it names. Raises as `read_facts`.

    A complete configuration has taken from that model what it needs, so that the model may be gone.
    """
    init = config.training.init
    if isinstance(config, CompleteConfig):
        return init, None
    if init == "auto":
        is_open = config.model.model_copy(update={"likelihood": ModelConfig().likelihood}) == ModelConfig()
        is_fit = is_open and channels == 3 and min(size) >= LEAST_SIDE and config.training.flow_share != 0
        init = "none"
        if is_fit and pretrained.PHOTO.exists():  # even where the user's images lie in a folder of that name
            init = pretrained.NAME if pretrained.is_photo(Path(pretrained.NAME)) else str(pretrained.PHOTO)
    if init == "none":
        return init, None
    if folder := autoencoder_folder(Path(init)):
        return str(folder.absolute()), read_spec(folder)
    path = resolve_run(Path(init))
    return init if init == pretrained.NAME else str(path.absolute()), read_facts(path).config.model


def settled_training(config: RunConfig, init: str, earlier: Earlier) -> dict[str, Any]:
    """`training.init` and, where the VAE stays as it is, all of the budget for the flow. Raises ConfigError where
    nothing would be trained, or nothing is there that could stay as it is."""
    nets = earlier.nets if isinstance(earlier, CompleteModel) else earlier or config.model.nets
    is_foreign, training = isinstance(nets, AutoencoderKL), config.training
    if is_foreign and init == "none":
        raise ConfigError("model.nets: an AutoencoderKL comes from a folder; name it with --init")
    if training.tune_vae and not is_foreign:
        raise ConfigError(
            "training.tune_vae: only for --init FOLDER of an AutoencoderKL; other VAEs are always trained"
        )
    if not is_foreign or training.tune_vae:
        return {"init": init}
    if training.flow_share == 0:
        raise ConfigError("training.flow_share: 0, and the VAE stays as it is, so nothing would be trained;",
                          "set training.tune_vae=true to train the VAE")  # fmt: skip
    return {"init": init, "flow_share": 1.0}


def settled_latents(model: ModelConfig, size: tuple[int, int], channels: int, earlier: Earlier) -> Sequence[LatentSpec]:
    """As they are set, else as in the earlier model, else by the size of the images."""
    if model.latents != "auto":
        return model.latents
    if isinstance(earlier, AutoencoderKL):
        return (LatentSpec(stride=earlier.stride, layers=1, channels=earlier.latent_channels),)
    return auto_latents(size, channels) if earlier is None else earlier.latents


def settled_model(model: ModelConfig, size: tuple[int, int], channels: int, earlier: Earlier) -> dict[str, Any]:
    """What the settings of the model leave open: as in the earlier model, else by the size of the images."""
    latents = settled_latents(model, size, channels, earlier)
    if isinstance(earlier, CompleteModel):
        found = earlier.model_dump(mode="json", include={"nets": True, "latents": True, "width": True,
                                                         "flow": {"net", "width", "blocks", "patch"}})  # fmt: skip
    else:
        nets = model.nets if earlier is None else earlier
        found = {"nets": nets.model_dump(mode="json"), "latents": [spec.model_dump() for spec in latents],
                 "width": AUTO_WIDTH, "flow": auto_flow(latents, size)}  # fmt: skip
    if found["nets"]["kind"] != "ladder" and model.likelihood.kind == "auto":
        found["likelihood"] = {"kind": "gaussian"}
    found["flow"]["clusters"] = NUM_LAYOUTS if config_has_layouts(latents, size) else NUM_CLUSTERS
    own = model.model_dump(mode="json")
    chosen = {name: own[name] for name in ("latents", "width") if own[name] != "auto"}
    return found | chosen | {"flow": found["flow"] | {
        name: own["flow"][name] for name in found["flow"] if own["flow"][name] != "auto"}}  # fmt: skip


def auto_flow(latents: Sequence[LatentSpec], image_size: tuple[int, int]) -> dict[str, Any]:
    """The flow's network: small images are best learned in many quick updates, photographs in fewer and richer ones."""
    if any(spec.stride == "global" for spec in latents):
        return {"net": "transformer", "width": 128, "blocks": 3, "patch": 1}
    if max(image_size) <= SMALL_SIDE:
        return {"net": "unet", "width": 64, "blocks": 2, "patch": 1}
    patch = max(1, TOKEN_STRIDE // coarsest_stride(latents, image_size))  # an update costs by the number of tokens
    return {"net": "transformer", "width": 256, "blocks": 6, "patch": patch}


def take_over(init: str, vae: VAE, flow: LatentFlow | None) -> list[str]:
    """Copy the weights that fit into modules whose weights were drawn anew; returns what starts anew, in words.

    Only what is learned is taken over. Statistics, clusters and calibration belong to the images and are found again;
    every label begins as the earlier model's "no label". Raises CheckpointError for a damaged file, ConfigError for one
    that is gone.
    """
    if isinstance(vae, PretrainedVAE) and (folder := autoencoder_folder(Path(init))):
        vae.net.load_state_dict(read_tensors(folder, read_spec(folder)))
        return []
    if not pretrained.is_photo(Path(init)) and not os.path.exists(init):  # Path raises for a name that is too long
        raise ConfigError(f"training.init: {init} is gone, and this run is to start from it; put it back")
    _, _, tensors = read_model(Path(init))
    found = [_copy(vae, "vae.", tensors)]
    if flow is not None:
        labels = tensors.get(f"flow.{LABELS}")
        if labels is not None:
            count = flow.velocity_net.embed_label.num_embeddings
            tensors[f"flow.{LABELS}"] = labels[-1:].expand(count, -1)
        found.append(_copy(flow, "flow.", tensors))
    return [words for words in found if words]


@torch.no_grad()
def _copy(module: nn.Module, prefix: str, tensors: Mapping[str, Tensor]) -> str:
    own, given = dict(module.named_parameters()), weights_under(prefix, tensors)
    anew: dict[str, int] = {}
    for name, parameter in own.items():
        if name in given and given[name].shape == parameter.shape:
            parameter.copy_(given[name])
        else:
            part = ".".join(name.split(".")[:2])
            anew[part] = anew.get(part, 0) + parameter.numel()
    if not anew:
        return ""
    share = sum(anew.values()) / sum(parameter.numel() for parameter in own.values())
    what = "all of it" if share == 1 else ", ".join(anew)
    return f"{prefix.removesuffix('.')}: {share:.0%} of the weights do not fit and start anew ({what})"
