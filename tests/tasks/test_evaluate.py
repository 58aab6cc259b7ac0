"""Layers, and samples compared with images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import LADDER, image_set, pictures, tiny_model
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.errors import ConfigError
from vae_cli.metrics.extractors import Extractor
from vae_cli.metrics.features import frechet_distance
from vae_cli.tasks import evaluate as module
from vae_cli.tasks.evaluate import classifier_extractor, compare_samples, evaluate
from vae_cli.tasks.sample import sample

KEYS = {"fid", "kid", "kid_std", "precision", "recall", "density", "coverage"}


def first_pixels(pixels: np.ndarray) -> Tensor:
    """Four pixels of each picture."""
    return torch.from_numpy(pixels[:, 2:4, 2:4, 0].reshape(len(pixels), -1)).double()


PIXELS = Extractor("pixels", 4, first_pixels)


@pytest.fixture
def model() -> Model:
    return tiny_model()


def test_layers_add_up() -> None:
    model = tiny_model({"model": {"latents": list(LADDER)}})
    found = evaluate(model, pictures(70))
    layers = found["layers"]
    assert [tuple(layer["shape"]) for layer in layers] == list(model.vae.latent_shapes)
    assert sum(layer["rate_nats"] for layer in layers) == pytest.approx(found["rate_nats"], rel=1e-5)
    for key in ("active_units", "latent_units"):
        assert sum(layer[key] for layer in layers) == found[key]
    assert [layer["latent_units"] for layer in layers] == [int(np.prod(shape)) for shape in model.vae.latent_shapes]
    assert len({layer["rate_nats"] for layer in layers}) == len(layers), "every layer has its own"


def test_layers_that_say_nothing_and_much() -> None:
    """The first layer's posterior is its prior, the second's moves widely with the image."""
    model = tiny_model({"model": {"latents": list(LADDER)}})
    first, second = (model.vae.ladder.stages[stage].layers[0].posterior_net[-1] for stage in (0, 1))
    with torch.no_grad():
        first.weight.zero_()
        first.bias.zero_()
        second.weight.mul_(100)
    layers = evaluate(model, pictures(20))["layers"]
    assert layers[0]["rate_nats"] == 0 and layers[0]["active_units"] == 0
    assert layers[1]["rate_nats"] > 1 and layers[1]["active_units"] > 0


def test_as_many_samples_as_images(model: Model) -> None:
    images = pictures(70)
    found = compare_samples(model, images, PIXELS, seed=3)
    assert set(found) == KEYS
    drawn = np.stack(list(sample(model, 70, seed=3)))
    assert found["fid"] == pytest.approx(frechet_distance(first_pixels(images), first_pixels(drawn)))
    assert found == compare_samples(model, images, PIXELS, seed=3) != compare_samples(model, images, PIXELS, seed=4)


def test_samples_against_themselves(model: Model) -> None:
    drawn = np.stack(list(sample(model, 30, seed=0)))
    found = compare_samples(model, drawn, PIXELS, training=drawn, held_out=pictures(30), seed=0)
    assert found["fid"] == pytest.approx(0, abs=1e-6)
    assert found["precision"] == found["recall"] == found["coverage"] == 1
    nearest = found["nearest_training"]
    assert nearest["training_images"] == 30 and nearest["median_ratio"] == 0 and nearest["share_below_1_percent"] == 1


def test_the_measured_images_stand_for_held_out_ones(model: Model) -> None:
    images, training = pictures(12, seed=1), pictures(15, seed=2)
    given = compare_samples(model, images, PIXELS, training=training, held_out=images)
    assert given == compare_samples(model, images, PIXELS, training=training)


def test_large_sets_are_thinned_out_evenly(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_COMPARED", 6)
    monkeypatch.setattr(module, "TRAINING_PER_IMAGE", 2)
    images, reached = pictures(18), []
    found = compare_samples(
        model, images, PIXELS, training=pictures(9), on_progress=lambda done, total: reached.append((done, total))
    )
    assert found["nearest_training"]["training_images"] == 6
    assert reached[-1] == (18, 18), "six images, six samples, six training images"
    assert found["fid"] == compare_samples(model, images[::3], PIXELS)["fid"]
    few = compare_samples(model, images[:2], PIXELS, training=pictures(9))
    assert few["nearest_training"]["training_images"] == 4


def test_one_image_is_no_set(model: Model) -> None:
    with pytest.raises(ConfigError, match="one image"):
        compare_samples(model, pictures(1), PIXELS)


def test_a_classifier_trained_on_the_spot(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = dict(module.classifier.train_classifier.__kwdefaults__, num_steps=3)
    monkeypatch.setattr(module.classifier.train_classifier, "__kwdefaults__", defaults)
    labelled = image_set(12, num_labels=2)
    extractor, share_right = classifier_extractor(model, labelled, labelled, seed=1)
    assert 0 <= share_right <= 1 and extractor.num_features == 64
    assert set(compare_samples(model, labelled.pixels, extractor)) == KEYS
    for labels in (np.full(12, -1), np.zeros(12, np.int64)):
        with pytest.raises(ConfigError, match="classes"):
            classifier_extractor(model, replace(labelled, labels=labels), labelled)
