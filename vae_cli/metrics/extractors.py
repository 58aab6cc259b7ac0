"""Features by which sets of pictures are compared: those of a classifier of ours, or Inception's."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vae_cli.errors import CheckpointError, ConfigError
from vae_cli.metrics import classifier
from vae_cli.runtime import load_saved

INCEPTION_FEATURES = 2048
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"  # as torch-fidelity releases it


@dataclass(frozen=True)
class Extractor:
    """Turns pictures into features; distances by different extractors cannot be compared."""

    name: str
    num_features: int
    extract: Callable[[np.ndarray], Tensor]  # uint8 [N, H, W, C] to float64 [N, num_features] on the CPU
    classify: Callable[[np.ndarray], np.ndarray] | None = None
    """uint8 [N, H, W, C] to int64 [N] class numbers, where the network is a classifier."""


def open_extractor(
    path: Path, *, channels: int, image_size: tuple[int, int], device: torch.device | None = None
) -> Extractor:
    """The feature network of a file: `.safetensors` = a classifier, anything else = Inception's weights.

    Raises ConfigError for a missing file or package and for a network made for other images, CheckpointError for a
    file that holds something else.
    """
    device = device or torch.device("cpu")
    if not path.is_file():
        raise ConfigError(f"--feature-weights {path}: no such file; `auto` trains a classifier on labelled images")
    if path.suffix.lower() != ".safetensors":
        return _inception(path, device)
    net = classifier.load_classifier(path)
    if not classifier.takes(net, channels, image_size):
        kind = f"{'grey' if channels == 1 else 'colour'} images of {image_size[0]}×{image_size[1]} pixels"
        raise ConfigError(f"--feature-weights {path}: this classifier was not made for {kind}, which this run makes")
    return of_classifier(net, path.name, device)


def of_classifier(net: nn.Sequential, name: str, device: torch.device) -> Extractor:
    """The last hidden layer of a classifier."""
    net.to(device)
    hidden = next(layer for layer in net if isinstance(layer, nn.Linear))
    extract, classify = partial(classifier.features, net), partial(classifier.predictions, net)
    return Extractor(name, hidden.out_features, extract, classify)


def _inception(path: Path, device: torch.device) -> Extractor:
    """Pooled features of the network that published FIDs are computed with, as torch-fidelity ports it."""
    try:
        module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ImportError as error:
        reason = "Inception features need one more package: pip install torch-fidelity"
        raise ConfigError(f"--feature-weights {path}: {reason}") from error
    try:
        # The extractor unpickles whatever the file holds; this refuses anything but tensors first.
        load_saved(path)
        make: Any = module.FeatureExtractorInceptionV3
        net = make("inception", [str(INCEPTION_FEATURES)], feature_extractor_weights_path=str(path))
    except Exception as error:  # unpickling, zip, key and runtime errors, as the file happens to be wrong
        raise CheckpointError(
            f"{path}: neither a classifier (.safetensors) nor the Inception weights of torch-fidelity;",
            f"the latter are the file {INCEPTION_FILE} of its release v0.2.0",
        ) from error
    net.to(device)

    @torch.inference_mode()
    def extract(pixels: np.ndarray) -> Tensor:
        images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).to(device)
        colour = images.expand(-1, 3, -1, -1)  # grey images count as colour ones with three equal channels
        found: Tensor = net(colour)[0]
        return found.cpu().double()

    return Extractor(path.name, INCEPTION_FEATURES, extract)
