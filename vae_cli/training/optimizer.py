"""What changes with a phase's updates: its weights, their average, the optimisers, and what learns beside it."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vae_cli.errors import CheckpointError
from vae_cli.training.muon import Muon
from vae_cli.training.optimizer_state import restore
from vae_cli.training.phase import Phase


class Ema:
    """A copy of a module whose parameters trail it; decay min(decay, (n + 1) / (n + 10)) at update n."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay, self.num_updates = decay, 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards `module`; buffers are copied."""
        self.num_updates += 1
        weight = 1 - min(self.decay, (self.num_updates + 1) / (self.num_updates + 10))
        torch._foreach_lerp_([*self.module.parameters()], [*module.parameters()], weight)
        for average, value in zip(self.module.buffers(), module.buffers(), strict=True):
            average.copy_(value)


class PhaseOptimizer:
    """Makes the updates of a phase."""

    def __init__(self, phase: Phase) -> None:
        training, rate, groups = phase.inputs.config.training, phase.learning_rate, phase.parameter_groups()
        decay, orthogonal = training.weight_decay, [group for group in groups if group.get("orthogonal")]
        others = [group for group in groups if not group.get("orthogonal")]
        fused = phase.inputs.runtime.device.type in ("cpu", "cuda")
        adam = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.99), weight_decay=decay, fused=fused)
        muon = [Muon(orthogonal, rate, decay, phase.inputs.runtime.dtype)] if orthogonal else []
        self.phase, self.ema = phase, Ema(phase.module, training.ema_decay)
        self.average = self.ema.module
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (adam, *muon)

    def step(self, rate: float) -> None:
        """Make the update whose gradients are in place, and let the average and the adversary follow."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["rate_factor"]
            optimizer.step()
        self.ema.update(self.phase.module)
        if self.phase.adversary is not None:
            self.phase.adversary.learn(rate)

    def return_to(self, average: Mapping[str, Tensor], *, forget: bool = False) -> None:
        """Go back to earlier averaged weights; forget: also drop what the optimisers remember of gradients."""
        self.phase.module.load_state_dict(average)
        self.average.load_state_dict(average)
        if forget:
            for optimizer in self.optimizers:
                optimizer.state.clear()

    def is_finite(self) -> bool:
        """Whether every weight, averaged or not, is a number."""
        modules = (self.phase.module, self.average)
        return all(bool(value.isfinite().all()) for module in modules for value in module.state_dict().values())

    def state(self) -> dict[str, Any]:
        """What resuming needs beyond the averaged weights."""
        adversary = self.phase.adversary
        return {
            "module": self.phase.module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "ema_updates": self.ema.num_updates,
            "adversary": adversary.state() if adversary is not None else None,
        }

    def load(self, state: Mapping[str, Any], average: Mapping[str, Tensor]) -> None:
        """Inverse of `state`, with the averaged weights. An adversary that was not there before starts anew.

        Raises CheckpointError for the state of another run.
        """
        try:
            self.phase.module.load_state_dict(state["module"])
            for weights in filter(None, (state.get("best"), average)):  # the best ones only to see whether they fit
                self.average.load_state_dict(weights)
            self.ema.num_updates = int(state["ema_updates"])
            for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
                restore(optimizer, stored)
            if self.phase.adversary is not None and state["adversary"] is not None:
                self.phase.adversary.load(state["adversary"])
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            what = f"not the state of this run's training ({type(error).__name__}: {error}); start a new run"
            raise CheckpointError(f"trainer.pt: {what}") from error
