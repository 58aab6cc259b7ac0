"""A term that may join the bound, off by default: how far the edges of two pictures are apart."""

import torch
from torch import Tensor
from torch.nn import functional as F

NUM_SCALES = 4


def gradient_distance(a: Tensor, b: Tensor) -> Tensor:
    """[B] L1 distance of the finite differences of a and b [B, C, H, W], over a pyramid of halved sizes; float32.

    At each scale the mean over positions, both directions added; then the mean over the scales, times C · H · W: a sum
    over pixels, as a log-likelihood is. Unlike a squared error it charges much for blur and nothing for a shift of
    brightness (compare Mathieu et al. 2016, eq. 6, who take the gradients' magnitudes at one scale).
    """
    difference = a.float() - b.float()  # first, as everything that follows is linear
    num_values = difference[0].numel()
    scales: list[Tensor] = []
    while len(scales) < NUM_SCALES and min(difference.shape[-2:]) > 1:
        down, right = difference.diff(dim=-2), difference.diff(dim=-1)
        scales.append(down.abs().flatten(1).mean(1) + right.abs().flatten(1).mean(1))
        difference = F.avg_pool2d(difference, 2)
    return num_values * torch.stack(scales).mean(0)
