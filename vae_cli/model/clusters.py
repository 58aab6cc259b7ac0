"""What is known of the training images' latents: their mean and scale, and what samples start from.

Latents on a small grid fall into clusters, and a sample starts from the centroid of one. Photographs are too different
from each other for that: a sample of them starts from the layout of one training image, its latents' means over 8×8
fields, of which noise leaves what an image has in common with many.
"""

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_cli.config import LatentSpec
from vae_cli.model.ladder import grid_of

ITERATIONS = 15
MIN_CLUSTER_SIZE = 16
"""Least number of images per cluster on average: with fewer, a cluster would copy single images."""
LARGEST_GRID, LAYOUT_SIDE = 8, 8
"""Samples of latents on a grid of more positions a side start from layouts of 8×8 fields."""
LEAST_SHARE, SAMPLED_SHARE = 0.8, 0.9
"""Of a layout's standard deviation that is left after noise: the least that is learned from, and that of samples."""
CLOSE = 2 / 3
"""Starts nearer to each other than this share of the median distance between two of them count as alike."""


class ClusteredLatents(nn.Module):
    """Mean, scale and clusters of first-layer latents [N, C, h, w], kept as buffers beside the weights.

    Where they follow layouts, each of the chosen training images is a cluster of its own. A start is a tensor
    [B, C + 1, rows, columns]: a centroid or layout of standardised latents, and in the last channel which share of it
    is left beside noise, 1 = all; zeros stand for no start.
    """

    mean: Tensor
    scale: Tensor
    centroids: Tensor
    """[K, C, rows, columns] of standardised latents: on their own grid if it is small, else layouts of images."""
    cluster_counts: Tensor
    """[labels + 1, K] how many training images of each label fall into each cluster; the last row counts all images."""

    def __init__(self, shape: tuple[int, int, int], *, num_labels: int, num_clusters: int) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("mean", torch.zeros(1, shape[0], 1, 1))
        self.register_buffer("scale", torch.ones(1, shape[0], 1, 1))
        self.follows_layouts = has_layouts(shape[1:])
        grid = (LAYOUT_SIDE, LAYOUT_SIDE) if self.follows_layouts else shape[1:]
        self.register_buffer("centroids", torch.zeros(num_clusters, shape[0], *grid))
        self.register_buffer("cluster_counts", torch.zeros(num_labels + 1, num_clusters))

    def at(self, shape: tuple[int, int, int]) -> Self:
        """This module, its weights shared, for latents (C, h, w) of images of another size."""
        other = copy.copy(self)
        other.shape = shape
        return other

    def set_statistics(self, mean: Tensor, scale: Tensor) -> None:
        """Set the mean and standard deviation [C] of the latents over the training images."""
        self.mean.copy_(mean.reshape(1, -1, 1, 1))
        self.scale.copy_(scale.reshape(1, -1, 1, 1))

    def standardise(self, z: Tensor) -> Tensor:
        """The VAE's first-layer latents with zero mean and unit scale per channel, as the flow works on them."""
        return (z - self.mean) / self.scale

    def restore(self, u: Tensor) -> Tensor:
        """Inverse of `standardise`."""
        return u * self.scale + self.mean

    def set_clusters(self, z: Tensor, label: Tensor, generator: torch.Generator) -> None:
        """Find the clusters of latents z [N, C, h, w], or choose layouts among theirs, evenly, and count them, overall
        and under each label [N] (-1 = none).

        Clusters are searched within each label. If labels shared a cluster, only the velocity could tell them apart,
        and it learns that late. With few images there are fewer clusters than there is room for; the spare ones have
        a count of zero and are never drawn.
        """
        points = self._layout(z).flatten(1)
        if self.follows_layouts:
            chosen = torch.linspace(0, len(points) - 1, min(len(self.centroids), len(points))).long()
            centroids, label = points[chosen], label[chosen]
            member = torch.arange(len(chosen), device=label.device)
        else:
            num_clusters = min(len(self.centroids), len(points) // MIN_CLUSTER_SIZE)
            if num_clusters == 0:
                return
            centroids, member = k_means_by_label(points, label, num_clusters, generator, least=MIN_CLUSTER_SIZE)
        self.centroids[: len(centroids)] = centroids.unflatten(1, self.centroids.shape[1:])
        self.cluster_counts.zero_()
        self._add_counts(label, member)
        self.cluster_counts[-1] = torch.bincount(member, minlength=len(self.centroids))

    def count_labels(self, z: Tensor, label: Tensor) -> None:
        """Add latents z [N, C, h, w] to the counts of their labels [N]; for labels that few images have."""
        member = self.cluster_of(z, label)
        self._add_counts(label[member >= 0], member[member >= 0])

    def _add_counts(self, label: Tensor, member: Tensor) -> None:
        self.cluster_counts.index_put_((label, member), self.cluster_counts.new_ones(()), accumulate=True)

    def cluster_of(self, z: Tensor, label: Tensor) -> Tensor:
        """[B] the nearest cluster to latents z [B, C, h, w] among those of their labels [B]; -1 if none were found.

        A label without clusters of its own, and the label -1, may take any cluster.
        """
        counts = self.cluster_counts
        if counts[-1].sum() == 0:
            return torch.full((len(z),), -1, device=z.device)
        has_own = counts.sum(1, keepdim=True) > 0
        is_allowed = torch.where(has_own, counts, counts[-1])[label] > 0  # [B, K]; label -1 takes the last row
        distance = torch.cdist(self._layout(z).flatten(1), self.centroids.flatten(1))
        return distance.masked_fill(~is_allowed, torch.inf).argmin(1)

    def _layout(self, z: Tensor) -> Tensor:
        """[B, C, rows, columns] standardised latents on the grid of the centroids."""
        rows, columns = self.centroids.shape[2:]
        return F.adaptive_avg_pool2d(self.standardise(z), (rows, columns))

    def start_of(self, z: Tensor, label: Tensor) -> Tensor:
        """[B, C + 1, rows, columns] the start that latents z [B, C, h, w] with labels [B] belong to, without noise:
        their own layout or the nearest centroid."""
        if self.follows_layouts:
            return _with_share(self._layout(z), torch.ones(len(z), device=z.device))
        return self.start_at(self.cluster_of(z, label))

    def start_at(self, cluster: Tensor) -> Tensor:
        """[B, C + 1, rows, columns] the start of samples from clusters [B], without noise; none for -1."""
        known = (cluster >= 0).float()
        return _with_share(self.centroids[cluster.clamp(min=0)] * known[:, None, None, None], known)

    def are_close(self, start: Tensor, other: Tensor) -> Tensor:
        """[B] whether two starts are so alike that points between them look real, too."""
        used = self.centroids[self.cluster_counts[-1] > 0].flatten(1)
        if len(used) < 2:
            return torch.ones(len(start), dtype=torch.bool, device=start.device)
        distance = (start - other).flatten(1).norm(dim=1)
        return distance < CLOSE * torch.pdist(used.cpu()).median().to(distance.device)


def has_layouts(grid: Sequence[int]) -> bool:
    """Whether samples of latents on this grid (h, w) start from layouts rather than clusters."""
    return max(grid) > LARGEST_GRID


def config_has_layouts(latents: Sequence[LatentSpec], image_size: tuple[int, int]) -> bool:
    """The same of models with these latent layers, the first of which is the flow's, and images of this size."""
    stride = latents[0].stride
    return stride != "global" and has_layouts(grid_of(image_size, stride))


def noised(start: Tensor, share: Tensor, noise: Tensor) -> Tensor:
    """Starts [B, C + 1, …] of which a share [B] is left beside normal noise [B, C, …]; zeros stay zeros."""
    at = share[:, None, None, None]
    return _with_share(at * start[:, :-1] + (1 - at.square()).sqrt() * noise, share) * start[:, -1:]


def _with_share(layout: Tensor, share: Tensor) -> Tensor:
    return torch.cat([layout, share[:, None, None, None].expand_as(layout[:, :1])], dim=1)


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
    """At most K centroids [K, D] of points [N, D], found within each label [N], and the cluster [N] of each point.

    A label with at least `least` points gets a share of the clusters in proportion to them. All other points, among
    them those without a label (-1), are clustered together and then assigned to the nearest cluster of any label.
    If no label is large enough, or there are too many of them, this is `k_means` of all points.
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
