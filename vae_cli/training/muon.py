"""Muon, an optimiser for large convolutions and matrices that learns every direction of a weight at the same speed."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vae_cli.model.transformer import TokenBlock

MOMENTUM = 0.95
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
"""Of Newton and Schulz's iteration; steep at 0, it brings singular values to between 0.7 and 1.2 in a few steps."""
NUM_ITERATIONS = 4
RENEWED_EVERY = 4  # updates between computations of the matrix that makes a momentum orthogonal, the costliest part
STEP_SIZE = 0.2  # root mean square of a step at a learning rate of 1, about that of AdamW's (Liu et al. 2025)
LEAST_ROWS = 64  # input and output channels; smaller convolutions are left to AdamW


def suited(module: nn.Module) -> list[Tensor]:
    """The weights of a module's large 3×3 convolutions and of its transformer's blocks."""
    found: list[Tensor] = []
    for part in module.modules():
        if isinstance(part, TokenBlock):
            found += [part.into.weight, part.out.weight]
        elif isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3) and min(part.weight.shape[:2]) >= LEAST_ROWS:
            found.append(part.weight)
    return found


def parameter_groups(
    module: nn.Module, optimizer: str, *, apart: Sequence[Tensor] = (), rate_factor: float = 1.0
) -> list[dict[str, Any]]:
    """A module's parameters as `Phase.parameter_groups` wants them; under `muon` those that suit it are Muon's.

    apart: some that are always AdamW's, at rate_factor times the learning rate.
    """
    aside = {id(parameter) for parameter in apart}
    large = [weight for weight in suited(module) if id(weight) not in aside] if optimizer == "muon" else []
    placed = aside | {id(weight) for weight in large}
    small = [parameter for parameter in module.parameters() if id(parameter) not in placed]
    groups: list[dict[str, Any]] = [{"params": small, "rate_factor": 1.0}]
    groups += [{"params": large, "rate_factor": 1.0, "orthogonal": True}] if large else []
    return groups + ([{"params": list(apart), "rate_factor": rate_factor}] if apart else [])


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum (Jordan et al. 2024) for matrices [O, I], and weights of convolutions [O, I, 3, 3] as
    matrices [O, 9 I].

    A gradient has a few large singular values and many small ones, and so has AdamW's step; here all are made alike.
    Learning rate and weight decay mean what they do for AdamW.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float, weight_decay: float, dtype: torch.dtype = torch.float32
    ) -> None:
        """dtype: of the product that makes a step; the matrix for it is always found in float32."""
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    direction = self._direction(weight)
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.sub_(group["lr"] * direction)

    def _direction(self, weight: nn.Parameter) -> Tensor:
        state, gradient = self.state[weight], weight.grad
        assert gradient is not None
        if not state:
            state.update(step=torch.zeros(()), momentum=torch.zeros_like(weight))
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        matrix = torch.lerp(gradient, state["momentum"], MOMENTUM).flatten(1)  # Nesterov's
        is_tall = matrix.shape[0] > matrix.shape[1]
        matrix = matrix.T if is_tall else matrix  # the smaller side is the cheaper one to whiten
        if state["step"] % RENEWED_EVERY == 0:
            state["whitening"] = inverse_root(matrix @ matrix.T)
        state["step"] += 1
        step = (state["whitening"].to(self.dtype) @ matrix.to(self.dtype)).float()
        step = step * (STEP_SIZE * step.numel() ** 0.5 / step.norm().clamp(min=1e-12))
        return (step.T if is_tall else step).reshape(weight.shape)


def inverse_root(gram: Tensor) -> Tensor:
    """[m, m] about G^(-1/2) of a symmetric positive semi-definite G [m, m], up to a factor between 0.7 and 1.2.

    Newton and Schulz's iteration X ← p(X Xᵀ) X, of which X Xᵀ and the product of the p are followed alone.
    """
    size = gram.trace().clamp(min=1e-30)
    gram, eye = gram / size, torch.eye(len(gram), device=gram.device)
    root, (a, b, c) = eye, POLYNOMIAL
    for _ in range(NUM_ITERATIONS):
        factor = a * eye + b * gram + c * (gram @ gram)
        root, gram = factor @ root, factor @ gram @ factor
    return root / size.sqrt()
