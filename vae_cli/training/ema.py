"""Exponential moving average of a module's weights: what validation measures and every command uses."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


class Ema(Generic[Module]):
    """A second module whose parameters trail the first; decay min(decay, (n + 1) / (n + 10)) at update n."""

    def __init__(self, module: Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay, self.num_updates = decay, 0

    @torch.no_grad()
    def update(self, module: Module) -> None:
        """Move the average towards `module`; buffers are copied. Call after every accepted update."""
        self.num_updates += 1
        weight = 1 - min(self.decay, (self.num_updates + 1) / (self.num_updates + 10))
        averages: list[Tensor] = list(self.module.parameters())
        values: list[Tensor] = list(module.parameters())
        torch._foreach_lerp_(averages, values, weight)
        for average, value in zip(self.module.buffers(), module.buffers(), strict=True):
            average.copy_(value)
