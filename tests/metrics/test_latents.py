"""Principal directions, against NumPy."""

import numpy as np
import pytest
import torch

from vae_cli.metrics.latents import principal_directions


@pytest.mark.parametrize("shape", [(50, 6), (6, 50)])
def test_directions_and_variances(shape: tuple[int, int]) -> None:
    points = np.random.default_rng(0).normal(size=shape) * np.linspace(1, 4, shape[1]) + 7
    directions, variances = (found.numpy() for found in principal_directions(torch.from_numpy(points), 3))
    _, singular, rows = np.linalg.svd(points - points.mean(0), full_matrices=False)
    np.testing.assert_allclose(variances, singular[:3] ** 2 / (len(points) - 1))
    np.testing.assert_allclose(np.abs(directions @ rows[:3].T), np.eye(3), atol=1e-6)
    assert (directions[np.arange(3), np.abs(directions).argmax(1)] > 0).all(), "signs are nobody's choice"


def test_few_points_give_few_directions() -> None:
    one, none = principal_directions(torch.ones(1, 5), 3)
    assert one.shape == (1, 5) and none.tolist() == [0.0] and bool(one.isfinite().all())
    assert principal_directions(torch.randn(9, 2), 3)[0].shape == (2, 2)
