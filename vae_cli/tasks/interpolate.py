"""Walk between images through the latents."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.model.priors import latents_of_images, to_device
from vae_cli.model.vae import Latents
from vae_cli.tasks.encode import decode, encode_all, expected_images, latents_from
from vae_cli.tasks.noise_walk import NoiseWalk, slerp
from vae_cli.tasks.sample import CHUNK, resolve_prior
from vae_cli.windows.chunks import filled_up

FINENESS = 2
"""A walk is looked at in steps so much smaller than its own, to make those even."""
MAX_STEP = 3.0
"""A step that is so much longer than the median counts as that long: a change of kind takes no frames of its own."""

Way = Callable[[Tensor, Tensor], Latents]
"""(rows [S], shares [S]) -> the points at these shares of the ways of these rows."""


def ends_of_images(model: Model, images: np.ndarray) -> Latents:
    """The latents of images uint8 [M, H, W, C]: decoded again they are the reconstructions."""
    latents = latents_from(encode_all(model, images).means, model.vae.latent_shapes)
    return to_device(latents, model.runtime.device)


@torch.inference_mode()
def ends_of_samples(model: Model, numbers: list[int], seed: int) -> Latents:
    """The latents of the images that `sample` draws under these numbers and this seed."""
    flow = model.flow if resolve_prior(model, "auto") == "flow" else None
    steps, device = model.config.model.flow.solver_steps, model.runtime.device
    chunks = []
    for start in range(0, len(numbers), CHUNK):  # as `sample` computes them, or they would be rounded differently
        chosen = numbers[start : start + CHUNK]
        with model.runtime.autocast():
            whole = latents_of_images(model.vae, flow, seed, filled_up(chosen, CHUNK), device=device, steps=steps)
        chunks.append([layer[: len(chosen)] for layer in whole.noise])
    return Latents(tuple(torch.cat(layers) for layers in zip(*chunks, strict=True)))


def interpolate(
    model: Model, ends: Latents, *, steps: int, mode: str = "slerp", loop: bool = False
) -> Iterator[np.ndarray]:
    """uint8 [H, W, C] frames from each end to the next, `steps` a segment with both ends counted, shared ends once.

    `slerp` and `lerp` are the ways of `way_between`; frames lie so that each differs from the one before by as much.
    `loop` returns to the first.
    """
    order = [*range(len(ends)), *([0] if loop else [])]
    for number, (first, last) in enumerate(pairwise(order)):
        way = way_between(model, _row(ends, first), _row(ends, last), mode)
        rows = torch.zeros(steps, dtype=torch.long, device=model.runtime.device)
        frames = list(decode(model, way(rows, even_shares(model, way, steps))))
        yield from frames if number == 0 else frames[1:]


def _row(latents: Latents, index: int) -> Latents:
    return Latents(tuple(noise[index : index + 1] for noise in latents.noise))


def way_between(model: Model, a: Latents, b: Latents, mode: str) -> Way:
    """The ways from each row of a to the same row of b; at 0 and 1 they are at these rows themselves, bit for bit.

    `lerp`: lines. `slerp`: arcs between what is N(0, I) under the model, so that the points between are as likely as
    the ends: the flow's noise for the first layer where there is a flow (see `NoiseWalk`), else each layer's own.
    """
    curve = torch.lerp if mode == "lerp" else slerp
    walk = None
    if mode == "slerp" and model.flow is not None:
        walk = NoiseWalk.between(model, model.flow, a.noise[0], b.noise[0])

    def way(rows: Tensor, shares: Tensor) -> Latents:
        at = shares.reshape(-1, 1, 1, 1)
        ends = [(first[rows], last[rows]) for first, last in zip(a.noise, b.noise, strict=True)]
        points = [curve(first, last, at) for first, last in ends]
        if walk is not None:
            points[0] = walk.at(rows, shares)
        return Latents(
            tuple(
                torch.where(at == 0, first, torch.where(at == 1, last, point))
                for (first, last), point in zip(ends, points, strict=True)
            )
        )

    return way


def even_shares(model: Model, way: Way, num: int) -> Tensor:
    """[num] shares of the way of row 0, the outer ones 0 and 1, at which pictures are equally far apart.

    How far a walk has come is measured along its pictures: the root mean square difference of pixels, summed over
    small steps.
    """
    device = model.runtime.device
    tried = torch.linspace(0, 1, FINENESS * (num - 1) + 1)
    latents = way(torch.zeros(len(tried), dtype=torch.long, device=device), tried.to(device))
    pictures = torch.cat(list(expected_images(model, latents))).cpu().double()
    lengths = pictures.diff(dim=0).square().mean((1, 2, 3)).sqrt()
    lengths = lengths.clamp(max=MAX_STEP * lengths.median().item())
    come = np.concatenate([[0.0], lengths.cumsum(0).numpy()])
    if come[-1] == 0:  # every picture is the same
        return torch.linspace(0, 1, num, device=device)
    shares = np.interp(np.linspace(0, come[-1], num), come, tried.numpy())
    shares[[0, -1]] = 0, 1
    return torch.from_numpy(shares).float().to(device)
