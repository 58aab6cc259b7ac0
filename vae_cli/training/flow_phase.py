"""Phase 2: the latent flow learns the frozen VAE's first-layer latents."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from vae_cli.dataset.batches import Batch
from vae_cli.dataset.random_masks import FAMILIES, draw_observed, training_damage
from vae_cli.model.calibration import CALIBRATED, calibrate_noise, evidence, fitted_weight
from vae_cli.model.condition import Condition
from vae_cli.model.continuation import plate
from vae_cli.model.flow import FILL_STEPS, FILL_TEMPERATURE, LatentFlow
from vae_cli.model.vae import VAE, Latents
from vae_cli.randomness import CALIBRATION, CLUSTERS, FLOW_NOISE, image_generator
from vae_cli.training import muon
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.phase import Loss, Phase

STATISTICS_IMAGES = 4096  # training images, about, that the scale and the clusters of the latents are found from
LABEL_ROWS = 32  # of them of each label, at least
CLUSTER_SHARE = 0.9  # of the views with nothing observed, those that are given their image's cluster
LABEL_DROPOUT = 0.15  # of all labels, those hidden, so that the flow can also run without (Ho & Salimans 2022)
REFINED_SHARE = 1 / 4  # of a batch's images, those that the refiner learns from: it needs fewer than the velocity
REFINER_RATE = 0.5  # share of the flow's learning rate, at the whole of which the refiner learns to change nothing
REFINER_WEIGHT = 0.1  # of its loss, too small to matter where the flow's gradients are clipped
CALIBRATION_IMAGES = 512  # samples that the scale of the noise is measured on
CALIBRATION_STEPS = 10  # of the solver; with fewer its error would be corrected instead
FULL_GRID = 64  # positions of a latent grid up to which so many are drawn; of larger ones fewer do, and each is slower
FEWEST_CALIBRATION_IMAGES = 16
MOST_KEPT_BYTES = 1 << 26  # of posteriors: memory must not grow with the number of images
WEIGHED_IMAGES = 48  # held-out images with a hole of every family, whose fills are compared with smooth continuations
WEIGHED_CHUNK = 16  # images filled at once
WEIGHED_PAIRS = 2  # of fills whose mean is compared


class FlowPhase(Phase):
    """The flow-matching loss under random damage, and the refiner's."""

    name, stream = "flow", FLOW_NOISE
    is_measured_at_end = True
    module: LatentFlow
    gradient_clip = 1.0

    def __init__(self, inputs: TrainingInputs, flow: LatentFlow, vae: VAE) -> None:
        self.inputs, self.module, self.vae = inputs, flow, vae
        self.learning_rate = inputs.config.training.flow_learning_rate
        shape = (sum(len(each.ids) for each in (inputs.train, inputs.patches) if each is not None), 2, *flow.shape)
        # If an image is the same at every visit and all have room: mean and log scale of each one's posterior.
        is_kept = inputs.config.data.binarize != "dynamic" and 2 * math.prod(shape) <= MOST_KEPT_BYTES
        self._kept = torch.zeros(shape, dtype=torch.float16, device=inputs.runtime.device) if is_kept else None
        self._is_encoded = np.zeros(shape[0], bool)

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

    def _posterior_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The same of a batch, which is encoded only if one of its images is new; rounded alike at every visit."""
        if self._kept is None:
            return self._posterior(batch.draws["x"])
        rows = self.inputs.runtime.move(batch.rows)
        if not self._is_encoded[batch.rows.numpy()].all():
            self._kept[rows] = torch.stack(self._posterior(batch.draws["x"]), dim=1).half()
            self._is_encoded[batch.rows.numpy()] = True
        mean, log_scale = self._kept[rows].float().unbind(1)
        return mean, log_scale

    def _decode(self, z: Tensor) -> Tensor:
        """[B, C, H, W] pictures of first-layer latents [B, C, h, w]; finer layers take their mean."""
        finer = (torch.zeros(len(z), *shape, device=z.device) for shape in self.vae.latent_shapes[1:])
        return self.vae.decode_mean(Latents((z, *finer)))

    def draw(self, step: int, num: int, generator: Generator) -> dict[str, Tensor]:
        """Times are logit-normal (Esser et al. 2024, eq. 19)."""
        (height, width), channels = self.inputs.config.data.image_size, self.inputs.config.data.channels
        damage = training_damage(num, height, width, generator)
        posterior, noise = (torch.randn((num, *self.module.shape), generator=generator) for _ in range(2))
        time = torch.sigmoid(torch.randn(num, generator=generator))
        for_cluster, for_label = (torch.rand(num, generator=generator) for _ in range(2))
        is_noisy, pixels = damage.noise_sigma > 0, torch.zeros(num, channels, height, width)
        pixels[is_noisy] = torch.randn((int(is_noisy.sum()), channels, height, width), generator=generator)
        # The refiner learns from the first images of which something is observed.
        num_refined = max(1, round(REFINED_SHARE * num))
        rows = damage.observed.flatten(1).amax(1).argsort(descending=True, stable=True)[:num_refined]
        return {
            "observed": damage.observed, "noise_sigma": damage.noise_sigma, "posterior": posterior, "noise": noise,
            "time": time, "pixels": pixels, "has_cluster": for_cluster < CLUSTER_SHARE,
            "is_hidden": for_label < LABEL_DROPOUT,
            "refined": torch.zeros(num).index_fill(0, rows, num / num_refined),  # weight in the refiner's loss
        }  # fmt: skip

    def completed(self, draws: dict[str, Tensor], zooms: Tensor) -> dict[str, Tensor]:
        """With numbers of rows, as finding them would mean to wait for the device.

        `refined_rows`: what the refiner learns from. `free_rows`: whole pictures of which nothing is known.
        `seen_rows`: the views that something is known of, and one of the others; `place`: where each image's view is
        among these.
        """
        refined, is_seen = draws["refined"].nonzero().flatten(), draws["observed"].flatten(1).amax(1) > 0
        is_free = ~is_seen & (zooms == 0)  # clusters are for samples, which are such pictures
        return draws | {
            "has_cluster": draws["has_cluster"] & is_free, "free_rows": is_free.nonzero().flatten(),
            "refined_rows": refined if len(refined) else refined.new_zeros(1),  # it learns on every rank
            "seen_rows": torch.cat([is_seen.nonzero().flatten(), (~is_seen).nonzero().flatten()[:1]]),
            "place": torch.where(is_seen, is_seen.cumsum(0) - 1, is_seen.sum()),
        }  # fmt: skip

    def _losses(
        self, module: Callable[..., Any], posterior: tuple[Tensor, Tensor], labels: Tensor, visible_labels: Tensor,
        zooms: Tensor, draws: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """[B] flow and [] refiner losses of images, of whose labels [B] the flow is given the visible ones."""
        (mean, log_scale), x, rows = posterior, draws["x"], draws["refined_rows"]
        z = mean + log_scale.exp() * draws["posterior"]
        cluster = torch.where(draws["has_cluster"], self.module.cluster_of(mean, labels), -1)
        view = Condition.of(x, draws["observed"], draws["noise_sigma"], visible_labels, draws["pixels"])
        view, distinct = view.with_cluster(cluster).with_zoom(zooms), (draws["seen_rows"], draws["place"])
        with self.inputs.runtime.autocast():
            flow_loss, refiner_loss = module(z, draws["noise"], draws["time"], view, x, rows, self._decode, distinct)
        return flow_loss, (draws["refined"][rows] * refiner_loss).sum() / len(x)

    def loss(self, module: Callable[..., Any], batch: Batch, spent: float) -> Loss:
        draws, labels = batch.draws, batch.labels
        visible, posterior = torch.where(draws["is_hidden"], -1, labels), self._posterior_of(batch)
        each, refiner_loss = self._losses(module, posterior, labels, visible, batch.zooms, draws)
        figures = {"flow_loss": each.mean(), "refiner_loss": refiner_loss}
        if len(free := draws["free_rows"]):
            figures["explained_variance"] = 1 - each[free].sum() / unstructured_loss(draws["time"][free]).sum()
        return Loss(figures["flow_loss"] + REFINER_WEIGHT * refiner_loss, figures)

    def score(self, module: nn.Module, x: Tensor, labels: Tensor, generator: Generator) -> float:
        """The loss at fixed times, noise and damage."""
        move, zooms = self.inputs.runtime.move, torch.zeros(len(x))
        draws = {name: move(value) for name, value in self.completed(self.draw(0, len(x), generator), zooms).items()}
        labels, posterior = move(labels), self._posterior(x)
        flow_loss, refiner_loss = self._losses(module, posterior, labels, labels, move(zooms), draws | {"x": x})
        return (flow_loss.mean() + REFINER_WEIGHT * refiner_loss).item()

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
        cluster = flow.cluster_of(mean, move(torch.from_numpy(train.labels[rows])))
        _, height, width, channels = train.pixels.shape
        nothing = Condition.nothing(len(mean), channels, (height, width), mean.device)
        z = mean + log_scale.exp() * draws[0]

        def reencoded(z: Tensor) -> Tensor:
            return torch.cat([self._posterior(self._decode(part))[0] for part in z.split(self.inputs.chunk_size)])

        calibrate_noise(flow, z, cluster, draws[1], nothing, steps=CALIBRATION_STEPS, reencoded=reencoded)

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
                noise = FILL_TEMPERATURE * torch.randn((WEIGHED_PAIRS, len(x), *flow.shape), generator=generator)
                solved = [flow.solve(move(sign * each), view, steps=FILL_STEPS) for each in noise for sign in (1, -1)]
                fills = torch.stack([flow.refine(self._decode(latents), view) for latents in solved])
                found.append(evidence(fills.mean(0), plate(x * observed, observed), x, observed))
        return fitted_weight(torch.cat(found))


def unstructured_loss(time: Tensor) -> Tensor:
    """[B] loss of the best velocity for latents that are standard normal, at times [B]: what remains of it is of those
    who know each number's mean and spread, and nothing of how numbers belong together.

    Of u and noise that are N(0, 1), the variance of u - noise given time · u + (1 - time) · noise.
    """
    return 1 / (time.square() + (1 - time).square())
