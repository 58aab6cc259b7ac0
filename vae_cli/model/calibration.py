"""What is measured once a flow has been trained: the noise that samples start from, and how far to trust its fills."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from vae_cli.model.blending import MAX_DEPTH, NUM_KINDS, kinds_of
from vae_cli.model.condition import Condition
from vae_cli.model.flow import LatentFlow

CALIBRATED = ("noise_scale", "fill_weight", "patch_fill_weight")
"""The flow's buffers that are measured here."""
MAX_NOISE_SCALE = 1.1
"""Samples are widened no further than this: spread that is still missing then has other causes."""
_ROUNDS = 8
"""Rounds of reweighting when the fill weights are fitted; they converge well before."""
_NEGLIGIBLE = (2 / 127.5) ** 2
"""Mean squared error of two grey levels, below which differences between fills do not matter."""
_PRIOR_SHARE = 1e-3
"""Evidence that each cell is credited with, as a share of all squared differences: it says that the cell's weight is
that of the cell one pixel less deep (and 1 for the first). So cells of few pixels follow their neighbours."""
_LEAST_WEIGHT_STEP, _MAX_LEAST_WEIGHT = 0.005, 0.02
"""The model's fill keeps some weight whatever the error says, so that fills of one hole differ: this much more with
each pixel of depth, up to a limit, since on smooth photographs any share of the model's fill shows."""
_CONVINCING_GAIN = 1.0
"""Gain in dB over the smooth continuation, averaged over all holes, from which the fitted weights are used in full
where a draw is farther from the truth than the mean of draws that they are fitted to."""


def calibrate_noise(
    flow: LatentFlow,
    z: Tensor,
    start: Tensor,
    noise: Tensor,
    nothing: Condition,
    *,
    steps: int,
    reencoded: Callable[[Tensor], Tensor],
) -> None:
    """Set the flow's noise scale so that samples spread about what they start from as far as data do.

    A velocity that has not been learned to the end is too smooth, so its samples lie too close to one another. Only a
    few per cent are missing, for which a line through the spreads at two scales is accurate enough; the scale stays
    between 1 and MAX_NOISE_SCALE.

    z [B, C, h, w]: latents of the VAE, start: theirs, noise: standard normal in the shape of z, nothing: the condition
    in which nothing is known. reencoded: decodes latents and encodes the pictures again. Part of the samples' spread
    lies in directions that the decoder ignores, and would hide what is missing in the others.
    """
    scales = (1.0, MAX_NOISE_SCALE)
    samples = [flow.solve(scale * noise, nothing.with_start(start), steps=steps) for scale in scales]
    center = F.interpolate(start[:, :-1], size=z.shape[2:], mode="bilinear")  # the mean, where there is no start

    def spread(latents: Tensor) -> Tensor:
        return (flow.standardise(reencoded(latents)) - center).square().mean()

    wanted, *spreads = (spread(latents) for latents in (z, *samples))
    slope = (spreads[1] - spreads[0]) / (scales[1] - scales[0])
    if slope > 0:
        flow.noise_scale.copy_((1 + (wanted - spreads[0]) / slope).clamp(1.0, MAX_NOISE_SCALE))


def evidence(fill: Tensor, smooth: Tensor, truth: Tensor, observed: Tensor) -> Tensor:
    """What pictures [N, C, H, W] and masks [N, 1, H, W] say about how far to trust fills, for `fitted_weight`.

    float64 [N, 4, NUM_KINDS, MAX_DEPTH] on the CPU: over the values in each cell of each picture their number, and the
    sums of (truth - smooth)², (fill - smooth) · (truth - smooth) and (fill - smooth)².
    """
    fill, smooth, truth, observed = (part.cpu() for part in (fill, smooth, truth, observed))  # not all have doubles
    kind, depth = kinds_of(observed)
    picture = torch.arange(len(fill))[:, None, None, None].expand_as(depth)
    cell = ((picture * NUM_KINDS + kind) * MAX_DEPTH + depth - 1)[depth > 0]
    by_fill, by_truth = fill.double() - smooth.double(), truth.double() - smooth.double()
    products = [torch.ones_like(by_fill), by_truth.square(), by_fill * by_truth, by_fill.square()]
    sums = torch.zeros(4, len(fill) * NUM_KINDS * MAX_DEPTH, dtype=torch.float64)
    sums.index_add_(1, cell, torch.stack([product.sum(1, keepdim=True)[depth > 0] for product in products]))
    return sums.unflatten(1, (len(fill), NUM_KINDS, MAX_DEPTH)).movedim(1, 0)


def fitted_weight(found: Tensor, *, draws_vary: bool) -> Tensor:
    """[NUM_KINDS, MAX_DEPTH] weights of the model's fill against a smooth continuation, for `blending.blended`.

    found: `evidence` [N, 4, NUM_KINDS, MAX_DEPTH] of all pictures. The weights minimise the mean over pictures of the
    logarithm of the squared error, because on a smooth picture a small error shows as much as a large one on a busy
    picture. This is solved by least squares in which each picture counts by one over its error, several times over.
    Where draws vary and the gain is below _CONVINCING_GAIN the weights shrink with it, but not below the least ones.
    """
    _, _, product, by_fill = found.unbind(1)
    least = (_LEAST_WEIGHT_STEP * torch.arange(MAX_DEPTH, dtype=torch.float64)).clamp(max=_MAX_LEAST_WEIGHT)
    smooth_error = _errors(found, torch.zeros(NUM_KINDS, MAX_DEPTH, dtype=torch.float64))
    error = torch.ones_like(smooth_error)
    for _ in range(_ROUNDS):
        share = 1 / error
        weight = _least_squares((share * product).sum(0), (share * by_fill).sum(0)).maximum(least)
        error = _errors(found, weight)
    if draws_vary:
        gain_db = 10 * (smooth_error / error).log10().mean()
        weight = weight * (gain_db / _CONVINCING_GAIN).clamp(0, 1)
    return weight.maximum(least).float()


def _errors(found: Tensor, weight: Tensor) -> Tensor:
    """[N, 1, 1] each picture's squared error under a weight, plus a negligible error for each of its values."""
    count, by_truth, product, by_fill = found.unbind(1)
    error = by_truth - 2 * weight * product + weight.square() * by_fill + _NEGLIGIBLE * count
    return error.sum((1, 2), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)


def _least_squares(product: Tensor, by_fill: Tensor) -> Tensor:
    """[NUM_KINDS, MAX_DEPTH] in [0, 1]: the regression of (truth - smooth) on (fill - smooth) in each cell."""
    credit = _PRIOR_SHARE * by_fill.sum() + torch.finfo(torch.float64).tiny
    weight = torch.ones_like(by_fill)
    for depth in range(MAX_DEPTH):
        shallower = weight[:, max(0, depth - 1)]
        weight[:, depth] = ((product[:, depth] + credit * shallower) / (by_fill[:, depth] + credit)).clamp(0, 1)
    return weight
