"""The refiner corrects a picture decoded from latents by the pixels that are known.

A fill that is only decoded from latents can be no better than the VAE's reconstructions, and it does not quite meet the
pixels around it. The refiner starts as the identity, and training it leaves the VAE as it is.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_cli.model.nets import ResBlock, conv, upsample, zero_init


class Refiner(nn.Module):
    """Decoded picture + correction, from the picture, the condition and the flow's time.

    A two-level UNet. Pixels are regrouped into channels first (Shi et al. 2016), so that nothing runs at full
    resolution. The flow's time says how much of the decoded picture is a guess: at 1 it comes from finished latents, at
    0 from pure noise.
    """

    def __init__(self, channels: int, *, width: int) -> None:
        super().__init__()
        self.conv_in = conv(4 * (2 * channels + 2) + 1, width)
        self.down = ResBlock(width)
        self.shrink = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.low = nn.Sequential(ResBlock(2 * width), ResBlock(2 * width))
        self.grow = upsample(2 * width, width)
        self.up = ResBlock(width)
        self.conv_out = zero_init(conv(width, 4 * channels))

    def forward(self, decoded: Tensor, condition: Tensor, t: Tensor) -> Tensor:
        """Corrected [B, C, H, W] of decoded [B, C, H, W] in [-1, 1]; condition: from `Condition.as_image`, t [B]."""
        channels = decoded.shape[1]
        known, observed = condition[:, :channels], condition[:, channels : channels + 1]
        # The error on known pixels is an input of its own: convolutions cannot multiply by a mask themselves.
        error = known - observed * decoded
        inputs = F.pixel_unshuffle(torch.cat([decoded, error, condition[:, channels:]], dim=1), 2)
        level = t[:, None, None, None].expand(-1, 1, *inputs.shape[2:])
        h = self.down(self.conv_in(torch.cat([inputs, level], dim=1)))
        grown = self.grow(self.low(self.shrink(h)))[..., : h.shape[2], : h.shape[3]]  # an odd side is rounded up
        h = self.up(h + grown)
        return decoded + F.pixel_shuffle(self.conv_out(F.silu(h)), 2).float()
