"""The latent flow: one network that is the prior, the inpainter and the denoiser of a trained VAE.

A rectified flow (Liu et al. 2023; Lipman et al. 2023) on the first layer's latents, standardised per channel. Its
velocity v(z_t, t | c) is conditioned on what is known of the image and on a label; with nothing observed and no label
it is the learned prior.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_cli.config import CompleteConfig
from vae_cli.model.blending import MAX_DEPTH, NUM_KINDS
from vae_cli.model.clusters import ClusteredLatents
from vae_cli.model.condition import Condition
from vae_cli.model.ladder import Encoder, pyramid
from vae_cli.model.nets import conv, zero_init
from vae_cli.model.refiner import Refiner
from vae_cli.model.transformer import Transformer
from vae_cli.model.vae import coarsest_stride
from vae_cli.model.velocity import ConditionEncoder, VelocityNet, even_times, integrate

LEAST_ERROR = 1e-3
"""Mean square error of a picture in [-1, 1] below which there is nothing left to refine."""
REFINEMENT_TIME = 0.6
"""Flow time that the refiner is given for fills: later, it relies more on the fill, earlier, on the known pixels."""
GUIDANCE = 2.0
"""How strictly samples follow their label, and those of photographs their start; see `LatentFlow.guidance_of`."""
FILL_TEMPERATURE = 0.8
"""Standard deviation of the noise that fills start from: below 1 they are likelier and differ less."""
MIXED_TEMPERATURE = 0.2
"""The same of photographs' fills where they are mixed with a smooth continuation; see `mixed_temperature`."""
FILL_STEPS = 4
"""Solver steps of a fill; fewer than a sample's, as the known pixels decide so much."""


class LatentFlow(ClusteredLatents):
    """Velocity net, the encoder of its condition, and the refiner of fills. t = 0 is noise, t = 1 data.

    A sample starts with the choice of a cluster: the parts of a mixture are learned in far fewer updates when the
    network is told which part it is in (Bao et al. 2022; Hu et al. 2023). It is given the cluster's centroid, not its
    number, so that what it learns of one cluster holds for similar ones. Samples of photographs start from the noised
    layout of a training image instead, as an image's representation is easier to draw from than nothing (Li et al.
    2024, arXiv 2312.03701); `clusters` tells which.
    """

    noise_scale: Tensor
    """[] standard deviation of the noise that samples start from."""
    fill_weight: Tensor
    """[NUM_KINDS, MAX_DEPTH] how far fills are trusted against a smooth continuation; 0 before `calibration`."""
    patch_fill_weight: Tensor
    """The same for close-ups; only in flows that have learned from some."""
    most_zoom: Tensor
    """[] of the close-ups that the flow has learned from; closer ones count as this close."""

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
        super().__init__(shape, num_labels=num_labels, num_clusters=num_clusters)
        self.sees_patches = sees_patches
        self.condition_encoder, self.velocity_net, self.refiner = condition, velocity, refiner
        self.condition_out = zero_init(nn.Conv2d(condition_width, velocity.width, 1))
        self.centroid_in = conv(shape[0] + 1, velocity.width, velocity.kernel)
        self.register_buffer("noise_scale", torch.ones(()))
        self.register_buffer("fill_weight", torch.zeros(NUM_KINDS, MAX_DEPTH))
        if sees_patches:
            self.zoom_in = zero_init(nn.Linear(1, velocity.width))
            self.register_buffer("patch_fill_weight", torch.zeros(NUM_KINDS, MAX_DEPTH))
            self.register_buffer("most_zoom", torch.zeros(()))

    def condition(self, known: Condition) -> Tensor:
        """[B, width, h, w] features of what is known; computed once for all the solver's steps."""
        features: Tensor = self.condition_out(F.silu(self.condition_encoder(known.as_image())))
        start = features.new_zeros(len(features), self.shape[0] + 1, 1, 1) if known.start is None else known.start
        features = features + self.centroid_in(F.interpolate(start, size=features.shape[2:], mode="bilinear"))
        if self.sees_patches:
            features = features + self.zoom_in(known.zoom.minimum(self.most_zoom)[:, None])[:, :, None, None]
        return features

    def velocity(self, u: Tensor, t: Tensor, condition: Tensor, label: Tensor) -> Tensor:
        """Velocity of standardised latents u [B, C, h, w] at times t [B]: a closed form and the network's correction.

        The closed form is the velocity if the data were N(0, I): of u_t = (1 - t) noise + t data, then
        E[data - noise | u_t] = (2t - 1) / (t² + (1 - t)²) · u_t. condition: from `condition`; label [B], -1 = none.
        """
        at = t[:, None, None, None]
        gaussian = (2 * at - 1) / (at.square() + (1 - at).square()) * u
        return gaussian + self.velocity_net(u, t, condition, label).float()

    # ---- what it learns

    def forward(
        self,
        z: Tensor,
        noise: Tensor,
        t: Tensor,
        known: Condition,
        x: Tensor,
        rows: Tensor,
        decode: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """[B] flow-matching loss (Liu et al. 2023, eq. 1) and [R] refiner loss of the images with numbers `rows` [R].

        z [B, C, h, w]: latents of the VAE, noise: standard normal in their shape, t [B] in (0, 1), x [B, C, H, W]: the
        whole images, decode: latents -> pictures. The flow's loss is the velocity's mean square error per latent, the
        refiner's is the mean square error after refinement over that before it, where a pixel is unknown or noisy.
        """
        u, at = self.standardise(z), t[:, None, None, None]
        u_t = (1 - at) * noise + at * u
        velocity = self.velocity(u_t, t, self.condition(known), known.label)
        flow_loss = (velocity - (u - noise)).square().flatten(1).mean(1)
        guess = self.restore(u_t + (1 - at) * velocity.detach())[rows]  # of z: the later the time, the better
        with torch.no_grad():
            decoded = decode(guess)
        known, x, t = known.rows(rows), x[rows], t[rows]
        is_clean = (known.noise_sigma == 0).float()[:, None, None, None]
        weight = (1 - known.observed * is_clean).expand_as(x)  # what is unknown or noisy

        def error(picture: Tensor) -> Tensor:
            return ((picture - x).square() * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1)

        # A ratio, because otherwise the few images of which little is known would dominate the mean.
        return flow_loss, error(self.refiner(decoded, known.as_image(), t)) / (error(decoded) + LEAST_ERROR)

    # ---- what it is used for

    def solve(self, noise: Tensor, known: Condition, *, steps: int, guidance: float = 1.0) -> Tensor:
        """Latents [B, C, h, w] of the VAE that `noise` flows to in `steps` steps of one evaluation; see `integrate`."""
        return self.restore(integrate(self.velocity_under(known, guidance), noise.float(), even_times(0, 1, steps)))

    def velocity_under(self, known: Condition, guidance: float = 1.0) -> Callable[[Tensor, float], Tensor]:
        """The velocity of standardised latents [B, C, h, w] at one time, given what is known.

        guidance g ≠ 1 makes it v(less) + g · (v(known) - v(less)) (Ho & Salimans 2022), where less is known in that the
        label is not and, if the flow `follows_starts`, the start is not; else both have the same start.
        """
        guided = self._velocity_of(self.condition(known), known.label)
        if guidance == 1.0:
            return guided
        unknown = torch.full_like(known.label, -1)
        less = known.with_label(unknown).with_start(None if self.follows_starts else known.start)
        unguided = self.velocity_under(less)
        return lambda u, t: torch.lerp(unguided(u, t), guided(u, t), guidance)

    @property
    def follows_starts(self) -> bool:
        """Whether guidance also leads to what an image starts from.

        Flows of photographs are far from learned, and draw what is typical of a start sooner than what is likely.
        """
        return isinstance(self.velocity_net.body, Transformer)

    def guidance_of(self, *, is_labelled: bool) -> float:
        """The guidance that samples look best with, as the benchmarks labels.py and photo_training.py have measured."""
        return GUIDANCE if is_labelled or self.follows_starts else 1.0

    def carry(self, u: Tensor, condition: Tensor, times: Sequence[float]) -> Tensor:
        """Standardised latents u [B, C, h, w] carried through the times, forwards or backwards, without a label.

        condition: [B, width, h, w], from `condition`. From 1 to 0 this finds (nearly) the noise that flows to u.
        """
        unlabelled = torch.full((len(u),), -1, device=u.device)
        return integrate(self._velocity_of(condition, unlabelled), u.float(), times)

    def _velocity_of(self, condition: Tensor, label: Tensor) -> Callable[[Tensor, float], Tensor]:
        """`velocity` at one time for all rows."""
        return lambda u, t: self.velocity(u, torch.full((len(u),), t, device=u.device), condition, label)

    def refine(self, decoded: Tensor, known: Condition, time: float = REFINEMENT_TIME) -> Tensor:
        """[B, C, H, W] in [-1, 1]: pictures decoded from this flow's latents, corrected by what is known.

        time: how finished the latents count as, 0 to 1; the earlier, the more what is known is relied on.
        """
        t = torch.full((len(decoded),), time, device=decoded.device)
        return self.refiner(decoded, known.as_image(), t).clamp(-1, 1)

    @property
    def mixed_temperature(self) -> float:
        """The temperature of fills that are mixed with a smooth continuation.

        A flow of photographs is not learned to its end: a draw is then farther from the truth than the mean of all, to
        which one from little noise comes close.
        """
        return MIXED_TEMPERATURE if self.follows_layouts else FILL_TEMPERATURE

    @property
    def fill_share(self) -> float:
        """The model's part in fills of whole images, 0 to 1, on average over depths; the rest is continued smoothly."""
        return self.fill_weight.mean().item()

    def trust(self, zoom: Tensor) -> Tensor:
        """[B, NUM_KINDS, MAX_DEPTH] how far fills at these zooms [B] are trusted; see `blending`."""
        whole = self.fill_weight.expand(len(zoom), -1, -1)
        if not self.sees_patches:
            return whole
        return torch.where((zoom > 0)[:, None, None].to(whole.device), self.patch_fill_weight, whole)


def build_flow(config: CompleteConfig, shape: tuple[int, int, int], num_labels: int) -> LatentFlow:
    """The flow of a configuration for first-layer latents of `shape` (C, h, w)."""
    channels, flow, is_vector = config.data.channels, config.model.flow, shape[1] * shape[2] == 1
    stride = flow.patch * coarsest_stride(config.model.latents, config.data.image_size)
    # Half the VAE's width: the condition matters less often than the latents, and this net runs at every update.
    widths = pyramid(config.model.width // 2, stride)
    return LatentFlow(
        shape, ConditionEncoder(Encoder(channels + 2, widths, blocks=1), to_vector=is_vector),
        VelocityNet(shape, num_labels, net=flow.net, width=flow.width, blocks=flow.blocks, patch=flow.patch),
        Refiner(channels, width=flow.refiner_width), widths[-1], num_labels=num_labels, num_clusters=flow.clusters,
        sees_patches=config.data.patches not in (0, "auto"),
    )  # fmt: skip
