"""The latent flow, with weights that are nowhere zero: its solver, what it sees, and that it learns a distribution."""

import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from tiny import GRID, VECTOR, tiny_config, tiny_flow
from torch import Tensor, nn

from vae_cli.config import Layer
from vae_cli.model.condition import Condition
from vae_cli.model.flow import GUIDANCE, LatentFlow, build_flow
from vae_cli.model.refiner import Refiner
from vae_cli.model.transformer import TokenBlock, rotation_of
from vae_cli.model.velocity import VelocityNet, even_times, integrate

FORMS: dict[str, Layer] = {
    "grid": {"model": {"latents": list(GRID)}},
    "vector": {"model": {"latents": list(VECTOR)}},
    "unet": {"model": {"latents": list(GRID), "flow": {"net": "unet"}}},
}


@pytest.fixture(autouse=True)
def no_gradients(request: pytest.FixtureRequest) -> Iterator[None]:
    with torch.set_grad_enabled("learns" in request.node.name):
        yield


def times(steps: int) -> list[float]:
    return torch.linspace(0, 1, steps + 1).tolist()


def half_view(x: Tensor, label: int = -1) -> Condition:
    """The left half is known."""
    observed = torch.zeros(len(x), 1, *x.shape[2:])
    observed[..., : x.shape[3] // 2] = 1
    return Condition.of(x, observed, torch.zeros(len(x)), torch.full((len(x),), label))


# The solver


def test_a_linear_equation_is_solved_to_second_order() -> None:
    """du/dt = -u + t: halving the step divides the error by four."""
    start = torch.tensor([2.0], dtype=torch.float64)
    exact = 3 * math.exp(-1)  # u(t) = t - 1 + 3 exp(-t) at t = 1
    errors = [abs(integrate(lambda u, t: -u + t, start, times(n)).item() - exact) for n in (64, 128, 256)]
    assert 3 < errors[0] / errors[1] < 5 and 3 < errors[1] / errors[2] < 5
    assert errors[2] < 1e-5


def test_gaussian_data_are_exact_in_one_step() -> None:
    """Of N(0, I) to N(0, I) the flow is the identity, wherever on the way it starts."""
    u = torch.randn(5)

    def velocity(u: Tensor, t: float) -> Tensor:
        return (2 * t - 1) / (t**2 + (1 - t) ** 2) * u

    torch.testing.assert_close(integrate(velocity, u, times(1)), u)
    torch.testing.assert_close(integrate(velocity, math.sqrt(0.5) * u, [0.5, 1.0]), u)


def test_even_times_turn_by_equal_angles() -> None:
    found = even_times(0.2, 1, 7)
    angles = [math.atan2(t, 1 - t) for t in found]
    assert found[0] == pytest.approx(0.2) and found[-1] == pytest.approx(1)
    assert [b - a for a, b in pairwise(angles)] == pytest.approx([(math.pi / 2 - angles[0]) / 7] * 7)


def test_every_step_costs_one_evaluation() -> None:
    asked: list[float] = []
    integrate(lambda u, t: asked.append(t) or u, torch.zeros(2), times(5))  # type: ignore[func-returns-value]
    assert asked == times(5)[:-1]


def test_backwards_undoes_forwards() -> None:
    """On a smooth, nonlinear field that moves every point; the networks' own random fields are too rough for it."""

    def velocity(u: Tensor, t: float) -> Tensor:
        return torch.sin(2 * u) + t * torch.cos(3 * u)

    noise = torch.randn(4, 3, 2, 2)
    there = integrate(velocity, noise, times(200))
    back = integrate(velocity, there, times(200)[::-1])
    assert (there - noise).abs().mean() > 0.2, "it went nowhere, which shows nothing"
    torch.testing.assert_close(back, noise, rtol=0, atol=0.01)


@pytest.mark.parametrize("form", FORMS)
def test_more_steps_converge(form: str) -> None:
    _, flow = tiny_flow(FORMS[form])
    noise, view = torch.randn(3, *flow.shape), Condition.nothing(3, 1, (8, 8), torch.device("cpu"))
    coarse, fine, finest = (flow.solve(noise, view, steps=steps) for steps in (4, 32, 64))
    assert (fine - finest).abs().max() < 0.5 * (coarse - finest).abs().max()


def test_an_untrained_flow_draws_gaussian_latents() -> None:
    """The closed form alone carries N(0, I) to N(0, I), so a new flow draws N(mean, scale²) of the latents."""
    config = tiny_config(FORMS["grid"])
    flow = build_flow(config, (2, 2, 2), 0)
    flow.set_statistics(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]))
    noise, view = torch.randn(3, 2, 2, 2), Condition.nothing(3, 1, (8, 8), torch.device("cpu"))
    torch.testing.assert_close(flow.solve(noise, view, steps=1), flow.restore(noise))
    assert not torch.allclose(flow.solve(noise, view, steps=1), noise, atol=0.1)


def test_standardise_and_restore_are_inverse_per_channel() -> None:
    _, flow = tiny_flow()
    z = 5 * torch.randn(6, *flow.shape)
    torch.testing.assert_close(flow.restore(flow.standardise(z)), z)
    flow.set_statistics(z.mean((0, 2, 3)), z.std((0, 2, 3), correction=0))
    u = flow.standardise(z)
    torch.testing.assert_close(u.mean((0, 2, 3)), torch.zeros(flow.shape[0]), rtol=0, atol=1e-5)
    torch.testing.assert_close(u.std((0, 2, 3), correction=0), torch.ones(flow.shape[0]))


def test_statistics_survive_saving() -> None:
    _, flow = tiny_flow()
    _, other = tiny_flow()
    other.set_statistics(torch.zeros(2), torch.ones(2))
    other.load_state_dict(flow.state_dict())
    z = torch.randn(2, *flow.shape)
    assert torch.equal(other.standardise(z), flow.standardise(z))


# Sizes


@pytest.mark.parametrize("net", ["unet", "transformer"])
@pytest.mark.parametrize(("patch", "size"), [(1, (12, 20)), (2, (8, 8)), (2, (12, 20)), (2, (4, 28))])
def test_one_set_of_weights_works_at_any_size(net: str, patch: int, size: tuple[int, int]) -> None:
    """Also where a field of the net's grid is wider than what is left of the latents'."""
    vae, flow = tiny_flow({"model": {"flow": {"net": net, "patch": patch, "clusters": 2}}})
    flow.centroids.normal_()
    shape = vae.at(size).latent_shapes[0]
    noise, x = torch.randn(2, *shape), torch.rand(2, 1, *size)
    starts = (flow.start_at(torch.full((2,), cluster)) for cluster in (-1, 1))
    plain, other = (flow.at(shape).solve(noise, half_view(x).with_start(start), steps=2) for start in starts)
    assert plain.shape == noise.shape and plain.isfinite().all()
    assert not torch.allclose(plain, other), "clusters are known at every size"


def test_a_token_sees_its_neighbours_and_where_it_is() -> None:
    """Everything is attended to; and equal latents everywhere do not move alike."""
    _, flow = tiny_flow()
    shape = (2, 6, 6)
    nothing = Condition.nothing(1, 1, (24, 24), torch.device("cpu"))
    first, other = torch.zeros(1, *shape), torch.zeros(1, *shape)
    other[0, :, 5, 5] = 3
    a, b = (flow.at(shape).solve(noise, nothing, steps=1) for noise in (first, other))
    assert (a - b)[0, :, 0, 0].abs().max() > 1e-6
    assert a[0, 0].std() > 1e-3


def test_fills_of_a_flow_that_was_not_calibrated_are_not_trusted() -> None:
    flow = build_flow(tiny_config({"data": {"patches": 3}}), (2, 2, 2), 0)
    assert not flow.trust(torch.tensor([0.0, 2.0])).any()


# What it sees


@pytest.mark.parametrize("form", FORMS)
def test_with_nothing_observed_no_pixel_has_influence(form: str) -> None:
    _, flow = tiny_flow(FORMS[form])
    noise = torch.randn(2, *flow.shape)
    none = Condition.nothing(2, 1, (8, 8), torch.device("cpu"))
    unknown, sigma = torch.zeros(2, 1, 8, 8), torch.full((2,), 30.0)
    blind = Condition.of(torch.randn(2, 1, 8, 8), unknown, sigma, torch.tensor([-1, -1]), torch.randn(2, 1, 8, 8))
    assert torch.equal(flow.solve(noise, blind, steps=3), flow.solve(noise, none, steps=3))


@pytest.mark.parametrize("form", FORMS)
def test_what_lies_under_the_hole_has_no_influence_and_what_is_known_has(form: str) -> None:
    _, flow = tiny_flow(FORMS[form])
    noise, x = torch.randn(2, *flow.shape), torch.rand(2, 1, 8, 8)
    under, beside = x.clone(), x.clone()
    under[..., 4:] = -1
    beside[..., :4] = -1
    first, same, other = (flow.solve(noise, half_view(image), steps=3) for image in (x, under, beside))
    assert torch.equal(first, same)
    assert not torch.allclose(first, other)


def test_a_dark_pixel_is_not_an_unknown_one() -> None:
    """Zero stands for grey as well as for nothing: only `observed` tells them apart."""
    _, flow = tiny_flow()
    noise, grey = torch.randn(1, *flow.shape), torch.zeros(1, 1, 8, 8)
    none = Condition.nothing(1, 1, (8, 8), torch.device("cpu"))
    known = Condition.of(grey, torch.ones_like(grey), torch.zeros(1), torch.tensor([-1]))
    assert not torch.allclose(flow.solve(noise, known, steps=2), flow.solve(noise, none, steps=2))


def test_the_noise_level_is_seen_and_scaled() -> None:
    x = torch.zeros(1, 1, 8, 8)
    noise = torch.randn(1, 1, 8, 8)
    view = Condition.of(x, torch.ones_like(x), torch.tensor([51.0]), torch.tensor([-1]), noise)
    torch.testing.assert_close(view.pixels, (0.4 * noise).clamp(-1, 1))
    bright = Condition.of(x + 1, torch.ones_like(x), torch.tensor([51.0]), torch.tensor([-1]), noise.abs())
    assert bright.pixels.max() == 1, "noise on white is cut, as in a file"
    image = view.as_image()
    assert image.shape == (1, 3, 8, 8)
    torch.testing.assert_close(image[:, 2], torch.full((1, 8, 8), 0.4))


def test_views_of_one_batch_do_not_mix() -> None:
    _, flow = tiny_flow()
    noise, x = torch.randn(3, *flow.shape), torch.rand(3, 1, 8, 8)
    together = flow.solve(noise, half_view(x), steps=3)
    alone = torch.cat([flow.solve(noise[i : i + 1], half_view(x[i : i + 1]), steps=3) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


# Labels and guidance


@pytest.mark.parametrize("width", [8, 40, 56, 104])
def test_any_width_has_heads_that_divide_it(width: int) -> None:
    x, block = torch.randn(1, 6, width), TokenBlock(width)
    assert block(x, torch.randn(1, 2 * width), rotation_of(2, 3, block.head_width, x)).shape == x.shape


def test_labels_matter_and_minus_one_is_none() -> None:
    _, flow = tiny_flow(num_labels=3)
    noise, x = torch.randn(2, *flow.shape), torch.rand(2, 1, 8, 8)
    results = [flow.solve(noise, half_view(x, label), steps=2) for label in (-1, 0, 1, 2, 3)]
    for number, first in enumerate(results[:4]):
        assert not any(torch.allclose(first, other) for other in results[number + 1 : 4])
    assert torch.equal(results[0], results[4]), "the embedding's last row stands for no label"


def test_a_flow_without_labels_takes_minus_one() -> None:
    _, flow = tiny_flow(num_labels=0)
    view = Condition.nothing(2, 1, (8, 8), torch.device("cpu"))
    assert flow.solve(torch.randn(2, *flow.shape), view, steps=1).isfinite().all()


def test_guidance() -> None:
    """One is off, zero forgets the label, more goes beyond it."""
    _, flow = tiny_flow(num_labels=2)
    noise, x = torch.randn(2, *flow.shape), torch.rand(2, 1, 8, 8)
    labelled, plain = half_view(x, 1), half_view(x, -1)

    def solved(view: Condition, guidance: float = 1.0) -> Tensor:
        return flow.solve(noise, view, steps=1, guidance=guidance)

    torch.testing.assert_close(solved(labelled, 1 + 1e-6), solved(labelled), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(solved(labelled, 0.0), solved(plain), rtol=1e-4, atol=1e-4)
    expected = solved(plain) + 3 * (solved(labelled) - solved(plain))  # one Euler step is linear in the velocity
    torch.testing.assert_close(solved(labelled, 3.0), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(solved(plain, 3.0), solved(plain), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("net", ["unet", "transformer"])
def test_guidance_of_photographs_leads_to_the_start_too(net: str) -> None:
    _, flow = tiny_flow({"model": {"flow": {"net": net}}}, num_labels=2)
    flow.centroids.normal_()
    noise, plain = torch.randn(2, *flow.shape), Condition.nothing(2, 1, (8, 8), torch.device("cpu"))
    view = plain.with_label(torch.tensor([0, 1])).with_start(flow.start_at(torch.tensor([1, 0])))
    one = flow.solve(noise, view, steps=1)
    less = plain if net == "transformer" else plain.with_start(view.start)
    expected = torch.lerp(flow.solve(noise, less, steps=1), one, 3.0)
    torch.testing.assert_close(flow.solve(noise, view, steps=1, guidance=3.0), expected, rtol=1e-3, atol=1e-3)
    assert flow.guidance_of(is_labelled=False) == (GUIDANCE if net == "transformer" else 1.0)
    assert flow.guidance_of(is_labelled=True) == GUIDANCE


# Learning


class Blind(nn.Module):
    """A condition that is the same for every view."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.zeros(len(image), 8, 1, 1)


def mixture(num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Latents [num, 2, 1, 1] around (6, 1) or (2, -1), and which of the two: far from zero, as a VAE's may be."""
    which = torch.randint(0, 2, (num,), generator=generator)
    centers = torch.tensor([[6.0, 1.0], [2.0, -1.0]])[which]
    z = centers + torch.tensor([0.4, 0.8]) * torch.randn(num, 2, generator=generator)
    return z[:, :, None, None], which


def test_it_learns_a_mixture_and_its_labels() -> None:
    """Moments of all, and of each label's part, within what a few hundred small updates can give."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    flow = LatentFlow(
        (2, 1, 1), Blind(), VelocityNet((2, 1, 1), 2, net="transformer", width=32, blocks=1, patch=1),
        Refiner(1, width=8), 8, num_labels=2, num_clusters=1,
    )  # fmt: skip
    z, which = mixture(4000, generator)
    flow.set_statistics(z.mean((0, 2, 3)), z.std((0, 2, 3)))
    optimizer = torch.optim.Adam(flow.parameters(), lr=3e-3)
    view = Condition.nothing(256, 1, (4, 4), torch.device("cpu"))
    for _ in range(400):
        rows = torch.randint(0, len(z), (256,), generator=generator)
        hidden = torch.rand(256, generator=generator) < 0.3
        time = torch.sigmoid(torch.randn(256, generator=generator))
        noise = torch.randn(256, 2, 1, 1, generator=generator)
        labelled = view.with_label(torch.where(hidden, -1, which[rows]))
        one = torch.zeros(1, dtype=torch.long)
        each, _ = flow(z[rows], noise, time, labelled, view.pixels, one, lambda z: view.pixels[: len(z)])
        loss = each.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    flow.eval()
    many = Condition.nothing(4000, 1, (4, 4), torch.device("cpu"))
    noise = torch.randn(4000, 2, 1, 1, generator=generator)
    with torch.inference_mode():
        drawn = flow.solve(noise, many, steps=20).flatten(1)
        first = flow.solve(noise, many.with_label(torch.zeros(4000, dtype=torch.long)), steps=20).flatten(1)
    data = z.flatten(1)
    torch.testing.assert_close(drawn.mean(0), data.mean(0), rtol=0, atol=0.2)
    torch.testing.assert_close(drawn.T.cov(), data.T.cov(), rtol=0.2, atol=0.1)
    between = (drawn[:, 0] - 4).abs() < 0.8
    assert between.float().mean() < 0.1, "two clusters became one"
    torch.testing.assert_close(first.mean(0), torch.tensor([6.0, 1.0]), rtol=0, atol=0.25)
    torch.testing.assert_close(first.std(0), torch.tensor([0.4, 0.8]), rtol=0.3, atol=0)
