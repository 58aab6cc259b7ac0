"""Where new latents come from: the VAE's own N(0, I) or the latent flow."""

import hashlib

import torch
from torch import Tensor

from vae_cli.model.flow import LatentFlow, View
from vae_cli.model.vae import VAE, Latents


def image_generator(seed: int, *place: int) -> torch.Generator:
    """A generator that depends on the seed and on numbers that say what is drawn (image, hole, fill …)."""
    mixed = seed & (2**63 - 1)
    for number in place:  # splitmix64's finaliser: neighbouring seeds and places become unrelated
        mixed = (mixed + 0x9E3779B97F4A7C15 + (number & (2**63 - 1)) * 0xD1342543DE82EF95) % 2**64
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
        mixed ^= mixed >> 31
    return torch.Generator().manual_seed(mixed % 2**63)


def place_of(name: str) -> int:
    """A number for `image_generator` that stands for an image's id."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=7).digest())


def noise_of_images(vae: VAE, seed: int, indices: list[int], temperature: float = 1.0) -> Latents:
    """Latents of images by their numbers: image i's noise depends on (seed, i) alone; drawn on the CPU."""
    layers: list[list[Tensor]] = [[] for _ in vae.latent_shapes]
    for index in indices:
        generator = image_generator(seed, index)
        for layer, shape in zip(layers, vae.latent_shapes, strict=True):
            layer.append(temperature * torch.randn(shape, generator=generator))
    return Latents(tuple(torch.stack(layer) for layer in layers))


CLUSTER_DRAW = 1


def clusters_of_images(flow: LatentFlow, seed: int, indices: list[int], label: int = -1) -> Tensor:
    """[B] the cluster that each image starts from, as often as training images of that label (-1 = any) belong to it.

    Like the noise, image i's cluster depends on (seed, i) alone; -1 for a flow or a label without clusters.
    """
    counts = flow.cluster_counts[label].cpu().double()  # row -1 counts all images
    if counts.sum() == 0:
        return torch.full((len(indices),), -1)
    drawn = [torch.rand((), generator=image_generator(seed, index, CLUSTER_DRAW), dtype=torch.float64).item()
             for index in indices]  # fmt: skip
    share = counts.cumsum(0) / counts.sum()
    return torch.searchsorted(share, torch.tensor(drawn, dtype=torch.float64), right=True).clamp(max=len(counts) - 1)


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
    label: int = -1,
    guidance: float = 1.0,
) -> Latents:
    """Latents of sampled images by their numbers, under the flow or, where it is None, under the VAE's own N(0, I)."""
    latents = to_device(noise_of_images(vae, seed, indices, temperature), device)
    if flow is None:
        return latents
    latents = latents.with_first(flow.noise_scale * latents.noise[0])
    view = View.nothing(len(indices), vae.channels, vae.image_size, device)
    view = view.with_label(torch.full((len(indices),), label, device=device))
    view = view.with_cluster(clusters_of_images(flow, seed, indices, label).to(device))
    return through_flow(flow, latents, view, steps=steps, guidance=guidance)


def through_flow(flow: LatentFlow, latents: Latents, view: View, *, steps: int, guidance: float = 1.0) -> Latents:
    """The same latents with the first layer's noise carried by the flow to where the data lie."""
    return latents.with_first(flow.solve(latents.noise[0], view, steps=steps, guidance=guidance))
