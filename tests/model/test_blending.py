"""Fills blended with a smooth continuation: depths are distances, and nothing known is touched."""

import torch
from torch import Tensor

from vae_cli.model.blending import MAX_DEPTH, NUM_KINDS, blended, kinds_of


def box(side: int = 40, top: int = 10, size: int = 9) -> Tensor:
    """[1, 1, side, side]: 1 but for a square."""
    observed = torch.ones(1, 1, side, side)
    observed[..., top : top + size, top : top + size] = 0
    return observed


def test_depth_is_the_distance_to_the_nearest_known_pixel() -> None:
    _, depth = kinds_of(box())
    assert depth[0, 0, 10, 10:19].tolist() == [1] * 9
    assert depth[0, 0, 14, 9:20].tolist() == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0]
    assert kinds_of(torch.zeros(1, 1, 8, 8))[1].unique().tolist() == [MAX_DEPTH]


def test_surroundings_tell_a_scratch_from_scattered_pixels() -> None:
    scratch = torch.ones(1, 1, 40, 40)
    scratch[..., 20] = 0
    scattered = (torch.rand(1, 1, 40, 40) > 0.8).float()
    assert kinds_of(scratch)[0].unique().tolist() == [1]
    assert kinds_of(scattered)[0].float().mean() < 0.01


def test_known_pixels_are_the_fills() -> None:
    observed, fill = box(), torch.rand(1, 3, 40, 40)
    found = blended(fill, torch.zeros(1, 3, 40, 40), observed, torch.zeros(1, NUM_KINDS, MAX_DEPTH))
    assert torch.equal(found, fill * observed)


def test_each_picture_has_weights_of_its_own() -> None:
    observed, fill = box().repeat(2, 1, 1, 1), torch.rand(2, 3, 40, 40)
    weight = torch.stack([torch.zeros(NUM_KINDS, MAX_DEPTH), torch.ones(NUM_KINDS, MAX_DEPTH)])
    found = blended(fill, torch.zeros_like(fill), observed, weight)
    assert torch.equal(found[0], fill[0] * observed[0]) and torch.equal(found[1], fill[1])
