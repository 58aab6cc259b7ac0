"""The two things that are trained, one after the other: the VAE, then the latent flow on its frozen latents.

A phase knows its module, the loss of an update and its validation score. All randomness of an update comes from
generators seeded with (seed, phase, step) and is drawn for the global batch, of which each rank takes its part: neither
the number of ranks nor an interruption changes it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vae_cli.config import RunConfig
from vae_cli.data.batches import Batch
from vae_cli.data.cache import ImageSet
from vae_cli.data.damage import training_damage
from vae_cli.data.pixels import to_unit
from vae_cli.metrics.latents import VarianceMeter
from vae_cli.metrics.likelihood import binarized
from vae_cli.model.flow import LatentFlow, View
from vae_cli.model.priors import image_generator
from vae_cli.model.vae import VAE, ElboTerms, Latents, draw_noise
from vae_cli.runtime import Runtime
from vae_cli.training.adversary import Adversary
from vae_cli.training.augmentation import augmented, draw_augmentation, is_due
from vae_cli.training.objective import kl_weight_at, negative_elbo_loss
from vae_cli.training.terms import gradient_distance

VALIDATION_IMAGES = 512
"""Validated during training on this many held-out images at most; the end measures all."""
STATISTICS_IMAGES = 4096
"""Latents are standardised by mean and scale over about this many training images."""
CLUSTER_SHARE = 0.9
"""Of the views with nothing observed, those that come with their cluster."""
CHUNK = 128
LABEL_DROPOUT = 0.15
"""Share of labels hidden while the flow is trained, so that it can also run without (Ho & Salimans 2022)."""
CALIBRATION_IMAGES, CALIBRATION_STEPS = 256, 10
"""Samples drawn to calibrate the flow's noise: few, because nobody wants to wait for them. Ten steps take 1 % of the
spread away, whatever the flow; with the four of the smallest preset the calibration would mend the solver."""
VAE_DRAWS, FLOW_DRAWS, VALIDATION_DRAWS, CLUSTER_DRAWS, CALIBRATION_DRAWS, STATISTICS_DRAWS = 1, 2, 3, 6, 8, 9


@dataclass(frozen=True)
class Loss:
    """What an update minimises, and figures worth a log line."""

    total: Tensor
    figures: dict[str, Tensor]


class Phase(Protocol):
    """What the loop has to know about the thing it trains."""

    name: str
    learning_rate: float
    gradient_clip: float
    adversary: Adversary | None
    """What learns beside the module, after each of its updates."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    def loss(self, module: Callable[..., Any], batch: Batch, spent: float) -> Loss:
        """The loss of one global batch's part on this rank, through `module` (the phase's own, perhaps wrapped).

        spent: share of the phase's budget, 0 to 1.
        """

    def probe(self) -> dict[str, float]:
        """Figures too costly for every update, measured for a line of the log."""

    def validate(self, module: nn.Module) -> float:
        """Score of a module on held-out images with fixed noise; lower is better."""


@dataclass(frozen=True)
class Setting:
    """What both phases share."""

    config: RunConfig
    train: ImageSet
    validation: ImageSet
    label_names: tuple[str, ...]
    runtime: Runtime

    @property
    def seed(self) -> int:
        return self.config.training.seed

    def part(self, drawn: Tensor) -> Tensor:
        """This rank's rows of something drawn for the global batch, on the device."""
        share = len(drawn) // self.runtime.world_size
        return self.runtime.move(drawn[self.runtime.rank * share : (self.runtime.rank + 1) * share])

    def images(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """[b, C, H, W] in [-1, 1] of this rank, binarised anew at every visit where the configuration says so."""
        x = to_unit(batch.pixels)
        if self.config.data.binarize == "dynamic":
            total = (self.config.training.batch_size, *x.shape[1:])
            share = len(x) * self.runtime.rank
            x = binarized(x, torch.rand(total, generator=generator)[share : share + len(x)])
        return self.runtime.move(x)

    def validation_chunks(self) -> Iterator[tuple[Tensor, Tensor, torch.Generator]]:
        """(x, labels, generator) of the held-out images that are looked at during training; always the same."""
        num_images = len(self.validation.ids)
        rows = np.unique(np.linspace(0, num_images - 1, min(num_images, VALIDATION_IMAGES)).astype(np.int64))
        for number, part in enumerate(_chunks(rows)):
            generator = image_generator(self.seed, VALIDATION_DRAWS, number)
            labels = torch.from_numpy(self.validation.labels[part])
            yield self._unit_images(self.validation, part, generator), labels, generator

    def train_chunks(self, rows: np.ndarray) -> Iterator[Tensor]:
        """Some of the training images, each binarised once where the configuration says so."""
        for number, part in enumerate(_chunks(rows)):
            yield self._unit_images(self.train, part, image_generator(self.seed, STATISTICS_DRAWS, number))

    def _unit_images(self, images: ImageSet, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """[b, C, H, W] as the VAE sees them, on the device."""
        x = to_unit(images.pixels[rows])
        if self.config.data.binarize == "dynamic":
            x = binarized(x, torch.rand(x.shape, generator=generator))
        return self.runtime.move(x)


def _chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]


class VaePhase:
    """Phase 1: the negative bound of the images."""

    name = "vae"

    def __init__(self, setting: Setting, vae: VAE) -> None:
        self.setting, self.module = setting, vae
        self.learning_rate = setting.config.training.learning_rate
        self.gradient_clip = setting.config.training.gradient_clip
        self.objective = setting.config.objective
        self.adversary: Adversary | None = None
        if self.objective.adversarial > 0:
            self.adversary = Adversary(
                vae.channels, weight=self.objective.adversarial, start=self.objective.adversarial_start,
                seed=setting.seed, runtime=setting.runtime,
            )  # fmt: skip
        self._seen: Tensor | None = None

    def loss(self, module: Callable[..., Any], batch: Batch, spent: float) -> Loss:
        config, setting = self.setting.config, self.setting
        generator = image_generator(setting.seed, VAE_DRAWS, batch.step)
        x = self._seen = self._augmented(setting.images(batch, generator), batch.step, generator)
        noise = draw_noise(self.module.latent_shapes, config.training.batch_size, generator)
        with setting.runtime.autocast():
            terms = module(x, [setting.part(layer) for layer in noise])
        weight = kl_weight_at(batch.step, target=self.objective.kl_weight, warmup_steps=self.objective.kl_warmup_steps)
        total = negative_elbo_loss(terms, kl_weight=weight, free_nats=self.objective.free_nats)
        figures = {"elbo_nats": terms.elbo.mean(), "rate_nats": terms.kl.sum(1).mean()}
        extra = self._terms_on_the_picture(x, terms, spent)
        return Loss(sum(extra.values(), start=total), figures | extra)

    def _augmented(self, x: Tensor, step: int, generator: torch.Generator) -> Tensor:
        """The images as they are, or augmented where the configuration and the update's number ask for it."""
        training, config = self.setting.config.training, self.setting.config
        is_wanted = config.data.augment and training.flow_share > 0
        if not (is_wanted and is_due(step, training.batch_size, len(self.setting.train.ids))):
            return x
        rows, columns = draw_augmentation(training.batch_size, (x.shape[2], x.shape[3]), generator)
        return self.setting.runtime.move(augmented(x, self.setting.part(rows), self.setting.part(columns)))

    def _terms_on_the_picture(self, x: Tensor, terms: ElboTerms, spent: float) -> dict[str, Tensor]:
        """What joins the bound where the configuration asks for it: weighted scalars, nats per image."""
        found: dict[str, Tensor] = {}
        if self.objective.perceptual > 0:
            found["perceptual_nats"] = self._perceptual(x, terms).mean()
        if self.adversary is not None and self.adversary.is_active(spent):
            reconstruction_loss = sum(found.values(), start=-terms.log_likelihood.mean())
            rebuilt = self.module.likelihood.mean(terms.params)
            found["adversarial_loss"] = self.adversary.term(x, rebuilt, reconstruction_loss, self.module.last_weight)
        return found

    def _perceptual(self, x: Tensor, terms: ElboTerms) -> Tensor:
        """[B] nats, weighted."""
        return self.objective.perceptual * gradient_distance(self.module.likelihood.mean(terms.params), x)

    @torch.inference_mode()
    def validate(self, module: nn.Module) -> float:
        """Negative bound at the KL weight that training ends with and, where it is on, the perceptual term; nats."""
        total, num_images = 0.0, 0
        for x, _, generator in self.setting.validation_chunks():
            noise = draw_noise(self.module.latent_shapes, len(x), generator)
            with self.setting.runtime.autocast():
                terms = module(x, [self.setting.runtime.move(layer) for layer in noise])
            loss = negative_elbo_loss(terms, kl_weight=self.objective.kl_weight, free_nats=0)
            total, num_images = total + loss.item() * len(x), num_images + len(x)
            if self.objective.perceptual > 0:
                total += self._perceptual(x, terms).sum().item()
        return total / num_images

    @torch.inference_mode()
    def probe(self) -> dict[str, float]:
        """How many latent units tell the last batch's images apart; meaningless, and left out, for one image."""
        found: dict[str, float] = {}
        if self._seen is not None and len(self._seen) > 1:
            meter = VarianceMeter()
            self.module.eval()
            with self.setting.runtime.autocast():
                latents = self.module.encode(self._seen)
            meter.add(torch.cat([noise.flatten(1) for noise in latents.noise], dim=1))
            found = {"active_units": meter.num_active(), "latent_units": len(meter.variance())}
        if self.adversary is not None and self.adversary.last_loss is not None:
            found["discriminator_loss"] = self.adversary.last_loss
        return found


class FlowPhase:
    """Phase 2: the flow-matching loss on the frozen VAE's first-layer latents, under random damage."""

    name = "flow"

    def __init__(self, setting: Setting, flow: LatentFlow, vae: VAE) -> None:
        self.setting, self.module, self.vae = setting, flow, vae
        self.learning_rate = setting.config.training.flow_learning_rate
        self.gradient_clip = 1.0
        self.adversary: Adversary | None = None

    def prepare(self) -> None:
        """Set the flow's latent statistics and clusters from the training images."""
        total = torch.zeros(self.module.shape[0], dtype=torch.float64)
        squares, num_positions = torch.zeros_like(total), 0
        train, means = self.setting.train, []
        rows = np.arange(0, len(train.ids), max(1, len(train.ids) // STATISTICS_IMAGES))
        for x in self.setting.train_chunks(rows):
            posterior = self._posterior(x)
            means.append(posterior[0])
            mean, variance = posterior[0].cpu().double(), (2 * posterior[1]).exp().cpu().double()
            total += mean.sum((0, 2, 3))
            squares += (mean.square() + variance).sum((0, 2, 3))
            num_positions += mean[:, 0].numel()
        center = total / num_positions
        scale = (squares / num_positions - center.square()).clamp(min=1e-8).sqrt()
        self.module.set_statistics(center.float(), scale.float())
        labels = self.setting.runtime.move(torch.from_numpy(train.labels[rows]))
        self.module.set_clusters(torch.cat(means), labels, image_generator(self.setting.seed, CLUSTER_DRAWS))

    @torch.no_grad()
    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with self.setting.runtime.autocast():
            posterior = self.vae.first_posterior(x)
        return posterior.mean, posterior.log_scale

    def _loss(self, module: Callable[..., Any], x: Tensor, labels: Tensor, draws: "_FlowDraws") -> Tensor:
        """[b] loss of images under the given draws."""
        mean, log_scale = self._posterior(x)
        z = mean + log_scale.exp() * draws.posterior
        is_free = draws.observed.flatten(1).amax(1) == 0  # clusters are for the prior: a view tells more than they do
        cluster = torch.where(is_free & (draws.told < CLUSTER_SHARE), self.module.cluster_of(mean), -1)
        view = View.of(x, draws.observed, draws.noise_sigma, labels, draws.pixels).with_cluster(cluster)
        with self.setting.runtime.autocast():
            loss: Tensor = module(z, draws.noise, draws.time, view)
        return loss

    def loss(self, module: Callable[..., Any], batch: Batch, spent: float) -> Loss:
        setting = self.setting
        generator = image_generator(setting.seed, FLOW_DRAWS, batch.step)
        x = setting.images(batch, generator)
        num_images = setting.config.training.batch_size
        draws = _FlowDraws.draw(num_images, self.module.shape, x.shape[1:], generator)
        hidden = torch.rand(num_images, generator=generator) < LABEL_DROPOUT
        labels = torch.where(setting.part(hidden), -1, setting.runtime.move(batch.labels))
        each = self._loss(module, x, labels, draws.map(setting.part))
        return Loss(each.mean(), {"flow_loss": each.mean()})

    @torch.inference_mode()
    def validate(self, module: nn.Module) -> float:
        """Mean square error of the velocity per latent, at fixed times, noise and damage."""
        total, num_images = 0.0, 0
        for x, labels, generator in self.setting.validation_chunks():
            draws = _FlowDraws.draw(len(x), self.module.shape, x.shape[1:], generator)
            labels = self.setting.runtime.move(labels)
            each = self._loss(module, x, labels, draws.map(self.setting.runtime.move))
            total, num_images = total + each.sum().item(), num_images + len(x)
        return total / num_images

    def probe(self) -> dict[str, float]:
        """Nothing: the loss says it all."""
        return {}

    @torch.inference_mode()
    def calibrate(self, flow: LatentFlow) -> None:
        """Calibrate the noise that the samples of this flow start from, on training images."""
        num_images = len(self.setting.train.ids)
        rows = np.arange(CALIBRATION_IMAGES) * max(1, num_images // CALIBRATION_IMAGES) % num_images
        posteriors = [self._posterior(x) for x in self.setting.train_chunks(rows)]
        mean, log_scale = (torch.cat(parts) for parts in zip(*posteriors, strict=True))
        generator = image_generator(self.setting.seed, CALIBRATION_DRAWS, 0)
        draws = [self.setting.runtime.move(torch.randn(mean.shape, generator=generator)) for _ in range(2)]
        height, width = self.setting.train.pixels.shape[1:3]
        nothing = View.nothing(len(mean), self.setting.train.pixels.shape[3], (height, width), mean.device)
        with self.setting.runtime.autocast():
            z = mean + log_scale.exp() * draws[0]
            flow.calibrate(
                z, flow.cluster_of(mean), draws[1], nothing, steps=CALIBRATION_STEPS, seen=self._seen_again
            )  # fmt: skip

    def _seen_again(self, z: Tensor) -> Tensor:
        """[B, C, h, w] first-layer means of the pictures that first-layer latents z [B, C, h, w] decode to."""
        means = []
        for part in z.split(CHUNK):
            finer = (torch.zeros(len(part), *shape, device=z.device) for shape in self.vae.latent_shapes[1:])
            means.append(self._posterior(self.vae.decode_mean(Latents((part, *finer))))[0])
        return torch.cat(means)


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
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> "_FlowDraws":
        return _FlowDraws(*(function(getattr(self, name)) for name in self.__dataclass_fields__))
