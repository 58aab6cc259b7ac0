"""Building blocks of every network here: residual block, block of a transformer, changes of resolution, embeddings."""

import math
from collections import OrderedDict
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_WIDTH = 64
"""Channels of a head of attention, or a few more."""

Layer = TypeVar("Layer", bound=nn.Module)


def zero_init(layer: Layer) -> Layer:
    """The layer, starting as the zero function, so that what it adds to begins untouched."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def conv(width: int, out_width: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution that keeps the size, of an odd kernel."""
    return nn.Conv2d(width, out_width, kernel, padding=kernel // 2)


def upsample(width: int, out_width: int) -> nn.Module:
    """Nearest neighbour to twice the size, then a 3×3 convolution: no checkerboards, and fast on CPUs."""
    return nn.Sequential(OrderedDict(doubled=nn.Upsample(scale_factor=2), conv=conv(width, out_width)))


class ResBlock(nn.Module):
    """x + conv(SiLU(conv(SiLU(x)))), the second convolution starting at zero.

    Nothing is normalised (Child 2021): the block starts as the identity, which keeps its states calm, and on a CPU a
    normalisation costs as much as a convolution.
    """

    def __init__(self, width: int, *, kernel: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv_in = conv(width, width, kernel)
        self.conv_out = zero_init(conv(width, width, kernel))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv_out(self.dropout(F.silu(self.conv_in(F.silu(x))))))


class TokenBlock(nn.Module):
    """Attention and a gated layer side by side (Dehghani et al. 2023), added to tokens [B, N, width].

    Starts as the identity. Queries and keys are normalised and turned by where they are (Su et al. 2021), so that no
    weight depends on the size of the grid. One norm, one modulation and two matrix products: on CPUs what is done value
    by value costs as much as the products.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        heads = next(n for n in range(max(1, width // HEAD_WIDTH), 0, -1) if width % n == 0 and width // n % 4 == 0)
        self.head_width, self.widths = width // heads, (3 * width, 2 * width, 2 * width)
        self.modulation = nn.Parameter(torch.zeros(2 * width))
        self.into = nn.Linear(width, sum(self.widths))
        self.out = zero_init(nn.Linear(3 * width, width))

    def forward(self, x: Tensor, modulation: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """modulation [B, 2 width]: scale and shift that all blocks share, beside their own; rotation: `rotation_of`."""
        inputs = modulated(x, modulation + self.modulation)
        qkv, gate, value = self.into(inputs).split(self.widths, dim=-1)
        q, k, v = qkv.unflatten(-1, (3, -1, self.head_width)).permute(2, 0, 3, 1, 4)  # [B, heads, N, D] each
        q, k = rotated(normalised(q), rotation), rotated(normalised(k), rotation)
        # Written out: on CPUs the fused kernel's backward pass is five times as slow on grids this small.
        attended = (q @ k.transpose(-1, -2) / math.sqrt(self.head_width)).softmax(-1) @ v
        mixed = torch.cat([attended.transpose(1, 2).flatten(2), F.silu(gate) * value], dim=-1)
        return x + cast(Tensor, self.out(mixed))


def normalised(x: Tensor) -> Tensor:
    """x with root mean square 1 along its last dimension."""
    return F.rms_norm(x, x.shape[-1:])


def modulated(x: Tensor, modulation: Tensor) -> Tensor:
    """Normalised tokens x [B, N, C] under the scales and shifts of a modulation [B, 2 C]."""
    scale, shift = modulation.to(x.dtype)[:, None].chunk(2, dim=-1)
    return torch.addcmul(shift, normalised(x), 1 + scale)


def rotation_of(height: int, columns: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """[N, width] cosines and signed sines for `rotated`: half the channels turn with the row, half with the column."""
    speeds = torch.logspace(0, -1.7, width // 4, device=like.device)  # radians a position
    angles = _over_grid(*(torch.arange(side, device=like.device)[:, None] * speeds for side in (height, columns)))
    cosines, sines = angles.cos().to(like.dtype), angles.sin().to(like.dtype)
    return torch.cat([cosines, cosines], dim=1), torch.cat([-sines, sines], dim=1)


def rotated(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """x [..., N, D], each pair of channels turned by its position's angle."""
    return x * rotation[0] + x.roll(x.shape[-1] // 2, -1) * rotation[1]


def place_embedding(height: int, columns: int, width: int, device: torch.device) -> Tensor:
    """[N, width] where in the picture each position lies, whatever the grid: waves along both sides."""
    frequencies = math.pi * torch.arange(1, width // 4 + 1, device=device)
    angles = [((torch.arange(side, device=device) + 0.5) / side)[:, None] * frequencies for side in (height, columns)]
    return _over_grid(*(torch.cat([angle.cos(), angle.sin()], dim=1) for angle in angles))


def _over_grid(rows: Tensor, columns: Tensor) -> Tensor:
    """[h w, 2 D] the values of each position's row [h, D] and column [w, D]."""
    return torch.cat([rows.repeat_interleave(len(columns), dim=0), columns.repeat(len(rows), 1)], dim=1)


def time_embedding(t: Tensor, width: int) -> Tensor:
    """[B, width] sines and cosines of t in [0, 1] at geometric frequencies (Vaswani et al. 2017)."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10_000) / half))
    angles = 1000 * t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)
