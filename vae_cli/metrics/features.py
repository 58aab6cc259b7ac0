"""Distances between sets of pictures, each picture a row of features: float64 [N, D].

Memory stays bounded, as distance matrices are computed in pieces. The order of rows matters only to the kernel
distance, which chooses subsets. All functions raise ValueError for too few rows.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

NUM_NEIGHBOURS = 5  # as in Naeem et al. 2020
SUBSET_SIZE, NUM_SUBSETS = 1000, 100  # of the kernel distance, as in Bińkowski et al. 2018, appendix D
PIECE_BYTES = 64 << 20  # of a distance matrix are in memory at once
SAME_POINT = 1e-12
"""Squared distances below this share of the points' own squared lengths are rounding errors of zero."""


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Squared Fréchet distance of Gaussians fitted to both sets (Heusel et al. 2017, eq. 6).

    With covariances A^T A and B^T B the trace of the square root of their product is the sum of the singular values of
    A B^T. A and B are triangular factors of the centred features, so nothing has to be inverted or clipped even when
    rows are few.
    """
    _require_rows(2, real, fake)
    root_real, root_fake = _covariance_root(real), _covariance_root(fake)
    shift = (real.double().mean(0) - fake.double().mean(0)).square().sum()
    spread = root_real.square().sum() + root_fake.square().sum()
    shared = torch.linalg.svdvals(root_real @ root_fake.T).sum()
    return max((shift + spread - 2 * shared).item(), 0.0)


def _covariance_root(features: Tensor) -> Tensor:
    """[min(N, D), D] R with R^T R = the unbiased covariance."""
    centred = features.double() - features.double().mean(0)
    triangle: Tensor = torch.linalg.qr(centred, mode="r").R
    return triangle / (len(features) - 1) ** 0.5


class KernelDistance(NamedTuple):
    mean: float
    std: float  # over the subsets


def kernel_distance(
    real: Tensor, fake: Tensor, *, subset_size: int = SUBSET_SIZE, num_subsets: int = NUM_SUBSETS, seed: int = 0
) -> KernelDistance:
    """Kernel inception distance (Bińkowski et al. 2018): mean over random subsets of the unbiased squared MMD.

    A subset holds at most half of a set, or all subsets would be nearly the same.
    """
    _require_rows(2, real, fake)
    size = max(2, min(subset_size, min(len(real), len(fake)) // 2))
    generator = torch.Generator().manual_seed(seed)

    def subset(features: Tensor) -> Tensor:
        return features[torch.randperm(len(features), generator=generator)[:size]].double()

    distances = [squared_mmd(subset(real), subset(fake)) for _ in range(num_subsets)]
    found = torch.tensor(distances, dtype=torch.float64)
    return KernelDistance(found.mean().item(), found.std(correction=0).item())


def squared_mmd(real: Tensor, fake: Tensor) -> float:
    """Unbiased estimate, sometimes negative, under the kernel (x · y / D + 1)³ (Gretton et al. 2012, lemma 6)."""
    within = _mean_off_diagonal(_cubic_kernel(real, real)) + _mean_off_diagonal(_cubic_kernel(fake, fake))
    return (within - 2 * _cubic_kernel(real, fake).mean()).item()


def _cubic_kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_off_diagonal(square: Tensor) -> Tensor:
    return (square.sum() - square.trace()) / (len(square) * (len(square) - 1))


class Neighbourhoods(NamedTuple):
    """How two sets overlap, by balls that reach from each feature to its k-th neighbour in the same set."""

    precision: float
    """Share of generated features inside a ball of a real one (Kynkäänniemi et al. 2019, eq. 2)."""
    recall: float
    """Share of real features inside a ball of a generated one."""
    density: float
    """How many real balls a generated feature lies in, over k; above 1 where real ones crowd (Naeem et al. 2020)."""
    coverage: float
    """Share of real balls with a generated feature inside (Naeem et al. 2020)."""


def neighbourhoods(real: Tensor, fake: Tensor, k: int = NUM_NEIGHBOURS) -> Neighbourhoods:
    """Precision, recall, density and coverage; k is lowered for sets of k rows or fewer."""
    _require_rows(2, real, fake)
    k = min(k, len(real) - 1, len(fake) - 1)
    real_radius, fake_radius = _squared_radius(real, k), _squared_radius(fake, k)
    num_balls = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
    num_recalled, num_covered, num_done = 0, 0, 0
    for squared in _squared_distances(real, fake):
        inside = squared <= real_radius[num_done : num_done + len(squared), None]
        num_done += len(squared)
        num_balls += inside.sum(0)
        num_covered += int(inside.any(1).sum())
        num_recalled += int((squared <= fake_radius).any(1).sum())
    precision = (num_balls > 0).double().mean().item()
    density = num_balls.double().mean().item() / k
    return Neighbourhoods(precision, num_recalled / len(real), density, num_covered / len(real))


class NearestTraining(NamedTuple):
    """How near generated pictures come to training pictures, compared with how near held-out pictures come."""

    training_images: int
    sample_median: float
    """Distance of generated features to the nearest training one."""
    held_out_median: float
    median_ratio: float
    """Of the two: 1 for new pictures, towards 0 for copies; NaN where held-out pictures are copies themselves."""
    share_below_1_percent: float
    """Share of generated features nearer than the nearest 1 % of held-out ones: 0.01 for new pictures."""
    share_below_median: float
    """Share of generated features nearer than half of the held-out ones: 0.5 for new pictures."""


def nearest_training(fake: Tensor, held_out: Tensor, training: Tensor) -> NearestTraining:
    """Distinguishes copying from learning, by the idea of Meehan et al. 2020 and Alaa et al. 2022.

    Generated and held-out pictures are compared with the same training pictures. A model that has learned the
    distribution comes as near to them as held-out pictures do; one that has memorised them comes nearer.
    """
    _require_rows(1, fake, held_out, training)
    of_samples, of_held_out = nearest_distance(fake, training), nearest_distance(held_out, training)
    sample_median, held_out_median = of_samples.quantile(0.5).item(), of_held_out.quantile(0.5).item()
    return NearestTraining(
        training_images=len(training),
        sample_median=sample_median,
        held_out_median=held_out_median,
        median_ratio=sample_median / held_out_median if held_out_median > 0 else float("nan"),
        share_below_1_percent=(of_samples < of_held_out.quantile(0.01)).double().mean().item(),
        share_below_median=(of_samples < held_out_median).double().mean().item(),
    )


def nearest_distance(rows: Tensor, columns: Tensor) -> Tensor:
    """[N] distance of each row to the nearest of the columns."""
    return nearest(rows, columns)[0][:, 0]


def nearest(rows: Tensor, columns: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """[N, k] distances of each row to the nearest of the columns, and which these are."""
    found = [squared.topk(k, dim=1, largest=False) for squared in _squared_distances(rows, columns)]
    return torch.cat([one.values for one in found]).sqrt(), torch.cat([one.indices for one in found])


def _squared_radius(features: Tensor, k: int) -> Tensor:
    """[N] squared distance of each row to its k-th neighbour in the same set."""
    pieces = _squared_distances(features, features)
    return torch.cat([squared.kthvalue(k + 1, dim=1).values for squared in pieces])  # the nearest is the row itself


def _squared_distances(rows: Tensor, columns: Tensor) -> Iterator[Tensor]:
    """[n, M] squared Euclidean distances of some rows at a time to all columns; 0 between equal points."""
    centre = columns.double().mean(0)  # |x|² + |y|² - 2 x·y loses the fewest digits when the numbers are small
    columns = columns.double() - centre
    lengths = columns.square().sum(1)
    for piece in rows.split(max(1, PIECE_BYTES // (8 * len(columns)))):
        piece = piece.double() - centre
        sums = piece.square().sum(1, keepdim=True) + lengths
        squared = sums - 2 * piece @ columns.T
        yield squared.masked_fill_(squared <= SAME_POINT * sums, 0)


def _require_rows(least: int, *sets: Tensor) -> None:
    for features in sets:
        if features.ndim != 2 or len(features) < least:
            raise ValueError(f"expected at least {least} rows of features, got {tuple(features.shape)}")
