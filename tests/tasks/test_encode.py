"""Latents of images decode to the reconstructions byte for byte, and what is no latents is refused in a sentence."""

import numpy as np
import pytest
import torch
from tiny import LADDER, VECTOR, pictures, tiny_model, vivid

from vae_cli.checkpoint import Model
from vae_cli.config import Layer
from vae_cli.errors import DataError
from vae_cli.model.vae import Latents
from vae_cli.tasks.encode import CHUNK, comparable, decode, encode, encode_all, latents_from
from vae_cli.tasks.reconstruct import reconstruct

KINDS: dict[str, Layer] = {
    "grid": {},
    "vector": {"model": {"latents": list(VECTOR)}},
    "ladder": {"model": {"latents": list(LADDER)}},
}


@pytest.fixture(scope="module", params=list(KINDS))
def model(request: pytest.FixtureRequest) -> Model:
    return vivid(tiny_model(KINDS[request.param]))


def test_means_decode_to_the_reconstructions(model: Model) -> None:
    images = pictures(CHUNK + 3)
    encoded = encode_all(model, images)
    shapes = model.vae.latent_shapes
    assert [layer.shape for layer in encoded.means] == [(CHUNK + 3, *shape) for shape in shapes]
    rebuilt = np.stack(list(reconstruct(model, images)))
    assert np.ptp(rebuilt, axis=0).max() > 3, "the pictures differ"
    for arrays in (encoded.means, [encoded.flat_means()]):
        decoded = np.stack(list(decode(model, latents_from(arrays, shapes))))
        np.testing.assert_array_equal(decoded, rebuilt)


def test_grids_are_compared_by_squares_where_they_are_large() -> None:
    large, small = np.random.default_rng(0).normal(size=(2, 3, 16, 12)), np.ones((2, 3, 7, 5))
    rows = comparable([large.astype(np.float32), small.astype(np.float32), np.full((2, 4, 1, 1), 5, np.float32)])
    squares = large.reshape(2, 3, 4, 4, 3, 4).mean((3, 5)).reshape(2, -1)
    np.testing.assert_allclose(rows, np.concatenate([squares, np.ones((2, 105)), np.full((2, 4), 5)], 1), atol=1e-6)


def test_an_image_is_encoded_alike_whatever_stands_beside_it(model: Model) -> None:
    images = pictures(5)
    all_of_them, alone = encode_all(model, images), encode_all(model, images[3:4])
    for many, one in zip((*all_of_them.means, *all_of_them.stds), (*alone.means, *alone.stds), strict=True):
        np.testing.assert_array_equal(many[3], one[0])
        assert many.dtype == np.float32


def test_means_and_deviations_are_those_of_the_samples(model: Model) -> None:
    """Against many samples of the first layer, whose posterior does not depend on other draws."""
    image = pictures(1)
    found = next(encode(model, image))
    x = torch.from_numpy(image).permute(0, 3, 1, 2).float() / 127.5 - 1
    noise = [torch.randn(4000, *shape) for shape in model.vae.latent_shapes]
    drawn = model.vae.encode(x.expand(4000, -1, -1, -1), noise).noise[0]
    np.testing.assert_allclose(drawn.mean(0), found.means[0], atol=0.1 * found.stds[0].max())
    np.testing.assert_allclose(drawn.std(0), found.stds[0], rtol=0.1)


def arrays_of(model: Model, num: int = 2) -> list[np.ndarray]:
    return [np.random.default_rng(0).normal(size=(num, *shape)) for shape in model.vae.latent_shapes]


@pytest.mark.parametrize("type_name", ["float64", "float16", "int8", ">f4"])
def test_all_real_numbers_will_do(model: Model, type_name: str) -> None:
    arrays = [array.astype(type_name) for array in arrays_of(model)]
    flat = [array.reshape(2, -1) for array in arrays]
    for chosen in (arrays, flat):
        latents = latents_from(chosen, model.vae.latent_shapes)
        for layer, array in zip(latents.noise, arrays, strict=True):
            np.testing.assert_array_equal(layer.numpy(), array.astype(np.float32))


def test_wrong_arrays_are_refused_by_what_is_wrong(model: Model) -> None:
    shapes, good = model.vae.latent_shapes, arrays_of(model)
    broken = [array.copy() for array in good]
    broken[-1][1].flat[0] = np.nan
    too_large = [array.copy() for array in good]
    too_large[0][0].flat[0] = 1e60
    for arrays, problem in (
        ([array[:, :-1] for array in good], "this model's latents are"),
        ([array[0] for array in good], "this model's latents are"),
        ([*good, good[0]], "this model's latents are"),
        ([good[0].reshape(2, -1)[:, :-1]], "this model's latents are"),
        ([array[:0] for array in good], "no rows"),
        (broken, r"row 1 \(the first is 0\): not a number"),
        (too_large, r"row 0 \(the first is 0\): not a number"),
        ([array.astype(complex) for array in good], "real numbers"),
        ([array.astype(str) for array in good], "real numbers"),
    ):
        with pytest.raises(DataError, match=problem):
            latents_from(arrays, shapes)


def test_layers_of_different_lengths_are_refused() -> None:
    model = tiny_model(KINDS["ladder"])
    arrays = arrays_of(model)
    arrays[1] = arrays[1][:1]
    with pytest.raises(DataError, match="this model's latents are"):
        latents_from(arrays, model.vae.latent_shapes)


def test_latents_without_a_picture_are_named() -> None:
    model = tiny_model()
    model.vae.ladder.stages[0].layers[0].absorb_net.weight.fill_(100)  # whatever the weights, it overflows
    layers = [torch.zeros(CHUNK + 2, *shape) for shape in model.vae.latent_shapes]
    layers[0][CHUNK + 1] = 3e38
    with pytest.raises(DataError, match=f"row {CHUNK + 1} .the first is 0.: too large"):
        list(decode(model, Latents(tuple(layers))))
