"""What an optimiser remembers, taken from a checkpoint that may be damaged or from another run."""

from collections.abc import Mapping
from typing import Any

import torch

from vae_cli.training.muon import Muon


def restore(optimizer: torch.optim.Optimizer, stored: Mapping[str, Any]) -> None:
    """Load a `state_dict`, but keep the optimiser's own settings, which may have changed since.

    Raises ValueError where the tensors are not those of its weights, at which the next update would fail; LookupError,
    TypeError, AttributeError or RuntimeError where it is no `state_dict`.
    """
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(dict(stored))
    if isinstance(optimizer, Muon):
        for state in optimizer.state.values():
            state.pop("step", None)  # of runs from before the updates were counted in one place
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        group.update(settings)
    for weight, state in optimizer.state.items():
        if isinstance(optimizer, Muon):
            side = min(weight.flatten(1).shape)
            wanted = {"momentum": (*weight.shape,), "whitening": (side, side)}
        else:
            wanted = {"step": (), "exp_avg": (*weight.shape,), "exp_avg_sq": (*weight.shape,)}
        if {name: (*value.shape,) for name, value in state.items()} != wanted:
            raise ValueError("an optimiser's tensors do not fit the weights")
