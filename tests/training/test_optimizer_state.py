"""What an optimiser remembers comes back as it was, under today's settings, and what does not fit is refused."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from vae_cli.training.muon import Muon
from vae_cli.training.optimizer_state import restore

DAMAGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a tensor of another shape": lambda own: own | {name: torch.zeros(3) for name in list(own)[-1:]},
    "every tensor transposed": lambda own: {name: value.T if value.ndim else value for name, value in own.items()},
    "a tensor too few": lambda own: dict(list(own.items())[:-1]),
    "a tensor too many": lambda own: own | {"max_exp_avg_sq": torch.zeros(4, 6)},
    "steps that are whole numbers": lambda own: own | {"step": torch.tensor(1)},
    "a step for every row": lambda own: own | {"step": torch.zeros(4)},
    "a number for a tensor": lambda own: own | {"step": 1.0},
    "a list": lambda own: [1],
}


def made(kind: str, weight_decay: float = 0.1, seed: int = 0) -> tuple[torch.optim.Optimizer, nn.Parameter]:
    """An optimiser that has made one update."""
    torch.manual_seed(seed)
    weight = nn.Parameter(torch.randn(4, 6))
    groups = [{"params": [weight], "rate_factor": 1.0}]
    optimizer: torch.optim.Optimizer = (
        Muon(groups, lr=0.1, weight_decay=weight_decay)
        if kind == "muon"
        else torch.optim.AdamW(groups, lr=0.1, weight_decay=weight_decay, fused=True)
    )
    update(optimizer, weight)
    return optimizer, weight


def update(optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> None:
    weight.grad = torch.randn(4, 6)
    optimizer.step()


@pytest.mark.parametrize("kind", ["muon", "adamw"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_would_fail_at_the_next_update_is_refused(kind: str, damage: str) -> None:
    """All but steps of another type, which torch converts, and Muon's, which older releases counted by themselves."""
    stored = copy.deepcopy(made(kind)[0].state_dict())
    if damage == "every tensor transposed" and kind == "muon":
        stored["state"][0]["whitening"] = torch.zeros(6, 6)
    stored["state"][0] = DAMAGES[damage](stored["state"][0])
    optimizer, weight = made(kind)
    try:
        restore(optimizer, stored)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError):
        return
    assert damage in ("steps that are whole numbers", "a number for a tensor") or (kind == "muon" and "step" in damage)
    update(optimizer, weight)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_the_tensors_come_back_and_the_settings_stay(kind: str) -> None:
    stored = copy.deepcopy(made(kind, weight_decay=0.1)[0].state_dict())
    optimizer, weight = made(kind, weight_decay=0.3, seed=1)
    del stored["param_groups"][0]["rate_factor"]  # not read, so its loss does no harm
    restore(optimizer, stored)
    (group,) = optimizer.param_groups
    assert (group["weight_decay"], group["rate_factor"]) == (0.3, 1.0)
    for name, value in stored["state"][0].items():
        assert torch.equal(optimizer.state[weight][name], value), name
    update(optimizer, weight)
