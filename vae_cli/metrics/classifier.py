"""A small classifier, trained on the spot, whose last hidden layer serves to compare sets of pictures.

Stages of convolution, ReLU and pooling, then flatten, dropout and two linear layers. The shapes of the weights say
everything about it, so a file holds nothing but weights.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from vae_cli.dataset.batches import batch_indices
from vae_cli.errors import CheckpointError
from vae_cli.images.pixels import to_unit

NUM_FEATURES = 64
MAX_GRID_SIDE, MIN_STAGES = 8, 2  # pictures are halved until their longer side fits in, and at least twice
DROPOUT = 0.3
NUM_STEPS, BATCH_SIZE, LEARNING_RATE = 400, 64, 2e-3
CHUNK = 64


def build_classifier(channels: int, image_size: tuple[int, int], num_classes: int) -> nn.Sequential:
    """For images of (H, W) pixels; the last convolution is 64 wide, each before it half as wide, at least 8."""
    num_stages = MIN_STAGES
    while max(image_size) >> num_stages > MAX_GRID_SIDE and min(image_size) >> num_stages > 1:
        num_stages += 1
    widths = [max(8, NUM_FEATURES >> (num_stages - 1 - stage)) for stage in range(num_stages)]
    height, width = (side >> num_stages for side in image_size)
    return _chain([channels, *widths], widths[-1] * height * width, NUM_FEATURES, num_classes)


def _chain(widths: Sequence[int], num_flat: int, num_features: int, num_classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, next_width in pairwise(widths):
        layers += [nn.Conv2d(width, next_width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Dropout(DROPOUT), nn.Linear(num_flat, num_features), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(num_features, num_classes))


def train_classifier(
    pixels: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int = 0,
    num_steps: int = NUM_STEPS,
    device: torch.device | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> nn.Sequential:
    """A classifier of images uint8 [N, H, W, C] by labels int64 [N]; images with label -1 are left out.

    On a CPU the same seed gives the same weights, bit for bit. Raises ValueError for fewer than two classes.
    """
    known = np.flatnonzero(labels >= 0)
    if len(np.unique(labels[known])) < 2:
        raise ValueError("a classifier needs two classes")
    device = device or torch.device("cpu")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        net = build_classifier(pixels.shape[3], pixels.shape[1:3], int(labels.max()) + 1).to(device)
        optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1 / num_steps, num_steps)
        for step in range(num_steps):
            chosen = np.sort(known[batch_indices(len(known), BATCH_SIZE, seed, step)])
            targets = torch.from_numpy(labels[chosen]).to(device)
            optimiser.zero_grad()
            F.cross_entropy(net(_zero_to_one(pixels[chosen], device)), targets).backward()
            optimiser.step()
            schedule.step()
            if on_progress is not None:
                on_progress(step + 1, num_steps)
    return net.eval().requires_grad_(False)


def load_classifier(path: Path) -> nn.Sequential:
    """The classifier in a safetensors file, in eval mode on the CPU. Raises CheckpointError for anything else."""
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no readable safetensors file ({error})") from error
    try:
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        weights = {int(name[:-7]): shape for name, shape in shapes.items() if re.fullmatch(r"\d+\.weight", name)}
        convolutions, linear = ([weights[n] for n in sorted(weights) if len(weights[n]) == ndim] for ndim in (4, 2))
        hidden, last = linear
        with torch.device("meta"):  # which needs no memory, whatever the sizes
            net = _chain([convolutions[0][1], *(shape[0] for shape in convolutions)], hidden[1], hidden[0], last[0])
        net.load_state_dict(tensors, assign=True)
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError
    except (RuntimeError, ValueError, IndexError) as error:
        reason = "not a classifier that pictures can be compared by; give the file of one, or auto"
        raise CheckpointError(f"{path}: {reason}") from error
    return net.eval().requires_grad_(False)


def takes(net: nn.Sequential, channels: int, image_size: tuple[int, int]) -> bool:
    """Whether the classifier is made for images of (H, W) pixels with these channels."""
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    height, width = (side >> len(convolutions) for side in image_size)
    hidden = next(layer for layer in net if isinstance(layer, nn.Linear))
    num_flat = convolutions[-1].out_channels * height * width
    return convolutions[0].in_channels == channels and hidden.in_features == num_flat


def features(net: nn.Sequential, pixels: np.ndarray) -> Tensor:
    """float64 [N, D] on the CPU of images uint8 [N, H, W, C]: the last hidden layer before its ReLU."""
    return _in_chunks(net[:-2], pixels).double()


def predictions(net: nn.Sequential, pixels: np.ndarray) -> np.ndarray:
    """int64 [N] class numbers for images uint8 [N, H, W, C]."""
    return _in_chunks(net, pixels).argmax(1).numpy()


def accuracy(net: nn.Sequential, pixels: np.ndarray, labels: np.ndarray) -> float:
    """Share of the labelled images uint8 [N, H, W, C] that it recognises; NaN without labels."""
    known = np.flatnonzero(labels >= 0)
    return float((predictions(net, pixels[known]) == labels[known]).mean()) if len(known) else float("nan")


def probabilities(net: nn.Sequential, pixels: np.ndarray) -> Tensor:
    """float32 [N, num_classes] on the CPU for images uint8 [N, H, W, C]."""
    return _in_chunks(net, pixels).softmax(1)


@torch.inference_mode()
def _in_chunks(net: nn.Module, pixels: np.ndarray) -> Tensor:
    """The net's output for images uint8 [N, H, W, C], float32 [N, D] on the CPU.

    The last chunk is filled up: batches of different sizes are rounded differently, and an image's output must not
    depend on how many others there are.
    """
    device = next(net.parameters()).device
    found = []
    for start in range(0, len(pixels), CHUNK):
        chunk = pixels[start : start + CHUNK]
        whole = np.concatenate([chunk, np.repeat(chunk[-1:], CHUNK - len(chunk), axis=0)])
        found.append(net(_zero_to_one(whole, device))[: len(chunk)].cpu())
    return torch.cat(found)


def _zero_to_one(pixels: np.ndarray, device: torch.device) -> Tensor:
    """[N, C, H, W] with black 0 and white 1."""
    return (to_unit(pixels).to(device) + 1) / 2
