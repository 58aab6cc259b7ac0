"""Distances between pictures: PSNR and SSIM, for values in [0, 1]."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_PSNR_DB = 100.0  # reported for identical pictures, whose PSNR is infinite
MAX_HOLE_PSNR_DB = 60.0
"""Most that is reported for a fill: holes in plain areas, which anything fills exactly, must not dominate a mean."""
SIDE_OF_COPIES = 16  # pixels


def psnr_db(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """[B] peak signal-to-noise ratio in dB of images [B, C, H, W] in [0, 1].

    weight [B, 1, H, W]: the pixels that count, for instance a hole.
    """
    error = (a.double() - b.double()).square().mean(1, keepdim=True)
    weight = torch.ones_like(error) if weight is None else weight.double()
    mse = (error * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)
    return (-10 * torch.log10(mse.clamp(min=10 ** (-MAX_PSNR_DB / 10)))).float()


def hole_psnr_db(a: Tensor, b: Tensor, hole: Tensor) -> Tensor:
    """[B] PSNR in dB of images [B, C, H, W] in [0, 1] over the pixels where hole [B, 1, H, W] is 1, at most 60."""
    return psnr_db(a, b, hole).clamp(max=MAX_HOLE_PSNR_DB)


def ssim(a: Tensor, b: Tensor, *, window: int = 11, sigma: float = 1.5) -> Tensor:
    """[B] structural similarity of images [B, C, H, W] in [0, 1] (Wang et al. 2004).

    Gaussian window, averaged over the positions where it fits and over channels; smaller images get a smaller window.
    """
    size = min(window, *((side - 1) // 2 * 2 + 1 for side in a.shape[-2:]))
    offsets = torch.arange(size, dtype=torch.float64, device=a.device) - size // 2
    taps = torch.exp(-0.5 * (offsets / sigma).square())
    taps = taps / taps.sum()
    kernel = (taps[:, None] * taps[None])[None, None]

    def blurred(x: Tensor) -> Tensor:
        return F.conv2d(x.flatten(0, 1)[:, None], kernel)

    a, b = a.double(), b.double()
    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a.square(), blurred(b * b) - mean_b.square()
    covariance = blurred(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_a.square() + mean_b.square() + c1) * (var_a + var_b + c2))
    return similarity.flatten(1).mean(1).unflatten(0, a.shape[:2]).mean(1).float()


def detail(images: Tensor) -> Tensor:
    """[B] root mean square difference of neighbouring pixels of images [B, C, H, W]: how much there is to see in them,
    little in what is blurred."""
    down, across = (images.diff(dim=dim).square().flatten(1).mean(1) for dim in (2, 3))
    return (down + across).sqrt()


def copied(samples: Tensor, training: Iterable[Tensor]) -> Tensor:
    """[N] whether each of the samples [N, C, H, W] copies one of the training images, which come in parts [M, C, H, W].

    That is so where the nearest is less than a third as far away as the next one (Yoon et al. 2023), as seen at 16×16.
    """

    def seen(images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, SIDE_OF_COPIES).flatten(1)

    nearest = samples.new_full((len(samples), 2), torch.inf)
    for part in training:
        distances = torch.cdist(seen(samples), seen(part))
        nearest = torch.cat([nearest, distances], 1).topk(2, largest=False, sorted=True).values
    return nearest[:, 1].isfinite() & (nearest[:, 0] < nearest[:, 1] / 3)
