"""What the latents do: how many of them carry anything about the image."""

import torch
from torch import Tensor

ACTIVE_VARIANCE = 0.01


class VarianceMeter:
    """Variance over a data set, accumulated batch by batch in float64."""

    def __init__(self) -> None:
        self.num, self.total, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, values: Tensor) -> None:
        """values: [B, D], one row an image."""
        values = values.double().cpu()
        self.num += len(values)
        self.total = self.total + values.sum(0)
        self.squares = self.squares + values.square().sum(0)

    def variance(self) -> Tensor:
        """[D]; zero for a single image."""
        mean = self.total / max(self.num, 1)
        return (self.squares / max(self.num, 1) - mean.square()).clamp(min=0)

    def num_active(self) -> int:
        """Units whose posterior mean varies over the data (Burda et al. 2016, sec. 5.2)."""
        return int((self.variance() > ACTIVE_VARIANCE).sum())
