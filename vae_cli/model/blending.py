"""Fills of a model blended with a smooth continuation of what is known, pixel by pixel.

Close to known pixels a thin plate is hard to beat; deep in a hole it knows nothing. Where to go over from one to the
other depends on the model: `calibration` measures it on images that the model has not learned from.
"""

import numpy as np
import scipy  # which loads ndimage when it is used: most commands never do
import torch
import torch.nn.functional as F
from torch import Tensor

MAX_DEPTH = 16
"""Pixels; what lies deeper in a hole counts as this deep."""
NUM_KINDS = 2
"""Kinds of surroundings: mostly unknown, or in good part known."""
_SURROUNDINGS = 15
"""Side in pixels of the square around a pixel whose known share decides its kind."""
_SPARSE_BELOW = 0.4


def kinds_of(observed: Tensor) -> tuple[Tensor, Tensor]:
    """Kind and depth of each pixel of masks [B, 1, H, W] (1 = known), int64 [B, 1, H, W] each.

    The kind is 1 where a good part of the surroundings is known, else 0. The depth is the chessboard distance to the
    nearest known pixel, at most MAX_DEPTH; 0 for known pixels.
    """
    reach = _SURROUNDINGS // 2
    share = F.avg_pool2d(observed, (_SURROUNDINGS, 1), stride=1, padding=(reach, 0), count_include_pad=False)
    share = F.avg_pool2d(share, (1, _SURROUNDINGS), stride=1, padding=(0, reach), count_include_pad=False)
    holes = (observed[:, 0] == 0).cpu().numpy()
    depth = torch.from_numpy(
        np.stack([scipy.ndimage.distance_transform_cdt(hole, "chessboard") for hole in holes])
    ).long()
    depth = torch.where(depth < 0, MAX_DEPTH, depth).clamp(max=MAX_DEPTH)  # -1: nothing at all is known
    return (share >= _SPARSE_BELOW).long(), depth[:, None].to(observed.device)


def blended(fill: Tensor, smooth: Tensor, observed: Tensor, weight: Tensor) -> Tensor:
    """weight · fill + (1 - weight) · smooth in holes, fill elsewhere.

    Pictures [B, C, H, W], masks [B, 1, H, W] and each picture's weights [B, NUM_KINDS, MAX_DEPTH] by kind and depth.
    """
    kind, depth = kinds_of(observed)
    picture = torch.arange(len(fill))[:, None, None, None]
    chosen = weight[picture, kind, (depth - 1).clamp(min=0)]
    return torch.where(depth > 0, torch.lerp(smooth, fill, chosen), fill)
