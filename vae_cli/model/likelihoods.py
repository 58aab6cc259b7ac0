"""What the decoder's output says about pixels: log-probability, mean and samples, for x in [-1, 1].

Every likelihood is a module with `num_params` (channels the decoder must give), `log_prob -> [B, H, W]` nats (channels
summed, so that callers can mask pixels), `mean` and `sample` ([B, C, H, W], x in [-1, 1]). The discrete ones sum to one
over the 256 grey levels (two for Bernoulli), the Gaussian integrates to one over the reals.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HALF_BIN = 1 / 255
"""Half the distance of two grey levels in [-1, 1]."""


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Numbers in (0, 1), drawn on the CPU so that every device sees the same ones."""
    return torch.rand(like.shape, generator=generator).clamp(1e-6, 1 - 1e-6).to(like.device)


class Bernoulli(nn.Module):
    """Binary pixels, x in {-1, 1}; one logit a channel."""

    is_density = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_params = channels

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """[B, H, W] nats."""
        return -F.binary_cross_entropy_with_logits(params.float(), (x.float() + 1) / 2, reduction="none").sum(1)

    def mean(self, params: Tensor) -> Tensor:
        return 2 * torch.sigmoid(params.float()) - 1

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return 2 * (_uniform(params, generator) < torch.sigmoid(params.float())).float() - 1


class Gaussian(nn.Module):
    """A mean a channel, and one learned scale a channel shared by all pixels (Rybkin et al. 2021)."""

    is_density = True
    GAIN = 10.0
    """How much faster the scale moves than a weight does under the same learning rate."""
    FIRST_SCALE = 0.15
    """About where it ends. From a wider scale, pixels count so little at first that the latents collapse to the prior
    and stay there."""
    MIN_SCALE = 1 / 255
    """Half a grey level: a narrower density of 8-bit values only rewards memorising them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_params = channels
        self.raw_log_scale = nn.Parameter(torch.full((1, channels, 1, 1), math.log(self.FIRST_SCALE) / self.GAIN))

    @property
    def scale(self) -> Tensor:
        """[1, C, 1, 1] standard deviation, in units of x."""
        return self.MIN_SCALE + (self.GAIN * self.raw_log_scale.float()).exp()

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """[B, H, W] nats of a density over the reals."""
        error = (x.float() - params.float()) / self.scale
        return (-0.5 * error.square() - self.scale.log() - 0.5 * math.log(2 * math.pi)).sum(1)

    def mean(self, params: Tensor) -> Tensor:
        return params.float()

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(params.shape, generator=generator).to(params.device)
        return params.float() + self.scale * noise


def logistic_bin_log_prob(mean: Tensor, log_scale: Tensor, x: Tensor) -> Tensor:
    """log P of 8-bit values under a logistic distribution cut into 256 bins, the outer two reaching to infinity.

    All of one shape, x in [-1, 1]; nats. With a and b the bin's upper and lower edge in units of the scale,
    sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), of which each factor's log is stable.
    """
    upper = (x - mean + HALF_BIN) * (-log_scale).exp()
    lower = (x - mean - HALF_BIN) * (-log_scale).exp()
    below_upper, above_lower = -F.softplus(-upper), -F.softplus(lower)
    inner = below_upper + above_lower + torch.log(-torch.expm1(lower - upper) + 1e-12)
    return torch.where(x < -1 + HALF_BIN, below_upper, torch.where(x > 1 - HALF_BIN, above_lower, inner))


def _logistic_draw(mean: Tensor, log_scale: Tensor, generator: torch.Generator | None) -> Tensor:
    u = _uniform(mean, generator)
    return mean + log_scale.exp() * (u.log() - (-u).log1p())


class DiscretizedLogistic(nn.Module):
    """8-bit pixels; mean and log-scale for every pixel and channel (Kingma et al. 2016, eq. 17)."""

    is_density = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_params = 2 * channels

    @staticmethod
    def _split(params: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = params.float().chunk(2, dim=1)
        return mean, (log_scale - 2).clamp(-7, 3)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """[B, H, W] nats."""
        return logistic_bin_log_prob(*self._split(params), x.float()).sum(1)

    def mean(self, params: Tensor) -> Tensor:
        return self._split(params)[0]

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return _logistic_draw(*self._split(params), generator).clamp(-1, 1)


class LogisticMixture(nn.Module):
    """8-bit pixels; a mixture of discretised logistics, channels in sequence (Salimans et al. 2017, eqs. 2 and 3).

    Each component's mean of channel c is shifted by coefficients times the channels before it.
    """

    is_density = False

    def __init__(self, channels: int, num_components: int = 10) -> None:
        super().__init__()
        self.channels, self.num_components = channels, num_components
        self.num_links = channels * (channels - 1) // 2
        self.num_params = num_components * (1 + 2 * channels + self.num_links)

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """log weights [B, K, H, W]; means and log-scales [B, K, C, H, W]; links [B, K, links, H, W]."""
        shaped = params.float().unflatten(1, (self.num_components, -1))
        logits, means, log_scales, links = shaped.split([1, self.channels, self.channels, self.num_links], dim=2)
        return logits.squeeze(2).log_softmax(1), means, (log_scales - 2).clamp(-7, 3), links.tanh()

    def _linked_mean(self, means: Tensor, links: Tensor, before: Tensor, channel: int) -> Tensor:
        """[B, K, H, W] means of one channel, given values [B, K or 1, >= channel, H, W] of the channels before it."""
        first = channel * (channel - 1) // 2
        return means[:, :, channel] + (links[:, :, first : first + channel] * before[:, :, :channel]).sum(2)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """[B, H, W] nats."""
        log_weights, means, log_scales, links = self._split(params)
        target = x.float()[:, None]  # [B, 1, C, H, W]
        shifted = [self._linked_mean(means, links, target, channel) for channel in range(self.channels)]
        bins = logistic_bin_log_prob(torch.stack(shifted, 2), log_scales, target.expand_as(means))
        return torch.logsumexp(log_weights + bins.sum(2), dim=1)

    def mean(self, params: Tensor) -> Tensor:
        log_weights, means, _, links = self._split(params)
        linked = self._in_sequence(means, links, lambda mean, channel: mean)
        return (log_weights.exp()[:, :, None] * linked).sum(1)

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        log_weights, *others = self._split(params)
        gumbel = -(-_uniform(log_weights, generator).log()).log()
        chosen = (log_weights + gumbel).argmax(1)[:, None, None]  # [B, 1, 1, H, W]
        # Of each pixel the component chosen for it, [B, 1, C or links, H, W]:
        means, log_scales, links = (x.gather(1, chosen.expand(-1, 1, x.shape[2], -1, -1)) for x in others)
        return self._in_sequence(
            means, links, lambda mean, channel: _logistic_draw(mean, log_scales[:, :, channel], generator)
        ).squeeze(1)

    def _in_sequence(self, means: Tensor, links: Tensor, value_of: Callable[[Tensor, int], Tensor]) -> Tensor:
        """[B, K, C, H, W] values of the channels, each found from its mean, which the channels before it shift."""
        values = means[:, :, :0]
        for channel in range(self.channels):
            value = value_of(self._linked_mean(means, links, values, channel), channel)
            values = torch.cat([values, value.clamp(-1, 1)[:, :, None]], dim=2)
        return values


Likelihood = Bernoulli | Gaussian | DiscretizedLogistic | LogisticMixture
