"""Smooth continuations of known pixels into holes, which need no model.

They are what a model's fills have to beat, and what replaces them where they do not.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_MEMBRANE_SWEEPS = 2
PLATE_STEPS = 30
"""Steps of conjugate gradients at each resolution."""
_TENSION = 0.1
"""Against bending, in units of one over a pixel squared: without tension a plate overshoots in wide holes, with much
of it the plate becomes a membrane."""
_COARSEST = 8
"""Pixels of the shorter side at which the plate starts from a membrane instead of a coarser plate."""
_LEAST_ENERGY = 1e-20


def membrane(values: Tensor, weight: Tensor) -> Tensor:
    """values [B, C, H, W] where weight [B, 1, H, W] is 1, continued smoothly where it is 0.

    Push-pull (Gortler et al. 1996) with smoothing sweeps on each level: close to a harmonic interpolation. Values
    under weight 0 have no influence; without any weight the result is 0.
    """
    values = values * weight
    if bool((weight > 0).all()) or values.shape[-2] == values.shape[-1] == 1:
        return values
    smooth = _grown(membrane(*_halved(values, weight)), values)
    for _ in range(_MEMBRANE_SWEEPS):
        smooth = torch.where(weight > 0, values, smooth)
        smooth = F.avg_pool2d(F.pad(smooth, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.where(weight > 0, values, smooth)


def plate(x: Tensor, observed: Tensor) -> Tensor:
    """x [B, C, H, W] in [-1, 1] where observed [B, 1, H, W] is 1, continued as a thin plate bends where it is 0.

    Least squared Laplacian and a little of the squared gradient: unlike a membrane it also continues slopes, and in
    wide holes it keeps within bounds (splines in tension, Smith & Wessel 1990). Without any known pixel it is 0.
    """
    return _plate(x * observed, observed, _TENSION).clamp(-1, 1)


def _plate(values: Tensor, observed: Tensor, tension: float) -> Tensor:
    """By conjugate gradients (Hestenes & Stiefel 1952), starting from the plate at half the resolution (Bornemann &
    Deuflhard 1996): from scratch, pixels far from known ones would need hundreds of steps."""
    if bool((observed > 0).all()):
        return values
    if min(values.shape[-2:]) <= _COARSEST:
        smooth = membrane(values, observed)
    else:
        coarse, is_known = _halved(values, observed)
        smooth = torch.where(observed > 0, values, _grown(_plate(coarse, is_known, 4 * tension), values))
    unknown = 1 - observed

    def bending(values: Tensor) -> Tensor:
        curvature = _laplacian(values)
        return unknown * _laplacian(curvature).sub_(curvature, alpha=tension)

    residual = -bending(smooth)
    direction, energy = residual.clone(), _dot(residual, residual)
    for _ in range(PLATE_STEPS):
        bent = bending(direction)
        length = energy / _dot(direction, bent).clamp(min=_LEAST_ENERGY)
        smooth.addcmul_(length, direction)
        residual.addcmul_(length, bent, value=-1)
        energy, before = _dot(residual, residual), energy
        direction = torch.addcmul(residual, energy / before.clamp(min=_LEAST_ENERGY), direction)
    return smooth


def _halved(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Values and weights at half the resolution, rounded up: means of the pixels of weight 1; 1 where there are any."""
    padding = (0, values.shape[-1] % 2, 0, values.shape[-2] % 2)
    shares = F.avg_pool2d(F.pad(weight, padding), 2)
    coarse = F.avg_pool2d(F.pad(values, padding), 2) / shares.clamp(min=0.25)
    return coarse, (shares > 0).float()


def _grown(coarse: Tensor, like: Tensor) -> Tensor:
    """Twice the resolution, cut to the size of `like`."""
    fine = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    return fine[..., : like.shape[-2], : like.shape[-1]]


def _laplacian(values: Tensor) -> Tensor:
    """Sum of the four neighbours less four times the pixel; nothing flows over the picture's border."""
    padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
    return across.add_(padded[..., 2:, 1:-1]).add_(padded[..., :-2, 1:-1]).sub_(values, alpha=4)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """[B, C, 1, 1] sums over pixels: each channel of each picture is a system of its own."""
    return (a * b).sum((2, 3), keepdim=True)
