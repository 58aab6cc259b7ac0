"""ONNX files compute what the model computes, for any number of images, in a runtime without torch."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny import GRID, LADDER, tiny_model

from vae_cli.config import Layer
from vae_cli.model.vae import Latents
from vae_cli.tasks.export import to_onnx

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def run(content: bytes, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(content)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def of_model(latents: tuple[dict[str, Any], ...], channels: int, kind: str) -> Layer:
    return {"data": {"channels": channels}, "model": {"latents": list(latents), "likelihood": {"kind": kind}}}


@pytest.mark.parametrize(
    ("latents", "channels", "kind"),
    [(GRID, 1, "bernoulli"), (LADDER, 3, "logistic_mixture")],
    ids=["grid", "ladder"],
)
@torch.no_grad()
def test_both_parts_compute_what_the_model_computes(
    latents: tuple[dict[str, Any], ...], channels: int, kind: str
) -> None:
    model = tiny_model(of_model(latents, channels, kind))
    images = np.random.default_rng(0).random((5, channels, 8, 8), np.float32)
    layers = model.vae.posterior_noise(torch.from_numpy(2 * images - 1))
    found = run(to_onnx(model, "encoder"), {"images": images})
    names = ["latents", *(f"latents_{number}" for number in range(2, len(layers) + 1))]
    assert list(found) == [part for name in names for part in (name, name.replace("latents", "std"))]
    for name, layer in zip(names, layers, strict=True):
        np.testing.assert_allclose(found[name], layer.mean, atol=1e-5)
        np.testing.assert_allclose(found[name.replace("latents", "std")], layer.log_scale.exp(), rtol=1e-4)
    decoder = to_onnx(model, "decoder")
    for number in (1, 4):
        given = {name: found[name][:number] for name in names}
        expected = model.vae.decode_mean(Latents(tuple(torch.from_numpy(part) for part in given.values())))
        (pictures,) = run(decoder, given).values()
        np.testing.assert_allclose(pictures, (expected + 1) / 2, atol=1e-5)
        assert pictures.std() > 0.01
