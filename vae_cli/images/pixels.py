"""Converters between pictures of whole grey levels and the numbers that are computed with."""

import numpy as np
import torch
from torch import Tensor


def to_unit(pixels: np.ndarray | Tensor) -> Tensor:
    """uint8 or uint16 [N, H, W, C] -> float32 [N, C, H, W] in [-1, 1]. Of uint8 to_pixels is the exact inverse."""
    if isinstance(pixels, np.ndarray):
        # torch refuses to share memory that is read-only, as the cached data set is
        pixels = torch.from_numpy(np.require(pixels, requirements=("C", "W")))  # not turned by its orientation any more
    if pixels.dtype not in (torch.uint8, torch.uint16) or pixels.ndim != 4:
        raise ValueError(f"expected uint8 or uint16 [N, H, W, C], got {pixels.dtype} {tuple(pixels.shape)}")
    return pixels.permute(0, 3, 1, 2).contiguous().float() / (torch.iinfo(pixels.dtype).max / 2) - 1


def to_pixels(x: Tensor) -> np.ndarray:
    """float [N, C, H, W] in [-1, 1] -> uint8 [N, H, W, C], rounded to nearest; values outside are clipped."""
    levels = ((x.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def grey_levels(picture: np.ndarray) -> np.ndarray:
    """float32 in 0..255 of a picture uint8 or uint16."""
    return picture.astype(np.float32) * (255 / np.iinfo(picture.dtype).max)
