"""The encoder or the decoder as an ONNX file, for programs that have no torch."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from vae_cli.checkpoint import Model
from vae_cli.errors import ConfigError
from vae_cli.model.vae import VAE, Latents
from vae_cli.tasks.encode import numbered

Part = Literal["encoder", "decoder"]
_OPSET = 18  # what torch's exporter writes without conversion, from 2022
_TRACED_BATCH = 2  # a batch of one would be taken for a constant


class _Graph(nn.Module):
    """A function of a VAE's tensors as a module, which is what can be exported."""

    def __init__(self, vae: VAE, function: Callable[..., tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.vae, self.function = vae, function

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.function(self.vae, *inputs)


def _encode(vae: VAE, images: Tensor) -> tuple[Tensor, ...]:
    layers = vae.posterior_noise(2 * images - 1)
    return tuple(part for layer in layers for part in (layer.mean, layer.log_scale.exp()))


def _decode(vae: VAE, *latents: Tensor) -> tuple[Tensor, ...]:
    return ((vae.decode_mean(Latents(latents)) + 1) / 2,)


def to_onnx(model: Model, part: Part) -> bytes:
    """The part as an ONNX file, float32, with any number of images at once.

    The encoder takes `images`, float32 [N, C, H, W] in 0..1, and gives `latents`, `std` (`latents_2`, `std_2`, … of
    further layers); the decoder takes `latents`, … and gives `images`. Raises ConfigError where the packages of the
    [onnx] extra are missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"ONNX needs the package {error.name}; install it with: pip install onnx onnxscript"
        ) from error
    shapes = model.vae.latent_shapes
    latents, stds = ([numbered(name, layer) for layer in range(len(shapes))] for name in ("latents", "std"))
    graph, inputs, outputs = _Graph(model.vae, _decode), latents, ["images"]
    if part == "encoder":
        outputs = [name for pair in zip(latents, stds, strict=True) for name in pair]
        graph, inputs, shapes = _Graph(model.vae, _encode), ["images"], ((model.channels, *model.image_size),)
    examples = tuple(torch.zeros(_TRACED_BATCH, *shape, device=model.runtime.device) for shape in shapes)
    any_number = {0: torch.export.Dim("N")}
    with _silence():
        program = torch.onnx.export(
            graph.eval(), examples, input_names=inputs, output_names=outputs, opset_version=_OPSET,
            dynamic_shapes=((any_number,) * len(examples),),  # the graph takes one argument: a tuple of tensors
            dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None, "the exporter of torch.export returns its program"
    proto = program.model_proto
    proto.metadata_props.add(key="vae", value=json.dumps({"step": model.facts.step, "labels": list(model.label_names)}))
    return bytes(proto.SerializeToString())


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silences the exporter, which prints, warns and logs about its own internals."""
    previous = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(previous)
