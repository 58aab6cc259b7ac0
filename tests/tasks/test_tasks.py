"""The jobs: what they draw follows from the seed alone, ends and known pixels stay put, and figures are complete."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import LADDER, pictures, tiny_model, vivid

from vae_cli.checkpoint import Model
from vae_cli.config import Layer
from vae_cli.errors import ConfigError
from vae_cli.model.flow import FILL_TEMPERATURE, GUIDANCE, MIXED_TEMPERATURE
from vae_cli.model.vae import Latents
from vae_cli.tasks import conditional_draws
from vae_cli.tasks.conditional_draws import CHUNK, SOURCE, Method, fill_pictures, paired_noise
from vae_cli.tasks.encode import expected_images
from vae_cli.tasks.evaluate import evaluate
from vae_cli.tasks.inpaint import Fill, Picture, inpaint
from vae_cli.tasks.interpolate import ends_of_images, ends_of_samples, even_shares, interpolate, way_between
from vae_cli.tasks.reconstruct import reconstruct, reconstruct_draws
from vae_cli.tasks.sample import resolve_prior, sample
from vae_cli.windows.around_holes import windows_around
from vae_cli.windows.evidence import Choice, Trial

DEEP: Layer = {"model": {"latents": list(LADDER)}}


@pytest.fixture(scope="module", params=["grid", "ladder"])
def model(request: pytest.FixtureRequest) -> Model:
    return tiny_model(*([DEEP] if request.param == "ladder" else []), num_labels=3)


def differ(a: np.ndarray, b: np.ndarray) -> int:
    """The largest difference in grey levels."""
    return int(np.abs(a.astype(int) - b.astype(int)).max())


# sample


@pytest.mark.parametrize("prior", ["flow", "normal"])
def test_a_seed_fixes_each_image_for_any_count(model: Model, prior: str) -> None:
    many, few = list(sample(model, 35, seed=4, prior=prior)), list(sample(model, 3, seed=4, prior=prior))
    assert len(many) == 35 and all(np.array_equal(a, b) for a, b in zip(few, many, strict=False))
    assert many[0].shape == (8, 8, 1) and many[0].dtype == np.uint8
    assert any(differ(many[0], other) for other in many[1:])
    assert any(differ(a, b) for a, b in zip(sample(model, 3, seed=5, prior=prior), few, strict=True))


def test_temperature_labels_guidance_and_steps_matter(model: Model) -> None:
    plain = np.stack(list(sample(model, 6)))
    for changed in (
        {"temperature": 0.2}, {"labels": ["b"]}, {"labels": ["b"], "guidance": 4.0}, {"solver_steps": 1},
        {"prior": "normal"},
    ):  # fmt: skip
        assert differ(plain, np.stack(list(sample(model, 6, **changed)))) > 0, changed
    labelled = np.stack(list(sample(model, 6, labels=["b"])))
    assert differ(labelled, np.stack(list(sample(model, 6, labels=["b"], guidance=GUIDANCE)))) == 0, "the default"
    assert differ(plain, np.stack(list(sample(model, 6, labels=["b"], guidance=0.0)))) <= 1, "zero forgets the label"


def test_priors_and_labels_that_do_not_exist(model: Model) -> None:
    flowless = replace(model, flow=None)
    assert (resolve_prior(model, "auto"), resolve_prior(flowless, "auto")) == ("flow", "normal")
    with pytest.raises(ConfigError, match="no flow"):
        list(sample(flowless, 1, prior="flow"))
    with pytest.raises(ConfigError, match=r"--label aa: .*did you mean a"):
        list(sample(model, 1, labels=["aa"]))
    with pytest.raises(ConfigError, match="without labels"):
        list(sample(replace(model, facts=replace(model.facts, label_names=())), 1, labels=["a"]))
    with pytest.raises(ConfigError, match="--label"):
        list(sample(model, 1, labels=["a"], prior="normal"))


# reconstruct


def test_reconstructions_are_deterministic_and_drawn_ones_follow_the_seed(model: Model) -> None:
    images = pictures(5)
    first, again = (np.stack(list(reconstruct(model, images))) for _ in range(2))
    assert np.array_equal(first, again) and first.shape == images.shape
    named = [(f"{number}.png", image) for number, image in enumerate(images)]
    one, same, other = (np.stack(list(reconstruct_draws(model, named, seed=s))) for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert differ(one, other) > 0 and differ(one, first) > 0
    backwards = np.stack(list(reconstruct_draws(model, named[:2][::-1], seed=1)))
    assert differ(backwards[::-1], one[:2]) <= 1


# interpolate


@pytest.mark.parametrize("mode", ["slerp", "lerp"])
@pytest.mark.parametrize("loop", [False, True])
def test_walks_pass_through_the_reconstructions(model: Model, mode: str, loop: bool) -> None:
    model, images = vivid(copy.deepcopy(model)), pictures(3)
    frames = list(interpolate(model, ends_of_images(model, images), steps=5, mode=mode, loop=loop))
    rebuilt = list(reconstruct(model, images))
    assert len(frames) == (1 + 3 * 4 if loop else 1 + 2 * 4), "shared ends come once"
    for number, wanted in enumerate([*rebuilt, *rebuilt[:1]][: 4 if loop else 3]):
        np.testing.assert_array_equal(frames[4 * number], wanted)
    assert differ(frames[0], frames[4]) > 3 and all(differ(frames[2], end) > 0 for end in rebuilt)


@pytest.mark.parametrize("has_flow", [True, False])
def test_walks_between_samples_end_at_the_samples(model: Model, has_flow: bool) -> None:
    chosen = model if has_flow else replace(model, flow=None)
    drawn = list(sample(chosen, 8, seed=2))
    frames = list(interpolate(chosen, ends_of_samples(chosen, [7, 3], 2), steps=4))
    assert differ(frames[0], drawn[7]) <= 1 and differ(frames[-1], drawn[3]) <= 1


@pytest.mark.parametrize("method", ["auto", "model", "classical"])
def test_a_picture_that_is_turned_in_memory_is_filled_like_its_copy(model: Model, method: Method) -> None:
    """Orientations are views of what is stored, whose strides may be negative."""
    picture, hole = pictures(1, (24, 20), model.channels)[0][::-1, ::-1], np.zeros((24, 20), bool)
    hole[3:15, 2:12] = hole[20] = True
    turned, copied = (next(inpaint(model, [Picture("a", *arrays)], method=method)).pixels
                      for arrays in ((picture, hole[::-1]), (picture.copy(), hole[::-1].copy())))  # fmt: skip
    assert np.array_equal(turned, copied)


@pytest.mark.parametrize("mode", ["slerp", "lerp"])
def test_steps_are_even(model: Model, mode: str) -> None:
    """Between latents far apart, where equal shares are far from equal steps, but for one model's lines."""
    ends = ends_of_images(model, pictures(2))
    far = [Latents((factor * ends.noise[0][row : row + 1], *(layer[row : row + 1] for layer in ends.noise[1:])))
           for row, factor in ((0, 4), (1, -1))]  # fmt: skip
    way = way_between(model, *far, mode)

    def ratio(shares: torch.Tensor) -> float:
        """Largest over smallest step."""
        latents = way(torch.zeros(len(shares), dtype=torch.long), shares)
        steps = torch.stack(list(expected_images(model, latents))).diff(dim=0).square().mean((1, 2, 3)).sqrt()
        return (steps.max() / steps.min()).item()

    shares, plain = even_shares(model, way, 17), torch.linspace(0, 1, 17)
    assert shares[0] == 0 and shares[-1] == 1 and (shares.diff() > 0).all()
    assert ratio(shares) < max(1.3, 0.6 * ratio(plain))


@pytest.mark.parametrize("mode", ["slerp", "lerp"])
def test_a_walk_between_equal_images_stays(model: Model, mode: str) -> None:
    images = pictures(1).repeat(2, axis=0)
    frames = list(interpolate(model, ends_of_images(model, images), steps=4, mode=mode))
    assert len(frames) == 4 and all(differ(frame, frames[0]) <= 1 for frame in frames)


# inpaint


def hole_of(image: np.ndarray) -> np.ndarray:
    hole = np.zeros(image.shape[:2], bool)
    hole[2:6, 3:7] = True
    return hole


def fills(model: Model, image: np.ndarray, image_id: str = "a.png", **settings: Any) -> list[Fill]:
    return list(inpaint(model, [Picture(image_id, image, hole_of(image))], **settings))


def inside(fill: Fill) -> np.ndarray:
    return fill.pixels[2:6, 3:7]


def test_a_fill_depends_on_seed_id_and_number_only(model: Model) -> None:
    image = pictures(1)[0]
    three, one = fills(model, image, samples=3), fills(model, image, samples=1)
    assert [fill.number for fill in three] == [0, 1, 2]
    assert np.array_equal(inside(three[0]), inside(one[0]))
    others = [*three[1:], fills(model, image, seed=1)[0], fills(model, image, image_id="b.png")[0]]
    assert not any(np.allclose(inside(three[0]), inside(other)) for other in others)


def test_the_first_fill_of_a_deep_hole_is_safe_however_many_there_are(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, picture = copy.deepcopy(model), Picture("deep.png", pictures(1, (40, 40))[0], torn(40, 40))
    assert model.flow is not None
    model.flow.follows_layouts = True  # so that mixed pictures and the model's own are drawn apart
    monkeypatch.setattr(Trial, "safe_choice", Choice("mixed"))

    def filled(choice: Choice, samples: int) -> list[np.ndarray]:
        monkeypatch.setattr(Trial, "choice", choice)
        return [fill.pixels for fill in inpaint(model, [picture], samples=samples)]

    of_model, mixed = filled(Choice("model"), 2), filled(Choice("mixed"), 2)
    assert np.array_equal(of_model[0], mixed[0]) and np.array_equal(of_model[0], filled(Choice("model"), 1)[0])
    assert not np.array_equal(of_model[1], mixed[1])


def test_a_fill_does_not_depend_on_what_else_is_filled(model: Model) -> None:
    """Nor on how many windows there are before it, nor on what may be read at once."""
    images = [*pictures(5), *pictures(3, (20, 30))]
    deep = Picture("deep.png", pictures(1, (24, 32))[0], torn(24, 32))
    jobs = [deep, *(Picture(f"{number}.png", image, scratches_of(image)) for number, image in enumerate(images))]
    together = list(inpaint(model, jobs, samples=3))
    assert [(fill.picture.id, fill.number) for fill in together] == [(job.id, k) for job in jobs for k in range(3)]
    assert len(windows_around(jobs[-1].hole, model.image_size)) > 1
    for number, job in enumerate(jobs):
        for alone, same in zip(inpaint(model, [job], samples=3), together[3 * number :], strict=False):
            assert np.array_equal(alone.pixels, same.pixels)


def scratches_of(image: np.ndarray) -> np.ndarray:
    hole = np.zeros(image.shape[:2], bool)
    hole[1, 1:4] = hole[-2, -3:] = True
    return hole


def torn(height: int, width: int) -> np.ndarray:
    hole = np.zeros((height, width), bool)
    hole[: height // 2, : width // 2] = True
    return hole


def test_a_deep_hole_is_filled_as_without_a_model_by_one_that_is_not_trusted(model: Model) -> None:
    assert model.flow is not None
    stripes = np.tile(np.arange(40) % 4 < 2, (40, 1))[..., None] * np.uint8(200)
    picture = Picture("", stripes, torn(40, 40))  # without a name, of which noise depends where there is a model
    model.flow.fill_weight.zero_()
    try:
        (auto,), (classical,) = (list(inpaint(model, [picture], method=method)) for method in ("auto", "classical"))
    finally:
        model.flow.fill_weight.fill_(1.0)
    np.testing.assert_allclose(auto.pixels, classical.pixels, atol=0.01)
    (of_model,) = inpaint(model, [picture], method="model")
    assert np.abs(auto.pixels - of_model.pixels).max() > 1


def test_large_pictures_do_not_wait_for_others(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_cli.tasks.inpaint.PIXELS_AT_ONCE", 100)  # one picture of 8×8, not two
    read: list[int] = []

    def jobs() -> Iterator[Picture]:
        for number, image in enumerate(pictures(4)):
            read.append(number)
            yield Picture(str(number), image, hole_of(image))

    for fill in inpaint(model, jobs()):
        assert len(read) <= int(fill.picture.id) + 2


def test_every_second_fill_mirrors_the_noise_of_the_one_before(model: Model) -> None:
    first, second, third = (paired_noise(model.vae, number, 1, 2).noise for number in range(3))
    assert all(torch.equal(a, -b) for a, b in zip(first, second, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, third, strict=True))


def test_fills_are_as_far_apart_as_their_temperature_says(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    model = vivid(copy.deepcopy(model))

    def apart(temperature: float) -> float:
        monkeypatch.setattr(conditional_draws, "FILL_TEMPERATURE", temperature)
        first, second = (inside(fill) for fill in fills(model, pictures(1)[0], samples=2, method="model"))
        return float(np.abs(first - second).mean())

    assert apart(0.0) == 0 < apart(FILL_TEMPERATURE) < apart(1.0)


def test_fills_are_weighed_by_what_the_model_holds(model: Model) -> None:
    assert model.flow is not None
    image, flow = pictures(1)[0], model.flow
    of_model, classical = (inside(fills(model, image, method=method)[0]) for method in ("model", "classical"))
    assert np.array_equal(inside(fills(model, image)[0]), of_model), "a model without weights is trusted"
    flow.fill_weight.fill_(0.25)
    try:
        mixed = inside(fills(model, image)[0])
    finally:
        flow.fill_weight.fill_(1.0)
    np.testing.assert_allclose(mixed, 0.25 * of_model + 0.75 * classical, atol=0.01)
    assert np.abs(of_model - classical).max() > 1


def test_what_is_mixed_of_photographs_comes_from_less_noise(model: Model) -> None:
    model = copy.deepcopy(model)
    assert model.flow is not None
    model.flow.follows_layouts = True  # as of images above 32 pixels; it is trusted in full
    x, observed = torch.rand(2, 1, 8, 8) * 2 - 1, (torch.rand(2, 1, 8, 8) > 0.5).float()
    noise = Latents.joined([paired_noise(model.vae, number, 1) for number in range(2)])
    cooler = noise.map(lambda layer: MIXED_TEMPERATURE / FILL_TEMPERATURE * layer)
    both, mixed = (fill_pictures(model, x, observed, noise, needs_unmixed=needs) for needs in (True, False))
    torch.testing.assert_close(mixed["mixed"], fill_pictures(model, x, observed, cooler, method="model")["model"])
    assert torch.equal(both["mixed"], mixed["mixed"]) and not torch.equal(both["model"], mixed["mixed"])
    assert "model" not in mixed


@pytest.mark.parametrize("method", ["auto", "model", "classical"])
def test_a_fill_keeps_what_is_known_as_it_is(model: Model, method: Method) -> None:
    """Else an enlarged fill would mix with what the model makes of known pixels."""
    x, observed = torch.rand(CHUNK, 1, 8, 8) * 2 - 1, (torch.rand(CHUNK, 1, 8, 8) > 0.5).float()
    noise = Latents.joined([paired_noise(model.vae, number, 1) for number in range(CHUNK)])
    filled = fill_pictures(model, x, observed, noise, method=method)
    assert SOURCE[method] in filled
    for pictures_of_source in filled.values():
        torch.testing.assert_close(pictures_of_source * observed, x * observed, atol=1e-6, rtol=0)
        assert not torch.equal(pictures_of_source, x)


def test_classical_fills_need_no_flow(model: Model) -> None:
    image = np.full((8, 8, 1), 77, np.uint8)
    (fill,) = fills(replace(model, flow=None), image, method="classical")
    np.testing.assert_allclose(inside(fill), 77, atol=1e-3)


def test_what_lies_in_the_hole_has_no_influence_and_the_rest_has(model: Model) -> None:
    image = pictures(1)[0]
    under, beside = image.copy(), image.copy()
    under[hole_of(image)] = 255 - under[hole_of(image)]
    beside[~hole_of(image)] = 255 - beside[~hole_of(image)]
    first, same, other = (inside(fills(model, picture)[0]) for picture in (image, under, beside))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_fills_stay_in_range_and_known_pixels_untouched(model: Model) -> None:
    image = pictures(1)[0]
    before = image.copy()
    pixels = fills(model, image)[0].pixels
    composite = np.where(hole_of(image)[..., None], np.rint(pixels), image)
    assert np.array_equal(image, before), "the caller's image was written to"
    assert composite.min() >= 0 and composite.max() <= 255
    assert np.array_equal(composite[~hole_of(image)], image[~hole_of(image)])


def test_a_model_without_a_flow_fills_nothing(model: Model) -> None:
    with pytest.raises(ConfigError, match="flow"):
        fills(replace(model, flow=None), pictures(1)[0])


# evaluate

KEYS = {"images", "elbo_nats", "nll_nats", "importance_samples", "bits_per_dim", "rate_nats", "distortion_nats",
        "active_units", "latent_units", "psnr_db", "ssim"}  # fmt: skip


def test_evaluate_has_its_keys_and_they_agree(model: Model) -> None:
    found = evaluate(model, pictures(7))
    assert set(found) >= KEYS
    assert found["images"] == 7 and found["nll_nats"] is None and found["importance_samples"] == 0
    assert found["elbo_nats"] == pytest.approx(-found["rate_nats"] - found["distortion_nats"], rel=1e-5)
    assert found["bits_per_dim"] is None, "a density has no bits per dimension"
    assert 0 <= found["active_units"] <= found["latent_units"] == sum(int(np.prod(s)) for s in model.vae.latent_shapes)
    assert found == evaluate(model, pictures(7))


def test_discrete_data_have_bits_and_the_estimate_is_above_the_bound() -> None:
    model = tiny_model({"model": {"likelihood": {"kind": "discretized_logistic"}}})
    plain, weighted = (evaluate(model, pictures(6), importance_samples=k) for k in (0, 50))
    assert plain["elbo_nats"] < 0 < plain["bits_per_dim"]
    assert plain["bits_per_dim"] == pytest.approx(-plain["elbo_nats"] / (64 * np.log(2)))
    assert weighted["nll_nats"] < -weighted["elbo_nats"]
    assert weighted["bits_per_dim"] == pytest.approx(weighted["nll_nats"] / (64 * np.log(2)))


def test_binarised_pixels_are_the_same_at_every_evaluation() -> None:
    model = tiny_model({"data": {"binarize": "dynamic"}, "model": {"likelihood": {"kind": "bernoulli"}}})
    assert evaluate(model, pictures(4)) == evaluate(model, pictures(4))


def test_no_images_are_an_error(model: Model) -> None:
    with pytest.raises(ValueError, match="no images"):
        evaluate(model, pictures(0))
