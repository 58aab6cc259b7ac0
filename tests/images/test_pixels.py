import numpy as np
import pytest
import torch

from vae_cli.images.pixels import to_pixels, to_unit


def test_all_values_survive_exactly() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    x = to_unit(pixels)
    assert x.shape == (1, 1, 16, 16) and x.dtype == torch.float32 and x.is_contiguous()
    assert x.min() == -1 and x.max() == 1
    np.testing.assert_array_equal(to_pixels(x), pixels)


def test_channels_move_and_read_only_arrays_are_taken() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    pixels.setflags(write=False)
    x = to_unit(pixels)
    assert x.shape == (2, 3, 4, 5)
    assert torch.equal(x, to_unit(torch.tensor(pixels)))
    np.testing.assert_array_equal(to_pixels(x), pixels)


def test_out_of_range_saturates_and_rounds_to_nearest() -> None:
    x = torch.tensor([-1.5, 1.5, 256.2, 0.9999, (200.6 / 127.5) - 1]).view(1, 1, 1, 5)
    assert to_pixels(x).ravel().tolist() == [0, 255, 255, 255, 201]


def test_other_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        to_unit(np.zeros((1, 2, 2, 1), np.float32))
    with pytest.raises(ValueError, match="uint8"):
        to_unit(np.zeros((2, 2, 1), np.uint8))
