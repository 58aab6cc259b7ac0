"""Enlarge a data set: new images near each training image, of its class, and like no held-out image.

Two ways lead from an image to a new one. By `style` it takes on the look of any other image, which are the statistics
of its latents channel by channel (compare Zhou et al. 2021, MixStyle, who do so within a classifier). By `extrapolate`
it goes beyond itself, away from an image of its class (DeVries & Taylor 2017, equation 3; there along a line, here
along an arc).

What a classifier of the images does not take for the class, or what comes too near to a held-out image, is drawn again,
ever nearer to its source. Several candidates are made of each image, and the one that the classifier finds hardest to
recognise is kept (compare Stutz et al. 2019).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.dataset.cache import ImageSet
from vae_cli.dataset.split import id_hash
from vae_cli.errors import ConfigError
from vae_cli.images.pixels import to_pixels
from vae_cli.model.flow import LatentFlow
from vae_cli.model.vae import Latents
from vae_cli.randomness import PARTNER, image_generator
from vae_cli.tasks.augment_checks import Checks, Verdict
from vae_cli.tasks.augment_sources import Sources
from vae_cli.tasks.interpolate import slerp
from vae_cli.tasks.latent_statistics import towards_statistics
from vae_cli.windows.chunks import in_chunks

METHODS = ("style", "extrapolate")
"""By default the first that can be used: style needs latents with more than one place, extrapolate an image of the
same class (where there is none, any other image serves)."""
STRENGTH, PER_IMAGE = 0.5, 4
MAX_REACH, MAX_LOOK = 1.2, 3.0
"""Times the strength: how far an extrapolated image moves away from its partner at most, as a share of their distance;
how far a styled one goes towards its partner's statistics."""
MAX_ATTEMPTS = 4
CANDIDATES = 8  # pictures among which the hardest to recognise is chosen, where there is a classifier to tell
CHUNK, BLOCK = 32, 256  # pictures that are computed together, and about as many that are checked together


@dataclass(frozen=True)
class Augmented:
    """One new image, or none where nothing passed the checks."""

    source: int  # position of the image that it was made from
    number: int  # from 1, among those of its source
    method: str
    pixels: np.ndarray | None  # uint8 [H, W, C]
    partner: int  # position of the other image, whose look it took on or which it was led away from
    verdict: Verdict  # on these pixels; where there are none, on the surest candidate of the last attempt
    rejections: tuple[str, ...]
    """For each attempt of which no candidate passed, what was wrong with the surest candidate."""


def new_counts(images: ImageSet, *, per_image: int, balance: bool = False) -> list[int]:
    """How many new images each image gets.

    `balance` gives small classes more, until each has as many old and new images as the largest one. Where the number
    does not divide evenly, the images of a class with the lowest hashes get one more.
    """
    counts = np.full(len(images.ids), per_image)
    members = [np.flatnonzero(images.labels == label) for label in np.unique(images.labels[images.labels >= 0])]
    largest = max(map(len, members), default=0) if balance else 0
    for positions in members:
        each, more = divmod(max(0, largest - len(positions)) * (1 + per_image), len(positions))
        counts[positions] += each
        counts[sorted(positions, key=lambda position: id_hash(images.ids[int(position)]))[:more]] += 1
    return [int(count) for count in counts]


def augment(
    model: Model,
    images: ImageSet,
    counts: Sequence[int],
    checks: Checks,
    *,
    method: str = "auto",
    strength: float = STRENGTH,
    candidates: int = CANDIDATES,
    seed: int = 0,
) -> Iterator[Augmented]:
    """`counts` new images of each image, in order.

    New image i of an image depends on (seed, its id, i), the model, the settings, its partner and the checks. Raises
    ConfigError for a method that this model or these images have no use for.
    """
    require_usable(model, images, method)
    sources = Sources(model, images)
    augmenter = _Augmenter(sources, checks, strength, candidates, seed)

    def jobs() -> Iterator[_Job]:
        for source, count in enumerate(counts):
            by_style = _has_looks(model) and not (method == "extrapolate" and sources.has_classmate(source))
            for number in range(1, count + 1):
                yield _Job(source, number, "style" if by_style else "extrapolate")

    remaining, size = jobs(), max(1, BLOCK // candidates)
    return chain.from_iterable(map(augmenter.images, iter(lambda: list(islice(remaining, size)), [])))


def require_usable(model: Model, images: ImageSet, method: str) -> None:
    """Raises ConfigError for a method that no image can be made by."""
    num_images = len(images.ids)
    if method not in ("auto", *METHODS):
        raise ConfigError(f"--method {method}: choose auto, {', '.join(METHODS)}")
    if method == "style" and not (num_images > 1 and _has_looks(model)):
        raise ConfigError(
            "--method style: needs two images, and a model of more than one vector; of one vector: extrapolate"
        )
    if method == "extrapolate" and len(np.unique(images.labels)) == num_images:
        raise ConfigError("--method extrapolate: needs two images of a class, and no class has as many")
    if num_images < 2:
        raise ConfigError("one image is not enough: a new image is made of two; give more of them")


def _has_looks(model: Model) -> bool:
    """Whether latents have statistics over places, as those of a single vector have not."""
    return any(height * width > 1 for _, height, width in model.vae.latent_shapes)


class _Job(NamedTuple):
    """One image to make."""

    source: int
    number: int
    method: str


class _Candidate(NamedTuple):
    """One of the pictures that an image may become."""

    job: _Job
    number: int  # among all candidates of this image, which decides its random numbers
    partner: int


@dataclass(frozen=True)
class _Augmenter:
    """What all new images have in common."""

    sources: Sources
    checks: Checks
    strength: float
    candidates: int
    seed: int

    def images(self, jobs: Sequence[_Job]) -> list[Augmented]:
        """The new images in order, each from the first attempt of which a candidate passes the checks."""
        images, found = self.sources.images, dict[_Job, Augmented]()
        rejections: dict[_Job, tuple[str, ...]] = dict.fromkeys(jobs, ())
        for attempt in range(MAX_ATTEMPTS):
            candidates = [each for job in jobs if job not in found for each in self._candidates(job, attempt)]
            if not candidates:
                break
            pixels = self._pictures(candidates, self.strength * (1 - attempt / MAX_ATTEMPTS))
            positions = [each.job.source for each in candidates]
            verdicts = self.checks.verdicts(pixels, images.pixels[positions], images.labels[positions])
            results = zip(candidates, pixels, verdicts, strict=True)
            for job, group in groupby(results, key=lambda result: result[0].job):
                best, picture, verdict = min(group, key=lambda result: _rank(result[2]))
                if verdict.problem is not None:
                    rejections[job] += (verdict.problem,)
                if verdict.problem is None or attempt == MAX_ATTEMPTS - 1:
                    kept = None if verdict.problem else picture
                    found[job] = Augmented(job.source, job.number, job.method, kept, best.partner, verdict,
                                           rejections[job])  # fmt: skip
        return [found[job] for job in jobs]

    def _candidates(self, job: _Job, attempt: int) -> Iterator[_Candidate]:
        """Those of an attempt; a single one where nothing tells which is the hardest."""
        can_rank = self.checks.net is not None and self.sources.images.labels[job.source] >= 0
        count = self.candidates if can_rank else 1
        choose = self.sources.any_other if job.method == "style" else self.sources.near_classmate
        for number in range(attempt * count, (attempt + 1) * count):
            yield _Candidate(job, number, choose(job.source, self._generator(job, number, PARTNER)))

    def _generator(self, job: _Job, number: int, *purpose: int) -> torch.Generator:
        return image_generator(self.seed, int(self.sources.places[job.source]), job.number, number, *purpose)

    def _pictures(self, candidates: Sequence[_Candidate], strength: float) -> np.ndarray:
        """uint8 [J, H, W, C]."""
        sources, model = self.sources, self.sources.model
        sources.encode([position for each in candidates for position in (each.job.source, each.partner)])

        @torch.inference_mode()
        def made(chunk: Sequence[_Candidate]) -> np.ndarray:
            """All by one method."""
            drawn = torch.cat([torch.rand(1, generator=self._generator(each.job, each.number)) for each in chunk])
            shares = drawn.to(model.runtime.device)
            own = sources.latents([each.job.source for each in chunk])
            others = sources.latents([each.partner for each in chunk])
            with model.runtime.autocast():
                if chunk[0].job.method == "style":
                    latents = towards_statistics(own, others, MAX_LOOK * strength * shares)
                else:
                    latents = along_arcs(own, others, -MAX_REACH * strength * shares, model.flow)
                return to_pixels(model.vae.decode_mean(latents))

        found = np.empty((len(candidates), *sources.images.pixels.shape[1:]), np.uint8)
        for method in METHODS:
            rows = [row for row, each in enumerate(candidates) if each.job.method == method]
            for row, picture in zip(rows, in_chunks(made, [candidates[row] for row in rows], CHUNK), strict=True):
                found[row] = picture
        return found


def _rank(verdict: Verdict) -> tuple[bool, float]:
    """Lower is better: what passes comes first, of that the hardest to tell; of what does not pass the surest."""
    confidence = verdict.confidence or 0.0
    return (False, confidence) if verdict.problem is None else (True, -confidence)


def along_arcs(a: Latents, b: Latents, shares: Tensor, flow: LatentFlow | None) -> Latents:
    """Latents on the arcs from a to b, each row its own of the shares [B] of the way; below 0, beyond a.

    The first layer's arcs are drawn where the data are standardised, which the flow knows.
    """
    shares = shares.reshape(-1, 1, 1, 1)
    layers = [slerp(ours, others, shares) for ours, others in zip(a.noise, b.noise, strict=True)]
    if flow is not None:
        layers[0] = flow.restore(slerp(flow.standardise(a.noise[0]), flow.standardise(b.noise[0]), shares))
    return Latents(tuple(layers))
