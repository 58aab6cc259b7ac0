"""The VAE: every shape of model gives a bound, its terms are what they claim to be, and nothing in it is idle."""

import pytest
import torch
from tiny import GRID, LADDER, VECTOR, tiny_config, tiny_flow, tiny_vae
from torch import Tensor

from vae_cli.config import CompleteConfig, Layer, from_dict
from vae_cli.config_layers import resolve_config
from vae_cli.model.condition import Condition
from vae_cli.model.flow import build_flow
from vae_cli.model.vae import (
    VAE,
    Latents,
    auto_latents,
    build_likelihood,
    build_vae,
    coarsest_stride,
    draw_noise,
    repeated,
)
from vae_cli.presets import PRESETS
from vae_cli.training.prepare import with_geometry

LIKELIHOODS = ("bernoulli", "gaussian", "discretized_logistic", "logistic_mixture")
FORMS: dict[str, Layer] = {
    "grid": {"model": {"latents": list(GRID)}},
    "vector": {"model": {"latents": list(VECTOR)}},
    "ladder": {"model": {"latents": list(LADDER)}},
}
UNET: Layer = {"model": {"flow": {"net": "unet"}}}


def random_images(num: int, vae: VAE, seed: int = 0) -> Tensor:
    shape = (num, vae.channels, *vae.image_size)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)) / 127.5 - 1


def noise_for(vae: VAE, num: int, seed: int = 0) -> list[Tensor]:
    return draw_noise(vae.latent_shapes, num, torch.Generator().manual_seed(seed))


def preset_config(preset: str, size: tuple[int, int], channels: int, likelihood: str) -> CompleteConfig:
    """A preset's own shape of model, narrowed."""
    layer: Layer = {"model": {"width": 8, "flow": {"width": 16}, "likelihood": {"kind": likelihood}}}
    settled = with_geometry(resolve_config(preset=preset, options=layer), size, channels)
    return from_dict(settled.as_dict(), CompleteConfig)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(("size", "channels"), [((16, 16), 1), ((8, 24), 3)])
def test_every_preset_gives_finite_terms_and_trains_every_weight(
    preset: str, likelihood: str, size: tuple[int, int], channels: int
) -> None:
    """DDP waits for ever for a parameter that gets no gradient."""
    vae = build_vae(preset_config(preset, size, channels, likelihood))
    x = random_images(2, vae)
    x = torch.where(x > 0, 1.0, -1.0) if likelihood == "bernoulli" else x
    terms = vae(x, noise_for(vae, 2))
    assert terms.log_likelihood.shape == terms.elbo.shape == (2,)
    assert terms.kl.shape == (2, len(vae.latent_shapes))
    assert terms.elbo.isfinite().all() and (terms.kl >= 0).all()
    torch.testing.assert_close(terms.elbo, terms.log_likelihood - terms.kl.sum(1))
    (-terms.elbo.mean()).backward()
    idle = [name for name, parameter in vae.named_parameters() if parameter.grad is None]
    assert not idle
    assert all(parameter.grad.isfinite().all() for parameter in vae.parameters() if parameter.grad is not None)
    assert vae.decode_mean(Latents(tuple(noise_for(vae, 2)))).shape == (2, channels, *size)


@pytest.mark.parametrize("form", [*FORMS, "unet"])
@pytest.mark.parametrize("num_labels", [0, 3])
@pytest.mark.parametrize("size", [(8, 8), (8, 16)])
def test_every_weight_of_the_flow_trains(form: str, num_labels: int, size: tuple[int, int]) -> None:
    config = tiny_config(FORMS.get(form, UNET), {"data": {"image_size": list(size)}})
    vae = build_vae(config)
    flow = build_flow(config, vae.latent_shapes[0], num_labels)
    x = random_images(3, vae)
    labels = torch.tensor([-1, 0, 1] if num_labels else [-1, -1, -1])
    view = Condition.of(x, torch.ones(3, 1, *size), torch.zeros(3), labels)
    noise = torch.randn(3, *vae.latent_shapes[0])
    rows, times = torch.tensor([0, 2]), torch.tensor([0.2, 0.5, 0.8])
    losses = flow(noise, noise.flip(0), times, view, x, rows, lambda z: x[: len(z)])
    torch.cat(losses).sum().backward()
    assert not [name for name, parameter in flow.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize("form", FORMS)
def test_no_weight_is_without_influence(form: str) -> None:
    """With random weights every parameter's gradient is not just there but not zero."""
    vae = tiny_vae(FORMS[form]).requires_grad_(True)
    (-vae(random_images(4, vae), noise_for(vae, 4)).elbo.mean()).backward()
    dead = [name for name, parameter in vae.named_parameters() if not parameter.grad.abs().max() > 0]
    assert not dead


@pytest.mark.parametrize("form", FORMS)
def test_the_bound_is_the_mean_of_the_log_weights(form: str) -> None:
    """Two ways to one number: analytic KLs, and log p(x, z) - log q(z | x) of the drawn z."""
    vae = tiny_vae(FORMS[form])
    x, num = random_images(1, vae), 8000
    noise = noise_for(vae, num)
    with torch.inference_mode():
        many = x.expand(num, -1, -1, -1)
        terms = vae(many, noise)
        weights = vae(x, noise, num_draws=num).elbo
    assert weights.shape == (num,)
    difference = (weights - terms.elbo).double()
    assert difference.mean().abs().item() < 4 * difference.std().item() / num**0.5 + 1e-3
    assert difference.std() > 0.01, "otherwise this shows nothing"


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_repeated_rows_keep_their_memory_format(memory_format: torch.memory_format) -> None:
    rows = torch.rand(3, 4, 5, 6).contiguous(memory_format=memory_format)
    many = repeated(rows, 2)
    assert many.is_contiguous(memory_format=memory_format)
    assert torch.equal(many, rows[torch.tensor([0, 0, 1, 1, 2, 2])])


@pytest.mark.parametrize("form", FORMS)
def test_several_draws_of_an_image_are_rows_one_after_another(form: str) -> None:
    """So that ranks, which take consecutive rows, never share an image."""
    vae = tiny_vae(FORMS[form])
    x, noise = random_images(3, vae), noise_for(vae, 6)
    with torch.inference_mode():
        together = vae(x, noise, num_draws=2)
        second = vae(x[1:2], [layer[2:4] for layer in noise], num_draws=2)
        one_draw = vae(x[1:2].expand(2, -1, -1, -1), [layer[2:4] for layer in noise])
    torch.testing.assert_close(together.elbo[2:4], second.elbo)
    torch.testing.assert_close(together.log_likelihood[2:4], one_draw.log_likelihood)
    assert together.kl.shape == (6, len(vae.latent_shapes))


@pytest.mark.parametrize("form", FORMS)
def test_kl_is_measured_on_drawn_latents_of_each_layer(form: str) -> None:
    vae = tiny_vae(FORMS[form])
    assert vae(random_images(2, vae), noise_for(vae, 2)).kl.shape[1] == len(vae.latent_shapes)
    assert (vae(random_images(2, vae), noise_for(vae, 2)).kl > 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_encoding_is_noise_space_and_decoding_its_way_back(form: str) -> None:
    """decode(encode(x, noise)) gives the very parameters that the forward pass scored."""
    vae = tiny_vae(FORMS[form])
    x, noise = random_images(3, vae), noise_for(vae, 3)
    with torch.inference_mode():
        params = vae.decode(vae.encode(x, noise))
        scored = vae.likelihood.log_prob(params, x).flatten(1).sum(1)
        torch.testing.assert_close(scored, vae(x, noise).log_likelihood, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_first_posterior_is_the_one_that_encoding_uses(form: str) -> None:
    vae = tiny_vae(FORMS[form])
    x = random_images(3, vae)
    with torch.inference_mode():
        torch.testing.assert_close(vae.first_posterior(x).mean, vae.encode(x).noise[0])


def test_eval_mode_is_deterministic_and_dropout_obeys_it() -> None:
    vae = tiny_vae({"model": {"dropout": 0.5, "latents": list(LADDER)}})
    x = random_images(2, vae)

    def rebuilt() -> Tensor:
        with torch.inference_mode():
            return vae.decode_mean(vae.encode(x))

    assert torch.equal(rebuilt(), rebuilt())
    vae.train()
    assert not torch.equal(rebuilt(), rebuilt())


def test_latents_come_coarse_to_fine_however_listed() -> None:
    shapes = [
        build_vae(tiny_config({"model": {"latents": listed}})).latent_shapes
        for listed in (list(LADDER), list(reversed(LADDER)))
    ]
    assert shapes[0] == shapes[1] == ((3, 1, 1), (2, 2, 2), (2, 2, 2), (1, 4, 4))


def test_decoded_means_stay_in_range() -> None:
    vae = tiny_vae()
    noise = Latents(tuple(30 * layer for layer in noise_for(vae, 4)))
    decoded = vae.decode_mean(noise)
    assert decoded.min() >= -1 and decoded.max() <= 1


def test_densities_are_float32_under_autocast() -> None:
    vae = tiny_vae({"model": {"latents": list(LADDER)}})
    x, noise = random_images(2, vae), noise_for(vae, 2)
    exact = vae(x, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = vae(x, noise)
        latents = vae.encode(x, noise)
    assert terms.log_likelihood.dtype == terms.kl.dtype == torch.float32
    assert all(layer.dtype == torch.float32 for layer in latents.noise)
    torch.testing.assert_close(terms.elbo, exact.elbo, rtol=0.1, atol=10)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_what_the_likelihood_needs_the_decoder_gives(likelihood: str) -> None:
    config = tiny_config({"model": {"likelihood": {"kind": likelihood}}, "data": {"channels": 3}})
    vae = build_vae(config)
    assert vae.decode(Latents(tuple(noise_for(vae, 2)))).shape[1] == build_likelihood(config.model, 3).num_params


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (64, 64), (48, 64), (8, 64)])
def test_automatic_latents_fit_the_image(size: tuple[int, int]) -> None:
    latents = auto_latents(size, 3)
    stride = coarsest_stride(latents, size)
    assert all(side % stride == 0 for side in size)


def test_building_draws_from_the_global_generator_alone() -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        vae, flow = tiny_flow()
        weights.append([*vae.state_dict().values(), *flow.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize("size", [(8, 8), (12, 20), (32, 16)])
def test_one_set_of_weights_works_at_any_size(size: tuple[int, int]) -> None:
    vae = tiny_vae().at(size)
    x = random_images(2, vae)
    with torch.inference_mode():
        assert vae(x, noise_for(vae, 2)).elbo.isfinite().all()
        rebuilt = vae.decode_mean(vae.encode(x))
    assert rebuilt.shape == x.shape and vae.latent_shapes == ((2, size[0] // 4, size[1] // 4),)


def test_the_decoder_does_not_know_where_it_is() -> None:
    """Equal latents everywhere are one pattern a position, but for the border."""
    vae = tiny_vae().at((96, 96))
    latents = Latents((torch.ones(1, 2, 24, 24) * torch.tensor([0.5, -1.0]).view(1, 2, 1, 1),))
    with torch.inference_mode():
        decoded = vae.decode(latents)
    torch.testing.assert_close(decoded[..., 40:52, 40:52], decoded[..., 44:56, 44:56])
    assert decoded.std() > 0


def test_noise_on_latents_reaches_the_chosen_images_alone() -> None:
    vae = tiny_vae()
    x, noise = random_images(3, vae), noise_for(vae, 3)
    with torch.inference_mode():
        plain, noisy = vae(x, noise), vae(x, noise, latent_noise=torch.tensor([0.0, 2.0, 0.0]))
    torch.testing.assert_close(noisy.kl, plain.kl)
    change = (noisy.params - plain.params).abs().flatten(1).amax(1)
    assert change[1] > 100 * max(change[0], change[2])
