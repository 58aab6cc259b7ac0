"""The encoder or the decoder as an ONNX file, for programs that have no torch."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vae_cli.checkpoint import Model
from vae_cli.errors import ConfigError
from vae_cli.model.vae import VAE, Latents
from vae_cli.tasks.encode import numbered

Part = Literal["encoder", "decoder"]
_OPSET = 18
"""What torch's exporter writes without conversion, from 2022."""
_TRACED_BATCH = 2  # a batch of one would be taken for a constant


class _EncoderGraph(nn.Module):
    """images [N, C, H, W] in 0..1 -> mean and standard deviation of each latent layer, as `vae encode` writes them."""

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        layers = self.vae.posterior_noise(2 * images - 1)
        return tuple(part for layer in layers for part in (layer.mean, layer.log_scale.exp()))


class _DecoderGraph(nn.Module):
    """Latents of each layer, N(0, I) under the prior -> images [N, C, H, W] in 0..1."""

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, *latents: Tensor) -> Tensor:
        return (self.vae.decode_mean(Latents(latents)) + 1) / 2


def to_onnx(model: Model, part: Part) -> bytes:
    """The part as an ONNX file, float32, with any number of images at once.

    The encoder takes `images`, float32 [N, C, H, W] in 0..1, and gives `latents`, `std` (`latents_2`, `std_2`, … of
    further layers); the decoder takes `latents`, … and gives `images`. Raises ConfigError where the packages of the
    [onnx] extra are missing.
    """
    _require_packages()
    vae, shapes = model.vae, model.vae.latent_shapes
    latents, stds = ([numbered(name, layer) for layer in range(len(shapes))] for name in ("latents", "std"))
    images = ["images"]
    if part == "encoder":
        outputs = [name for pair in zip(latents, stds, strict=True) for name in pair]
        return _exported(_EncoderGraph(vae), [(model.channels, *model.image_size)], images, outputs, model)
    return _exported(_DecoderGraph(vae), shapes, latents, images, model)


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"ONNX needs the package {error.name}; install it with: pip install onnx onnxscript"
        ) from error


def _exported(
    graph: nn.Module, shapes: Sequence[tuple[int, ...]], inputs: list[str], outputs: list[str], model: Model
) -> bytes:
    device = next(graph.parameters()).device
    examples = tuple(torch.zeros(_TRACED_BATCH, *shape, device=device) for shape in shapes)
    any_number = {0: torch.export.Dim("N")}
    # A decoder takes its latents as `*latents`: one argument that is a tuple.
    dynamic: Any = ((any_number,) * len(examples),) if isinstance(graph, _DecoderGraph) else (any_number,)
    with _silence():
        program = torch.onnx.export(
            graph.eval(), examples, input_names=inputs, output_names=outputs, opset_version=_OPSET,
            dynamic_shapes=dynamic, dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None, "the exporter of torch.export returns its program"
    proto = program.model_proto
    proto.metadata_props.add(key="vae", value=json.dumps({"step": model.facts.step, "labels": list(model.label_names)}))
    return bytes(proto.SerializeToString())


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silences the exporter, which prints, warns and logs about its own internals."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        previous = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(previous)
