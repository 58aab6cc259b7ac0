"""PSNR and SSIM against scikit-image, and the counting of active latents."""

import numpy as np
import pytest
import torch
from skimage import metrics as reference
from torch import Tensor

from vae_cli.metrics.latents import VarianceMeter
from vae_cli.metrics.pictures import MAX_HOLE_PSNR_DB, MAX_PSNR_DB, copied, detail, hole_psnr_db, psnr_db, ssim


def pair(channels: int, size: tuple[int, int] = (24, 31)) -> tuple[Tensor, Tensor]:
    """Smooth pictures [3, C, H, W] in [0, 1] and noisy copies."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[: size[0], : size[1]] / 10
    base = 0.5 + 0.4 * np.sin(rows + np.arange(3 * channels).reshape(3, channels, 1, 1)) * np.cos(columns)
    noisy = np.clip(base + random.normal(0, [[[[0.02]]], [[[0.1]]], [[[0.3]]]], base.shape), 0, 1)
    return torch.from_numpy(base).float(), torch.from_numpy(noisy).float()


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_agrees_with_scikit_image(channels: int) -> None:
    a, b = pair(channels)
    pairs = zip(a.numpy(), b.numpy(), strict=True)
    expected = [reference.peak_signal_noise_ratio(x, y, data_range=1) for x, y in pairs]
    assert psnr_db(a, b).tolist() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_agrees_with_scikit_image(channels: int) -> None:
    a, b = pair(channels)
    expected = [
        reference.structural_similarity(x.numpy(), y.numpy(), data_range=1, gaussian_weights=True, sigma=1.5,
                                        use_sample_covariance=False, channel_axis=0)
        for x, y in zip(a.double(), b.double(), strict=True)
    ]  # fmt: skip
    assert ssim(a, b).tolist() == pytest.approx(expected, abs=1e-4)


def test_identical_pictures() -> None:
    a, _ = pair(1)
    assert psnr_db(a, a).tolist() == pytest.approx([MAX_PSNR_DB] * 3)
    assert ssim(a, a).tolist() == pytest.approx([1] * 3)


@pytest.mark.parametrize("size", [(4, 4), (1, 9), (8, 5), (10, 40)])
def test_small_pictures_get_a_smaller_window(size: tuple[int, int]) -> None:
    a, b = (torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert ssim(a, b).isfinite().all() and (ssim(a, b) < 1).all()
    torch.testing.assert_close(ssim(a, a), torch.ones(2))


def test_a_weight_restricts_psnr_to_the_hole() -> None:
    a = torch.zeros(1, 3, 4, 4)
    b = a.clone()
    b[..., :2] = 0.5
    hole = torch.zeros(1, 1, 4, 4)
    hole[..., :2] = 1
    assert psnr_db(a, b, hole).item() == pytest.approx(-20 * np.log10(0.5), abs=1e-4)
    assert psnr_db(a, b, 1 - hole).item() == pytest.approx(MAX_PSNR_DB)
    assert psnr_db(a, b).item() == pytest.approx(-10 * np.log10(0.125), abs=1e-4)


def test_errors_in_holes_below_a_millionth_count_as_that() -> None:
    a = torch.zeros(4, 1, 4, 4)
    b = a + torch.tensor([0.5, 1e-2, 0.9e-3, 0]).view(4, 1, 1, 1)
    b[..., 2:] = 1
    hole = torch.zeros(4, 1, 4, 4)
    hole[..., :2] = 1
    found = hole_psnr_db(a, b, hole).tolist()
    assert found == pytest.approx([-20 * np.log10(0.5), 40, MAX_HOLE_PSNR_DB, MAX_HOLE_PSNR_DB], abs=1e-4)


def test_variance_in_parts_is_the_variance_of_all() -> None:
    """Also where the mean is large beside the spread."""
    values = torch.randn(101, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(6) + 1000
    meter = VarianceMeter()
    for part in values.split(17):
        meter.add(part)
    torch.testing.assert_close(meter.variance(), values.double().var(0, correction=0), rtol=1e-4, atol=1e-5)


def test_active_units_are_those_that_vary() -> None:
    """Standard deviations 0, 0.09, 0.11 and 1: the threshold is a variance of 0.01."""
    signs = torch.tensor([1.0, -1.0]).repeat(50)[:, None]
    meter = VarianceMeter()
    meter.add(5 + signs * torch.tensor([[0.0, 0.09, 0.11, 1.0]]))
    assert meter.num_active() == 2


def test_a_single_image_has_no_active_units() -> None:
    meter = VarianceMeter()
    meter.add(torch.randn(1, 8))
    assert meter.num_active() == 0


def test_detail_is_lost_in_a_blur_and_noise_has_more() -> None:
    smooth, noisy = pair(3)
    ramp = torch.linspace(0, 1, 11).expand(1, 1, 5, 11)
    assert detail(ramp).item() == pytest.approx(0.1) and detail(torch.ones(1, 1, 4, 4)).item() == 0
    assert (detail(smooth) < detail(noisy)).all() and (detail(torch.nn.functional.avg_pool2d(noisy, 3)) < 0.3).all()


def test_copies_are_told_from_new_pictures() -> None:
    generator = torch.Generator().manual_seed(0)
    training, new = (torch.rand(20, 3, 24, 24, generator=generator) for _ in range(2))
    blurred = (training[:4] + 0.02 * torch.randn(4, 3, 24, 24, generator=generator)).clamp(0, 1)
    mean = training.mean(0, keepdim=True)  # near to all of them, and a copy of none
    samples = torch.cat([blurred, new, mean])
    assert copied(samples, training.split(7)).tolist() == [True] * 4 + [False] * 21
    assert not copied(samples, [training[:1]]).any(), "of one image nothing can be told"
