"""Enlarge a data set: new images near each training image, of its class, and like no held-out image.

Six ways lead from an image to a new one. It takes on the look of any other image, which are the statistics of its
latents channel by channel (`style`; compare Zhou et al. 2021, MixStyle, who do so within a classifier). It goes
beyond itself, away from an image of its class (`extrapolate`, DeVries & Taylor 2017, equation 3, there along a line,
here along an arc), or towards one (`mix`). Its latents are partly turned into noise and carried forward by the flow
under its label (`renoise`, the idea of Meng et al. 2022, SDEdit). Its posterior is spread wider (`posterior`). Or it is
an image of its class and nothing else (`sample`).

What a classifier of the images does not take for the class, or what comes too near to a held-out image, is drawn anew,
ever nearer to its source. By the first two ways several candidates are made, and the one is kept that this classifier
finds hardest to tell.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.dataset.cache import ImageSet
from vae_cli.dataset.split import id_hash
from vae_cli.errors import ConfigError
from vae_cli.images.pixels import to_pixels
from vae_cli.model.condition import Condition
from vae_cli.model.flow import LatentFlow
from vae_cli.model.priors import clusters_of_images
from vae_cli.model.vae import Latents, draw_noise
from vae_cli.randomness import PARTNER, image_generator, place_of
from vae_cli.tasks.augment_checks import Checks, Verdict
from vae_cli.tasks.augment_sources import Sources
from vae_cli.tasks.latent_statistics import towards
from vae_cli.tasks.noise_walk import slerp
from vae_cli.windows.chunks import filled_up

METHODS = ("style", "extrapolate", "mix", "renoise", "posterior", "sample")
WITH_KIN = ("mix", "extrapolate")
WITH_PARTNER = (*WITH_KIN, "style")
RANKED = ("style", "extrapolate")
AUTO = ("style", "extrapolate", "renoise", "posterior")
"""Where nothing else is asked for, the first that can be used. What a class hardly shows in few images it may be shown
by others: their looks. Accuracy of a small CNN that learned 500 of Fashion-MNIST's images and ten new ones of each, all
shifted and mirrored, on images 50,000 to 54,999, three seeds: without new ones 83.3 %, extrapolate 83.6, style 84.6;
affine maps and gamma curves in place of a VAE 83.7. By these images style was chosen; on the others, by
tests/benchmarks/augment.py, 84.3 become 84.8 %. The latents of a vector have no look of their own. Between images
of a class lie easy ones, which teach little; beyond them lie hard ones. Error of an MLP that learned MNIST's first
50,000 images in 20 epochs, with a new image of each from a VAE of 40 numbers, on the other 10,000 training images and
on the test images, one seed: without 1.32 and 1.32 %, extrapolate 1.20 and 1.17, posterior 1.23 and 1.22."""
STRENGTH = 0.5
PER_IMAGE = 4
MAX_SPREAD = 4.0
"""Standard deviations of the posterior, times the strength. Latents that cost a tenth of their KL are very narrow."""
MAX_SHARE = 2.0
"""Of the partner, times the strength: by default anything between an image and its partner."""
MAX_REACH = 1.2
"""Of the way to the partner, times the strength, in the other direction: at most 0.6 of it by default. With the default
model and one candidate, test error at 0.5 / 0.7 / 1.0 of it 1.17 / 1.14 / 1.33 to 1.40 %: pictures fall apart."""
MAX_LOOK = 3.0
"""Of the way to the partner's look, times the strength: by default up to half as far again. In the trials on clothes,
with scales along a line, at up to 1 / 1.5 / 2 of the way: 84.4 / 84.6 / 84.6 %; means without scales, 1: 83.9. On
15,000 images, three to nine networks each: other lines for the scales, checks that learn longer, four of them, or 32
candidates: 84.4 to 84.7; images or latents turned, stretched and bent besides: 84.0 to 84.2."""
MAX_ATTEMPTS = 4
CANDIDATES = 8
"""Of RANKED methods, where a classifier can tell: of those that pass the checks the one of least confidence is kept
(compare Stutz et al. 2019, who train on the worst points near an image on the manifold of its class). As above:
extrapolate on MNIST 1.04 and 1.02 % instead of 1.20 and 1.17, style on clothes at up to 1 of the way 84.4 instead of
83.6; the hardest of 8 posteriors, 1.23 and 1.28, are no harder than any. What the classifier takes for another class
has to go, or labels would be wrong."""
CHUNK, BLOCK = 32, 256
"""Pictures are computed in chunks of the one size, and checked in blocks of about the other."""


@dataclass(frozen=True)
class Augmented:
    """One new image, or none where nothing passed the checks."""

    source: int
    """Position of the image that it was made from."""
    number: int
    """From 1, among those of its source."""
    method: str
    pixels: np.ndarray | None
    """uint8 [H, W, C]"""
    partner: int | None
    """Position of the other image, whose look it took on, which it was led away from or mixed with."""
    verdict: Verdict
    """On these pixels; where there are none, on the surest candidate of the last attempt."""
    rejections: tuple[str, ...]
    """What was wrong with the attempts of which no candidate passed, each time with the surest."""


def new_counts(images: ImageSet, *, per_image: int, balance: bool = False) -> list[int]:
    """How many new images each image gets.

    `balance` gives small classes more, until each has as many old and new images as the largest one. Of a class, the
    images with the lowest hashes get one more than the rest where the sum asks for it.
    """
    counts = np.full(len(images.ids), per_image)
    members = [np.flatnonzero(images.labels == label) for label in np.unique(images.labels[images.labels >= 0])]
    largest = max(map(len, members), default=0) if balance else 0
    for positions in members:
        each, more = divmod(max(0, largest - len(positions)) * (1 + per_image), len(positions))
        counts[positions] += each
        counts[sorted(positions, key=lambda position: id_hash(images.ids[position]))[:more]] += 1
    return [int(count) for count in counts]


def augment(
    model: Model,
    sources: ImageSet,
    counts: Sequence[int],
    checks: Checks,
    *,
    label_names: Sequence[str] = (),
    method: str = "auto",
    strength: float = STRENGTH,
    candidates: int = CANDIDATES,
    solver_steps: int | None = None,
    seed: int = 0,
) -> Iterator[Augmented]:
    """`counts` new images of each source, in order.

    Image i of a source depends on (seed, the source's id, i), the model and the settings; where it has a partner or is
    checked, also on the other images. label_names: of the sources' labels; those that the model knows guide its flow.
    Raises ConfigError for a method that this model or these images have no use for.
    """
    require_usable(model, sources, label_names, method)
    numbers = _numbers_in_model(model, label_names)
    augmenter = _Augmenter(model, Sources(model, sources), checks, numbers, strength, candidates, solver_steps, seed)
    places = ((source, number) for source, count in enumerate(counts) for number in range(1, count + 1))
    size = max(1, BLOCK // candidates)
    blocks = iter(lambda: [augmenter.job(*place, method) for place in islice(places, size)], [])
    return chain.from_iterable(map(augmenter.images, blocks))


def require_usable(model: Model, images: ImageSet, label_names: Sequence[str], method: str) -> None:
    """Raises ConfigError for a method that no image can be made by."""
    sources, numbers = Sources(model, images), _numbers_in_model(model, label_names)
    positions = range(len(images.ids))
    if method != "auto" and not any(_is_usable(method, sources, numbers, position) for position in positions):
        raise ConfigError(_why_not(model, method))


def _is_usable(method: str, sources: Sources, numbers: Sequence[int], position: int) -> bool:
    """Whether the model, which has these numbers for labels, and the other images are enough for this one's."""
    if method in WITH_KIN:
        return sources.has_kin(position)
    if method == "style":
        return sources.have_looks
    if method == "sample" and numbers[sources.label(position)] < 0:
        return False
    return method == "posterior" or (method in METHODS and sources.model.flow is not None)


def _numbers_in_model(model: Model, label_names: Sequence[str]) -> list[int]:
    """The model's number of each label, -1 where it knows none; and of the label -1, which comes last."""
    known = {name: number for number, name in enumerate(model.label_names)}
    return [*(known.get(name, -1) for name in label_names), -1]


def _why_not(model: Model, method: str) -> str:
    if method not in METHODS:
        return f"--method {method}: choose auto, {', '.join(METHODS)}"
    if method == "style":
        return "--method style: needs two images, and a model of more than one vector; of one vector: extrapolate"
    if method in WITH_KIN:
        return f"--method {method}: needs two images of a class, and no class has as many"
    if model.flow is None:
        return f"--method {method}: {model.path} has no flow yet, which it needs; use extrapolate, or --resume"
    return f"--method {method}: this model knows none of these images' labels; for images of any kind: vae sample"


@dataclass(frozen=True)
class _Job:
    """One image to make."""

    source: int
    number: int
    method: str


@dataclass(frozen=True)
class _Draw:
    """One picture of those that an image may become."""

    row: int
    """Of the image among those of its block."""
    job: _Job
    attempt: int
    number: int
    """Among all draws of this image, which decides its random numbers."""
    partner: int | None


@dataclass(frozen=True)
class _Augmenter:
    """What all new images have in common."""

    model: Model
    sources: Sources
    checks: Checks
    numbers_in_model: Sequence[int]
    strength: float
    candidates: int
    solver_steps: int | None
    seed: int

    def job(self, source: int, number: int, method: str) -> _Job:
        """A new image by this method where it can be made so, else by the first of AUTO that can be used."""
        names = (method, *AUTO) if method != "auto" else AUTO
        usable = (name for name in names if _is_usable(name, self.sources, self.numbers_in_model, source))
        return _Job(source, number, next(usable))

    def images(self, jobs: Sequence[_Job]) -> list[Augmented]:
        """The new images in order, each from the first attempt of which a candidate passes the checks."""
        found: dict[int, Augmented] = {}
        rejections: list[tuple[str, ...]] = [()] * len(jobs)
        for attempt in range(MAX_ATTEMPTS):
            draws = [
                draw for row, job in enumerate(jobs) if row not in found for draw in self._draws(row, job, attempt)
            ]
            if not draws:
                break
            pairs = [(draw.job.source, draw.partner) for draw in draws if draw.partner is not None]
            self.sources.know(list(chain.from_iterable(pairs)))
            pixels = self._pictures(draws)
            verdicts = self._verdicts(draws, pixels)
            results = zip(draws, pixels, verdicts, strict=True)
            for row, group in groupby(results, key=lambda result: result[0].row):
                draw, picture, verdict = min(group, key=lambda result: _rank(result[2]))
                rejections[row] += (verdict.problem,) if verdict.problem is not None else ()
                if verdict.problem is None or attempt == MAX_ATTEMPTS - 1:
                    job, kept = draw.job, picture if verdict.problem is None else None
                    found[row] = Augmented(
                        job.source, job.number, job.method, kept, draw.partner, verdict, rejections[row]
                    )
        return [found[row] for row in range(len(jobs))]

    def _draws(self, row: int, job: _Job, attempt: int) -> Iterator[_Draw]:
        """The candidates of an attempt; a single one where nothing tells which is the hardest."""
        can_rank = self.checks.net is not None and self.sources.label(job.source) >= 0
        count = self.candidates if job.method in RANKED and can_rank else 1
        for number in range(attempt * count, (attempt + 1) * count):
            yield _Draw(row, job, attempt, number, self._partner(job, number))

    def _partner(self, job: _Job, number: int) -> int | None:
        """The other image of a draw, where the method wants one."""
        if job.method not in WITH_PARTNER:
            return None
        choose = self.sources.kin if job.method in WITH_KIN else self.sources.any_other
        return choose(job.source, self._generator(job.source, job.number, number, PARTNER))

    def _verdicts(self, draws: Sequence[_Draw], pixels: np.ndarray) -> list[Verdict]:
        """On the pictures uint8 [J, H, W, C] of these draws."""
        images, positions = self.sources.images, [draw.job.source for draw in draws]
        return self.checks.verdicts(pixels, images.pixels[positions], images.labels[positions])

    def _generator(self, source: int, number: int, *purpose: int) -> torch.Generator:
        return image_generator(self.seed, int(self.sources.places[source]), number, *purpose)

    def _pictures(self, draws: Sequence[_Draw]) -> np.ndarray:
        """uint8 [J, H, W, C], computed in chunks of one method and one size."""
        found = np.empty((len(draws), *self.sources.images.pixels.shape[1:]), np.uint8)
        for method in METHODS:
            rows = [row for row, draw in enumerate(draws) if draw.job.method == method]
            for start in range(0, len(rows), CHUNK):
                chunk = rows[start : start + CHUNK]
                made = self._chunk(method, [draws[row] for row in filled_up(chunk, CHUNK)])
                found[chunk] = made[: len(chunk)]
        return found

    @torch.inference_mode()
    def _chunk(self, method: str, draws: Sequence[_Draw]) -> np.ndarray:
        """uint8 [B, H, W, C] by one method, of one attempt; every further attempt stays nearer to the source."""
        vae, runtime = self.model.vae, self.model.runtime
        strength = self.strength * (1 - draws[0].attempt / MAX_ATTEMPTS)
        generators = [self._generator(draw.job.source, draw.job.number, draw.number) for draw in draws]
        with runtime.autocast():
            if method in WITH_PARTNER:
                shares = torch.cat([torch.rand(1, generator=generator) for generator in generators])
                latents = self._led(method, draws, _farthest(method, strength) * shares.to(runtime.device))
            else:
                latents = self._from_noise(method, draws, generators, strength)
            return to_pixels(vae.decode_mean(latents))

    def _led(self, method: str, draws: Sequence[_Draw], shares: Tensor) -> Latents:
        """A row for each draw: so much of the way to its partner, float32 [B]."""
        own = self.sources.latents([draw.job.source for draw in draws])
        others = self.sources.latents([draw.partner for draw in draws if draw.partner is not None])
        if method == "style":
            return towards(own, others, shares)
        return along_arcs(own, others, shares, self.model.flow)

    def _from_noise(
        self, method: str, draws: Sequence[_Draw], generators: Sequence[torch.Generator], strength: float
    ) -> Latents:
        """A row for each draw, by a method that needs noise and no second image."""
        vae, runtime, jobs = self.model.vae, self.model.runtime, [draw.job for draw in draws]
        each = [draw_noise(vae.latent_shapes, 1, generator) for generator in generators]
        noise = [runtime.move(torch.cat(layer)) for layer in zip(*each, strict=True)]
        if method == "sample":
            return self._sampled(Latents(tuple(noise)), draws)
        x = self.sources.inputs([job.source for job in jobs])
        if method == "renoise":
            return self._renoised(vae.encode(x), noise[0], jobs, strength)
        return vae.encode(x, [MAX_SPREAD * strength * layer for layer in noise])

    def _renoised(self, latents: Latents, noise: Tensor, jobs: Sequence[_Job], strength: float) -> Latents:
        """The latents a share `strength` of the way back to noise, and carried forward again under their labels."""
        flow = self._flow()
        view = self._view(jobs, flow.cluster_of(latents.noise[0], self._labels(jobs)))
        u = (1 - strength) * flow.standardise(latents.noise[0]) + strength * flow.noise_scale * noise
        return latents.with_first(flow.solve(u, view, steps=self._steps(), start=1 - strength))

    def _sampled(self, noise: Latents, draws: Sequence[_Draw]) -> Latents:
        """New latents of the sources' labels."""
        flow, jobs = self._flow(), [draw.job for draw in draws]
        names = [f"{self.sources.images.ids[draw.job.source]}/{draw.job.number}/{draw.number}" for draw in draws]
        clusters = [
            clusters_of_images(flow, self.seed, [place_of(name)], self._number(job.source))
            for name, job in zip(names, jobs, strict=True)
        ]
        view = self._view(jobs, torch.cat(clusters).to(noise.noise[0].device))
        return noise.with_first(flow.solve(flow.noise_scale * noise.noise[0], view, steps=self._steps()))

    def _view(self, jobs: Sequence[_Job], cluster: Tensor) -> Condition:
        """Views in which only label and cluster are known."""
        vae, device = self.model.vae, self.model.runtime.device
        view = Condition.nothing(len(jobs), vae.channels, vae.image_size, device)
        return view.with_label(self._labels(jobs)).with_cluster(cluster)

    def _labels(self, jobs: Sequence[_Job]) -> Tensor:
        """[B] the model's numbers of the sources' labels."""
        return torch.tensor([self._number(job.source) for job in jobs], device=self.model.runtime.device)

    def _number(self, source: int) -> int:
        """The model's number of the source's label; -1 = none."""
        return self.numbers_in_model[self.sources.label(source)]

    def _flow(self) -> LatentFlow:
        assert self.model.flow is not None, "`_is_usable` asks for one"
        return self.model.flow

    def _steps(self) -> int:
        """Of the solver, for the whole way; a single one would make means of images rather than images."""
        return max(2, self.solver_steps or self.model.config.model.flow.solver_steps)


def _rank(verdict: Verdict) -> tuple[bool, float]:
    """Lower is better: what passes comes first, of that the hardest to tell; of what does not pass the easiest."""
    confidence = 0.0 if verdict.confidence is None else verdict.confidence
    return (False, confidence) if verdict.problem is None else (True, -confidence)


def _farthest(method: str, strength: float) -> float:
    """How much of the way to its partner an image goes at most; below 0, the other way."""
    if method == "style":
        return MAX_LOOK * strength
    return -MAX_REACH * strength if method == "extrapolate" else min(1.0, MAX_SHARE * strength)


def along_arcs(a: Latents, b: Latents, shares: Tensor, flow: LatentFlow | None) -> Latents:
    """Latents on the arcs from a to b, each row its own of the shares [B] of the way; below 0, beyond a.

    The first layer's arcs are drawn where the data are standardised, which the flow knows.
    """

    def arcs(ours: Tensor, others: Tensor) -> Tensor:
        return slerp(ours, others, shares.reshape(-1, 1, 1, 1))

    layers = [arcs(ours, others) for ours, others in zip(a.noise, b.noise, strict=True)]
    if flow is not None:
        layers[0] = flow.restore(arcs(flow.standardise(a.noise[0]), flow.standardise(b.noise[0])))
    return Latents(tuple(layers))
