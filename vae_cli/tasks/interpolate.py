"""Walk between images through the latents."""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from vae_cli.data.pixels import to_pixels, to_unit
from vae_cli.model.priors import latents_of_images
from vae_cli.model.vae import Latents
from vae_cli.tasks.sample import resolve_prior
from vae_cli.training.checkpoint import LoadedModel

CHUNK = 32


@torch.inference_mode()
def ends_of_images(model: LoadedModel, images: np.ndarray) -> Latents:
    """The latents of images uint8 [M, H, W, C]: decoded again they are the reconstructions."""
    with model.runtime.autocast():
        return model.vae.encode(model.runtime.move(to_unit(images)))


@torch.inference_mode()
def ends_of_samples(model: LoadedModel, numbers: list[int], seed: int) -> Latents:
    """The latents of the images that `sample` draws under these numbers and this seed."""
    flow = model.flow if resolve_prior(model, "auto") == "flow" else None
    with model.runtime.autocast():
        return latents_of_images(
            model.vae, flow, seed, numbers, device=model.runtime.device, steps=model.config.model.flow.solver_steps
        )


def interpolate(
    model: LoadedModel, ends: Latents, *, steps: int, mode: str = "slerp", loop: bool = False
) -> Iterator[np.ndarray]:
    """uint8 [H, W, C] frames from each end to the next, `steps` a segment with both ends counted, shared ends once.

    `slerp` walks on standardised latents along arcs (Shoemake 1985), `lerp` along lines. `loop` returns to the first.
    """
    order = [*range(len(ends)), *([0] if loop else [])]
    frames: list[Latents] = [_pick(ends, order[0])]
    for a, b in pairwise(order):
        shares = (step / (steps - 1) for step in range(1, steps))
        frames += [_between(model, _pick(ends, a), _pick(ends, b), share, mode) for share in shares]
    for start in range(0, len(frames), CHUNK):
        yield from _decoded(model, frames[start : start + CHUNK])


def _pick(latents: Latents, index: int) -> Latents:
    return Latents(tuple(noise[index : index + 1] for noise in latents.noise))


def _between(model: LoadedModel, a: Latents, b: Latents, share: float, mode: str) -> Latents:
    """The point `share` of the way from a to b; the ends themselves are returned untouched."""
    if share in (0.0, 1.0):
        return b if share else a
    return Latents(
        tuple(
            _walk(model, first, second, share, mode, is_first=number == 0)
            for number, (first, second) in enumerate(zip(a.noise, b.noise, strict=True))
        )
    )


def _walk(model: LoadedModel, a: Tensor, b: Tensor, share: float, mode: str, *, is_first: bool) -> Tensor:
    """One layer. The first one's arc is drawn where the data are standardised, which the flow knows."""
    if mode == "lerp":
        return torch.lerp(a, b, share)
    if is_first and model.flow is not None:
        return model.flow.restore(slerp(model.flow.standardise(a), model.flow.standardise(b), share))
    return slerp(a, b, share)


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Directions along the great circle, lengths along a line; a line where the directions (nearly) agree or oppose.

    a, b: [1, C, H, W]; share in [0, 1].
    """
    length_a, length_b = a.norm(), b.norm()
    cosine = ((a * b).sum() / (length_a * length_b).clamp(min=1e-12)).clamp(-1, 1).item()
    angle = math.acos(cosine)
    if math.sin(angle) < 1e-4 or length_a == 0 or length_b == 0:
        return torch.lerp(a, b, share)
    direction = math.sin((1 - share) * angle) * a / length_a + math.sin(share * angle) * b / length_b
    return direction / math.sin(angle) * torch.lerp(length_a, length_b, share)


@torch.inference_mode()
def _decoded(model: LoadedModel, frames: list[Latents]) -> np.ndarray:
    """uint8 [F, H, W, C]."""
    layers = zip(*(frame.noise for frame in frames), strict=True)
    with model.runtime.autocast():
        return to_pixels(model.vae.decode_mean(Latents(tuple(torch.cat(layer) for layer in layers))))
