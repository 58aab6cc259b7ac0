"""How far a model's fills can be trusted, pixel by pixel, against a smooth continuation of what is known.

Beside a known pixel a thin plate is hard to beat, deep in a hole it knows nothing. Where the border lies depends on the
model: it is measured once, on images that the model has not learned from, and kept with the flow.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_DEPTH = 16
"""Pixels; what lies deeper in a hole counts as this deep."""
_SURROUNDINGS = 15
"""Side, in pixels, of the square around a pixel whose known share is looked at."""
_SPARSE_BELOW = 0.4
NUM_KINDS = 2
_CAUTION = 1e-3
"""Share of all squared differences that each cell is credited with as evidence for the model: few pixels decide
nothing."""
_LEAST_TRUST = 0.2, 0.1, 0.5
"""At depth 1, more with each pixel, and at most: fills shall differ where they can, and show something deep in a hole,
whatever the squared error says of a model that has learned little."""


def kinds_of(observed: Tensor) -> tuple[Tensor, Tensor]:
    """For each pixel of masks [B, 1, H, W] (1 = known), int64 [B, 1, H, W]: whether a good part of its surroundings is
    known (0 or 1), and its depth, the chessboard distance to the nearest known pixel: 0 for known ones, else at most
    MAX_DEPTH."""
    share = F.avg_pool2d(observed, _SURROUNDINGS, stride=1, padding=_SURROUNDINGS // 2, count_include_pad=False)
    depth, reached = torch.zeros_like(observed), observed
    for _ in range(MAX_DEPTH):
        depth = depth + (1 - reached)
        reached = F.max_pool2d(reached, 3, stride=1, padding=1)
    return (share >= _SPARSE_BELOW).long(), depth.long()


def blended(fill: Tensor, smooth: Tensor, observed: Tensor, weight: Tensor) -> Tensor:
    """weight · fill + (1 - weight) · smooth, for pictures [B, C, H, W], masks [B, 1, H, W] and each picture's weights
    [B, NUM_KINDS, MAX_DEPTH] of `fitted_weight`; fill where a pixel is known."""
    kind, depth = kinds_of(observed)
    picture = torch.arange(len(fill))[:, None, None, None]
    chosen = weight[picture, kind, (depth - 1).clamp(min=0)]
    return torch.where(depth > 0, torch.lerp(smooth, fill, chosen), fill)


def evidence(fill: Tensor, smooth: Tensor, truth: Tensor, observed: Tensor) -> Tensor:
    """float64 [2, NUM_KINDS * MAX_DEPTH] on the CPU: in each cell the sums of (fill - smooth) · (truth - smooth) and of
    (fill - smooth)², for pictures [N, C, H, W] and masks [N, 1, H, W]. Of several parts, add them up."""
    fill, smooth, truth, observed = (part.cpu() for part in (fill, smooth, truth, observed))  # not all have doubles
    kind, depth = kinds_of(observed)
    cell = (kind * MAX_DEPTH + depth - 1)[depth > 0]
    by_fill = fill.double() - smooth.double()
    products = torch.stack([by_fill * (truth.double() - smooth.double()), by_fill.square()]).sum(2, keepdim=True)
    sums = torch.zeros(2, NUM_KINDS * MAX_DEPTH, dtype=torch.float64)
    return sums.index_add_(1, cell, products[:, depth > 0])


def fitted_weight(sums: Tensor) -> Tensor:
    """[NUM_KINDS, MAX_DEPTH] up to 1: with these weights `blended` comes nearest to the truth, in squared error.

    Least squares in each cell of the `evidence`: the weight of the fill is the regression of (truth - smooth) on
    (fill - smooth), but no less than _LEAST_TRUST.
    """
    credit = _CAUTION * sums[1].sum() + torch.finfo(torch.float64).tiny
    explained, there_is = sums + credit
    first, more, most = _LEAST_TRUST
    least = (first + more * torch.arange(MAX_DEPTH)).clamp(max=most)
    weight = (explained / there_is).clamp(max=1).float().unflatten(0, (NUM_KINDS, MAX_DEPTH))
    return torch.maximum(weight, least)
