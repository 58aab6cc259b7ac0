"""What is known of an image before it is sampled, filled or denoised: the condition of the latent flow."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

SIGMA_UNIT = 127.5
"""Noise levels are given on the 0-255 scale; images lie in [-1, 1]."""


@dataclass(frozen=True)
class Condition:
    """What is known of each image: pixels where observed, how noisy they are, and a label."""

    pixels: Tensor
    """[B, C, H, W] in [-1, 1], zero where unknown, noise already added."""
    observed: Tensor
    """[B, 1, H, W], 1 = known."""
    noise_sigma: Tensor
    """[B] standard deviation of the noise on the known pixels, on the 0-255 scale."""
    label: Tensor
    """[B] class number; -1 = none."""
    zoom: Tensor
    """[B] binary logarithm of how much closer than the whole picture the image is; 0 = the whole picture."""
    start: Tensor | None = None
    """[B, C + 1, rows, columns] what a sample starts from, see `ClusteredLatents`; None = nothing."""

    @staticmethod
    def of(x: Tensor, observed: Tensor, noise_sigma: Tensor, label: Tensor, noise: Tensor | None = None) -> "Condition":
        """The condition in which x [B, C, H, W] is known where `observed` is 1.

        noise: standard normal, in the shape of x, added at the strength of `noise_sigma`; the sum is cut to [-1, 1],
        as it would be in a file. None = x already holds its noise.
        """
        if noise is not None:
            x = (x + noise * (noise_sigma / SIGMA_UNIT)[:, None, None, None]).clamp(-1, 1)
        return Condition(x * observed, observed, noise_sigma, label, torch.zeros_like(noise_sigma))

    @staticmethod
    def nothing(batch: int, channels: int, size: tuple[int, int], device: torch.device) -> "Condition":
        """The condition in which nothing is known: that of the prior."""
        pixels = torch.zeros(batch, channels, *size, device=device)
        no_label = torch.full((batch,), -1, device=device)
        return Condition.of(pixels, torch.zeros_like(pixels[:, :1]), torch.zeros(batch, device=device), no_label)

    def with_label(self, label: Tensor) -> "Condition":
        return replace(self, label=label)

    def with_start(self, start: Tensor | None) -> "Condition":
        return replace(self, start=start)

    def with_zoom(self, zoom: Tensor) -> "Condition":
        return replace(self, zoom=zoom)

    def rows(self, chosen: Tensor) -> "Condition":
        """The conditions of some of the images, by their numbers."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: part[chosen] for name, part in parts.items() if part is not None})

    def as_image(self) -> Tensor:
        """[B, C + 2, H, W]: pixels, where they are known, and the noise level there."""
        level = self.observed * (self.noise_sigma / SIGMA_UNIT)[:, None, None, None]
        return torch.cat([self.pixels, self.observed, level], dim=1)
