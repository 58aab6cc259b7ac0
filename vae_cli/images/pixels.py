"""The two converters between uint8 pictures and the tensors inside, and nothing else that scales pixels."""

import numpy as np
import torch
from torch import Tensor


def to_unit(pixels: np.ndarray | Tensor) -> Tensor:
    """uint8 [N, H, W, C] -> float32 [N, C, H, W] in [-1, 1]. to_pixels is its exact inverse."""
    if isinstance(pixels, np.ndarray):
        # torch refuses to share memory that is read-only, as the cached data set is
        pixels = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
    if pixels.dtype != torch.uint8 or pixels.ndim != 4:
        raise ValueError(f"expected uint8 [N, H, W, C], got {pixels.dtype} {tuple(pixels.shape)}")
    return pixels.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def to_pixels(x: Tensor) -> np.ndarray:
    """float [N, C, H, W] in [-1, 1] -> uint8 [N, H, W, C], rounded to nearest; values outside are clipped."""
    levels = ((x.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
