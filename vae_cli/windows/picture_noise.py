"""How strong the noise of a picture is."""

import numpy as np

_GAUSSIAN_MAD = 0.6745  # median of |x| for x ~ N(0, 1)
_LEAST_SHARE = 0.05  # blocks that touch black or white are left out if at least this share of blocks remains


def estimate_sigma(image: np.ndarray, known: np.ndarray | None = None) -> float:
    """Standard deviation of the noise on an image uint8 or uint16 [H, W, C], on the 0-255 scale.

    From the median of the finest diagonal Haar coefficients (Donoho & Johnstone 1994), which hold little but noise, of
    blocks whose pixels are all known (bool [H, W]; None = everywhere). Blocks that touch black or white are left out
    where possible, because part of their noise was clipped. 0 for images that are too small to tell.
    """
    height, width = (side // 2 * 2 for side in image.shape[:2])
    blocks = image[:height, :width].astype(np.float32).reshape(height // 2, 2, width // 2, 2, image.shape[2])
    diagonal = (blocks[:, 0, :, 0] - blocks[:, 0, :, 1] - blocks[:, 1, :, 0] + blocks[:, 1, :, 1]) / 2
    is_free = np.all((blocks > 0) & (blocks < np.iinfo(image.dtype).max), axis=(1, 3))
    if known is not None:
        is_known = known[:height, :width].reshape(height // 2, 2, width // 2, 2).all((1, 3))
        diagonal, is_free = diagonal[is_known], is_free[is_known]
    if not diagonal.size:
        return 0.0
    chosen = diagonal[is_free] if is_free.mean() >= _LEAST_SHARE else diagonal
    return float(np.median(np.abs(chosen)) / _GAUSSIAN_MAD * 255 / np.iinfo(image.dtype).max)
