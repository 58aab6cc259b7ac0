"""Where new latents come from: the VAE's own N(0, I) or the latent flow."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vae_cli.model.condition import Condition
from vae_cli.model.flow import LatentFlow
from vae_cli.model.vae import VAE, Latents
from vae_cli.randomness import CLUSTER_OF_SAMPLE, image_generator


def noise_of_images(vae: VAE, seed: int, indices: list[int], temperature: float = 1.0) -> Latents:
    """Latents of images by their numbers: image i's noise depends on (seed, i) alone; drawn on the CPU."""
    layers: list[list[Tensor]] = [[] for _ in vae.latent_shapes]
    for index in indices:
        generator = image_generator(seed, index)
        for layer, shape in zip(layers, vae.latent_shapes, strict=True):
            layer.append(temperature * torch.randn(shape, generator=generator))
    return Latents(tuple(torch.stack(layer) for layer in layers))


def clusters_of_images(
    flow: LatentFlow, seed: int, indices: list[int], label: int | Sequence[int] = -1, guidance: float = 1.0
) -> Tensor:
    """[B] the cluster that each image starts from, as often as training images of its label (-1 = any) belong to it.

    Like the noise, image i's cluster depends on (seed, i) alone; -1 for a flow or a label without clusters. Guidance g
    weighs a cluster c by p(c | label)^g p(c)^(1 - g), as it does what follows inside a cluster.
    """
    labels = [label] * len(indices) if isinstance(label, int) else label
    shares = {number: _cluster_shares(flow.cluster_counts.cpu().double(), number, guidance) for number in set(labels)}
    return torch.tensor([_drawn_cluster(shares[number], seed, index)
                         for number, index in zip(labels, indices, strict=True)])  # fmt: skip


def _cluster_shares(counts: Tensor, label: int, guidance: float) -> Tensor | None:
    """[K] cumulative shares of the clusters under a label; None where it has none. counts: [labels + 1, K]."""
    weights = counts[label]  # row -1 counts all images
    if weights.sum() == 0:
        return None
    if guidance != 1.0:
        of_label = weights / counts[-1].clamp(min=1)  # p(label | c)
        weights = (of_label / of_label.max()) ** guidance * counts[-1]
    return weights.cumsum(0) / weights.sum()


def _drawn_cluster(share: Tensor | None, seed: int, index: int) -> int:
    if share is None:
        return -1
    drawn = torch.rand((), generator=image_generator(seed, index, CLUSTER_OF_SAMPLE), dtype=torch.float64)
    return int(torch.searchsorted(share, drawn, right=True).clamp(max=len(share) - 1))


def to_device(latents: Latents, device: torch.device) -> Latents:
    return Latents(tuple(noise.to(device) for noise in latents.noise))


def latents_of_images(
    vae: VAE,
    flow: LatentFlow | None,
    seed: int,
    indices: list[int],
    *,
    device: torch.device,
    steps: int = 1,
    temperature: float = 1.0,
    label: int | Sequence[int] = -1,
    guidance: float = 1.0,
) -> Latents:
    """Latents of sampled images by their numbers, under the flow or, where it is None, under the VAE's own N(0, I).

    label: of all images or of each; an image's noise does not depend on it.
    """
    latents = to_device(noise_of_images(vae, seed, indices, temperature), device)
    if flow is None:
        return latents
    latents = latents.with_first(flow.noise_scale * latents.noise[0])
    view = Condition.nothing(len(indices), vae.channels, vae.image_size, device)
    view = view.with_label(torch.tensor(label, device=device).expand(len(indices)))
    view = view.with_cluster(clusters_of_images(flow, seed, indices, label, guidance).to(device))
    return through_flow(flow, latents, view, steps=steps, guidance=guidance)


def through_flow(flow: LatentFlow, latents: Latents, view: Condition, *, steps: int, guidance: float = 1.0) -> Latents:
    """The same latents with the first layer's noise carried by the flow to where the data lie."""
    return latents.with_first(flow.solve(latents.noise[0], view, steps=steps, guidance=guidance))
