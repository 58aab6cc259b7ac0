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
"""Share of all squared differences that each cell is credited with as evidence for what holds one pixel less deep, the
first for the model: few pixels decide nothing."""
_ROUNDS, _NEGLIGIBLE = 8, (2 / 127.5) ** 2
"""Of reweighting, which are many; and a mean squared error, that of two grey levels, below which none matters."""
_MORE_TRUST, _MOST_LEAST_TRUST = 0.005, 0.02
"""Least trust, more with each pixel of depth up to this, whatever the error says: fills of one hole shall differ. No
more, for on smooth photographs the plate's errors are so small that any share of the model's shows."""
_CONVINCING_GAIN = 1.0
"""dB ahead of the smooth continuation, over all holes. Held-out images resemble each other more than those to come do:
a model that gained 0.1 dB on crops of one photograph lost 2 dB on those of two others."""


def kinds_of(observed: Tensor) -> tuple[Tensor, Tensor]:
    """For each pixel of masks [B, 1, H, W] (1 = known), int64 [B, 1, H, W]: whether a good part of its surroundings is
    known (0 or 1), and its depth, the chessboard distance to the nearest known pixel: 0 for known ones, else at most
    MAX_DEPTH."""
    reach = _SURROUNDINGS // 2
    share = F.avg_pool2d(observed, (_SURROUNDINGS, 1), stride=1, padding=(reach, 0), count_include_pad=False)
    share = F.avg_pool2d(share, (1, _SURROUNDINGS), stride=1, padding=(0, reach), count_include_pad=False)
    reached, depth = observed > 0, torch.zeros_like(observed, dtype=torch.int64)
    for _ in range(MAX_DEPTH):
        depth += ~reached
        reached = _beside(_beside(reached).transpose(2, 3)).transpose(2, 3)
    return (share >= _SPARSE_BELOW).long(), depth


def _beside(reached: Tensor) -> Tensor:
    """Where a pixel or the one to its left or right is reached. Many times as fast as pooling on CPUs."""
    grown = reached.clone()
    grown[..., 1:] |= reached[..., :-1]
    grown[..., :-1] |= reached[..., 1:]
    return grown


def blended(fill: Tensor, smooth: Tensor, observed: Tensor, weight: Tensor) -> Tensor:
    """weight · fill + (1 - weight) · smooth, for pictures [B, C, H, W], masks [B, 1, H, W] and each picture's weights
    [B, NUM_KINDS, MAX_DEPTH] of `fitted_weight`; fill where a pixel is known."""
    kind, depth = kinds_of(observed)
    picture = torch.arange(len(fill))[:, None, None, None]
    chosen = weight[picture, kind, (depth - 1).clamp(min=0)]
    return torch.where(depth > 0, torch.lerp(smooth, fill, chosen), fill)


def evidence(fill: Tensor, smooth: Tensor, truth: Tensor, observed: Tensor) -> Tensor:
    """float64 [N, 4, NUM_KINDS, MAX_DEPTH] on the CPU, for pictures [N, C, H, W] and masks [N, 1, H, W]: over the
    values in each cell of each picture their number, and the sums of (truth - smooth)², (fill - smooth) · (truth -
    smooth) and (fill - smooth)². Of several parts, put one after the other."""
    fill, smooth, truth, observed = (part.cpu() for part in (fill, smooth, truth, observed))  # not all have doubles
    kind, depth = kinds_of(observed)
    picture = torch.arange(len(fill))[:, None, None, None].expand_as(depth)
    cell = ((picture * NUM_KINDS + kind) * MAX_DEPTH + depth - 1)[depth > 0]
    by_fill, by_truth = fill.double() - smooth.double(), truth.double() - smooth.double()
    products = [torch.ones_like(by_fill), by_truth.square(), by_fill * by_truth, by_fill.square()]
    sums = torch.zeros(4, len(fill) * NUM_KINDS * MAX_DEPTH, dtype=torch.float64)
    sums.index_add_(1, cell, torch.stack([product.sum(1, keepdim=True)[depth > 0] for product in products]))
    return sums.unflatten(1, (len(fill), NUM_KINDS, MAX_DEPTH)).movedim(1, 0)


def fitted_weight(found: Tensor) -> Tensor:
    """[NUM_KINDS, MAX_DEPTH] from the least trust to 1: the weights with which the logarithm of the squared error of
    `blended` is least, in the mean over the pictures of the `evidence` found [N, 4, NUM_KINDS, MAX_DEPTH]; less of them
    where that gains less than _CONVINCING_GAIN.

    A logarithm, as in PSNR, because on a smooth picture a small error counts as much as a large one on a lively one. It
    is found by least squares with each picture weighted by one over its error (iteratively reweighted).
    """
    _, _, product, by_fill = found.unbind(1)
    least = (_MORE_TRUST * torch.arange(MAX_DEPTH, dtype=torch.float64)).clamp(max=_MOST_LEAST_TRUST)
    smooth_error = _errors(found, torch.zeros(NUM_KINDS, MAX_DEPTH, dtype=torch.float64))
    error = torch.ones_like(smooth_error)
    for _ in range(_ROUNDS):
        share = 1 / error
        weight = _least_squares((share * product).sum(0), (share * by_fill).sum(0)).maximum(least)
        error = _errors(found, weight)
    gain_db = 10 * (smooth_error / error).log10().mean()
    return (weight * (gain_db / _CONVINCING_GAIN).clamp(0, 1)).maximum(least).float()


def _errors(found: Tensor, weight: Tensor) -> Tensor:
    """[N, 1, 1]: each picture's squared error under a weight, and a negligible one for each of its values."""
    count, by_truth, product, by_fill = found.unbind(1)
    error = by_truth - 2 * weight * product + weight.square() * by_fill + _NEGLIGIBLE * count
    return error.sum((1, 2), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)


def _least_squares(product: Tensor, by_fill: Tensor) -> Tensor:
    """[NUM_KINDS, MAX_DEPTH] in [0, 1]: the regression of (truth - smooth) on (fill - smooth) in each cell."""
    credit = _CAUTION * by_fill.sum() + torch.finfo(torch.float64).tiny
    weight = torch.ones_like(by_fill)
    for depth in range(MAX_DEPTH):
        shallower = weight[:, max(0, depth - 1)]
        weight[:, depth] = ((product[:, depth] + credit * shallower) / (by_fill[:, depth] + credit)).clamp(0, 1)
    return weight
