"""What an update of a preset costs, counted without computing it: operations, weights, activations.

The networks are built and run on fake tensors, which have shapes and number formats but no values, under the CPU's
bfloat16 autocast; a GPU's casts differ in places. Counted with one image, as everything but the weights grows with the
batch; the flow's refiner is counted for every image, though training refines a quarter of them. Operations are those
of matrix products and convolutions, forward and backward (torch.utils.flop_counter; a multiplication and an addition
are two). Activations are the tensors that autograd keeps for the backward pass, each storage once, weights left out.

Memory of an update ≈ weights · (parameter + gradient + two moments of AdamW + moving average, 4 bytes each) + their
bfloat16 copies (2 bytes) + activations · batch · 1.2, the last for workspaces and what lives between two layers.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from vae_cli.config import RunConfig
from vae_cli.config_layers import resolve_config
from vae_cli.model.condition import Condition
from vae_cli.model.flow import build_flow
from vae_cli.model.vae import build_vae
from vae_cli.training.prepare import with_geometry

BYTES_PER_WEIGHT = 5 * 4 + 2
SLACK = 1.2


@dataclass(frozen=True)
class Cost:
    """Of one phase; operations and bytes of one image."""

    parameters: int
    forward_flops: int
    update_flops: int
    activation_bytes: int

    def bytes_at(self, batch: int) -> int:
        """Memory of an update, by the estimate above; frozen weights of the other phase not counted."""
        return round(self.parameters * BYTES_PER_WEIGHT + self.activation_bytes * batch * SLACK)

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def complete_config(preset: str, size: tuple[int, int]) -> RunConfig:
    """The preset for colour photographs of this size, with what training would settle settled."""
    config = resolve_config(preset=preset, options={"model": {"likelihood": {"kind": "gaussian"}}})
    return with_geometry(config, size, 3)


def of_preset(preset: str, size: tuple[int, int]) -> dict[str, Cost]:
    """`vae` and `flow`."""
    config = complete_config(preset, size)
    with FakeTensorMode():
        vae = build_vae(config)
        flow = build_flow(config, vae.latent_shapes[0], 0)
        x = torch.zeros(1, 3, *size)
        noise = [torch.zeros(1, *shape) for shape in vae.latent_shapes]
        view = Condition.nothing(1, 3, size, torch.device("cpu"))

        def vae_loss() -> Tensor:
            terms = vae(x, noise)
            return -terms.elbo.mean()

        def flow_loss() -> Tensor:
            one = torch.zeros(1, dtype=torch.long)
            flow_loss, refiner_loss = flow(noise[0], noise[0], torch.zeros(1), view, x, one, lambda z: x)
            return flow_loss.mean() + refiner_loss.mean()

        return {"vae": _counted(vae, vae_loss), "flow": _counted(flow, flow_loss)}


def _counted(module: nn.Module, loss: Callable[[], Tensor]) -> Cost:
    weights = {_storage(parameter) for parameter in module.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in weights:
            kept[_storage(tensor)] = tensor  # the reference also keeps the storage's number from being given again
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.autograd.graph.saved_tensors_hooks(keep, _as_it_is):
            total = loss()
        forward = counter.get_total_flops()
        total.backward()
        update = counter.get_total_flops()
    num = sum(parameter.numel() for parameter in module.parameters())
    return Cost(num, forward, update, sum(tensor.untyped_storage().nbytes() for tensor in kept.values()))


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _as_it_is(saved: Any) -> Any:
    return saved
