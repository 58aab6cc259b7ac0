"""How many latents carry information about the image, and in which directions latents vary."""

import torch
from torch import Tensor

ACTIVE_VARIANCE = 0.01


class VarianceMeter:
    """Variance over a data set, accumulated batch by batch in float64."""

    def __init__(self) -> None:
        self.num, self.total, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, values: Tensor) -> None:
        """values: [B, D], one row an image."""
        values = values.cpu().double()  # not every device has doubles
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


def principal_directions(points: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The orthonormal directions [K, D] in which points [N, D] vary most, and their variances [K]; float64.

    K is `num` at most, and smaller for few points or dimensions. The largest entry of a direction is positive, which
    fixes its sign.
    """
    centred = points.double() - points.double().mean(0)
    count = min(num, *centred.shape)
    if len(centred) < centred.shape[1]:  # the smaller of the two square matrices has the same eigenvalues
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        directions = vectors.flip(1)[:, :count].T @ centred
    else:
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        directions = vectors.flip(1)[:, :count].T
    directions = directions / directions.norm(dim=1, keepdim=True).clamp(min=1e-12)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    variances = values.flip(0)[:count].clamp(min=0) / max(len(centred) - 1, 1)
    return directions * torch.where(largest < 0, -1.0, 1.0), variances
