"""The networks of the latent flow, the velocity and the encoder of its condition, and how a velocity is followed."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_cli.model.ladder import Encoder
from vae_cli.model.nets import NORM_GROUPS, Attention, ResBlock, Upsample, conv, time_embedding, zero_init


class VelocityNet(nn.Module):
    """v(z_t, t | condition features, label): a two-level UNet on the latent grid, attention at the lower level.

    On a 1×1 grid it is a stack of residual blocks with 1×1 kernels.
    """

    def __init__(self, shape: tuple[int, int, int], num_labels: int, *, width: int, blocks: int) -> None:
        super().__init__()
        channels, height, columns = shape
        self.is_grid = height * columns > 1
        kernel = 3 if self.is_grid else 1
        embedding = 2 * width
        self.width = width
        self.embed_time = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.embed_label = nn.Embedding(num_labels + 1, embedding)  # the last one stands for no label

        def block(width_in: int, width_out: int) -> ResBlock:
            return ResBlock(width_in, width_out, embedding=embedding, kernel=kernel)

        self.conv_in = conv(channels, width, kernel)
        self.down = nn.ModuleList([block(width, width) for _ in range(blocks)])
        if self.is_grid:
            self.shrink = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
            self.low = nn.ModuleList([block(2 * width, 2 * width) for _ in range(blocks + 1)])
            self.attention = nn.ModuleList([Attention(2 * width) for _ in range(blocks)])
            self.grow = Upsample(2 * width, width, (height, columns))
            self.up = nn.ModuleList([block(2 * width if i == 0 else width, width) for i in range(blocks)])
        self.norm_out = nn.GroupNorm(NORM_GROUPS, width)
        self.conv_out = zero_init(conv(width, channels, kernel))

    def forward(self, z: Tensor, t: Tensor, condition: Tensor, label: Tensor) -> Tensor:
        """z [B, C, h, w], t [B] in [0, 1], condition [B, width, h, w], label [B] (-1 = none) -> [B, C, h, w]."""
        none = self.embed_label.num_embeddings - 1
        embedding = self.embed_time(time_embedding(t, self.width))
        embedding = embedding + self.embed_label(torch.where(label < 0, none, label))
        h = self.conv_in(z) + condition
        for block in self.down:
            h = block(h, embedding)
        if self.is_grid:
            low = self.shrink(h)
            for number, block in enumerate(self.low):
                low = block(low, embedding)
                if number < len(self.attention):
                    low = self.attention[number](low)
            h = torch.cat([h, self.grow(low)], dim=1)
            for block in self.up:
                h = block(h, embedding)
        velocity: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return velocity


class ConditionEncoder(nn.Module):
    """An encoder like the VAE's for the image of a `Condition`, down to the first latent layer's grid."""

    def __init__(self, encoder: Encoder, grid: tuple[int, int]) -> None:
        super().__init__()
        self.encoder, self.grid = encoder, grid

    def forward(self, image: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(self.encoder(image)[-1], self.grid)


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
