"""Walk between images through the latents."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.model.priors import latents_of_images
from vae_cli.model.vae import Latents
from vae_cli.tasks.encode import decode, encode_all, expected_images, latents_from
from vae_cli.tasks.noise_walk import NoiseWalk, slerp
from vae_cli.tasks.sample import CHUNK, resolve_prior
from vae_cli.windows.chunks import in_chunks

FINENESS = 2  # how many times finer than its own steps a walk is measured in order to make them even
MAX_STEP = 3.0
"""Measured steps count as this many times their median at most: a sudden change of kind, which no step can make smooth,
gets no frames of its own."""

Way = Callable[[Tensor, Tensor], Latents]
"""(rows [S], shares [S]) -> the points at these shares of the ways of these rows."""


def ends_of_images(model: Model, images: np.ndarray) -> Latents:
    """The latents of images uint8 [M, H, W, C]: decoded again they are the reconstructions."""
    latents = latents_from(encode_all(model, images).means, model.vae.latent_shapes)
    return latents.map(lambda layer: layer.to(model.runtime.device))


def ends_of_samples(model: Model, numbers: list[int], seed: int) -> Latents:
    """The latents of the images that `sample` draws under these numbers and this seed."""
    flow = model.flow if resolve_prior(model, "auto") == "flow" else None
    steps, device = model.config.model.flow.solver_steps, model.runtime.device

    @torch.inference_mode()
    def drawn(chunk: Sequence[int]) -> list[Latents]:
        with model.runtime.autocast():
            return latents_of_images(model.vae, flow, seed, chunk, device=device, steps=steps).rows()

    return Latents.joined(list(in_chunks(drawn, numbers, CHUNK)))  # in chunks of `sample`'s size, to round as it does


def interpolate(
    model: Model, ends: Latents, *, steps: int, mode: str = "slerp", loop: bool = False
) -> Iterator[np.ndarray]:
    """uint8 [H, W, C] frames from each end to the next, `steps` for each pair with both ends counted, shared ends once.

    `slerp` and `lerp` are the ways of `way_between`; frames lie so that each differs from the one before by as much.
    `loop` returns to the first.
    """
    rows = ends.rows()
    for number, (first, last) in enumerate(pairwise([*rows, *rows[: 1 if loop else 0]])):
        way = way_between(model, first, last, mode)
        only_row = torch.zeros(steps, dtype=torch.long, device=model.runtime.device)
        frames = list(decode(model, way(only_row, even_shares(model, way, steps))))
        yield from frames if number == 0 else frames[1:]


def way_between(model: Model, a: Latents, b: Latents, mode: str) -> Way:
    """The ways from each row of a to the same row of b; at 0 and 1 they are at these rows themselves, bit for bit.

    `lerp`: lines. `slerp`: arcs between what is N(0, I) under the model, so that the points between are as likely as
    the ends: the flow's noise for the first layer where there is a flow (see `NoiseWalk`), else each layer's own.
    """
    curve, walk = torch.lerp if mode == "lerp" else slerp, None
    if mode == "slerp" and model.flow is not None:
        walk = NoiseWalk.between(model, model.flow, a.noise[0], b.noise[0])

    def way(rows: Tensor, shares: Tensor) -> Latents:
        at = shares.reshape(-1, 1, 1, 1)
        layers = []
        for number, (first, last) in enumerate(zip(a.noise, b.noise, strict=True)):
            first, last = first[rows], last[rows]
            point = curve(first, last, at) if walk is None or number else walk.at(rows, shares)
            layers.append(torch.where(at == 0, first, torch.where(at == 1, last, point)))
        return Latents(tuple(layers))

    return way


def even_shares(model: Model, way: Way, num: int) -> Tensor:
    """[num] shares of the way of row 0, the outer ones 0 and 1, at which pictures are equally far apart.

    Distance along the way is the root mean square difference of pixels, summed over small steps.
    """
    device = model.runtime.device
    tried = torch.linspace(0, 1, FINENESS * (num - 1) + 1)
    latents = way(torch.zeros(len(tried), dtype=torch.long, device=device), tried.to(device))
    pictures = torch.stack(list(expected_images(model, latents))).double()
    lengths = pictures.diff(dim=0).square().mean((1, 2, 3)).sqrt()
    lengths = lengths.clamp(max=MAX_STEP * lengths.median().item())
    distances = np.concatenate([[0.0], lengths.cumsum(0).numpy()])
    if distances[-1] == 0:  # every picture is the same
        return torch.linspace(0, 1, num, device=device)
    shares = np.interp(np.linspace(0, distances[-1], num), distances, tried.numpy())
    shares[[0, -1]] = 0, 1
    return torch.from_numpy(shares).float().to(device)
