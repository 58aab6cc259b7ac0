"""Encoder and ladder: features on the way up, latents on the way down (Sønderby et al. 2016; Child 2021).

A `Level` is one resolution of the pyramid; level 0 is half the image's. The list of latents says which levels carry
latent layers, and thereby what the model is: a vector, one spatial grid, or a ladder of many.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vae_cli.model.distributions import DiagonalGaussian
from vae_cli.model.nets import Conv3x3, GridToVector, ResBlock, Upsample, VectorToGrid, zero_init

MAX_GATHERED_SIDE = 8
"""A vector of latents is read from, and spread over, a grid of at most this many positions a side."""
OUTPUT_WIDTH = 16
"""Channels at full resolution; few, because each costs as much as the picture has pixels."""


@dataclass(frozen=True)
class Level:
    """One resolution: image side ÷ grid side, the grid, and the channels of its features."""

    stride: int
    size: tuple[int, int]
    width: int


@dataclass(frozen=True)
class LatentShape:
    """One latent layer: where it sits (level index, None = a vector) and its channels."""

    level: int | None
    channels: int


def pyramid(image_size: tuple[int, int], width: int, coarsest_stride: int) -> tuple[Level, ...]:
    """Levels of strides 2, 4, … coarsest_stride, with widths w, 2w, 3w, 3w, …"""
    levels: list[Level] = []
    stride = 2
    while stride <= coarsest_stride:
        size = (image_size[0] // stride, image_size[1] // stride)
        levels.append(Level(stride, size, width * min(3, len(levels) + 1)))
        stride *= 2
    return tuple(levels)


class Encoder(nn.Module):
    """Image [B, C, H, W] -> features of every level, fine to coarse: [B, width, H / stride, W / stride] each."""

    def __init__(self, in_channels: int, levels: Sequence[Level], *, blocks: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        width = in_channels
        for level in levels:
            stem = level.stride == 2
            down = nn.Conv2d(width, level.width, 4 if stem else 3, stride=2, padding=1)
            width = level.width
            extra = 1 if level is levels[-1] else 0  # the coarsest level is the cheapest place for depth
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
        levels: Sequence[Level],
        latents: Sequence[LatentShape],
        out_channels: int,
        *,
        blocks: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.gather: nn.Module | None = None
        coarsest, stages, is_first = levels[-1], [], True

        def layers_at(level: int | None, width: int) -> list[LatentLayer]:
            nonlocal is_first
            kernel = 1 if level is None else 3
            made = []
            for latent in (latent for latent in latents if latent.level == level):
                made.append(LatentLayer(width, latent.channels, is_first=is_first, kernel=kernel, dropout=dropout))
                is_first = False
            return made

        grow: nn.Module = nn.Identity()
        start_size = coarsest.size
        if latents[0].level is None:
            self.gather = GridToVector(coarsest.width, coarsest.width, coarsest.size)
            stages.append(Stage(grow, layers_at(None, coarsest.width), []))
            grow, start_size = VectorToGrid(coarsest.width, coarsest.width, coarsest.size), (1, 1)
        width = coarsest.width
        for index in reversed(range(len(levels))):
            level = levels[index]
            if level is not coarsest:
                grow = Upsample(width, level.width, level.size)
            width = level.width
            body = [ResBlock(width, dropout=dropout) for _ in range(blocks)]
            stages.append(Stage(grow, layers_at(index, width), body))
        self.stages = nn.ModuleList(stages)
        self.start = nn.Parameter(0.1 * torch.randn(1, coarsest.width, *start_size))
        # Full resolution is reached by regrouping channels (Shi et al. 2016): no wide convolution runs there.
        self.head = nn.Sequential(
            nn.SiLU(), Conv3x3(width, 4 * OUTPUT_WIDTH), nn.PixelShuffle(2), nn.SiLU(),
            nn.Conv2d(OUTPUT_WIDTH, out_channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, batch: int, choose: Choose) -> Tensor:
        """[B, out_channels, H, W]: the likelihood's parameters for the latents that `choose` returns."""
        h = self.start.expand(batch, -1, -1, -1)
        number = 0
        for stage in cast(Sequence[Stage], self.stages):
            h = stage.grow(h)
            for layer in cast(Sequence[LatentLayer], stage.layers):
                z = choose(number, layer, layer.prior(h), h)
                h, number = layer.absorb(h, z), number + 1
            h = stage.blocks(h)
        return cast(Tensor, self.head(h))

    def features_of_layers(self, pyramid_features: Sequence[Tensor]) -> list[Tensor]:
        """The encoder's features for each latent layer's posterior, in the ladder's order."""
        found = []
        per_stage = list(reversed(pyramid_features))
        if self.gather is not None:
            per_stage.insert(0, self.gather(pyramid_features[-1]))
        for stage, features in zip(cast(Sequence[Stage], self.stages), per_stage, strict=True):
            found += [features] * len(stage.layers)
        return found
