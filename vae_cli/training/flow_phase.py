"""Phase 2: the latent flow learns the frozen VAE's first-layer latents."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vae_cli.dataset.batches import Batch
from vae_cli.dataset.random_masks import FAMILIES, draw_observed, training_damage
from vae_cli.model.calibration import calibrate_noise, evidence, fitted_weight
from vae_cli.model.condition import Condition
from vae_cli.model.continuation import plate
from vae_cli.model.flow import FILL_STEPS, FILL_TEMPERATURE, LatentFlow
from vae_cli.model.vae import VAE, Latents
from vae_cli.randomness import CALIBRATION, CLUSTERS, FLOW_NOISE, image_generator
from vae_cli.training import muon
from vae_cli.training.adversary import Adversary
from vae_cli.training.phase import Loss, TrainingInputs

STATISTICS_IMAGES = 4096
"""Latents are standardised by mean and scale over about this many training images."""
LABEL_ROWS = 32
"""A label's clusters are known from as many of its images, or from all of them."""
CLUSTER_SHARE = 0.9
"""Of the views with nothing observed, those that come with their cluster."""
REFINED_SHARE = 1 / 4
"""Of a batch's images, those that the refiner learns from: it needs fewer than the velocity, and each costs as much."""
REFINER_RATE, REFINER_WEIGHT = 0.5, 0.1
"""Share of the flow's learning rate, at the whole of which the refiner gives up and returns what it is given; and
weight of its loss, with which its gradients do not count where the flow's are clipped."""
LABEL_DROPOUT = 0.15
"""Share of labels hidden while the flow is trained, so that it can also run without (Ho & Salimans 2022)."""
CALIBRATION_IMAGES, CALIBRATION_STEPS = 512, 10
"""Samples drawn to calibrate the flow's noise; with 512, the scale has a standard error of about 0.005. With fewer
steps the calibration would mend the solver."""
FULL_GRID, FEWEST_CALIBRATION_IMAGES = 64, 16
"""Positions of a latent grid up to which so many are drawn. Larger grids make do with fewer images, though not with
fewer than these: each tells more, and at 256 px 512 would take longer than many a training."""
WEIGHED_IMAGES, WEIGHED_CHUNK, WEIGHED_PAIRS = 48, 16, 2
"""Held-out images, each with a hole of every family, whose fills are compared with smooth continuations; how many are
filled at once; and pairs of fills whose mean is compared."""


class FlowPhase:
    """Phase 2: the flow-matching loss on the frozen VAE's first-layer latents, under random damage."""

    name = "flow"

    def __init__(self, inputs: TrainingInputs, flow: LatentFlow, vae: VAE) -> None:
        self.inputs, self.module, self.vae = inputs, flow, vae
        self.learning_rate = inputs.config.training.flow_learning_rate
        self.gradient_clip = 1.0
        self.adversary: Adversary | None = None

    def keeps_newest(self, spent: float) -> bool:
        return False

    def parameter_groups(self) -> list[dict[str, Any]]:
        has_muon = self.inputs.config.training.flow_optimizer == "muon"
        refiner = list(self.module.refiner.parameters())
        others = [value for name, value in self.module.named_parameters() if not name.startswith("refiner.")]
        large = [value for value in others if has_muon and muon.suits(value)]
        chosen = {id(value) for value in large}
        return [
            {"params": [value for value in others if id(value) not in chosen], "rate_factor": 1.0},
            {"params": large, "rate_factor": 1.0, "orthogonal": True},
            {"params": refiner, "rate_factor": REFINER_RATE},
        ]

    def prepare(self) -> None:
        """Set the flow's latent statistics and clusters from the training images."""
        total = torch.zeros(self.module.shape[0], dtype=torch.float64)
        squares, num_positions = torch.zeros_like(total), 0
        train, means = self.inputs.train, []
        rows = np.arange(0, len(train.ids), max(1, len(train.ids) // STATISTICS_IMAGES))
        for x in self.inputs.train_chunks(rows):
            posterior = self._posterior(x)
            means.append(posterior[0])
            mean, variance = posterior[0].cpu().double(), (2 * posterior[1]).exp().cpu().double()
            total += mean.sum((0, 2, 3))
            squares += (mean.square() + variance).sum((0, 2, 3))
            num_positions += mean[:, 0].numel()
        center = total / num_positions
        scale = (squares / num_positions - center.square()).clamp(min=1e-8).sqrt()
        self.module.set_statistics(center.float(), scale.float())
        labels = self.inputs.runtime.move(torch.from_numpy(train.labels[rows]))
        if self.inputs.patches is not None and self.inputs.patches.zooms is not None:
            self.module.most_zoom.fill_(float(self.inputs.patches.zooms.max()))
        self.module.set_clusters(torch.cat(means), labels, image_generator(self.inputs.seed, CLUSTERS))
        if len(more := _rows_of_rare_labels(train.labels, rows)):
            z = torch.cat([self._posterior(x)[0] for x in self.inputs.train_chunks(more)])
            self.module.count_labels(z, self.inputs.runtime.move(torch.from_numpy(train.labels[more])))

    @torch.no_grad()
    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with self.inputs.runtime.autocast():
            posterior = self.vae.first_posterior(x)
        return posterior.mean, posterior.log_scale

    def _loss(self, module: Callable[..., Any], seen: "_Seen", draws: "_FlowDraws") -> tuple[Tensor, Tensor]:
        """[] flow and refiner losses of images under the given draws."""
        x, labels = seen.x, seen.labels
        mean, log_scale = self._posterior(x)
        z = mean + log_scale.exp() * draws.posterior
        # Clusters are for the prior: a view tells more than they do, and samples show whole pictures.
        is_free = (draws.observed.flatten(1).amax(1) == 0) & (seen.zooms == 0)
        cluster = torch.where(is_free & (draws.told < CLUSTER_SHARE), self.module.cluster_of(mean, labels), -1)
        view = Condition.of(x, draws.observed, draws.noise_sigma, seen.shown, draws.pixels)
        view = view.with_cluster(cluster).with_zoom(seen.zooms)
        rows = draws.refined.nonzero().flatten()
        rows = rows if len(rows) else rows.new_zeros(1)  # the refiner takes part on every rank, at weight 0 if need be
        with self.inputs.runtime.autocast():
            flow_loss, refiner_loss = module(z, draws.noise, draws.time, view, x, rows, self._decode)
        return flow_loss.mean(), (draws.refined[rows] * refiner_loss).sum() / len(x)

    def _decode(self, z: Tensor) -> Tensor:
        """[B, C, H, W] pictures of first-layer latents [B, C, h, w], what finer layers add at its mean."""
        finer = (torch.zeros(len(z), *shape, device=z.device) for shape in self.vae.latent_shapes[1:])
        return self.vae.decode_mean(Latents((z, *finer)))

    def loss(self, module: Callable[..., Any], batch: Batch, spent: float) -> Loss:
        inputs = self.inputs
        generator = image_generator(inputs.seed, FLOW_NOISE, batch.step)
        x = inputs.images(batch, generator)
        num_images = inputs.config.training.batch_size
        draws = _FlowDraws.draw(num_images, self.module.shape, x.shape[1:], generator)
        hidden = torch.rand(num_images, generator=generator) < LABEL_DROPOUT
        labels, zooms = inputs.runtime.move(batch.labels), inputs.runtime.move(batch.zooms)
        shown = torch.where(inputs.part(hidden), -1, labels)
        flow_loss, refiner_loss = self._loss(module, _Seen(x, labels, shown, zooms), draws.map(inputs.part))
        return Loss(flow_loss + REFINER_WEIGHT * refiner_loss, {"flow_loss": flow_loss, "refiner_loss": refiner_loss})

    @torch.inference_mode()
    def validate(self, module: nn.Module) -> float:
        """The loss at fixed times, noise and damage."""
        total, num_images = 0.0, 0
        for x, labels, generator in self.inputs.validation_chunks():
            draws = _FlowDraws.draw(len(x), self.module.shape, x.shape[1:], generator)
            labels = self.inputs.runtime.move(labels)
            seen = _Seen(x, labels, labels, torch.zeros(len(x), device=x.device))
            flow_loss, refiner_loss = self._loss(module, seen, draws.map(self.inputs.runtime.move))
            score = flow_loss + REFINER_WEIGHT * refiner_loss
            total, num_images = total + score.item() * len(x), num_images + len(x)
        return total / num_images

    def probe(self) -> dict[str, float]:
        """Nothing: the loss says it all."""
        return {}

    @torch.inference_mode()
    def calibrate(self, flow: LatentFlow) -> None:
        """Measure what the flow's weights need to be used well: the noise of samples, and the trust in fills."""
        with self.inputs.runtime.autocast():
            self._calibrate_noise(flow)
            self._weigh_fills(flow)

    def _calibrate_noise(self, flow: LatentFlow) -> None:
        """On training images, since the VAE may see others as further away."""
        num_images, positions = len(self.inputs.train.ids), flow.shape[1] * flow.shape[2]
        num_drawn = max(FEWEST_CALIBRATION_IMAGES, CALIBRATION_IMAGES * FULL_GRID // max(FULL_GRID, positions))
        rows = np.arange(num_drawn) * num_images // num_drawn  # again and again where they are few
        posteriors = [self._posterior(x) for x in self.inputs.train_chunks(rows)]
        mean, log_scale = (torch.cat(parts) for parts in zip(*posteriors, strict=True))
        generator = image_generator(self.inputs.seed, CALIBRATION, 0)
        draws = [self.inputs.runtime.move(torch.randn(mean.shape, generator=generator)) for _ in range(2)]
        height, width = self.inputs.train.pixels.shape[1:3]
        labels = self.inputs.runtime.move(torch.from_numpy(self.inputs.train.labels[rows]))
        nothing = Condition.nothing(len(mean), self.inputs.train.pixels.shape[3], (height, width), mean.device)
        z = mean + log_scale.exp() * draws[0]
        cluster = flow.cluster_of(mean, labels)
        calibrate_noise(flow, z, cluster, draws[1], nothing, steps=CALIBRATION_STEPS, reencoded=self._reencoded)

    def _weigh_fills(self, flow: LatentFlow) -> None:
        """On held-out images: fills of images that are known by heart would deserve too much trust."""
        every = torch.cat([x.cpu() for x, *_ in self.inputs.validation_chunks()])
        chosen = every[torch.linspace(0, len(every) - 1, min(len(every), WEIGHED_IMAGES)).long()]
        flow.fill_weight.copy_(self._trust(flow, chosen, torch.zeros(len(chosen))))
        if flow.sees_patches:
            close_ups, zooms = self.inputs.close_ups(WEIGHED_IMAGES)
            flow.patch_fill_weight.copy_(self._trust(flow, close_ups, zooms) if len(zooms) else flow.fill_weight)

    def _trust(self, flow: LatentFlow, images: Tensor, zooms: Tensor) -> Tensor:
        """The weights that are best for fills of images [N, C, H, W] in [-1, 1], seen as close as zooms [N] say."""
        move, found = self.inputs.runtime.move, []
        for number, family in enumerate(FAMILIES):
            generator = image_generator(self.inputs.seed, CALIBRATION, 1 + number)
            for part, zoom in zip(images.split(WEIGHED_CHUNK), zooms.split(WEIGHED_CHUNK), strict=True):
                x = move(part)
                observed = move(draw_observed(family, len(x), x.shape[2], x.shape[3], generator))
                no_label = torch.full((len(x),), -1, device=x.device)
                view = Condition.of(x, observed, torch.zeros(len(x), device=x.device), no_label).with_zoom(move(zoom))
                noise = FILL_TEMPERATURE * torch.randn((WEIGHED_PAIRS, len(x), *flow.shape), generator=generator)
                fills = [self._filled(flow, view, side * pair) for pair in noise for side in (1, -1)]
                found.append(evidence(torch.stack(fills).mean(0), plate(x * observed, observed), x, observed))
        return fitted_weight(torch.cat(found))

    def _filled(self, flow: LatentFlow, view: Condition, noise: Tensor) -> Tensor:
        """[B, C, H, W]: one fill of each image."""
        latents = flow.solve(self.inputs.runtime.move(noise), view, steps=FILL_STEPS)
        return flow.refine(self._decode(latents), view)

    def _reencoded(self, z: Tensor) -> Tensor:
        """[B, C, h, w] first-layer means of the pictures that first-layer latents z [B, C, h, w] decode to."""
        return torch.cat([self._posterior(self._decode(part))[0] for part in z.split(self.inputs.chunk_size)])


@dataclass(frozen=True)
class _Seen:
    """Images of an update: [B, C, H, W], [B] labels, those less the hidden ones, and how close each is."""

    x: Tensor
    labels: Tensor
    shown: Tensor
    zooms: Tensor


@dataclass(frozen=True)
class _FlowDraws:
    """All that is random in a flow update, one row an image."""

    posterior: Tensor
    noise: Tensor
    time: Tensor
    pixels: Tensor
    observed: Tensor
    noise_sigma: Tensor
    told: Tensor
    """Uniform; decides whether the image's cluster is told."""
    refined: Tensor
    """Weight in the refiner's loss: 0 for most, 1 on average."""

    @staticmethod
    def draw(
        num: int, shape: tuple[int, int, int], image_shape: torch.Size, generator: torch.Generator
    ) -> "_FlowDraws":
        """Times are logit-normal (Esser et al. 2024, eq. 19)."""
        damage = training_damage(num, image_shape[1], image_shape[2], generator)
        return _FlowDraws(
            torch.randn((num, *shape), generator=generator),
            torch.randn((num, *shape), generator=generator),
            torch.sigmoid(torch.randn(num, generator=generator)),
            torch.randn((num, *image_shape), generator=generator),
            damage.observed,
            damage.noise_sigma,
            torch.rand(num, generator=generator),
            _refined(damage.observed),
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> "_FlowDraws":
        return _FlowDraws(*(function(getattr(self, name)) for name in self.__dataclass_fields__))


def _rows_of_rare_labels(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Further rows, so that a label has LABEL_ROWS images or all of its own among them and `rows`."""
    is_seen = np.zeros(len(labels), bool)
    is_seen[rows] = True
    found = [np.empty(0, np.int64)]
    for label in np.unique(labels[labels >= 0]):
        of_label = np.flatnonzero(labels == label)
        unseen = of_label[~is_seen[of_label]]
        found.append(unseen[: max(0, LABEL_ROWS - (len(of_label) - len(unseen)))])
    return np.concatenate(found)


def _refined(observed: Tensor) -> Tensor:
    """[B] weights of mean 1: the first images of which something is observed, REFINED_SHARE of all, share it."""
    num_refined = max(1, round(REFINED_SHARE * len(observed)))
    rows = observed.flatten(1).amax(1).argsort(descending=True, stable=True)[:num_refined]
    return torch.zeros(len(observed)).index_fill(0, rows, len(observed) / num_refined)
