"""Carry a look over: pictures are changed to another label, or towards what other pictures have in common.

Only the difference that the change makes is added to a picture. So detail that the model cannot draw stays, and at
strength 0 everything does.
"""

from collections.abc import Iterable, Iterator, Sequence
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

CHUNK = 16
"""Windows that are computed together."""
LABEL_STRENGTH, LIKE_STRENGTH = 0.7, 1.0
LABEL_STEPS = 8
"""Solver steps."""
CONTRAST, MAX_GUIDANCE = 1.0, 12.0
"""The difference between two labels' velocities is enlarged until its root mean square is that of the latents, but at
most so many times: labels that are alike need more guidance than labels that differ much."""
PROBE_TIMES = (0.3, 0.5, 0.7)
PROBE_NOISES, MAX_PROBED_WINDOWS = 2, 4
"""An image's label is found with so many noises at each time, in at most so many of its windows."""


@dataclass(frozen=True)
class Content:
    """A picture to be changed."""

    pixels: np.ndarray
    """uint8 or uint16 [H, W, C], as many channels as the model has."""
    id: str
    label: int | None = None
    """Its class number where that is known."""


@dataclass(frozen=True)
class Styled:
    """A changed picture."""

    pixels: np.ndarray
    """float32 [H, W, C] in 0..255, as large as the picture was."""
    label: int | None
    """The class that it was taken for; None where labels do not matter."""


def scaled(model: Model, picture: np.ndarray, *, is_whole: bool) -> ScaledPicture:
    """The picture, uint8 or uint16 [H, W, C], at the scale of the model's whole pictures or at its own."""
    return ScaledPicture.of(picture, ImageRecipe.of(model.config.data) if is_whole else None)


# ---- to a label


@dataclass(frozen=True)
class ToLabel:
    """Pictures become what they would be under another label (Kulikov et al. 2024, FlowEdit).

    At times from 1 - strength to 1 the picture and its changed version are mixed with the same noise. The changed
    version moves by the difference between the velocity there under the target label and the velocity here under the
    picture's own label. The picture itself is never carried through the flow, so nothing of it is lost on the way.
    """

    is_whole = True
    model: Model
    flow: LatentFlow
    target: int
    strength: float
    seed: int
    steps: int

    @staticmethod
    def of(
        model: Model, name: str, *, strength: float = LABEL_STRENGTH, seed: int = 0, steps: int = LABEL_STEPS
    ) -> "ToLabel":
        """Raises ConfigError for a model without labels or without a flow, and for a label that it does not know."""
        if not model.label_names:
            raise ConfigError(f"--to {name}: {model.path} was trained without labels; use --like FILE|DIR")
        if model.flow is None:
            raise ConfigError(f"--to {name}: {model.path} has no latent flow, which is what knows the labels")
        return ToLabel(model, model.flow, label_number(model, name, option="--to"), strength, seed, steps)

    def source_of(self, tiles: Tiles, label: int | None) -> int:
        """The picture's own label; where it is not known, the likeliest one other than the target."""
        return likeliest_label(self.model, self.flow, tiles, other_than=self.target) if label is None else label

    def changed(self, latents: Latents, sources: Sequence[int], places: Sequence[tuple[int, int]]) -> Latents:
        flow = self.flow
        start = u = flow.standardise(latents.noise[0].float())
        own = torch.tensor(sources, device=start.device)
        wanted = torch.full_like(own, self.target)
        nothing = Condition.nothing(len(start), self.model.channels, self.model.image_size, start.device)
        as_own, as_wanted = (flow.velocity_under(nothing.with_label(label)) for label in (own, wanted))
        times = torch.linspace(1 - self.strength, 1, self.steps + 1).tolist()
        generators = [image_generator(self.seed, *place) for place in places]
        noises = torch.stack([torch.randn((self.steps, *flow.shape), generator=each) for each in generators], dim=1)
        for (t, following), noise in zip(pairwise(times), noises, strict=True):
            here = (1 - t) * noise.to(start) + t * start
            there = here + u - start
            plain = as_own(there, t)
            towards = _enlarged(as_wanted(there, t) - plain)
            u = u + (following - t) * (towards + plain - as_own(here, t))
        is_other = (own != wanted)[:, None, None, None]
        return latents.with_first(torch.where(is_other, flow.restore(u), latents.noise[0]))


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
    shape, device = flow.shape, model.runtime.device
    probes = [(time, noise) for time in PROBE_TIMES for noise in range(PROBE_NOISES)]
    noise = torch.cat([torch.randn(1, *shape, generator=image_generator(0, number)) for _, number in probes]).to(device)
    t = torch.tensor([time for time, _ in probes], device=device)
    at = t[:, None, None, None]
    losses = torch.tensor([0.0 if is_learned(model, number) else torch.inf for number in range(len(model.label_names))])
    if other_than is not None and len(losses) > 1:
        losses[other_than] = torch.inf
    with model.runtime.autocast():
        condition = flow.condition(Condition.nothing(1, model.channels, model.image_size, device))
        latents = model.vae.encode(model.runtime.move(x)).noise[0].float()
        for u in flow.standardise(latents).split(1):
            u_t = (1 - at) * noise + at * u
            for number in range(len(losses)):
                velocity = flow.velocity(u_t, t, condition, torch.full((len(t),), number, device=device))
                losses[number] += (velocity - (u - noise)).square().mean().cpu()
    return int(losses.argmin())


# ---- towards other pictures


@dataclass(frozen=True)
class LikeLook:
    """Pictures take on the look of others: the statistics of their latents.

    Without `source` each picture gives up its own statistics, channel by channel and at its own scale. With `source`
    the difference between the statistics of two sets is added, place by place, at the scale of the model's whole
    pictures.
    """

    model: Model
    target: LatentStatistics
    source: LatentStatistics | None
    strength: float

    @staticmethod
    def of(
        model: Model, like: Iterable[np.ndarray], unlike: Iterable[np.ndarray] | None = None, *,
        strength: float = LIKE_STRENGTH,
    ) -> "LikeLook":  # fmt: skip
        """like, unlike: pictures uint8 or uint16 [H, W, C]. Raises ValueError where there is none."""

        def statistics(pictures: Iterable[np.ndarray]) -> LatentStatistics:
            at_scale = (scaled(model, picture, is_whole=unlike is not None).pixels for picture in pictures)
            return LatentStatistics.of(model, (Tiles.of(pixels, model.image_size) for pixels in at_scale))

        return LikeLook(model, statistics(like), None if unlike is None else statistics(unlike), strength)

    @property
    def is_whole(self) -> bool:
        return self.source is not None

    def source_of(self, tiles: Tiles, label: int | None) -> LatentStatistics:
        """The statistics that the picture gives up."""
        return self.source or LatentStatistics.of(self.model, [tiles])

    def changed(
        self, latents: Latents, sources: Sequence[LatentStatistics], places: Sequence[tuple[int, int]]
    ) -> Latents:
        source = LatentStatistics.joined(sources)
        return with_statistics(latents, source, self.target, self.strength, by_place=self.is_whole)


# ---- pictures and changes

Change = ToLabel | LikeLook
"""What happens to pictures, at the scale of the model's whole pictures (`is_whole`) or at their own.

`source_of` says what a picture is changed from, its own label or statistics; `places` (id, window) are what its noise
depends on.
"""


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
            picture = scaled(model, content.pixels, is_whole=change.is_whole)
            tiles = Tiles.of(picture.pixels, model.image_size)
            job = _Job(content, picture, tiles, change.source_of(tiles, content.label), [])
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
