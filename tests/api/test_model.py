"""The methods of `vae_cli.Model`: each gives what its command gives, from pictures in any form."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import pictures, tiny_model, vivid, weights_of

import vae_cli
from vae_cli.api.model import Model
from vae_cli.checkpoint import write_checkpoint
from vae_cli.errors import ConfigError, DataError
from vae_cli.files.originals import open_original
from vae_cli.files.write_back import with_changes
from vae_cli.tasks import style
from vae_cli.tasks.denoise import denoise
from vae_cli.tasks.reconstruct import reconstruct
from vae_cli.tasks.sample import sample


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(**vars(vivid(tiny_model({"data": {"channels": 3}}, num_labels=2))))


@pytest.fixture(scope="module")
def grey() -> Model:
    return Model(**vars(vivid(tiny_model())))


PHOTO = pictures(1, (20, 14), 3)[0]


def test_samples_are_the_command_s(model: Model) -> None:
    found = model.sample(3, seed=2, label="b", guidance=1.0)
    assert found.shape == (3, 8, 8, 3) and found.dtype == np.uint8
    assert np.array_equal(found, np.stack(list(sample(model, 3, seed=2, labels=["b"], guidance=1.0))))
    assert not np.array_equal(model.sample(1, seed=2, label="b"), found[:1]), "labels are followed more strictly"
    assert not np.array_equal(model.sample(1, seed=3), model.sample(1, seed=4))
    with pytest.raises(ConfigError, match="label"):
        model.sample(1, label="zebra")


def test_reconstructions_of_every_form(model: Model, tmp_path: Path) -> None:
    images = pictures(2, channels=3)
    expected = np.stack(list(reconstruct(model, images)))
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    for form in (images, list(images), images / 255, tensor, tensor / 255, tmp_path, [*map(Image.fromarray, images)]):
        assert np.array_equal(model.reconstruct(form), expected), type(form)
    assert model.reconstruct(PHOTO).shape == (1, 8, 8, 3), "other sizes are brought to the model's"


@pytest.mark.parametrize("kind", ["colour", "grey"])
def test_fills_keep_every_known_pixel(model: Model, grey: Model, kind: str) -> None:
    """Of colours, too, when the model is grey, and of 16 bits."""
    image = PHOTO if kind == "colour" else PHOTO[:, :, 0]
    hole = np.zeros(image.shape[:2], bool)
    hole[4:9, 3:8] = True
    for filler in (model, grey):
        for pixels in (image, image.astype(np.uint16) * 257):
            fills = filler.inpaint(pixels, hole, samples=2, seed=1)
            whole = pixels if pixels.ndim == 3 else pixels[:, :, None]
            assert fills.shape == (2, *whole.shape) and fills.dtype == pixels.dtype
            assert (fills[:, ~hole] == whole[~hole]).all() and (fills[:, hole] != whole[hole]).any()
    assert not np.array_equal(*model.inpaint(image, hole, samples=2, method="model"))
    with pytest.raises(DataError, match="one is expected"):
        model.inpaint([image, image], hole)


def test_denoising_leaves_the_size(model: Model) -> None:
    noisy = np.clip(PHOTO + np.random.default_rng(0).normal(0, 20, PHOTO.shape), 0, 255).astype(np.uint8)
    found = model.denoise(noisy, sigma=20)
    assert found.shape == (1, *PHOTO.shape) and not np.array_equal(found[0], noisy)
    assert np.array_equal(found, model.denoise(Image.fromarray(noisy), sigma=20))
    assert model.denoise([noisy, noisy], samples=2).shape == (4, *PHOTO.shape)


@pytest.mark.parametrize("job", ["denoise", "style"])
def test_a_grey_model_leaves_colours_as_its_command_does(grey: Model, job: str, tmp_path: Path) -> None:
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    original = open_original(tmp_path / "a.png")
    before = original.display_array(1)
    looks = pictures(3, channels=3, seed=5)
    if job == "denoise":
        found = grey.denoise(PHOTO, sigma=30)
        after = next(denoise(grey, before, sigma=30, image_id="0"))
    else:
        found = grey.style(PHOTO, like=looks)
        in_grey = [np.array(Image.fromarray(look).convert("L"))[:, :, None] for look in looks]
        change = style.to_look(grey, in_grey, None, strength=style.LIKE_STRENGTH)
        after = next(iter(style.restyle([style.Content(before, "0")], change))).pixels
    assert found.shape == (1, *PHOTO.shape) and not np.array_equal(found[0], PHOTO)
    assert np.array_equal(found[0], with_changes(original, before, after, (255, 255, 255)).display_array(3))


def test_pictures_come_back_in_colour_if_any_is(model: Model, grey: Model) -> None:
    """Of 16 bits, too; one that has no colours keeps to grey, whatever the model."""
    alone, deep = PHOTO[:, :, 0], PHOTO.astype(np.uint16) * 257
    for each in (model, grey):
        for form in (alone, alone.astype(np.uint16) * 257):
            found = each.denoise(form, sigma=20)
            assert found.shape == (1, *alone.shape, 1) and found.dtype == form.dtype
        both = each.denoise([PHOTO, alone], sigma=20)
        assert both.shape == (2, *PHOTO.shape) and (both[1] == both[1, :, :, :1]).all() == (each is grey)
        found = each.style(deep, like=PHOTO, strength=0.0)
        assert found.dtype == np.uint16 and np.abs(found[0].astype(int) - deep).max() <= 257


def test_styles(model: Model) -> None:
    assert model.style(PHOTO, to="b").shape == (1, *PHOTO.shape)
    others = pictures(3, channels=3, seed=5)
    found = model.style([PHOTO, PHOTO], like=others)
    assert found.shape == (2, *PHOTO.shape) and not np.array_equal(found[0], PHOTO)
    assert not np.array_equal(model.style(PHOTO, like=others, unlike=pictures(2, channels=3, seed=6)), found[:1])
    assert np.array_equal(model.style(PHOTO, like=others, strength=0)[0], PHOTO)
    for wrong in ({}, {"to": "b", "like": others}, {"to": "b", "unlike": others}):
        with pytest.raises(ConfigError, match="either"):
            model.style(PHOTO, **wrong)


def test_walks_begin_and_end_at_the_reconstructions(model: Model) -> None:
    images = pictures(3, channels=3)
    walk = model.interpolate(*images, steps=4)
    assert walk.shape == (7, 8, 8, 3) and np.array_equal(walk[[0, 3, 6]], model.reconstruct(images))
    assert len(model.interpolate(images[0], Image.fromarray(images[1]), steps=4, loop=True)) == 7
    with pytest.raises(ConfigError, match="two pictures"):
        model.interpolate(images[0])


def test_latents_come_and_go(model: Model) -> None:
    images = pictures(3, channels=3)
    latents = model.encode(images)
    assert [layer.shape for layer in latents.means] == [(3, *shape) for shape in model.vae.latent_shapes]
    for form in (latents, latents.means, latents.means[0], latents.flat_means()):
        assert np.array_equal(model.decode(form), model.reconstruct(images))
    with pytest.raises(DataError, match="shape"):
        model.decode(np.zeros((2, 5)))


def test_figures_are_the_command_s(model: Model, tmp_path: Path) -> None:
    for number, image in enumerate(pictures(4, channels=3)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    figures = model.evaluate(tmp_path, limit=3, holes="center", importance_samples=2)
    assert figures["images"] == 3 and figures["nll_nats"] is not None and figures["inpaint"]["family"] == "center"
    with pytest.raises(ConfigError, match=r"none"):
        model.evaluate(tmp_path / "none")


def test_a_model_is_loaded_from_a_run(grey: Model, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "run" / "checkpoints" / "best", grey.facts, weights_of(grey.vae, grey.flow), None)
    loaded = vae_cli.load(tmp_path / "run", device="cpu")
    assert isinstance(loaded, vae_cli.Model) and np.array_equal(loaded.sample(2, seed=5), grey.sample(2, seed=5))
    with pytest.raises(vae_cli.ConfigError, match="no such run"):
        vae_cli.load(tmp_path / "none")


def test_scores_say_what_is_usual(model: Model) -> None:
    normal = pictures(40)
    known, odd = model.score([normal[3], np.full((8, 8, 1), 255, np.uint8)], normal=normal)
    assert known["nearest"] == 3 and known["strangeness"] < odd["strangeness"]
    assert set(known) == {"elbo_nats", "bits_per_dim", "psnr_db", "strangeness", "stranger_than", "nearest"}
    assert model.score(normal[:1])[0]["strangeness"] is None
