"""Encoder and ladder: features on the way up, latents on the way down (Sønderby et al. 2016; Child 2021).

Level i is a resolution whose grid has one position for 2^(i + 1) pixels a side; levels are given as their widths, the
channels of their features. The list of latents says which levels carry latent layers, and thereby what the model is: a
vector, one spatial grid, or a ladder of many.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from vae_cli.model.distributions import DiagonalGaussian
from vae_cli.model.nets import ResBlock, conv, upsample, zero_init

MAX_GATHERED_SIDE = 8
"""A vector of latents is read from, and spread over, a grid of at most this many positions a side."""
OUTPUT_WIDTH = 16
"""Channels at full resolution; few, because each costs as much as the picture has pixels."""


@dataclass(frozen=True)
class LatentShape:
    """One latent layer: image side ÷ grid side (None = a vector), and its channels."""

    stride: int | None
    channels: int

    def at(self, image_size: tuple[int, int]) -> tuple[int, int, int]:
        """(C, H, W) for images of this size."""
        return (self.channels, 1, 1) if self.stride is None else (self.channels, *grid_of(image_size, self.stride))


def grid_of(image_size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of a level's grid."""
    return image_size[0] // stride, image_size[1] // stride


def pyramid(width: int, coarsest_stride: int) -> list[int]:
    """Widths w, 2w, 3w, 3w, … of levels of strides 2, 4, … coarsest_stride."""
    return [width * min(3, number) for number in range(1, coarsest_stride.bit_length())]


class Encoder(nn.Module):
    """Image [B, C, H, W] -> features of every level, fine to coarse: [B, width, H / stride, W / stride] each."""

    def __init__(self, in_channels: int, widths: Sequence[int], *, blocks: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for level, (before, width) in enumerate(pairwise([in_channels, *widths])):
            down = nn.Conv2d(before, width, 3 if level else 4, stride=2, padding=1)
            extra = 1 if level == len(widths) - 1 else 0  # the coarsest level is the cheapest place for depth
            body = [ResBlock(width, dropout=dropout) for _ in range(blocks + extra)]
            self.stages.append(nn.Sequential(down, *body))

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class LatentLayer(nn.Module):
    """One layer of latents: its prior given the state, its posterior given state and features, and the state after it.

    All but the last block are 1×1 convolutions, at an eighth of the cost of 3×3 ones: state and features have seen
    neighbouring positions already.
    """

    def __init__(self, width: int, channels: int, *, is_first: bool, kernel: int, dropout: float) -> None:
        super().__init__()
        self.channels = channels
        self.prior_net = None
        if not is_first:  # the first layer's prior is N(0, I)
            self.prior_net = nn.Sequential(nn.SiLU(), zero_init(nn.Conv2d(width, 2 * channels, 1)))
        input_width = width if is_first else 2 * width  # the first state is the same for every image
        self.posterior_net = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(input_width, width, 1), nn.SiLU(),
            nn.Conv2d(width, 2 * channels, 1),
        )  # fmt: skip
        self.absorb_net = nn.Conv2d(channels, width, 1)
        self.block = ResBlock(width, kernel=kernel, dropout=dropout)

    def prior(self, h: Tensor) -> DiagonalGaussian:
        """p(z | h), [B, channels, h, w]."""
        standard = DiagonalGaussian.standard(h[:, :1].expand(-1, self.channels, -1, -1))
        return standard if self.prior_net is None else DiagonalGaussian.corrected(standard, self.prior_net(h))

    def posterior(self, prior: DiagonalGaussian, h: Tensor, features: Tensor) -> DiagonalGaussian:
        """q(z | h, features), written as a correction of the prior."""
        inputs = features if self.prior_net is None else torch.cat([h, features], dim=1)
        return DiagonalGaussian.corrected(prior, self.posterior_net(inputs))

    def absorb(self, h: Tensor, z: Tensor) -> Tensor:
        """The state after z has become known."""
        return cast(Tensor, self.block(h + self.absorb_net(z)))


Choose = Callable[[int, LatentLayer, DiagonalGaussian, Tensor], Tensor]
"""(layer number, layer, its prior, state) -> z: how a pass down the ladder gets its latents."""


class Stage(nn.Module):
    """One resolution of the way down: `grow` leads to it, then come its latent layers, then residual blocks."""

    def __init__(self, grow: nn.Module, layers: Sequence[LatentLayer], blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.grow, self.layers, self.blocks = grow, nn.ModuleList(layers), nn.Sequential(*blocks)


class Ladder(nn.Module):
    """From a learned constant to the decoder's output; latents join on the way, coarse to fine."""

    def __init__(
        self,
        widths: Sequence[int],
        latents: Sequence[LatentShape],
        out_channels: int,
        *,
        image_size: tuple[int, int],
        blocks: int,
        dropout: float = 0.0,
    ) -> None:
        """image_size: only a vector of latents is tied to it."""
        super().__init__()

        def layers_at(stride: int | None, width: int) -> list[LatentLayer]:
            return [LatentLayer(width, latent.channels, is_first=number == 0, kernel=3 if stride else 1,
                                dropout=dropout)
                    for number, latent in enumerate(latents) if latent.stride == stride]  # fmt: skip

        width, stages = widths[-1], []
        grow: nn.Module = nn.Identity()
        self.gather: nn.Module | None = None
        if latents[0].stride is None:
            grid = (width, *grid_of(image_size, 2 ** len(widths)))
            num = math.prod(grid)
            self.gather = nn.Sequential(nn.SiLU(), nn.Flatten(), nn.Linear(num, width), nn.Unflatten(1, (width, 1, 1)))
            stages.append(Stage(grow, layers_at(None, width), []))
            grow = nn.Sequential(nn.Flatten(), nn.Linear(width, num), nn.Unflatten(1, grid))
        for level in reversed(range(len(widths))):
            if level < len(widths) - 1:
                grow = upsample(width, widths[level])
            width = widths[level]
            body = [ResBlock(width, dropout=dropout) for _ in range(blocks)]
            stages.append(Stage(grow, layers_at(2 ** (level + 1), width), body))
        self.stages = nn.ModuleList(stages)
        start = torch.empty(1, widths[-1], 1, 1)
        self.start = nn.Parameter(start if start.is_meta else 0.1 * torch.randn(start.shape))
        # Full resolution is reached by regrouping channels (Shi et al. 2016): no wide convolution runs there.
        self.head = nn.Sequential(
            nn.SiLU(), conv(width, 4 * OUTPUT_WIDTH), nn.PixelShuffle(2), nn.SiLU(), conv(OUTPUT_WIDTH, out_channels),
        )  # fmt: skip

    def forward(self, like: Tensor, choose: Choose) -> Tensor:
        """[B, out_channels, H, W]: the likelihood's parameters for the latents that `choose` returns.

        like: [B, any, h, w] on the grid of the first latent layer.
        """
        h = self.start.expand(like.shape[0], -1, *like.shape[-2:])  # not len(), which an exporter cannot follow
        number = 0
        for stage in cast(Sequence[Stage], self.stages):
            h = stage.grow(h)
            for layer in cast(Sequence[LatentLayer], stage.layers):
                z = choose(number, layer, layer.prior(h), h)
                h, number = layer.absorb(h, z), number + 1
            h = stage.blocks(h)
        return cast(Tensor, self.head(h))
