"""Phase 2: the latent flow learns the frozen VAE's first-layer latents."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from vae_cli.dataset.batches import Batch
from vae_cli.dataset.random_masks import FAMILIES, draw_observed, training_damage
from vae_cli.model.calibration import CALIBRATED, calibrate_noise, evidence, fitted_weight
from vae_cli.model.clusters import LAYOUT_SIDE, LEAST_SHARE, SAMPLED_SHARE, has_layouts, noised
from vae_cli.model.condition import Condition
from vae_cli.model.continuation import plate
from vae_cli.model.flow import FILL_STEPS, LatentFlow
from vae_cli.model.vae import VAE, Latents
from vae_cli.randomness import CALIBRATION, CLUSTERS, FLOW_NOISE, image_generator
from vae_cli.training import muon
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.phase import Loss, Phase

STATISTICS_IMAGES = 4096  # training images, about, that the scale and the clusters of the latents are found from
LABEL_ROWS = 32  # of them of each label, at least
START_SHARE = 0.9  # of the views with nothing observed, those that are given what their image starts from
LABEL_DROPOUT = 0.15  # of all labels, those hidden, so that the flow can also run without (Ho & Salimans 2022)
REFINED_SHARE = 1 / 4  # of a batch's images, those that the refiner learns from: it needs fewer than the velocity
REFINER_RATE = 0.5  # share of the flow's learning rate, at the whole of which the refiner learns to change nothing
REFINER_WEIGHT = 0.1  # of its loss, too small to matter where the flow's gradients are clipped
CALIBRATION_IMAGES = 512  # samples that the scale of the noise is measured on
CALIBRATION_STEPS = 10  # of the solver; with fewer its error would be corrected instead
FULL_GRID = 64  # positions of a latent grid up to which so many are drawn; of larger ones fewer do, and each is slower
FEWEST_CALIBRATION_IMAGES = 16
WEIGHED_IMAGES = 48  # held-out images with a hole of every family, whose fills are compared with smooth continuations
WEIGHED_CHUNK = 16  # images filled at once
WEIGHED_PAIRS = 2  # of fills whose mean is compared


class FlowPhase(Phase):
    """The flow-matching loss under random damage, and the refiner's."""

    name = "flow"
    is_measured_at_end = True
    module: LatentFlow
    gradient_clip = 1.0

    def __init__(self, inputs: TrainingInputs, flow: LatentFlow, vae: VAE) -> None:
        self.inputs, self.module, self.vae = inputs, flow, vae
        self.learning_rate = inputs.config.training.flow_learning_rate
        self._drawn: tuple[int, _Draws] | None = None  # the last step and what it draws, once for all micro-batches

    def parameter_groups(self) -> list[dict[str, Any]]:
        optimizer, refiner = self.inputs.config.training.flow_optimizer, list(self.module.refiner.parameters())
        return muon.parameter_groups(self.module, optimizer, apart=refiner, rate_factor=REFINER_RATE)

    def prepare(self) -> None:
        """Set the flow's latent statistics and clusters from the training images."""
        total = torch.zeros(self.module.shape[0], dtype=torch.float64)
        squares, num_positions, means = torch.zeros_like(total), 0, []
        train, patches, move = self.inputs.train, self.inputs.patches, self.inputs.runtime.move
        rows = np.arange(0, len(train.ids), max(1, len(train.ids) // STATISTICS_IMAGES))
        for x in self.inputs.train_chunks(rows):
            posterior_mean, log_scale = self._posterior(x)
            means.append(posterior_mean)
            mean, variance = posterior_mean.cpu().double(), (2 * log_scale).exp().cpu().double()
            total += mean.sum((0, 2, 3))
            squares += (mean.square() + variance).sum((0, 2, 3))
            num_positions += mean[:, 0].numel()
        center = total / num_positions
        scale = (squares / num_positions - center.square()).clamp(min=1e-8).sqrt()
        self.module.set_statistics(center.float(), scale.float())
        if patches is not None and patches.zooms is not None:
            self.module.most_zoom.fill_(float(patches.zooms.max()))
        labels = move(torch.from_numpy(train.labels[rows]))
        self.module.set_clusters(torch.cat(means), labels, image_generator(self.inputs.seed, CLUSTERS))
        # Further images, so that each label has LABEL_ROWS of them, or all of its own.
        is_known = np.isin(np.arange(len(train.ids)), rows)
        by_label = [np.flatnonzero(train.labels == label) for label in np.unique(train.labels[train.labels >= 0])]
        missing = [own[~is_known[own]][: max(0, LABEL_ROWS - is_known[own].sum())] for own in by_label]
        if len(more := np.concatenate([np.empty(0, np.int64), *missing])):
            z = torch.cat([self._posterior(x)[0] for x in self.inputs.train_chunks(more)])
            self.module.count_labels(z, move(torch.from_numpy(train.labels[more])))

    @torch.no_grad()
    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log scale of the first layer's posterior."""
        with self.inputs.runtime.autocast():
            posterior = self.vae.first_posterior(x)
        return posterior.mean, posterior.log_scale

    def _decode(self, z: Tensor) -> Tensor:
        """[B, C, H, W] pictures of first-layer latents [B, C, h, w]; finer layers take their mean."""
        finer = (torch.zeros(len(z), *shape, device=z.device) for shape in self.vae.latent_shapes[1:])
        return self.vae.decode_mean(Latents((z, *finer)))

    def _losses(
        self, module: Callable[..., Any], x: Tensor, labels: Tensor, visible_labels: Tensor, zooms: Tensor,
        draws: "_Draws",
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """[] flow and refiner losses of images [B, C, H, W], of whose labels [B] the flow is given the visible ones;
        and the explained variance of views of which nothing is known, as of samples (not a number without such)."""
        mean, log_scale = self._posterior(x)
        z = mean + log_scale.exp() * draws.posterior
        # Starts are for samples, which are of whole pictures of which nothing is known.
        is_free = (draws.observed.flatten(1).amax(1) == 0) & (zooms == 0)
        start = self.module.start_of(mean, labels)
        if self.module.follows_layouts:
            start = noised(start, LEAST_SHARE + (1 - LEAST_SHARE) * draws.share, draws.layout)
        has_start = is_free & (draws.for_start < START_SHARE)
        view = Condition.of(x, draws.observed, draws.noise_sigma, visible_labels, draws.pixels)
        view = view.with_start(start * has_start[:, None, None, None]).with_zoom(zooms)
        rows = draws.refined.nonzero().flatten()
        rows = rows if len(rows) else rows.new_zeros(1)  # the refiner takes part on every rank, if at weight 0
        with self.inputs.runtime.autocast():
            flow_loss, refiner_loss = module(z, draws.noise, draws.time, view, x, rows, self._decode)
        explained = 1 - (flow_loss * is_free).sum() / (unstructured_loss(draws.time) * is_free).sum()
        return flow_loss.mean(), (draws.refined[rows] * refiner_loss).sum() / len(x), explained

    def loss(self, module: Callable[..., Any], batch: Batch, spent: float) -> Loss:
        inputs, generator = self.inputs, image_generator(self.inputs.seed, FLOW_NOISE, batch.step)
        x = inputs.images(batch, generator)
        if self._drawn is None or self._drawn[0] != batch.step:
            num = inputs.config.training.batch_size
            self._drawn = batch.step, _Draws.draw(num, self.module.shape, x.shape[1:], generator)
        draws = self._drawn[1].map(partial(inputs.part, batch))
        labels, zooms = inputs.runtime.move(batch.labels), inputs.runtime.move(batch.zooms)
        visible = torch.where(draws.for_label < LABEL_DROPOUT, -1, labels)
        flow_loss, refiner_loss, explained = self._losses(module, x, labels, visible, zooms, draws)
        figures = {"flow_loss": flow_loss, "refiner_loss": refiner_loss}
        figures |= {"explained_variance": explained} if explained.isfinite() else {}
        return Loss(flow_loss + REFINER_WEIGHT * refiner_loss, figures)

    def score(self, module: nn.Module, x: Tensor, labels: Tensor, generator: Generator) -> float:
        """The loss at fixed times, noise and damage."""
        draws = _Draws.draw(len(x), self.module.shape, x.shape[1:], generator).map(self.inputs.runtime.move)
        labels, zooms = self.inputs.runtime.move(labels), torch.zeros(len(x), device=x.device)
        flow_loss, refiner_loss, _ = self._losses(module, x, labels, labels, zooms, draws)
        return (flow_loss + REFINER_WEIGHT * refiner_loss).item()

    def finish(self, best: Mapping[str, Tensor]) -> dict[str, Tensor]:
        flow = copy.deepcopy(self.module)
        flow.load_state_dict(best)
        self.calibrate(flow)
        return {name: value.cpu() for name, value in flow.state_dict().items() if name in CALIBRATED}

    @torch.inference_mode()
    def calibrate(self, flow: LatentFlow) -> None:
        """Measure what the flow's weights need to be used well: the noise of samples, and the trust in fills."""
        with self.inputs.runtime.autocast():
            self._calibrate_noise(flow)
            # On held-out images: fills of images that are known by heart would deserve too much trust.
            every = torch.cat([x.cpu() for x, *_ in self.inputs.validation_chunks()])
            chosen = every[torch.linspace(0, len(every) - 1, min(len(every), WEIGHED_IMAGES)).long()]
            flow.fill_weight.copy_(self._trust(flow, chosen, torch.zeros(len(chosen))))
            if flow.sees_patches:
                close_ups, zooms = self.inputs.close_ups(WEIGHED_IMAGES)
                flow.patch_fill_weight.copy_(self._trust(flow, close_ups, zooms) if len(zooms) else flow.fill_weight)

    def _calibrate_noise(self, flow: LatentFlow) -> None:
        """On training images, since the VAE may see others as further away."""
        train, move = self.inputs.train, self.inputs.runtime.move
        positions = flow.shape[1] * flow.shape[2]
        num_drawn = max(FEWEST_CALIBRATION_IMAGES, CALIBRATION_IMAGES * FULL_GRID // max(FULL_GRID, positions))
        rows = np.arange(num_drawn) * len(train.ids) // num_drawn  # again and again where they are few
        posteriors = [self._posterior(x) for x in self.inputs.train_chunks(rows)]
        mean, log_scale = (torch.cat(parts) for parts in zip(*posteriors, strict=True))
        generator = image_generator(self.inputs.seed, CALIBRATION, 0)
        draws = [move(torch.randn(mean.shape, generator=generator)) for _ in range(2)]
        start = flow.start_of(mean, move(torch.from_numpy(train.labels[rows])))
        if flow.follows_layouts:
            noise = move(torch.randn(start[:, :-1].shape, generator=generator))
            start = noised(start, start.new_full((len(start),), SAMPLED_SHARE), noise)
        _, height, width, channels = train.pixels.shape
        nothing = Condition.nothing(len(mean), channels, (height, width), mean.device)
        z = mean + log_scale.exp() * draws[0]

        def reencoded(z: Tensor) -> Tensor:
            return torch.cat([self._posterior(self._decode(part))[0] for part in z.split(self.inputs.chunk_size)])

        calibrate_noise(flow, z, start, draws[1], nothing, steps=CALIBRATION_STEPS, reencoded=reencoded)

    def _trust(self, flow: LatentFlow, images: Tensor, zooms: Tensor) -> Tensor:
        """The best weights for fills of images [N, C, H, W] in [-1, 1] that are views of these zooms [N]."""
        move, found = self.inputs.runtime.move, []
        for number, family in enumerate(FAMILIES):
            generator = image_generator(self.inputs.seed, CALIBRATION, 1 + number)
            for part, zoom in zip(images.split(WEIGHED_CHUNK), zooms.split(WEIGHED_CHUNK), strict=True):
                x = move(part)
                observed = move(draw_observed(family, len(x), x.shape[2], x.shape[3], generator))
                no_label = torch.full((len(x),), -1, device=x.device)
                view = Condition.of(x, observed, torch.zeros(len(x), device=x.device), no_label).with_zoom(move(zoom))
                noise = flow.mixed_temperature * torch.randn((WEIGHED_PAIRS, len(x), *flow.shape), generator=generator)
                solved = [flow.solve(move(sign * each), view, steps=FILL_STEPS) for each in noise for sign in (1, -1)]
                fills = torch.stack([flow.refine(self._decode(latents), view) for latents in solved])
                found.append(evidence(fills.mean(0), plate(x * observed, observed), x, observed))
        return fitted_weight(torch.cat(found), draws_vary=not flow.follows_layouts)


def unstructured_loss(time: Tensor) -> Tensor:
    """[B] loss of the best velocity for latents that are standard normal, at times [B]: what remains of it is of those
    who know each number's mean and spread, and nothing of how numbers belong together.

    Of u and noise that are N(0, 1), the variance of u - noise given time · u + (1 - time) · noise.
    """
    return 1 / (time.square() + (1 - time).square())


@dataclass(frozen=True)
class _Draws:
    """All that is random in a flow update, one row an image."""

    posterior: Tensor
    noise: Tensor
    time: Tensor
    pixels: Tensor
    observed: Tensor
    noise_sigma: Tensor
    for_start: Tensor  # uniform; decides whether the view is given its start
    refined: Tensor  # weight in the refiner's loss: 0 for most, 1 on average
    for_label: Tensor  # uniform; decides whether the label is hidden
    layout: Tensor  # noise of the start, in its shape
    share: Tensor  # uniform; how much of the start is left beside it

    @staticmethod
    def draw(num: int, shape: tuple[int, int, int], image_shape: torch.Size, generator: Generator) -> "_Draws":
        """Times are logit-normal (Esser et al. 2024, eq. 19)."""
        damage = training_damage(num, image_shape[1], image_shape[2], generator)
        posterior, noise = (torch.randn((num, *shape), generator=generator) for _ in range(2))
        time = torch.sigmoid(torch.randn(num, generator=generator))
        pixels = torch.randn((num, *image_shape), generator=generator)
        for_start = torch.rand(num, generator=generator)
        # The refiner learns from the first images of which something is observed.
        num_refined = max(1, round(REFINED_SHARE * num))
        rows = damage.observed.flatten(1).amax(1).argsort(descending=True, stable=True)[:num_refined]
        refined = torch.zeros(num).index_fill(0, rows, num / num_refined)
        for_label = torch.rand(num, generator=generator)
        layout_shape = (num, shape[0], LAYOUT_SIDE, LAYOUT_SIDE) if has_layouts(shape[1:]) else (num,)
        layout = torch.randn(layout_shape, generator=generator)
        share = torch.rand(num, generator=generator)
        return _Draws(posterior, noise, time, pixels, damage.observed, damage.noise_sigma, for_start, refined,
                      for_label, layout, share)  # fmt: skip

    def map(self, function: Callable[[Tensor], Tensor]) -> "_Draws":
        return _Draws(*map(function, vars(self).values()))
