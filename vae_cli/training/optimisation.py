"""A phase in training: the module with the average of its weights, its optimisers and what learns beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vae_cli.config import TrainingConfig
from vae_cli.training.ema import Ema
from vae_cli.training.muon import Muon
from vae_cli.training.phase import Phase


@dataclass
class Optimisation:
    """Everything of a phase that changes with its updates."""

    phase: Phase
    ema: Ema[nn.Module]
    optimizers: tuple[torch.optim.Optimizer, ...]

    @staticmethod
    def of(phase: Phase, training: TrainingConfig, device: torch.device) -> "Optimisation":
        """A phase before its first update."""
        rate, decay = phase.learning_rate, training.weight_decay
        groups = phase.parameter_groups()
        orthogonal = [group for group in groups if group.get("orthogonal") and group["params"]]
        others = [group for group in groups if not group.get("orthogonal")]
        fused = device.type in ("cpu", "cuda")
        adam = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.99), weight_decay=decay, fused=fused)
        muon = [Muon(orthogonal, lr=rate, weight_decay=decay)] if orthogonal else []
        return Optimisation(phase, Ema(phase.module, training.ema_decay), (adam, *muon))

    def step(self, rate: float) -> None:
        """Make the update whose gradients are in place, and let the average and the adversary follow."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["rate_factor"]
            optimizer.step()
        self.ema.update(self.phase.module)
        if self.phase.adversary is not None:
            self.phase.adversary.learn(rate)

    def forget(self) -> None:
        """Drop what the optimisers remember of earlier gradients."""
        for optimizer in self.optimizers:
            optimizer.state.clear()

    def return_to(self, average: Mapping[str, Tensor]) -> None:
        """Go back to earlier averaged weights; the optimiser's moments are soon forgotten by themselves."""
        self.phase.module.load_state_dict(average)
        self.ema.module.load_state_dict(average)

    def is_finite(self) -> bool:
        """Whether every weight, averaged or not, is a number."""
        modules = (self.phase.module, self.ema.module)
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
        """Inverse of `state`, with the averaged weights. An adversary that was not there before starts anew."""
        self.phase.module.load_state_dict(state["module"])
        self.ema.module.load_state_dict(average)
        self.ema.num_updates = state["ema_updates"]
        # Runs from before there were several have none of these; moments are soon found anew.
        for optimizer, stored in zip(self.optimizers, state.get("optimizers", ()), strict=False):
            optimizer.load_state_dict(stored)
        if self.phase.adversary is not None and state.get("adversary") is not None:
            self.phase.adversary.load(state["adversary"])
