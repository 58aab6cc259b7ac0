"""Pictures at other sizes: all resampling between a picture's own pixels and the model's.

Of a large window, a part or a few rows at a time may be asked for. So resampling is one matrix for the rows and one
for the columns, of which parts can be taken.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def area_weights(source: int, target: int) -> Tensor:
    """float32 [target, source] to resample a line of pixels; rows sum to 1.

    Shrinking averages areas, with the exact share of pixels that lie across a border; growing interpolates linearly.
    """
    scale = max(source / target, 1.0)
    weights = ((scale + 1) / 2 - _distances(source, target)).clamp(0, 1)
    return (weights / weights.sum(1, keepdim=True)).float()


def cubic_weights(source: int, target: int) -> Tensor:
    """As `area_weights`, to enlarge with Catmull and Rom's cubic kernel; beyond its ends the line stays as they are."""
    distance = _distances(source, target, margin=2)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = torch.where(distance <= 1, near, far) * (distance < 2)
    weights[:, 2] += weights[:, :2].sum(1)
    weights[:, -3] += weights[:, -2:].sum(1)
    return weights[:, 2:-2].float()


def _distances(source: int, target: int, margin: int = 0) -> Tensor:
    """float64 [target, source + 2 margin]: from each target pixel's centre to each source pixel's, in source pixels."""
    centres = (torch.arange(target, dtype=torch.float64) + 0.5) * source / target - 0.5
    return (centres[:, None] - torch.arange(-margin, source + margin, dtype=torch.float64)).abs()


def resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32 [H, W, C] at another size, cubic and antialiased; the same array where the size is right.

    For whole pictures: several times as fast as `cubic_weights`, whose kernel it widens where it shrinks.
    """
    if values.shape[:2] == size:
        return values
    x = torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)[None]
    found = F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)
    return found[0].permute(1, 2, 0).numpy()
