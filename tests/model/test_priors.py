"""Noise by number: image i's depends on (seed, i) and nothing else."""

import torch
from tiny import LADDER, tiny_flow, tiny_vae

from vae_cli.model.flow import LatentFlow
from vae_cli.model.priors import latents_of_images, noise_of_images
from vae_cli.model.vae import Latents
from vae_cli.randomness import image_generator


def test_an_image_has_its_noise_in_any_company() -> None:
    vae = tiny_vae({"model": {"latents": list(LADDER)}})
    many = noise_of_images(vae, 7, [0, 1, 2, 3, 4])
    alone = noise_of_images(vae, 7, [3])
    shuffled = noise_of_images(vae, 7, [4, 3, 0])
    for layer, one, other in zip(many.noise, alone.noise, shuffled.noise, strict=True):
        assert torch.equal(layer[3], one[0])
        assert torch.equal(layer[[4, 3, 0]], other)


def test_seeds_images_and_layers_differ() -> None:
    vae = tiny_vae({"model": {"latents": list(LADDER)}})
    first, second = noise_of_images(vae, 0, list(range(50))), noise_of_images(vae, 1, list(range(50)))
    rows = torch.cat([first.noise[1].flatten(1), second.noise[1].flatten(1)])
    assert len(torch.unique(rows, dim=0)) == 100
    assert not torch.equal(first.noise[1], first.noise[2])


def test_noise_is_standard_normal_times_the_temperature() -> None:
    vae = tiny_vae()
    cold, warm = (
        latents_of_images(vae, None, 0, range(1500), device=torch.device("cpu"), temperature=temperature).noise[0]
        for temperature in (0.5, 1.0)
    )
    torch.testing.assert_close(cold, 0.5 * warm)
    assert abs(warm.mean()) < 0.03 and abs(warm.std() - 1) < 0.03


def test_the_flows_noise_scale_widens_its_own_layer_alone() -> None:
    """The finer layers of a ladder are drawn from the VAE's own prior, and so is everything without a flow."""
    vae, flow = tiny_flow({"model": {"latents": [{"stride": 4, "channels": 2}, {"stride": 2, "channels": 1}]}})

    def drawn(chosen: LatentFlow | None, temperature: float = 1.0) -> tuple[torch.Tensor, ...]:
        with torch.inference_mode():
            return latents_of_images(
                vae, chosen, 3, [0, 1], device=torch.device("cpu"), steps=2, temperature=temperature
            ).noise

    before, warm, plain = drawn(flow), drawn(flow, 1.25), drawn(None)
    flow.noise_scale.fill_(1.25)
    after = drawn(flow)
    assert torch.equal(after[0], warm[0]) and not torch.allclose(after[0], before[0])
    assert torch.equal(after[1], before[1])
    assert all(torch.equal(a, b) for a, b in zip(drawn(None), plain, strict=True))


def test_neighbouring_seeds_and_places_are_unrelated() -> None:
    """(seed 1, place 0) is not (seed 0, place 1), and (1, 2) is not (2, 1)."""
    places = [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]
    drawn = {image_generator(seed, *place).initial_seed() for seed in (0, 1, 2, 2**63 - 1) for place in places}
    assert len(drawn) == 4 * len(places)
    assert image_generator(3, 4).initial_seed() == image_generator(3, 4).initial_seed()


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    noise_of_images(tiny_vae_without_drawing(), 0, [0, 1])
    assert torch.equal(torch.get_rng_state(), before)


def tiny_vae_without_drawing() -> "torch.nn.Module":
    with torch.random.fork_rng(devices=[]):
        return tiny_vae()


def test_latents_know_their_number_and_swap_their_first_layer() -> None:
    latents = Latents((torch.zeros(4, 1, 2, 2), torch.ones(4, 1, 4, 4)))
    changed = latents.with_first(torch.full((4, 1, 2, 2), 9.0))
    assert len(latents) == len(changed) == 4
    assert changed.noise[0].min() == 9 and changed.noise[1] is latents.noise[1]
