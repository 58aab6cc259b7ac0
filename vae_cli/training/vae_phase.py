"""Phase 1: the VAE learns the bound."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from vae_cli.dataset.batches import Batch
from vae_cli.metrics.latents import VarianceMeter
from vae_cli.metrics.pictures import psnr_db
from vae_cli.model.vae import VAE, ElboTerms, draw_noise
from vae_cli.randomness import VAE_NOISE, image_generator
from vae_cli.runtime import mean_over_ranks
from vae_cli.training import muon
from vae_cli.training.adversary import Adversary
from vae_cli.training.augmentation import augmented, draw_augmentation, is_due
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.objective import gradient_distance, kl_weight_at, negative_elbo_loss, negative_importance_bound
from vae_cli.training.phase import Loss, Phase


class VaePhase(Phase):
    """The negative bound of the images, and what the configuration adds to it."""

    name = "vae"
    module: VAE

    def __init__(self, inputs: TrainingInputs, vae: VAE) -> None:
        self.inputs, self.module, self.objective = inputs, vae, inputs.config.objective
        self.learning_rate = inputs.config.training.learning_rate
        self.gradient_clip = inputs.config.training.gradient_clip
        if self.objective.adversarial > 0:
            self.adversary = Adversary(vae.channels, self.objective, seed=inputs.seed, runtime=inputs.runtime)
        self._last_images: list[Tensor] = []  # of an update, a micro-batch each
        self._mean_kl: Tensor | None = None  # [L] over the whole batch, where a micro-batch has to know

    def parameter_groups(self) -> list[dict[str, Any]]:
        return muon.parameter_groups(self.module, self.inputs.config.training.vae_optimizer)

    def add_gradients(self, module: nn.Module, batch: Batch, spent: float) -> Loss:
        self._last_images, self._mean_kl, parts = [], None, self.micro_batches(batch)
        if len(parts) > 1 and self.objective.free_nats > 0 and self._num_draws(spent) == 1:
            # These are a floor under the mean of the whole batch.
            with torch.no_grad():
                kl = torch.stack([self._terms(self.module, part, spent)[1].kl.mean(0) for part in parts])
            self._mean_kl = mean_over_ranks(kl.mean(0))
        return super().add_gradients(module, batch, spent)

    def _terms(self, module: Callable[..., Any], batch: Batch, spent: float) -> tuple[Tensor, ElboTerms, int]:
        """The images of a batch, the terms of those whose turn it is, and how many draws of the posterior each has."""
        inputs = self.inputs
        generator, part = image_generator(inputs.seed, VAE_NOISE, batch.step), partial(inputs.part, batch)
        x, batch_size = inputs.images(batch, generator), inputs.config.training.batch_size
        is_wanted = inputs.config.data.augment and inputs.config.training.flow_share > 0
        if is_wanted and is_due(batch.step, batch_size, inputs.images_an_epoch):
            rows, columns = draw_augmentation(batch_size, (x.shape[2], x.shape[3]), generator)
            x = inputs.runtime.move(augmented(x, part(rows), part(columns)))
        noise = draw_noise(self.module.latent_shapes, batch_size, generator)
        latent_noise = self._latent_noise(batch, generator)
        num_draws = min(self._num_draws(spent), len(x))
        num_rows = len(x) // num_draws * num_draws
        # Not always the same rows of a batch: close-ups have their own.
        chosen = inputs.runtime.move(x[batch.step % num_draws : num_rows : num_draws])
        with inputs.runtime.autocast():
            terms = module(chosen, [part(layer)[:num_rows] for layer in noise], latent_noise=latent_noise,
                           num_draws=num_draws if num_draws > 1 else None)  # fmt: skip
        return x, terms, num_draws

    def loss(self, module: Callable[..., Any], batch: Batch, spent: float) -> Loss:
        inputs, objective = self.inputs, self.objective
        x, terms, num_draws = self._terms(module, batch, spent)
        self._last_images.append(x)
        figures = {"elbo_nats": terms.elbo.mean(), "rate_nats": terms.kl.sum(1).mean()}
        if num_draws > 1:
            bound = negative_importance_bound(terms, num_draws)
        else:
            is_new = inputs.config.training.init == "none"
            warmup_steps = objective.kl_warmup_steps if is_new else 0  # trained latents would swell under less weight
            weight = kl_weight_at(batch.step, target=objective.kl_weight, warmup_steps=warmup_steps)
            bound = negative_elbo_loss(terms, kl_weight=weight, free_nats=objective.free_nats, mean_kl=self._mean_kl)
        extra: dict[str, Tensor] = {}  # weighted scalars, nats per image
        if objective.perceptual > 0:
            extra["perceptual_nats"] = self._perceptual(x, terms)
        if self.adversary is not None and self.adversary.is_active(spent):
            reconstruction_loss = sum(extra.values(), start=-terms.log_likelihood.mean())
            rebuilt = self.module.likelihood.mean(terms.params)
            extra["adversarial_loss"] = self.adversary.term(x, rebuilt, reconstruction_loss, self.module.last_weight)
        return Loss(sum(extra.values(), start=bound), figures | extra)

    def _latent_noise(self, batch: Batch, generator: Generator) -> Tensor | None:
        """[b] for `VAE.forward`, none on every other image; None where no flow follows, whose latents would need it."""
        training, scale = self.inputs.config.training, self.objective.latent_noise
        if scale == 0 or training.flow_share == 0:
            return None
        size = scale * torch.randn(training.batch_size, generator=generator).abs()
        return self.inputs.part(batch, size * (torch.arange(len(size)) % 2))

    def _num_draws(self, spent: float) -> int:
        """Draws of the posterior an image."""
        return self.objective.importance_samples if spent >= self.objective.importance_start else 1

    def keeps_newest(self, spent: float) -> bool:
        """Once what is minimised is no longer the score: an adversary trades the bound for sharpness, several draws
        for the probability of the images, which the bound of one draw does not show."""
        has_adversary = self.adversary is not None and self.adversary.is_active(spent)
        return has_adversary or self._num_draws(spent) > 1

    def _perceptual(self, x: Tensor, terms: ElboTerms) -> Tensor:
        return (self.objective.perceptual * gradient_distance(self.module.likelihood.mean(terms.params), x)).mean()

    def score(self, module: nn.Module, x: Tensor, labels: Tensor, generator: Generator) -> float:
        """Negative bound at the KL weight that training ends with and, where it is on, the perceptual term; nats."""
        noise = draw_noise(self.module.latent_shapes, len(x), generator)
        with self.inputs.runtime.autocast():
            terms = module(x, [self.inputs.runtime.move(layer) for layer in noise])
        loss = negative_elbo_loss(terms, kl_weight=self.objective.kl_weight, free_nats=0).item()
        return loss + self._perceptual(x, terms).item() if self.objective.perceptual > 0 else loss

    @torch.inference_mode()
    def probe(self) -> dict[str, float]:
        """How well the last batch's images are rebuilt; how many latent units differ among several of them."""
        found: dict[str, float] = {}
        decibels, meter = list[Tensor](), VarianceMeter()
        self.module.eval()
        for x in self._last_images:
            with self.inputs.runtime.autocast():
                latents = self.module.encode(x)
                rebuilt = self.module.decode_mean(latents)
            decibels.append(psnr_db((x + 1) / 2, (rebuilt + 1) / 2))
            meter.add(torch.cat([noise.flatten(1) for noise in latents.noise], dim=1))
        if decibels:
            found["psnr_db"] = torch.cat(decibels).mean().item()
        if meter.num > 1:
            found |= {"active_units": meter.num_active(), "latent_units": len(meter.variance())}
        if self.adversary is not None and self.adversary.last_loss is not None:
            found["discriminator_loss"] = self.adversary.last_loss
        return found
