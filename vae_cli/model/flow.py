"""The latent flow: one network that is the prior, the inpainter and the denoiser of a trained VAE.

A rectified flow (Liu et al. 2023; Lipman et al. 2023) on the first layer's latents, standardised per channel. Its
velocity v(z_t, t | c) is conditioned on a damaged view of the image and on a label; with nothing observed and no label
it is the learned prior.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_cli.config import CompleteConfig
from vae_cli.model.blending import MAX_DEPTH, NUM_KINDS
from vae_cli.model.clusters import k_means_by_label
from vae_cli.model.condition import Condition
from vae_cli.model.ladder import Encoder, pyramid
from vae_cli.model.nets import NORM_GROUPS, conv, zero_init
from vae_cli.model.refiner import Refiner
from vae_cli.model.velocity import ConditionEncoder, VelocityNet, even_times, integrate

CALIBRATED = ("noise_scale", "fill_weight", "patch_fill_weight")
"""Buffers that are measured once the flow is trained."""
MIN_CLUSTER_SIZE = 16
"""Images a cluster, on average: fewer would make it a copy of single images."""
MAX_NOISE_SCALE = 1.1
"""Samples are widened no further than this: what is missing beyond has other causes."""
LEAST_ERROR = 1e-3
"""Mean square error of a picture in [-1, 1] below which there is nothing to mend."""
REFINEMENT_TIME = 0.6
"""How finished the latents of a fill count as for the refiner. Late times make it trust what it is given, early ones
what is known: on icons, 0.3 to 1 change the mean of fills by 0.3 dB, scattered holes and strokes in opposite ways."""
FILL_TEMPERATURE = 0.8
"""Standard deviation of the noise that fills start from. Below 1 they are likelier ones, and less far apart: 0.8 brings
a single fill 0.6 to 1.1 dB nearer to the truth, on clothes and icons, and the mean of ten 0.1 to 0.4 dB where half is
missing; at 0.6 boxes on icons lose."""
FILL_STEPS = 4
"""Of the solver, for fills: what is known leaves less to be found out than a sample has to."""
CLOSE = 2 / 3
"""Clusters nearer than this share of the median distance between any two are alike (see `LatentFlow.are_close`)."""


class LatentFlow(nn.Module):
    """Velocity net, the encoder of its condition, and what is known of the latents. t = 0 is noise, t = 1 data.

    Images fall into clusters by their latents, and a sample starts with the choice of one: a mixture is learned in far
    fewer updates when its parts are told apart (Bao et al. 2022; Hu et al. 2023). The cluster's centroid, not its
    number, is what the network sees, so that clusters which look alike teach each other.
    """

    mean: Tensor
    scale: Tensor
    centroids: Tensor
    cluster_counts: Tensor
    noise_scale: Tensor
    """[] standard deviation of the noise that samples start from; see `calibrate`."""
    fill_weight: Tensor
    """[NUM_KINDS, MAX_DEPTH] how far fills are trusted against a smooth continuation; see `blending`."""
    patch_fill_weight: Tensor
    """The same for views closer than the whole picture, where the flow has learned from such."""
    most_zoom: Tensor
    """[] of the views that the flow has learned from; closer ones count as this close."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        condition: nn.Module,
        velocity: VelocityNet,
        refiner: Refiner,
        condition_width: int,
        *,
        num_labels: int,
        num_clusters: int,
        sees_patches: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.sees_patches = shape, sees_patches
        self.condition_encoder, self.velocity_net, self.refiner = condition, velocity, refiner
        self.condition_out = zero_init(nn.Conv2d(condition_width, velocity.width, 1))
        self.centroid_in = conv(shape[0] + 1, velocity.width, 3 if velocity.is_grid else 1)
        self.register_buffer("mean", torch.zeros(1, shape[0], 1, 1))
        self.register_buffer("scale", torch.ones(1, shape[0], 1, 1))
        self.register_buffer("centroids", torch.zeros(num_clusters, *shape))
        self.register_buffer("cluster_counts", torch.zeros(num_labels + 1, num_clusters))  # the last row: all images
        self.register_buffer("noise_scale", torch.ones(()))
        self.register_buffer("fill_weight", torch.ones(NUM_KINDS, MAX_DEPTH))
        if sees_patches:
            self.zoom_in = zero_init(nn.Linear(1, velocity.width))
            self.register_buffer("patch_fill_weight", torch.ones(NUM_KINDS, MAX_DEPTH))
            self.register_buffer("most_zoom", torch.zeros(()))
        self.register_load_state_dict_pre_hook(_trust_fills_of_old_models)

    def set_statistics(self, mean: Tensor, scale: Tensor) -> None:
        """Mean and standard deviation [C] of the latents over the data."""
        self.mean.copy_(mean.reshape(1, -1, 1, 1))
        self.scale.copy_(scale.reshape(1, -1, 1, 1))

    def set_clusters(self, z: Tensor, label: Tensor, generator: torch.Generator) -> None:
        """Find the clusters of latents z [N, C, h, w] and how often each occurs, in all and under each label [N].

        They are found within each label: a cluster that several share would leave it to the velocity alone to tell them
        apart, which learns that last.

        Fewer images than `MIN_CLUSTER_SIZE` a cluster make fewer clusters; those left over are never drawn.
        """
        points = self.standardise(z).flatten(1)
        num_clusters = min(len(self.centroids), len(points) // MIN_CLUSTER_SIZE)
        if num_clusters == 0:
            return
        centroids, member = k_means_by_label(points, label, num_clusters, generator, least=MIN_CLUSTER_SIZE)
        self.centroids[: len(centroids)] = centroids.unflatten(1, self.shape)
        self.cluster_counts.zero_()
        self.cluster_counts.index_put_((label, member), torch.ones(len(points), device=z.device), accumulate=True)
        self.cluster_counts[-1] = torch.bincount(member, minlength=len(self.centroids))

    def count_labels(self, z: Tensor, label: Tensor) -> None:
        """Add latents z [N, C, h, w] of labels [N] to their labels' counts, for labels that few images have."""
        member = self.cluster_of(z, label)
        known = member >= 0
        ones = torch.ones(int(known.sum()), device=z.device)
        self.cluster_counts.index_put_((label[known], member[known]), ones, accumulate=True)

    def cluster_of(self, z: Tensor, label: Tensor) -> Tensor:
        """[B] the nearest cluster to latents z [B, C, h, w] among those of their labels [B]; -1 where none were found.

        A label that no cluster is known of, and -1, may have any.
        """
        counts = self.cluster_counts
        if counts[-1].sum() == 0:
            return torch.full((len(z),), -1, device=z.device)
        may_have = torch.where(counts.sum(1, keepdim=True) > 0, counts, counts[-1])[label] > 0  # [B, K]; -1: the last
        squared = torch.cdist(self.standardise(z).flatten(1), self.centroids.flatten(1))
        return squared.masked_fill(~may_have, torch.inf).argmin(1)

    def calibrate(
        self,
        z: Tensor,
        cluster: Tensor,
        noise: Tensor,
        view: Condition,
        *,
        steps: int,
        seen: Callable[[Tensor], Tensor],
    ) -> None:
        """Choose the noise's scale with which samples spread about their clusters' centroids as far as data do.

        A velocity that is not learned to the end is too smooth, so that its samples lie too close to one another. What
        is missing is a few per cent, for which a line through the spreads of two scales is good enough; the scale is
        never below 1 nor above `MAX_NOISE_SCALE`. z [B, C, h, w] are latents of the VAE, cluster
        [B] their clusters, noise standard normal in their shape, the view one in which nothing is known.

        seen: latents -> what shows of them in the picture, latents again. Part of the samples' spread leads away from
        where data lie, into directions that the decoder does not draw, and would hide what is missing among the others.
        """
        told = view.with_cluster(cluster)
        tried = (1.0, MAX_NOISE_SCALE)
        samples = [self.solve(scale * noise, told, steps=steps) for scale in tried]
        wanted, *spreads = (self._spread(seen(latents), cluster) for latents in (z, *samples))
        slope = (spreads[1] - spreads[0]) / (tried[1] - tried[0])
        if slope > 0:
            self.noise_scale.copy_((1 + (wanted - spreads[0]) / slope).clamp(1.0, MAX_NOISE_SCALE))

    def _spread(self, z: Tensor, cluster: Tensor) -> Tensor:
        """[] mean square distance of latents from their clusters' centroids, or from the mean where there is none."""
        return (self.standardise(z) - self._centroid_of(cluster)).square().mean()

    def are_close(self, cluster: Tensor, other: Tensor) -> Tensor:
        """[B] whether clusters [B] are so much alike that what lies between their centroids looks real, too."""
        known = self.centroids[self.cluster_counts[-1] > 0].flatten(1)
        if len(known) < 2:
            return torch.full_like(cluster, True, dtype=torch.bool)
        apart = (self._centroid_of(cluster) - self._centroid_of(other)).flatten(1).norm(dim=1)
        return apart < CLOSE * torch.pdist(known.cpu()).median().to(apart.device)

    def _centroid_of(self, cluster: Tensor) -> Tensor:
        """[B, C, h, w], zero for the unknown cluster -1."""
        return self.centroids[cluster.clamp(min=0)] * (cluster >= 0)[:, None, None, None]

    def standardise(self, z: Tensor) -> Tensor:
        """The VAE's first-layer latents as the flow sees them: zero mean and unit scale per channel."""
        return (z - self.mean) / self.scale

    def restore(self, u: Tensor) -> Tensor:
        """Inverse of `standardise`."""
        return u * self.scale + self.mean

    def condition(self, view: Condition) -> Tensor:
        """[B, width, h, w] features of a view; computed once for all the solver's steps."""
        features: Tensor = self.condition_out(F.silu(self.condition_encoder(view.as_image())))
        centroid = self._centroid_of(view.cluster)
        is_known = (view.cluster >= 0).float()[:, None, None, None].expand_as(centroid[:, :1])
        features = features + self.centroid_in(torch.cat([centroid, is_known], dim=1))
        if self.sees_patches:
            features = features + self.zoom_in(view.zoom.minimum(self.most_zoom)[:, None])[:, :, None, None]
        return features

    def forward(
        self,
        z: Tensor,
        noise: Tensor,
        t: Tensor,
        view: Condition,
        x: Tensor,
        rows: Tensor,
        decode: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """[B] flow-matching loss, mean square error of the velocity per latent (Liu et al. 2023, eq. 1), and [R] loss
        of the refiner on the images of the numbers `rows` [R].

        z [B, C, h, w] are latents of the VAE, noise standard normal in their shape, t [B] in (0, 1), x [B, C, H, W] the
        whole images; decode: latents -> pictures.
        """
        u, at = self.standardise(z), t[:, None, None, None]
        u_t = (1 - at) * noise + at * u
        velocity = self.velocity(u_t, t, self.condition(view), view.label)
        flow_loss = (velocity - (u - noise)).square().flatten(1).mean(1)
        guess = self.restore(u_t + (1 - at) * velocity.detach())[rows]  # of z, the better the later the time
        with torch.no_grad():
            decoded = decode(guess)
        return flow_loss, self._refiner_loss(decoded, view.rows(rows), t[rows], x[rows])

    def _refiner_loss(self, decoded: Tensor, view: Condition, t: Tensor, x: Tensor) -> Tensor:
        """[B] mean square error where a pixel is unknown or noisy, refined over decoded.

        As a share of what there is to mend, because the few images that little is known of would outshout the rest.
        """
        is_clean = (view.noise_sigma == 0).float()[:, None, None, None]
        weight = (1 - view.observed * is_clean).expand_as(x)

        def error(picture: Tensor) -> Tensor:
            return ((picture - x).square() * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1)

        return error(self.refiner(decoded, view.as_image(), t)) / (error(decoded) + LEAST_ERROR)

    def refine(self, decoded: Tensor, view: Condition, time: float = REFINEMENT_TIME) -> Tensor:
        """[B, C, H, W] in [-1, 1]: pictures decoded from this flow's latents, corrected by what the view knows.

        time: how finished the latents count as, 0 to 1; the earlier, the more the view is trusted.
        """
        t = torch.full((len(decoded),), time, device=decoded.device)
        return self.refiner(decoded, view.as_image(), t).clamp(-1, 1)

    def trust(self, zoom: Tensor) -> Tensor:
        """[B, NUM_KINDS, MAX_DEPTH] how far fills of views of these zooms [B] are trusted; see `blending`."""
        whole = self.fill_weight.expand(len(zoom), -1, -1)
        if not self.sees_patches:
            return whole
        return torch.where((zoom > 0)[:, None, None].to(whole.device), self.patch_fill_weight, whole)

    def velocity(self, u: Tensor, t: Tensor, condition: Tensor, label: Tensor) -> Tensor:
        """What carries noise to data were the data N(0, I), in closed form, and the network's correction.

        Of u_t = (1 - t) noise + t data with both N(0, I), E[data - noise | u_t] = (2t - 1) / (t² + (1 - t)²) · u_t.
        """
        at = t[:, None, None, None]
        gaussian = (2 * at - 1) / (at.square() + (1 - at).square()) * u
        return gaussian + self.velocity_net(u, t, condition, label).float()

    def solve(self, noise: Tensor, view: Condition, *, steps: int, guidance: float = 1.0, start: float = 0.0) -> Tensor:
        """Latents [B, C, h, w] of the VAE that `noise` flows to in `steps` steps, one evaluation each; see `integrate`.

        start: the time at which `noise` is partly data already, 0 to 1. The rest of the way takes its share of the
        steps, two of them at least.
        """
        if start == 1:
            return self.restore(noise.float())
        num_steps = max(min(2, steps), round((1 - start) * steps))
        velocity, times = self.velocity_under(view, guidance), even_times(start, 1, num_steps)
        return self.restore(integrate(velocity, noise.float(), times))

    def velocity_under(self, view: Condition, guidance: float = 1.0) -> Callable[[Tensor, float], Tensor]:
        """The velocity of standardised latents [B, C, h, w] at one time, under a view.

        guidance g ≠ 1 moves it to v(no label) + g · (v(label) - v(no label)) (Ho & Salimans 2022), both seen from the
        view's cluster: what a label says beyond it. The choice of the cluster has its own guidance.
        """
        told = self._velocity_of(self.condition(view), view.label)
        if guidance == 1.0:
            return told
        free = self.velocity_under(view.with_label(torch.full_like(view.label, -1)))
        return lambda u, t: torch.lerp(free(u, t), told(u, t), guidance)

    def carry(self, u: Tensor, condition: Tensor, times: Sequence[float]) -> Tensor:
        """Standardised latents u [B, C, h, w] carried through the times, forwards or backwards, without a label.

        condition: [B, width, h, w], of `condition`. From 1 to 0 the noise is found that flows to u, nearly.
        """
        unlabelled = torch.full((len(u),), -1, device=u.device)
        return integrate(self._velocity_of(condition, unlabelled), u.float(), times)

    def _velocity_of(self, condition: Tensor, label: Tensor) -> Callable[[Tensor, float], Tensor]:
        """`velocity` at one time for all rows."""
        return lambda u, t: self.velocity(u, torch.full((len(u),), t, device=u.device), condition, label)


def _trust_fills_of_old_models(module: nn.Module, tensors: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Models from before fills were weighed hold no weights for them."""
    assert isinstance(module, LatentFlow)
    tensors.setdefault(f"{prefix}fill_weight", torch.ones_like(module.fill_weight))


def build_flow(config: CompleteConfig, shape: tuple[int, int, int], num_labels: int) -> LatentFlow:
    """The flow of a configuration for first-layer latents of `shape` (C, h, w)."""
    image_size, channels = config.data.image_size, config.data.channels
    # Half the VAE's width: what is known matters less often than what is not, and this net runs at every update.
    condition_width = max(NORM_GROUPS, config.model.width // 2)
    levels = pyramid(image_size, condition_width, _stride_of(image_size, shape))
    encoder = ConditionEncoder(Encoder(channels + 2, levels, blocks=1), (shape[1], shape[2]))
    flow = config.model.flow
    velocity = VelocityNet(shape, num_labels, width=flow.width, blocks=flow.blocks)
    refiner = Refiner(channels, image_size, width=flow.refiner_width)
    return LatentFlow(
        shape, encoder, velocity, refiner, levels[-1].width, num_labels=num_labels, num_clusters=flow.clusters,
        sees_patches=config.data.patches not in (0, "auto"),
    )  # fmt: skip


def _stride_of(image_size: tuple[int, int], shape: tuple[int, int, int]) -> int:
    """Down-sampling to the latent grid; a vector is read from a grid of at most eight positions a side."""
    stride = 2
    while image_size[0] // stride > max(shape[1], 8 if shape[1] == 1 else 0):
        stride *= 2
    return stride
