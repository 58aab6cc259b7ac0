"""Resampling: exact areas when shrinking, interpolation when growing, and agreement with torch's own."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vae_cli.windows.resample import area_weights, cubic_weights, resized


@pytest.mark.parametrize(("source", "target"), [(12, 4), (10, 7), (5, 5), (4, 9), (1, 6)])
def test_constants_stay_whatever_the_size(source: int, target: int) -> None:
    for weights in (area_weights(source, target), cubic_weights(source, target)):
        assert weights.shape == (target, source)
        torch.testing.assert_close(weights.sum(1), torch.ones(target))
    if source == target:
        assert torch.equal(area_weights(source, target), torch.eye(source))
        assert torch.equal(cubic_weights(source, target), torch.eye(source))


def test_shrinking_takes_each_pixels_exact_share() -> None:
    """Ten pixels to four: each covers two and a half."""
    half = torch.tensor([[1, 1, 0.5] + [0] * 7, [0, 0, 0.5, 1, 1] + [0] * 5]) / 2.5
    torch.testing.assert_close(area_weights(10, 4), torch.cat([half, half.flip(0, 1)]))


def test_growing_agrees_with_torch() -> None:
    values = torch.rand(1, 1, 1, 9)
    linear = F.interpolate(values, size=(1, 25), mode="bilinear", align_corners=False)
    torch.testing.assert_close(values @ area_weights(9, 25).T, linear)
    cubic = F.interpolate(values, size=(1, 25), mode="bicubic", antialias=True)  # renormalised near the ends
    torch.testing.assert_close((values @ cubic_weights(9, 25).T)[..., 6:-6], cubic[..., 6:-6])


def test_whole_pictures() -> None:
    picture = np.random.default_rng(0).random((9, 6, 3)).astype(np.float32)
    assert resized(picture, (9, 6)) is picture
    grown = resized(picture, (27, 18))
    by_weights = cubic_weights(9, 27) @ torch.from_numpy(picture).permute(2, 0, 1) @ cubic_weights(6, 18).T
    np.testing.assert_allclose(grown[6:-6, 6:-6], by_weights.permute(1, 2, 0)[6:-6, 6:-6], atol=1e-5)
    np.testing.assert_allclose(resized(np.full((9, 6, 1), 0.3, np.float32), (4, 5)), 0.3, atol=1e-6)
