"""k-means: the groups of alike images, found within each label where there are labels."""

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


def k_means_by_label(
    points: Tensor, label: Tensor, num_clusters: int, generator: torch.Generator, *, least: int
) -> tuple[Tensor, Tensor]:
    """At most K centroids [K, D] of points [N, D] and the cluster [N] of each point, found within each label [N].

    A label has its share of the clusters if it has `least` points; those of all others, and points without a label
    (-1), are grouped together and belong to the nearest cluster of all. Without such labels this is `k_means`.
    """
    own = [label == number for number in label.unique() if number >= 0 and (label == number).sum() >= least]
    if not own or len(own) >= num_clusters:
        return k_means(points, num_clusters, generator)
    others = ~torch.stack(own).any(0)
    groups = [*own, others] if others.sum() >= least else own
    num_free = num_clusters - len(groups)
    found = [k_means(points[group], max(1, num_free * int(group.sum()) // len(points)), generator) for group in groups]
    centroids = torch.cat([of_group for of_group, _ in found])
    member, start = nearest(points, centroids), 0
    for group, (of_group, of_points) in zip(groups, found, strict=True):
        if group is not others:
            member[group] = start + of_points
        start += len(of_group)
    return centroids, member


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """[N] index of the centroid closest to each point; points [N, D], centroids [K, D]."""
    return torch.cdist(points, centroids).argmin(1)
