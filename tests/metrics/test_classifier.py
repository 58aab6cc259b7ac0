"""The classifier whose features compare pictures: its shape, its training, its file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vae_cli.errors import CheckpointError, ConfigError
from vae_cli.metrics.classifier import (
    accuracy,
    build_classifier,
    features,
    load_classifier,
    takes,
    train_classifier,
)
from vae_cli.metrics.extractors import open_extractor


def two_kinds(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [num, 8, 8, 1] with a bright upper or a bright lower half on noise, and which."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, num)
    pixels = random.integers(0, 120, (num, 8, 8, 1)).astype(np.uint8)
    for picture, label in zip(pixels, labels, strict=True):
        picture[4 * label : 4 * label + 4] += 100
    return pixels, labels


@pytest.mark.parametrize(
    ("side", "widths", "grid"),
    [(8, (32, 64), 2), (28, (32, 64), 7), (32, (32, 64), 8), (64, (16, 32, 64), 8), (100, (8, 16, 32, 64), 6)],
)
def test_pictures_are_halved_until_they_are_small(side: int, widths: tuple[int, ...], grid: int) -> None:
    net = build_classifier(3, (side, side), 5)
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    assert tuple(layer.out_channels for layer in convolutions) == widths
    pixels = np.zeros((2, side, side, 3), np.uint8)
    assert features(net.eval(), pixels).shape == (2, 64)
    assert next(layer for layer in net if isinstance(layer, nn.Linear)).in_features == 64 * grid * grid
    assert takes(net, 3, (side, side)) and not takes(net, 1, (side, side)) and not takes(net, 3, (2 * side, side))


def test_long_pictures() -> None:
    assert features(build_classifier(1, (8, 96), 2).eval(), np.zeros((1, 8, 96, 1), np.uint8)).shape == (1, 64)


def test_28_pixels_have_the_plain_layout() -> None:
    shapes = {name: tuple(value.shape) for name, value in build_classifier(1, (28, 28), 10).state_dict().items()}
    assert shapes == {
        "0.weight": (32, 1, 3, 3), "0.bias": (32,), "3.weight": (64, 32, 3, 3), "3.bias": (64,),
        "8.weight": (64, 3136), "8.bias": (64,), "10.weight": (10, 64), "10.bias": (10,),
    }  # fmt: skip


def test_features_are_the_last_hidden_layer_of_values_from_zero_to_one() -> None:
    net = build_classifier(1, (8, 8), 2).eval()
    pixels, _ = two_kinds(3)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(features(net, pixels), net[:9](x).double(), rtol=1e-5, atol=1e-6)
    assert (features(net, pixels) < 0).any(), "before the ReLU"


def test_training_learns_and_follows_the_seed() -> None:
    pixels, labels = two_kinds(200)
    labels[::5] = -1
    state = torch.get_rng_state()
    nets = [train_classifier(pixels, labels, seed=seed, num_steps=30) for seed in (1, 1, 2)]
    assert torch.equal(state, torch.get_rng_state()), "the global generator was touched"
    same, other = (torch.equal(nets[0][0].weight, net[0].weight) for net in nets[1:])
    assert same and not other
    fresh, truth = two_kinds(100, seed=1)
    assert accuracy(nets[0], fresh, truth) > 0.9
    assert accuracy(nets[0], fresh, 1 - truth) < 0.1
    assert np.isnan(accuracy(nets[0], fresh, np.full(100, -1)))


def test_one_class_teaches_nothing() -> None:
    pixels, labels = two_kinds(10)
    with pytest.raises(ValueError, match="two classes"):
        train_classifier(pixels, np.where(labels == 1, 1, -1))


@pytest.mark.parametrize("image_size", [(28, 28), (64, 48)])
def test_a_file_brings_the_classifier_back(image_size: tuple[int, int], tmp_path: Path) -> None:
    net = build_classifier(3, image_size, 4).eval()
    path = tmp_path / "net.safetensors"
    save_file(net.state_dict(), path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *image_size, 3), dtype=np.uint8)
    assert torch.equal(features(load_classifier(path), pixels), features(net, pixels))
    extractor = open_extractor(path, channels=3, image_size=image_size)
    assert extractor.num_features == 64 and torch.equal(extractor.extract(pixels), features(net, pixels))


def test_files_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no tensors")
    save_file({"vae.start": torch.zeros(3)}, tmp_path / "model.safetensors")
    save_file({"0.weight": torch.zeros(8, 1, 3, 3), "3.weight": torch.zeros(4, 9)}, tmp_path / "half.safetensors")
    wrong = build_classifier(1, (8, 8), 2).state_dict() | {"8.bias": torch.zeros(7)}
    save_file(wrong, tmp_path / "shapes.safetensors")
    sound = build_classifier(1, (8, 8), 2).state_dict()
    save_file(sound | {"8.bias": torch.full_like(sound["8.bias"], torch.nan)}, tmp_path / "nan.safetensors")
    save_file(sound | {"9" * 5000 + ".weight": torch.zeros(1)}, tmp_path / "number.safetensors")
    # no bytes in the file, and four terabytes of biases where a network is made of that size
    save_file(sound | {"3.weight": torch.zeros(10**12, 0, 3, 3)}, tmp_path / "sizes.safetensors")
    for name in ("text", "model", "half", "shapes", "nan", "number", "sizes"):
        with pytest.raises(CheckpointError, match=name):
            load_classifier(tmp_path / f"{name}.safetensors")


def test_a_classifier_for_other_pictures(tmp_path: Path) -> None:
    save_file(build_classifier(1, (28, 28), 2).state_dict(), tmp_path / "grey.safetensors")
    for channels, side in ((3, 28), (1, 64)):
        with pytest.raises(ConfigError, match="not made for"):
            open_extractor(tmp_path / "grey.safetensors", channels=channels, image_size=(side, side))


def test_inception_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inception.pth").write_bytes(b"weights")
    monkeypatch.setitem(__import__("sys").modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ConfigError, match="pip install torch-fidelity"):
        open_extractor(tmp_path / "inception.pth", channels=1, image_size=(28, 28))


def test_inception_files_that_hold_something_else(tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity")
    (tmp_path / "text.pth").write_text("no tensors")
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pt")
    for name in ("text.pth", "other.pt"):
        with pytest.raises(CheckpointError, match="torch-fidelity"):
            open_extractor(tmp_path / name, channels=1, image_size=(28, 28))


def test_inception_features_are_torch_fidelity_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights: no weights file has to be there."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    with monkeypatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        reference = module.FeatureExtractorInceptionV3("inception", ["2048"])
    torch.save(reference.state_dict(), tmp_path / "inception.pth")
    extractor = open_extractor(tmp_path / "inception.pth", channels=1, image_size=(8, 8))
    pixels, _ = two_kinds(2)
    grey = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    expected = reference(torch.cat([grey] * 3, dim=1))[0]
    found = extractor.extract(pixels)
    assert found.shape == (2, 2048) and found.dtype == torch.float64
    torch.testing.assert_close(found, expected.double())
