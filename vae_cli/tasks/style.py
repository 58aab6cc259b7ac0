"""Carry a look over: pictures go to another label, or towards what other pictures have in common.

What changes in a picture, not what the model makes of it, is put back into it: detail that the model cannot draw stays,
and so does everything at strength 0.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.errors import ConfigError
from vae_cli.images.colours import parse_color
from vae_cli.model.condition import Condition
from vae_cli.model.flow import LatentFlow
from vae_cli.model.vae import Latents
from vae_cli.randomness import image_generator, place_of
from vae_cli.tasks.latent_statistics import Look, look_of, moved, stacked
from vae_cli.tasks.sample import is_learned, label_number
from vae_cli.windows.chunks import filled_up
from vae_cli.windows.tiles import Tiles
from vae_cli.windows.working_scale import Canvas

CHUNK = 16
"""Windows are computed in chunks of this size."""
LABEL_STRENGTH, LIKE_STRENGTH = 0.7, 1.0
LABEL_STEPS = 8
"""Of the solver; twice as many are no better."""
CONTRAST, MAX_GUIDANCE = 1.0, 12.0
"""What tells two labels apart is enlarged until its root mean square is that of the latents themselves, but no further
than so many times. Labels that differ little (pullover and coat: 6 to 12 times) need more than those that differ much
(sneaker and boot: 3 to 10): with one guidance for all, boots lose their sneaker before coats are coats."""
PROBE_TIMES = (0.3, 0.5, 0.7)
PROBE_NOISES, MAX_PROBED_WINDOWS = 2, 4
"""An image's label is read off so many noises at each time, in no more than so many of its windows."""


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


class Change(Protocol):
    """What happens to pictures: `about` is what is known of each one beside its latents, `places` say what its noise
    depends on."""

    @property
    def model(self) -> Model: ...

    def canvas(self, picture: np.ndarray) -> Canvas: ...

    def about(self, tiles: Tiles, label: int | None) -> Any: ...

    def changed(self, latents: Latents, about: Sequence[Any], places: Sequence[tuple[int, int]]) -> Latents: ...


def restyle(contents: Iterable[Content], change: Change) -> Iterator[Styled]:
    """Each picture, changed, in its order. A result depends on its picture, its id, the change and the model alone."""
    waiting: deque[_Job] = deque()

    def windows() -> Iterator[tuple[_Job, int]]:
        for content in contents:
            canvas = change.canvas(content.pixels)
            tiles = Tiles.of(canvas.pixels, change.model.image_size)
            waiting.append(_Job(content, canvas, tiles, change.about(tiles, content.label)))
            yield from ((waiting[-1], number) for number in range(len(tiles.corners)))

    remaining = windows()
    while chunk := list(islice(remaining, CHUNK)):
        for (job, number), difference in zip(chunk, _differences(change, chunk), strict=False):  # it may be filled up
            job.differences.append((number, difference))
        while waiting and waiting[0].is_complete:
            yield waiting.popleft().result()


@dataclass
class _Job:
    """A picture on its way."""

    content: Content
    canvas: Canvas
    tiles: Tiles
    about: Any
    differences: list[tuple[int, np.ndarray]] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return len(self.differences) == len(self.tiles.corners)

    def result(self) -> Styled:
        difference = self.canvas.in_picture(self.tiles.join(self.differences))
        whole = self.content.pixels.astype(np.float32) * (255 / np.iinfo(self.content.pixels.dtype).max)
        label = self.about if isinstance(self.about, int) else None
        return Styled((whole + 127.5 * difference).clip(0, 255), label)


@torch.inference_mode()
def _differences(change: Change, chunk: Sequence[tuple[_Job, int]]) -> np.ndarray:
    """float32 [CHUNK, h, w, C]: what changes in each window, -1..1."""
    full = filled_up(chunk, CHUNK)
    x = torch.from_numpy(np.concatenate([job.tiles.cut([number]) for job, number in full])).permute(0, 3, 1, 2)
    model = change.model
    with model.runtime.autocast():
        latents = model.vae.encode(model.runtime.move(x))
        places = [(place_of(job.content.id), number) for job, number in full]
        after = change.changed(latents, [job.about for job, _ in full], places)
        difference = model.vae.decode_mean(after).float() - model.vae.decode_mean(latents).float()
    return difference.permute(0, 2, 3, 1).cpu().numpy()


# ---- to a label


@dataclass(frozen=True)
class ToLabel:
    """Pictures become what they would be under another label.

    At times from 1 - strength to 1 the picture and what has become of it so far are blurred by the same noise, and what
    has become of it goes where the target's velocity there and that of the picture's own label here differ (Kulikov et
    al. 2024, FlowEdit). The picture itself is never carried through the flow, so that nothing of it is lost on the way.
    """

    model: Model
    target: int
    strength: float = LABEL_STRENGTH
    seed: int = 0
    steps: int = LABEL_STEPS

    @staticmethod
    def of(
        model: Model, name: str, *, strength: float = LABEL_STRENGTH, seed: int = 0, steps: int = LABEL_STEPS
    ) -> "ToLabel":
        """Raises ConfigError for a model without labels or without a flow, and for a label that it does not know."""
        if not model.label_names:
            raise ConfigError(f"--to {name}: {model.path} was trained without labels; use --like FILE|DIR")
        if model.flow is None:
            raise ConfigError(f"--to {name}: {model.path} has no latent flow, which is what knows the labels")
        return ToLabel(model, label_number(model, name, option="--to"), strength, seed, steps)

    @property
    def flow(self) -> LatentFlow:
        assert self.model.flow is not None
        return self.model.flow

    def canvas(self, picture: np.ndarray) -> Canvas:
        """At the model's scale: a label is about the whole picture."""
        return _canvas(self.model, picture, is_whole=True)

    def about(self, tiles: Tiles, label: int | None) -> int:
        """The picture's own label; where it is not known, the likeliest but the target, which it is to become."""
        return likeliest_label(self.model, self.flow, tiles, other_than=self.target) if label is None else label

    def changed(self, latents: Latents, about: Sequence[int], places: Sequence[tuple[int, int]]) -> Latents:
        flow = self.flow
        start = flow.standardise(latents.noise[0].float())
        own = torch.tensor(about, device=start.device)
        wanted = torch.full_like(own, self.target)
        view = Condition.nothing(len(start), self.model.channels, self.model.image_size, start.device)
        as_own, as_wanted = (flow.velocity_under(view.with_label(label)) for label in (own, wanted))
        u = start
        times = torch.linspace(1 - self.strength, 1, self.steps + 1).tolist()
        for (t, following), noise in zip(pairwise(times), self._noise(places), strict=True):
            here = (1 - t) * noise.to(start) + t * start
            there = here + u - start
            plain = as_own(there, t)
            towards = _enlarged(as_wanted(there, t) - plain)
            u = u + (following - t) * (towards + plain - as_own(here, t))
        is_other = (own != wanted)[:, None, None, None]
        return latents.with_first(torch.where(is_other, flow.restore(u), latents.noise[0]))

    def _noise(self, places: Sequence[tuple[int, int]]) -> Tensor:
        """[steps, B, C, h, w]; each window's depends on (seed, id, window) alone."""
        shape = (self.steps, *self.flow.shape)
        drawn = [torch.randn(shape, generator=image_generator(self.seed, *place)) for place in places]
        return torch.stack(drawn, dim=1)


def _enlarged(difference: Tensor) -> Tensor:
    """What tells the velocities under two labels apart, [B, C, h, w], at the size that it needs; see CONTRAST."""
    size = difference.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=CONTRAST / MAX_GUIDANCE)
    return difference * (CONTRAST / size).clamp(min=1)


@torch.inference_mode()
def likeliest_label(model: Model, flow: LatentFlow, tiles: Tiles, *, other_than: int | None = None) -> int:
    """The label under which the flow explains a picture's latents best: the least flow-matching loss.

    Averaged over fixed times and noises, the same for every label (Li et al. 2023, a diffusion classifier). The label
    `other_than` is chosen only where there is no other.
    """
    num_windows = len(tiles.corners)
    count = min(num_windows, MAX_PROBED_WINDOWS)
    chosen = (np.arange(count) * 2 + 1) * num_windows // (2 * count)
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
                label = torch.full((len(t),), number, device=device)
                velocity = flow.velocity(u_t, t, condition, label)
                losses[number] += (velocity - (u - noise)).square().mean().cpu()
    return int(losses.argmin())


# ---- towards other pictures


@dataclass(frozen=True)
class LikeLook:
    """Pictures take on the look of others: the statistics of their latents are moved.

    Without `source` each picture gives up its own look, channel by channel and at its own scale. With it what makes the
    difference between two sets is added, place by place, at the scale at which the model has learned whole pictures.
    """

    model: Model
    target: Look
    source: Look | None = None
    strength: float = LIKE_STRENGTH

    @staticmethod
    def of(
        model: Model,
        like: Iterable[np.ndarray],
        unlike: Iterable[np.ndarray] | None = None,
        *,
        strength: float = LIKE_STRENGTH,
    ) -> "LikeLook":
        """like, unlike: pictures uint8 or uint16 [H, W, C]. Raises ValueError where there is none."""
        scaled = unlike is not None

        def look(pictures: Iterable[np.ndarray]) -> Look:
            canvases = (_canvas(model, picture, is_whole=scaled) for picture in pictures)
            return look_of(model, (Tiles.of(canvas.pixels, model.image_size) for canvas in canvases))

        return LikeLook(model, look(like), None if unlike is None else look(unlike), strength)

    def canvas(self, picture: np.ndarray) -> Canvas:
        return _canvas(self.model, picture, is_whole=self.source is not None)

    def about(self, tiles: Tiles, label: int | None) -> Look:
        """The look that the picture gives up."""
        return self.source or look_of(self.model, [tiles])

    def changed(self, latents: Latents, about: Sequence[Look], places: Sequence[tuple[int, int]]) -> Latents:
        return moved(latents, stacked(about), self.target, self.strength, by_place=self.source is not None)


def _canvas(model: Model, picture: np.ndarray, *, is_whole: bool) -> Canvas:
    """At the scale of the model's whole pictures, or at the picture's own."""
    if not is_whole:
        return Canvas.at_own_scale(picture)
    data = model.config.data
    return Canvas.at_model_scale(picture, model.image_size, data.fit, parse_color(data.background))
