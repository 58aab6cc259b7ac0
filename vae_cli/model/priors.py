"""Latents of new images: from the VAE's own prior N(0, I) or from the latent flow."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vae_cli.model.clusters import SAMPLED_SHARE, noised
from vae_cli.model.condition import Condition
from vae_cli.model.flow import LatentFlow
from vae_cli.model.vae import VAE, Latents, draw_noise
from vae_cli.randomness import CLUSTER_OF_SAMPLE, LAYOUT_OF_SAMPLE, image_generator


def noise_of_images(vae: VAE, seed: int, indices: Sequence[int]) -> Latents:
    """Standard normal latents of images by their numbers, drawn on the CPU; image i's depend on (seed, i) alone."""
    return Latents.joined([Latents(tuple(draw_noise(vae.latent_shapes, 1, image_generator(seed, index))))
                           for index in indices])  # fmt: skip


def clusters_of_images(
    flow: LatentFlow, seed: int, indices: Sequence[int], labels: Sequence[int], guidance: float = 1.0
) -> Tensor:
    """[B] the cluster that each image starts from, drawn as often as training images of its label (-1 = any) have it.

    Image i's choice depends on (seed, i) and its label alone; -1 for a flow or a label without clusters. Guidance g
    weighs a cluster c by p(c | label)^g p(c)^(1 - g), as it does with everything that follows inside the cluster.
    Layouts are drawn as from a shuffled pack, in which each is as often as its count says.
    """
    counts = flow.cluster_counts.cpu().double()
    shares = {label: _cumulative_shares(counts, label, guidance) for label in set(labels)}
    packs = {label: _shuffled(int(counts[label].sum()), seed) for label in set(labels)} if flow.follows_layouts else {}
    drawn = []
    for label, index in zip(labels, indices, strict=True):
        share, generator = shares[label], image_generator(seed, index, CLUSTER_OF_SAMPLE)
        place = torch.rand((), generator=generator, dtype=torch.float64)
        if pack := packs.get(label):
            place = (pack[index % len(pack)] + place) / len(pack)
        found = torch.searchsorted(share, place, right=True).clamp(max=len(share) - 1)
        drawn.append(int(found) if share[-1] > 0 else -1)
    return torch.tensor(drawn)


def starts_of_images(flow: LatentFlow, seed: int, indices: Sequence[int], cluster: Tensor) -> Tensor:
    """[B, C + 1, rows, columns] what images of clusters [B] start from; layouts with each image's own noise."""
    start = flow.start_at(cluster.to(flow.centroids.device))
    if not flow.follows_layouts:
        return start
    noise = [torch.randn(start[0, :-1].shape, generator=image_generator(seed, i, LAYOUT_OF_SAMPLE)) for i in indices]
    return noised(start, start.new_full((len(start),), SAMPLED_SHARE), torch.stack(noise).to(start.device))


def _shuffled(size: int, seed: int) -> list[int]:
    """The numbers below `size` in an order of the seed's; -1 is no image's number."""
    return torch.randperm(size, generator=image_generator(seed, -1, LAYOUT_OF_SAMPLE)).tolist()


def _cumulative_shares(counts: Tensor, label: int, guidance: float) -> Tensor:
    """[K] cumulative shares of the clusters under a label, zeros where it has none; counts: [labels + 1, K]."""
    weights = counts[label]  # row -1 counts all images
    if not weights.any():
        return weights
    if guidance != 1.0:
        of_label = weights / counts[-1].clamp(min=1)  # p(label | c)
        weights = (of_label / of_label.max()) ** guidance * counts[-1]
    return weights.cumsum(0) / weights.sum()


def latents_of_images(
    vae: VAE,
    flow: LatentFlow | None,
    seed: int,
    indices: Sequence[int],
    *,
    device: torch.device,
    steps: int = 1,
    temperature: float = 1.0,
    labels: Sequence[int] | None = None,
    guidance: float = 1.0,
) -> Latents:
    """Latents of new images by their numbers, from the flow or, where it is None, from the VAE's own N(0, I).

    labels: one for each image, None = no labels; an image's noise does not depend on its label.
    """
    latents = noise_of_images(vae, seed, indices).map(lambda noise: (temperature * noise).to(device))
    if flow is None:
        return latents
    labels = [-1] * len(indices) if labels is None else labels
    known = Condition.nothing(len(indices), vae.channels, vae.image_size, device)
    known = known.with_label(torch.tensor(labels, device=device))
    cluster = clusters_of_images(flow, seed, indices, labels, guidance)
    known = known.with_start(starts_of_images(flow, seed, indices, cluster))
    noise = flow.noise_scale * latents.noise[0]
    return latents.with_first(flow.solve(noise, known, steps=steps, guidance=guidance))
