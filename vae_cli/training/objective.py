"""What training minimises, how large its steps are, and which of them are refused."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vae_cli.errors import DivergedError
from vae_cli.model.vae import ElboTerms
from vae_cli.runtime import mean_over_ranks

NUM_SCALES = 4  # of the pyramid that the edges of pictures are compared over
FINAL_RATE = 0.02  # the learning rate at the end, as a share of the full one
OUTLIER_FACTOR = 10.0  # a gradient norm this many times the running median is refused
RETREAT_AFTER, MAX_RETREATS, MAX_REFUSED_IN_A_ROW = 20, 5, 50
"""Refusals in a row after which training goes back to better weights, how often it may, and when it gives up."""
LOWER_RATE = ("the last good checkpoint is intact; resume with a lower training.learning_rate\n"
              "(in the flow phase: training.flow_learning_rate)")  # fmt: skip


def negative_elbo_loss(
    terms: ElboTerms, *, kl_weight: float, free_nats: float, mean_kl: Tensor | None = None
) -> Tensor:
    """Weighted negative bound to minimise, nats per image: mean of -log p(x | z) plus each layer's KL.

    A layer whose KL, averaged over the batch of all ranks, is below `free_nats` costs that much and has no gradient
    (Kingma et al. 2016, eq. 15). mean_kl: [L], that average where the terms are of a micro-batch.
    """
    kl = terms.kl.mean(0)  # [L]
    if free_nats > 0:
        mean_kl = mean_over_ranks(kl) if mean_kl is None else mean_kl
        kl = torch.where(mean_kl > free_nats, kl, torch.full_like(kl, free_nats))
    return -terms.log_likelihood.mean() + kl_weight * kl.sum()


def negative_importance_bound(terms: ElboTerms, num_draws: int) -> Tensor:
    """Negative importance-weighted bound, nats per image (Burda et al. 2016, eq. 8).

    terms: of `num_draws` rows an image, one after another, KLs at the draws.
    """
    log_weights = terms.elbo.unflatten(0, (-1, num_draws))
    return math.log(num_draws) - torch.logsumexp(log_weights, dim=1).mean()


def kl_weight_at(step: int, *, target: float, warmup_steps: int) -> float:
    """Weight of the KL in update `step` (from 0): linear up to `target`, which it reaches at `warmup_steps`."""
    return target * min(1.0, (step + 1) / warmup_steps) if warmup_steps else target


def rate_factor_at(step: int, spent: float, *, warmup_steps: int, decay_share: float) -> float:
    """Share of the full learning rate: linear warm-up by steps, flat, cosine over the phase's last part.

    spent: share of the phase's budget, 0 to 1.
    """
    warm = min(1.0, (step + 1) / (warmup_steps + 1))
    into_decay = min(1.0, max(0.0, (spent - (1 - decay_share)) / decay_share)) if decay_share else 0.0
    return warm * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * into_decay)))


def gradient_distance(a: Tensor, b: Tensor) -> Tensor:
    """[B] L1 distance of the finite differences of a and b [B, C, H, W], over a pyramid of halved sizes; float32.

    At each scale the mean over positions, both directions added; then the mean over the scales, times C · H · W: a sum
    over pixels, as a log-likelihood is. Unlike a squared error it charges much for blur and nothing for a shift of
    brightness (compare Mathieu et al. 2016, eq. 6, who take the gradients' magnitudes at one scale).
    """
    difference = a.float() - b.float()  # first, as everything that follows is linear
    num_values = difference[0].numel()
    scales: list[Tensor] = []
    while len(scales) < NUM_SCALES and min(difference.shape[-2:]) > 1:
        down, right = difference.diff(dim=-2), difference.diff(dim=-1)
        scales.append(down.abs().flatten(1).mean(1) + right.abs().flatten(1).mean(1))
        difference = F.avg_pool2d(difference, 2)
    return num_values * torch.stack(scales).mean(0)


@dataclass
class UpdateGuard:
    """Refuses and counts updates that are not finite or whose gradient is far off the running median.

    One bad batch is passed over. Many in a row mean that the weights are bad: training then goes back to good ones and
    on at half the rate, a few times, before it gives up.
    """

    WINDOW: ClassVar[int] = 100
    MIN_HISTORY: ClassVar[int] = 20

    norms: list[float] = field(default_factory=list)
    num_refused: int = 0
    num_in_a_row: int = 0
    num_retreats: int = 0

    @property
    def rate_factor(self) -> float:
        """Share of the scheduled learning rate that the retreats have left."""
        return float(0.5**self.num_retreats)

    @property
    def is_retreat_due(self) -> bool:
        """Whether to go back to good weights now, and to call `retreat`."""
        return bool(self.norms) and self.num_in_a_row >= RETREAT_AFTER and self.num_retreats < MAX_RETREATS

    def retreat(self) -> None:
        """Count a retreat, and learn anew which norms are usual, in case their scale has changed for good."""
        self.num_retreats += 1
        self.norms = []

    def accepts(self, loss: float, norm: float) -> bool:
        """Whether an update with this loss and gradient norm, which all ranks share, may be made.

        Raises DivergedError after too many refusals in a row.
        """
        median = sorted(self.norms)[len(self.norms) // 2] if len(self.norms) >= self.MIN_HISTORY else math.inf
        if math.isfinite(loss) and math.isfinite(norm) and norm <= OUTLIER_FACTOR * max(median, 1e-8):
            self.norms = [*self.norms, norm][-self.WINDOW :]
            self.num_in_a_row = 0
            return True
        self.num_refused += 1
        self.num_in_a_row += 1
        if self.num_in_a_row >= MAX_REFUSED_IN_A_ROW:
            reason = f"{self.num_in_a_row} updates in a row had a loss or gradient out of bounds"
            raise DivergedError(f"training diverged: {reason};", LOWER_RATE)
        return False
