"""The refiner corrects decoded pictures by what is known of them, and leaves the rest of the model alone."""

import pytest
import torch
from tiny import tiny_config, tiny_flow
from torch import Tensor

from vae_cli.model.condition import Condition
from vae_cli.model.flow import LatentFlow, build_flow
from vae_cli.model.refiner import Refiner


def half_known(x: Tensor, sigma: float = 0.0) -> Condition:
    """The upper half of each picture."""
    observed = torch.zeros_like(x[:, :1])
    observed[:, :, : x.shape[2] // 2] = 1
    return Condition.of(x, observed, torch.full((len(x),), sigma), torch.full((len(x),), -1))


def grey(z: Tensor) -> Tensor:
    """A decoder that knows nothing."""
    return torch.zeros(len(z), 1, 8, 8)


def loss_of(flow: LatentFlow, x: Tensor, view: Condition, rows: Tensor | None = None) -> Tensor:
    """The refiner's."""
    z, half = torch.zeros(len(x), *flow.shape), torch.full((len(x),), 0.5)
    found: Tensor = flow(z, z + 1, half, view, x, torch.arange(len(x)) if rows is None else rows, grey)[1]
    return found


@pytest.mark.parametrize("size", [(8, 8), (10, 6), (2, 2)])
def test_it_starts_as_the_identity_at_any_even_size(size: tuple[int, int]) -> None:
    decoded = torch.rand(2, 3, *size)
    view = half_known(torch.rand(2, 3, *size))
    assert torch.equal(Refiner(3, width=8)(decoded, view.as_image(), torch.rand(2)), decoded)


def test_it_learns_to_carry_an_error_that_shows_into_the_hole() -> None:
    """Plain pictures of different brightness, all decoded as grey: what is known tells how far that is off."""
    torch.manual_seed(0)
    flow = build_flow(tiny_config(), (2, 2, 2), 0)
    optimizer = torch.optim.Adam(flow.refiner.parameters(), lr=3e-3)
    for _ in range(300):
        x = (torch.rand(32, 1, 1, 1) * 2 - 1).expand(-1, 1, 8, 8)
        loss = loss_of(flow, x, half_known(x)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = torch.tensor([-0.8, 0.5]).view(2, 1, 1, 1).expand(-1, 1, 8, 8)
    refined = flow.refine(torch.zeros(2, 1, 8, 8), half_known(x))
    torch.testing.assert_close(refined[:, :, 4:], x[:, :, 4:], rtol=0, atol=0.15)


def test_its_error_does_not_reach_the_velocity() -> None:
    _, flow = tiny_flow()
    x = torch.rand(4, 1, 8, 8)
    loss_of(flow, x, half_known(x)).sum().backward()
    for name, parameter in flow.named_parameters():
        is_reached = parameter.grad is not None and bool(parameter.grad.any())
        assert is_reached == name.startswith("refiner."), name


def test_only_the_chosen_images_are_refined() -> None:
    _, flow = tiny_flow()
    x = torch.rand(4, 1, 8, 8)
    whole = loss_of(flow, x, half_known(x))
    torch.testing.assert_close(loss_of(flow, x, half_known(x), torch.tensor([3, 1])), whole[[3, 1]])


@pytest.mark.parametrize(("sigma", "is_judged"), [(0.0, False), (20.0, True)])
def test_known_pixels_are_judged_only_if_they_are_noisy(sigma: float, is_judged: bool) -> None:
    """They are put back in the end, unless there is noise on them."""
    _, flow = tiny_flow()
    x = torch.zeros(4, 1, 8, 8)
    view, other = half_known(x, sigma), x.clone()
    other[:, :, :4] = 0.7
    assert torch.equal(loss_of(flow, x, view), loss_of(flow, other, view)) != is_judged


def test_a_loss_of_one_is_that_of_the_decoded_picture() -> None:
    flow = build_flow(tiny_config(), (2, 2, 2), 0)
    x = torch.full((4, 1, 8, 8), 0.9)
    torch.testing.assert_close(loss_of(flow, x, half_known(x)), torch.ones(4), rtol=2e-3, atol=0)
