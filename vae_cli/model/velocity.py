"""The networks of the latent flow, the velocity and the encoder of its condition, and how a velocity is followed."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_cli.model.ladder import Encoder
from vae_cli.model.nets import conv, time_embedding
from vae_cli.model.transformer import Transformer
from vae_cli.model.unet import UNet

TIME_WIDTH = 128


class VelocityNet(nn.Module):
    """v(z_t, t | condition features, label), on a grid that is the latents' or a few times coarser."""

    def __init__(
        self, shape: tuple[int, int, int], num_labels: int, *, net: str, width: int, blocks: int, patch: int
    ) -> None:
        """net: `unet` or `transformer`; patch: latents that a field of the grid is wide and high."""
        super().__init__()
        channels = shape[0] * patch**2
        self.width, self.patch, self.kernel = width, patch, 3 if shape[1] * shape[2] > 1 else 1
        embedding = 2 * width if net == "unet" else width
        self.embed_time = nn.Sequential(nn.Linear(TIME_WIDTH, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.embed_label = nn.Embedding(num_labels + 1, embedding)  # the last one stands for no label
        self.conv_in = conv(channels, width, self.kernel)
        self.body: nn.Module
        if net == "unet":
            self.body = UNet(width, channels, blocks=blocks, embedding=embedding)
        else:
            self.body = Transformer(width, channels, blocks=blocks, embedding=embedding)

    def forward(self, z: Tensor, t: Tensor, condition: Tensor, label: Tensor) -> Tensor:
        """[B, C, h, w]. t [B] in [0, 1]; condition [B, width, …] on the net's grid; label [B], -1 = none."""
        none = self.embed_label.num_embeddings - 1
        embedding = self.embed_time(time_embedding(t, TIME_WIDTH))
        embedding = F.silu(embedding + self.embed_label(torch.where(label < 0, none, label)))
        rows, columns = z.shape[2:]
        whole = F.pad(z, (0, -columns % self.patch, 0, -rows % self.patch), mode="replicate")
        velocity = self.body(self.conv_in(F.pixel_unshuffle(whole, self.patch)) + condition, embedding)
        return F.pixel_shuffle(velocity, self.patch)[..., :rows, :columns]


class ConditionEncoder(nn.Module):
    """An encoder like the VAE's for the image of a `Condition`, down to the grid of the flow's tokens."""

    def __init__(self, encoder: Encoder, *, to_vector: bool) -> None:
        super().__init__()
        self.encoder, self.to_vector = encoder, to_vector

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.encoder(image)[-1]
        return features.mean((2, 3), keepdim=True) if self.to_vector else features


def even_times(start: float, end: float, steps: int) -> list[float]:
    """Times from start to end between which the path cos φ · noise + sin φ · data turns by equal angles."""
    first, last = _angle(start), _angle(end)
    angles = [first + (last - first) * number / steps for number in range(steps + 1)]
    return [math.sin(angle) / (math.sin(angle) + math.cos(angle)) for angle in angles]


def integrate(velocity: Callable[[Tensor, float], Tensor], u: Tensor, times: Sequence[float]) -> Tensor:
    """u carried along du/dt = velocity(u, t) through the times, one evaluation a step.

    The coordinates are such that N(0, I) data stand still, and only what the network adds has to be followed (an
    exponential integrator, as in Lu et al. 2022): with s = √(t² + (1 - t)²), w = u / s and φ = atan2(t, 1 - t),
    dw/dφ = s · velocity - (2t - 1) / s · u. Each step continues the slopes at the last two times (the second-order
    method of Adams and Bashforth); the first step is Euler's.
    """
    before: tuple[Tensor, float] | None = None
    w = u / _size(times[0])
    for t, following in pairwise(times):
        size, turn = _size(t), _angle(following) - _angle(t)
        u = size * w
        slope = size * velocity(u, t) - (2 * t - 1) / size * u
        ahead = slope if before is None else slope + turn / (2 * before[1]) * (slope - before[0])
        w, before = w + turn * ahead, (slope, turn)
    return _size(times[-1]) * w


def _size(t: float) -> float:
    """Standard deviation of (1 - t) · noise + t · data, both N(0, I)."""
    return math.hypot(t, 1 - t)


def _angle(t: float) -> float:
    return math.atan2(t, 1 - t)
