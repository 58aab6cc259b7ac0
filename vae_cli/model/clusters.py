"""k-means: the groups that images without labels fall into."""

import torch
from torch import Tensor
from torch.nn import functional as F

ITERATIONS = 15


def k_means(points: Tensor, num_clusters: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Centroids [K, D] of points [N, D] and the cluster [N] of each point, by Lloyd's (1982) iteration.

    Starts from K of the points, so K is at most N. A cluster that loses all its points keeps its centroid.
    """
    centroids = points[torch.randperm(len(points), generator=generator)[:num_clusters].to(points.device)].clone()
    for _ in range(ITERATIONS):
        member = F.one_hot(nearest(points, centroids), len(centroids)).to(points.dtype)  # [N, K]
        count = member.sum(0)[:, None]
        centroids = torch.where(count > 0, member.T @ points / count.clamp(min=1), centroids)
    return centroids, nearest(points, centroids)


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """[N] index of the centroid closest to each point; points [N, D], centroids [K, D]."""
    return torch.cdist(points, centroids).argmin(1)
