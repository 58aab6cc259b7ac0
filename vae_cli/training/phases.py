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
from vae_cli.metrics.likelihood import binarized
from vae_cli.model.flow import LatentFlow, View
from vae_cli.model.priors import image_generator
from vae_cli.model.vae import VAE, draw_noise
from vae_cli.runtime import Runtime
from vae_cli.training.objective import kl_weight_at, negative_elbo_loss

VALIDATION_IMAGES = 512
"""Validated during training on this many held-out images at most; the end measures all."""
STATISTICS_IMAGES = 4096
"""Latents are standardised by mean and scale over about this many training images."""
CHUNK = 128
LABEL_DROPOUT = 0.15
"""Share of labels hidden while the flow is trained, so that it can also run without (Ho & Salimans 2022)."""
VAE_DRAWS, FLOW_DRAWS, VALIDATION_DRAWS = 1, 2, 3


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

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    def loss(self, module: Callable[..., Any], batch: Batch) -> Loss:
        """The loss of one global batch's part on this rank, through `module` (the phase's own, perhaps wrapped)."""

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
        chosen = np.unique(np.linspace(0, num_images - 1, min(num_images, VALIDATION_IMAGES)).astype(np.int64))
        for number, start in enumerate(range(0, len(chosen), CHUNK)):
            rows = chosen[start : start + CHUNK]
            generator = image_generator(self.seed, VALIDATION_DRAWS, number)
            x = to_unit(self.validation.pixels[rows])
            if self.config.data.binarize == "dynamic":
                x = binarized(x, torch.rand(x.shape, generator=generator))
            yield self.runtime.move(x), torch.from_numpy(self.validation.labels[rows]), generator


class VaePhase:
    """Phase 1: the negative bound of the images."""

    name = "vae"

    def __init__(self, setting: Setting, vae: VAE) -> None:
        self.setting, self.module = setting, vae
        self.learning_rate = setting.config.training.learning_rate
        self.gradient_clip = setting.config.training.gradient_clip

    def loss(self, module: Callable[..., Any], batch: Batch) -> Loss:
        config, setting = self.setting.config, self.setting
        generator = image_generator(setting.seed, VAE_DRAWS, batch.step)
        x = setting.images(batch, generator)
        noise = draw_noise(self.module.latent_shapes, config.training.batch_size, generator)
        with setting.runtime.autocast():
            terms = module(x, [setting.part(layer) for layer in noise])
        weight = kl_weight_at(
            batch.step, target=config.objective.kl_weight, warmup_steps=config.objective.kl_warmup_steps
        )
        total = negative_elbo_loss(terms, kl_weight=weight, free_nats=config.objective.free_nats)
        return Loss(total, {"elbo_nats": terms.elbo.mean(), "rate_nats": terms.kl.sum(1).mean()})

    @torch.inference_mode()
    def validate(self, module: nn.Module) -> float:
        """Negative bound, nats per image."""
        total, num_images = 0.0, 0
        for x, _, generator in self.setting.validation_chunks():
            noise = draw_noise(self.module.latent_shapes, len(x), generator)
            with self.setting.runtime.autocast():
                terms = module(x, [self.setting.runtime.move(layer) for layer in noise])
            total, num_images = total - terms.elbo.sum().item(), num_images + len(x)
        return total / num_images


class FlowPhase:
    """Phase 2: the flow-matching loss on the frozen VAE's first-layer latents, under random damage."""

    name = "flow"

    def __init__(self, setting: Setting, flow: LatentFlow, vae: VAE) -> None:
        self.setting, self.module, self.vae = setting, flow, vae
        self.learning_rate = setting.config.training.flow_learning_rate
        self.gradient_clip = 1.0

    def prepare(self, pixels: np.ndarray) -> None:
        """Set the flow's latent statistics from the training images."""
        total = torch.zeros(self.module.shape[0], dtype=torch.float64)
        squares, num_positions = torch.zeros_like(total), 0
        pixels = pixels[:: max(1, len(pixels) // STATISTICS_IMAGES)]
        for start in range(0, len(pixels), CHUNK):
            x = self.setting.runtime.move(to_unit(pixels[start : start + CHUNK]))
            posterior = self._posterior(x)
            mean, variance = posterior[0].cpu().double(), (2 * posterior[1]).exp().cpu().double()
            total += mean.sum((0, 2, 3))
            squares += (mean.square() + variance).sum((0, 2, 3))
            num_positions += mean[:, 0].numel()
        center = total / num_positions
        scale = (squares / num_positions - center.square()).clamp(min=1e-8).sqrt()
        self.module.set_statistics(center.float(), scale.float())

    @torch.no_grad()
    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with self.setting.runtime.autocast():
            posterior = self.vae.first_posterior(x)
        return posterior.mean, posterior.log_scale

    def _loss(self, module: Callable[..., Any], x: Tensor, labels: Tensor, draws: "_FlowDraws") -> Tensor:
        """[b] loss of images under the given draws."""
        mean, log_scale = self._posterior(x)
        z = mean + log_scale.exp() * draws.posterior
        view = View.of(x, draws.observed, draws.noise_sigma, labels, draws.pixels)
        with self.setting.runtime.autocast():
            loss: Tensor = module(z, draws.noise, draws.time, view)
        return loss

    def loss(self, module: Callable[..., Any], batch: Batch) -> Loss:
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


@dataclass(frozen=True)
class _FlowDraws:
    """All that is random in a flow update, one row an image."""

    posterior: Tensor
    noise: Tensor
    time: Tensor
    pixels: Tensor
    observed: Tensor
    noise_sigma: Tensor

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
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> "_FlowDraws":
        return _FlowDraws(*(function(getattr(self, name)) for name in self.__dataclass_fields__))
