"""Building blocks of every network here: convolutions, residual block, changes of resolution, embeddings."""

import math
from collections import OrderedDict
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

NORM_GROUPS = 8

Layer = TypeVar("Layer", bound=nn.Module)


def zero_init(layer: Layer) -> Layer:
    """The layer, starting as the zero function, so that what it adds to begins untouched."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Conv3x3(nn.Conv2d):
    """A 3×3 convolution, padded to keep the size.

    On a CPU in bfloat16 and on small grids the weights' gradient is computed as one matrix product. Forward and
    backward together are then 1.2 to 1.8 times as fast up to a side of 7; at 8 they no longer are.
    """

    MAX_SIDE = 7

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__(width, out_width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        reduced = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        if not (reduced and x.device.type == "cpu" and torch.is_grad_enabled() and max(x.shape[-2:]) <= self.MAX_SIDE):
            return super().forward(x)
        assert self.bias is not None
        out: Tensor = _SmallGridConv.apply(x.bfloat16(), self.weight.bfloat16(), self.bias.bfloat16())
        return out


class _SmallGridConv(torch.autograd.Function):
    """conv2d with padding 1 whose weight gradient is patchesᵀ · gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        batch, width, height, columns = x.shape
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = conv2d_input(x.shape, weight, grad, padding=1)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # [B, H + 2, W + 2, C]
        b, h, w, c = padded.stride()
        patches = padded.as_strided((batch, height, columns, 3, 3, width), (b, h, w, h, w, c))
        flat_grad = grad.permute(0, 2, 3, 1).reshape(-1, weight.shape[0])  # [B H W, C out]
        grad_weight = flat_grad.t() @ patches.reshape(len(flat_grad), 9 * width)
        return grad_x, grad_weight.view(-1, 3, 3, width).permute(0, 3, 1, 2), flat_grad.sum(0)


def conv(width: int, out_width: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution that keeps the size, of kernel 1 or 3."""
    return Conv3x3(width, out_width) if kernel == 3 else nn.Conv2d(width, out_width, 1)


def upsample(width: int, out_width: int) -> nn.Module:
    """Nearest neighbour to twice the size, then a 3×3 convolution: no checkerboards, and fast on CPUs."""
    return nn.Sequential(OrderedDict(doubled=nn.Upsample(scale_factor=2), conv=conv(width, out_width)))


class ResBlock(nn.Module):
    """x + conv(SiLU(conv(SiLU(x)))), the second convolution starting at zero.

    `embedding` channels > 0: both inputs of SiLU are normalised in groups (Wu & He 2018), and scale and shift of the
    second follow a vector (Dhariwal & Nichol 2021). Without, nothing is normalised (Child 2021): the block starts as
    the identity, which keeps its states calm, and on a CPU a normalisation costs as much as a convolution.
    """

    def __init__(
        self, width: int, out_width: int | None = None, *, embedding: int = 0, kernel: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__()
        out_width = out_width or width
        self.norm_in = nn.GroupNorm(NORM_GROUPS, width) if embedding else nn.Identity()
        self.conv_in = conv(width, out_width, kernel)
        self.norm_out = nn.GroupNorm(NORM_GROUPS, out_width) if embedding else nn.Identity()
        self.conv_out = zero_init(conv(out_width, out_width, kernel))
        self.modulation = zero_init(nn.Linear(embedding, 2 * out_width)) if embedding else None
        self.dropout = nn.Dropout(dropout)
        self.shortcut = nn.Conv2d(width, out_width, 1) if out_width != width else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.norm_out(self.conv_in(F.silu(self.norm_in(x))))
        if self.modulation is not None:
            assert embedding is not None
            scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return self.shortcut(x) + self.conv_out(self.dropout(F.silu(h)))


def place_embedding(height: int, columns: int, width: int, device: torch.device) -> Tensor:
    """[N, width] where in the picture each position lies, whatever the grid: waves along both sides."""
    frequencies = math.pi * torch.arange(1, width // 4 + 1, device=device)
    angles = [((torch.arange(side, device=device) + 0.5) / side)[:, None] * frequencies for side in (height, columns)]
    return over_grid(*(torch.cat([angle.cos(), angle.sin()], dim=1) for angle in angles))


def over_grid(rows: Tensor, columns: Tensor) -> Tensor:
    """[h w, 2 D] the values of each position's row [h, D] and column [w, D]."""
    return torch.cat([rows.repeat_interleave(len(columns), dim=0), columns.repeat(len(rows), 1)], dim=1)


def time_embedding(t: Tensor, width: int) -> Tensor:
    """[B, width] sines and cosines of t in [0, 1] at geometric frequencies (Vaswani et al. 2017)."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10_000) / half))
    angles = 1000 * t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)
