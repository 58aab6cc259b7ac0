"""The networks of the latent flow, the velocity and the encoder of its condition, and how a velocity is followed."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_cli.model.ladder import Encoder
from vae_cli.model.nets import TokenBlock, conv, modulated, place_embedding, rotation_of, time_embedding, zero_init

TIME_WIDTH, PLACE_WIDTH = 128, 12


class VelocityNet(nn.Module):
    """v(z_t, t | condition features, label): a transformer whose tokens are fields of the latents' grid.

    At equal seconds of a CPU it learns more than a UNet of convolutions, from a sixth of the images.
    """

    def __init__(self, shape: tuple[int, int, int], num_labels: int, *, width: int, blocks: int, patch: int) -> None:
        """patch: latents that a token is wide and high."""
        super().__init__()
        channels = shape[0] * patch**2
        self.width, self.patch, self.kernel = width, patch, 3 if shape[1] * shape[2] > 1 else 1
        self.embed_time = nn.Sequential(nn.Linear(TIME_WIDTH, width), nn.SiLU(), nn.Linear(width, width))
        self.embed_label = nn.Embedding(num_labels + 1, width)  # the last one stands for no label
        self.conv_in = conv(channels, width, self.kernel)
        self.modulation = zero_init(nn.Linear(width, 2 * width))
        self.place_in = nn.Linear(PLACE_WIDTH, width)
        self.blocks = nn.ModuleList([TokenBlock(width) for _ in range(blocks)])
        self.modulation_out = zero_init(nn.Linear(width, 2 * width))
        self.out = zero_init(nn.Linear(width, channels))

    def forward(self, z: Tensor, t: Tensor, condition: Tensor, label: Tensor) -> Tensor:
        """[B, C, h, w]. t [B] in [0, 1]; condition [B, width, …] on the tokens' grid; label [B], -1 = none."""
        none = self.embed_label.num_embeddings - 1
        embedding = self.embed_time(time_embedding(t, TIME_WIDTH))
        embedding = F.silu(embedding + self.embed_label(torch.where(label < 0, none, label)))
        rows, columns = z.shape[2:]
        whole = F.pad(z, (0, -columns % self.patch, 0, -rows % self.patch), mode="replicate")
        grid = self.conv_in(F.pixel_unshuffle(whole, self.patch)) + condition
        height, width = size = grid.shape[2:]
        h = grid.flatten(2).transpose(1, 2)
        h = h + self.place_in(place_embedding(height, width, PLACE_WIDTH, z.device)).to(h.dtype)
        rotation = rotation_of(height, width, cast(TokenBlock, self.blocks[0]).head_width, h)
        modulation = self.modulation(embedding)
        for block in self.blocks:
            h = block(h, modulation, rotation)
        velocity = self.out(modulated(h, self.modulation_out(embedding))).transpose(1, 2).unflatten(2, size)
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
