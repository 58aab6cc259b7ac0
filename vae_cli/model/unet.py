"""The velocity of the flow as a UNet of convolutions, for the latents of small pictures."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_cli.model.nets import NORM_GROUPS, ResBlock, conv, zero_init


class UNet(nn.Module):
    """Features of a grid and an embedding of time and label -> the velocity there; the lower of two levels attends."""

    def __init__(self, width: int, out_channels: int, *, blocks: int, embedding: int) -> None:
        super().__init__()

        def block(width_in: int, width_out: int) -> ResBlock:
            return ResBlock(width_in, width_out, embedding=embedding)

        self.down = nn.ModuleList([block(width, width) for _ in range(blocks)])
        self.shrink = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.low = nn.ModuleList([block(2 * width, 2 * width) for _ in range(blocks + 1)])
        self.attention = nn.ModuleList([Attention(2 * width) for _ in range(blocks)])
        self.grow = conv(2 * width, width)
        self.up = nn.ModuleList([block(2 * width if number == 0 else width, width) for number in range(blocks)])
        self.norm_out = nn.GroupNorm(NORM_GROUPS, width)
        self.conv_out = zero_init(conv(width, out_channels))

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """[B, out_channels, h, w] of h [B, width, h, w] and embedding [B, E]."""
        for block in self.down:
            h = block(h, embedding)
        low = self.shrink(h)
        for number, block in enumerate(self.low):
            low = block(low, embedding)
            if number < len(self.attention):
                low = self.attention[number](low)
        h = torch.cat([h, self.grow(F.interpolate(low, size=h.shape[2:], mode="nearest"))], dim=1)
        for block in self.up:
            h = block(h, embedding)
        velocity: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return velocity


class Attention(nn.Module):
    """Self-attention over the positions of a grid, added to its input; starts as the identity."""

    def __init__(self, width: int, head_width: int = 32) -> None:
        super().__init__()
        most = max(1, width // head_width)
        self.num_heads = next(count for count in range(most, 0, -1) if width % count == 0)
        self.norm = nn.GroupNorm(NORM_GROUPS, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = zero_init(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, width, height, columns = x.shape
        qkv = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.num_heads, -1))  # [B, 3, heads, D, HW]
        query, key, value = qkv.transpose(-1, -2).unbind(1)
        # Written out: on CPUs the fused kernel's backward pass is many times slower on grids this small.
        weights = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1)
        mixed = weights @ value  # [B, heads, HW, D]
        return x + self.out(mixed.transpose(-1, -2).reshape(batch, width, height, columns))
