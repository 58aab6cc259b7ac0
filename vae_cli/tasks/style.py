"""Carry a look over: pictures are changed to another label, or towards what other pictures have in common.

Only the difference that the change makes is added to a picture. So detail that the model cannot draw stays, and at
strength 0 everything does.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.errors import ConfigError
from vae_cli.images.pixels import grey_levels
from vae_cli.images.recipe import ImageRecipe
from vae_cli.model.condition import Condition
from vae_cli.model.flow import LatentFlow
from vae_cli.model.vae import Latents
from vae_cli.randomness import image_generator, place_of
from vae_cli.tasks.latent_statistics import LatentStatistics, with_statistics
from vae_cli.tasks.sample import is_learned, label_number
from vae_cli.windows.chunks import in_chunks
from vae_cli.windows.tiles import Tiles
from vae_cli.windows.working_scale import ScaledPicture

CHUNK = 16  # windows that are computed together
LABEL_STRENGTH, LIKE_STRENGTH = 0.7, 1.0
LABEL_STEPS = 8  # solver steps
CONTRAST, MAX_GUIDANCE = 1.0, 12.0
"""The difference between two labels' velocities is enlarged until its root mean square is that of the latents, but at
most so many times: labels that are alike need more guidance than labels that differ much."""
PROBE_TIMES = (0.3, 0.5, 0.7)
PROBE_NOISES, MAX_PROBED_WINDOWS = 2, 4
"""An image's label is found with so many noises at each time, in at most so many of its windows."""

Places = Sequence[tuple[int, int]]
"""(image, window): what a window's noise depends on, beside the seed."""


@dataclass(frozen=True)
class Content:
    """A picture to be changed."""

    pixels: np.ndarray  # uint8 or uint16 [H, W, C], as many channels as the model has
    id: str
    label: int | None = None  # its class number where that is known


@dataclass(frozen=True)
class Styled:
    """A changed picture."""

    pixels: np.ndarray  # float32 [H, W, C] in 0..255, as large as the picture was
    label: int | None  # the class that it was taken for; None where labels do not matter


@dataclass(frozen=True)
class Change:
    """What happens to pictures, at the scale of the model's whole pictures (`is_whole`) or at their own."""

    model: Model
    is_whole: bool
    source_of: Callable[[Tiles, int | None], Any]
    """What a picture with this label is changed from: its own label or statistics."""
    changed: Callable[[Latents, Sequence[Any], Places], Latents]
    """The latents of windows, each changed from its picture's source."""


def tiles_of(model: Model, picture: np.ndarray, *, is_whole: bool) -> tuple[ScaledPicture, Tiles]:
    """The picture, uint8 or uint16 [H, W, C], at the scale of the model's whole pictures or its own; its windows."""
    scaled = ScaledPicture.of(picture, ImageRecipe.of(model.config.data) if is_whole else None)
    return scaled, Tiles.of(scaled.pixels, model.image_size)


class _Job(NamedTuple):
    """A picture on its way."""

    content: Content
    scaled: ScaledPicture
    tiles: Tiles
    source: Any
    differences: list[tuple[int, np.ndarray]]


def restyle(contents: Iterable[Content], change: Change) -> Iterator[Styled]:
    """Each picture, changed, in its order. A result depends on its picture, its id, the change and the model alone."""
    model = change.model

    def windows() -> Iterator[tuple[_Job, int]]:
        for content in contents:
            scaled, tiles = tiles_of(model, content.pixels, is_whole=change.is_whole)
            job = _Job(content, scaled, tiles, change.source_of(tiles, content.label), [])
            yield from ((job, number) for number in range(len(tiles.corners)))

    @torch.inference_mode()
    def differences(chunk: Sequence[tuple[_Job, int]]) -> Iterator[tuple[_Job, int, np.ndarray]]:
        """What changes in each window, float32 [h, w, C] in -1..1, with the window's picture and number."""
        jobs, numbers = zip(*chunk, strict=True)
        places = [(place_of(job.content.id), number) for job, number in chunk]
        x = torch.from_numpy(np.concatenate([job.tiles.cut([number]) for job, number in chunk])).permute(0, 3, 1, 2)
        with model.runtime.autocast():
            latents = model.vae.encode(model.runtime.move(x))
            after = change.changed(latents, [job.source for job in jobs], places)
            difference = model.vae.decode_mean(after).float() - model.vae.decode_mean(latents).float()
        return zip(jobs, numbers, difference.permute(0, 2, 3, 1).cpu().numpy(), strict=True)

    for job, number, difference in in_chunks(differences, windows(), CHUNK):
        job.differences.append((number, difference))
        if len(job.differences) == len(job.tiles.corners):
            whole = job.scaled.in_picture(job.tiles.join(job.differences))
            label = job.source if isinstance(job.source, int) else None
            yield Styled((grey_levels(job.content.pixels) + 127.5 * whole).clip(0, 255), label)


def to_label(
    model: Model, name: str, *, strength: float = LABEL_STRENGTH, seed: int = 0, steps: int = LABEL_STEPS
) -> Change:
    """Pictures become what they would be under another label (Kulikov et al. 2024, FlowEdit).

    At times from 1 - strength to 1 the picture and its changed version are mixed with the same noise. The changed
    version moves by the difference between the velocity there under the target label and the velocity here under the
    picture's own label (where it is not known, the likeliest one other than the target). The picture itself is never
    carried through the flow, so nothing of it is lost on the way.

    Raises ConfigError for a model without labels or without a flow, and for a label that it does not know.
    """
    if not model.label_names:
        raise ConfigError(f"--to {name}: {model.path} was trained without labels; use --like FILE|DIR")
    if model.flow is None:
        raise ConfigError(f"--to {name}: {model.path} has no latent flow, which is what knows the labels")
    flow, target = model.flow, label_number(model, name, option="--to")

    def source_of(tiles: Tiles, label: int | None) -> int:
        return likeliest_label(model, flow, tiles, other_than=target) if label is None else label

    def changed(latents: Latents, sources: Sequence[int], places: Places) -> Latents:
        start = u = flow.standardise(latents.noise[0].float())
        own = torch.tensor(sources, device=start.device)
        wanted = torch.full_like(own, target)
        nothing = Condition.nothing(len(start), model.channels, model.image_size, start.device)
        as_own, as_wanted = (flow.velocity_under(nothing.with_label(label)) for label in (own, wanted))
        times = torch.linspace(1 - strength, 1, steps + 1).tolist()
        generators = [image_generator(seed, *place) for place in places]
        noises = torch.stack([torch.randn((steps, *flow.shape), generator=each) for each in generators], dim=1)
        for (t, following), noise in zip(pairwise(times), noises, strict=True):
            here = (1 - t) * noise.to(start) + t * start
            there = here + u - start
            plain = as_own(there, t)
            towards = _enlarged(as_wanted(there, t) - plain)
            u = u + (following - t) * (towards + plain - as_own(here, t))
        is_other = (own != wanted)[:, None, None, None]
        return latents.with_first(torch.where(is_other, flow.restore(u), latents.noise[0]))

    return Change(model, True, source_of, changed)


def _enlarged(difference: Tensor) -> Tensor:
    """The difference [B, C, h, w] between the velocities under two labels, enlarged as CONTRAST says."""
    size = difference.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=CONTRAST / MAX_GUIDANCE)
    return difference * (CONTRAST / size).clamp(min=1)


@torch.inference_mode()
def likeliest_label(model: Model, flow: LatentFlow, tiles: Tiles, *, other_than: int | None = None) -> int:
    """The label under which the flow explains a picture's latents best: the least flow-matching loss.

    Averaged over fixed times and noises, the same for every label (Li et al. 2023, a diffusion classifier). The label
    `other_than` is chosen only where there is no other.
    """
    count = min(len(tiles.corners), MAX_PROBED_WINDOWS)
    chosen = (np.arange(count) * 2 + 1) * len(tiles.corners) // (2 * count)
    x = torch.from_numpy(tiles.cut(chosen.tolist())).permute(0, 3, 1, 2)
    noises = [torch.randn(1, *flow.shape, generator=image_generator(0, number)) for number in range(PROBE_NOISES)]
    noise = torch.cat(noises * len(PROBE_TIMES)).to(model.runtime.device)
    t = torch.tensor(PROBE_TIMES, device=noise.device).repeat_interleave(PROBE_NOISES)
    at = t[:, None, None, None]
    losses = torch.tensor([0.0 if is_learned(model, number) else torch.inf for number in range(len(model.label_names))])
    if other_than is not None and len(losses) > 1:
        losses[other_than] = torch.inf
    with model.runtime.autocast():
        condition = flow.condition(Condition.nothing(1, model.channels, model.image_size, noise.device))
        latents = model.vae.encode(model.runtime.move(x)).noise[0].float()
        for u in flow.standardise(latents).split(1):
            u_t = (1 - at) * noise + at * u
            for number in range(len(losses)):
                velocity = flow.velocity(u_t, t, condition, torch.full((len(t),), number, device=t.device))
                losses[number] += (velocity - (u - noise)).square().mean().cpu()
    return int(losses.argmin())


def to_look(
    model: Model,
    like: Iterable[np.ndarray],
    unlike: Iterable[np.ndarray] | None = None,
    *,
    strength: float = LIKE_STRENGTH,
) -> Change:
    """Pictures take on the look of others, uint8 or uint16 [H, W, C]: the statistics of their latents.

    Without `unlike` each picture gives up its own statistics, channel by channel and at its own scale. With it, the
    difference between the statistics of the two sets is added, place by place, at the scale of the model's whole
    pictures. Raises ValueError for an empty set.
    """
    is_whole = unlike is not None

    def statistics(pictures: Iterable[np.ndarray]) -> LatentStatistics:
        return LatentStatistics.of(model, (tiles_of(model, picture, is_whole=is_whole)[1] for picture in pictures))

    target, source = statistics(like), None if unlike is None else statistics(unlike)

    def changed(latents: Latents, sources: Sequence[LatentStatistics], places: Places) -> Latents:
        return with_statistics(latents, LatentStatistics.joined(sources), target, strength, by_place=is_whole)

    return Change(model, is_whole, lambda tiles, label: source or LatentStatistics.of(model, [tiles]), changed)
