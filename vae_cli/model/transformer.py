"""The velocity of the flow as a transformer, for the latents of photographs: its tokens are fields of their grid."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_cli.model.nets import over_grid, place_embedding, zero_init

HEAD_WIDTH = 64
"""Channels of a head of attention, or a few more."""
PLACE_WIDTH = 12


class Transformer(nn.Module):
    """Features of a grid and an embedding of time and label -> the velocity there.

    At equal seconds of a CPU it learns more of photographs than a UNet of convolutions, from a sixth of the images; of
    small pictures less, as there the quicker updates win (tests/benchmarks/ablations.py).
    """

    def __init__(self, width: int, out_channels: int, *, blocks: int, embedding: int) -> None:
        super().__init__()
        self.modulation = zero_init(nn.Linear(embedding, 2 * width))
        self.place_in = nn.Linear(PLACE_WIDTH, width)
        self.blocks = nn.ModuleList([TokenBlock(width) for _ in range(blocks)])
        self.modulation_out = zero_init(nn.Linear(embedding, 2 * width))
        self.out = zero_init(nn.Linear(width, out_channels))

    def forward(self, grid: Tensor, embedding: Tensor) -> Tensor:
        """[B, out_channels, h, w] of grid [B, width, h, w] and embedding [B, E]."""
        height, width = size = grid.shape[2:]
        h = grid.flatten(2).transpose(1, 2)
        h = h + self.place_in(place_embedding(height, width, PLACE_WIDTH, grid.device)).to(h.dtype)
        rotation = rotation_of(height, width, cast(TokenBlock, self.blocks[0]).head_width, h)
        modulation = self.modulation(embedding)
        for block in self.blocks:
            h = block(h, modulation, rotation)
        out: Tensor = self.out(modulated(h, self.modulation_out(embedding)))
        return out.transpose(1, 2).unflatten(2, size)


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
    angles = over_grid(*(torch.arange(side, device=like.device)[:, None] * speeds for side in (height, columns)))
    cosines, sines = angles.cos().to(like.dtype), angles.sin().to(like.dtype)
    return torch.cat([cosines, cosines], dim=1), torch.cat([-sines, sines], dim=1)


def rotated(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """x [..., N, D], each pair of channels turned by its position's angle."""
    return x * rotation[0] + x.roll(x.shape[-1] // 2, -1) * rotation[1]
