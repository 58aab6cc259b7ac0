"""The adversarial term, off by default: a discriminator that learns to tell the VAE's pictures from real ones."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_cli.config import ObjectiveConfig
from vae_cli.randomness import ADVERSARY, image_generator
from vae_cli.runtime import Runtime, mean_over_ranks
from vae_cli.training.optimizer_state import restore

WIDTH = 32
RATE_SHARE = 0.1  # the discriminator's learning rate as a share of the VAE's: 2e-4 at the default (Isola et al. 2017)
MAX_BALANCE = 1e4


class PatchDiscriminator(nn.Module):
    """Image [B, C, H, W] -> a verdict on each patch of 26 pixels a side, [B, 1, H / 4, W / 4]; high = real.

    Isola et al. 2017, sec. 3.2.2, with group instead of batch normalisation, so that images do not mix.
    """

    def __init__(self, channels: int, width: int = WIDTH) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.GroupNorm(8, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1), nn.GroupNorm(8, 4 * width), nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        verdict: Tensor = self.layers(x)
        return verdict.float()


def hinge_loss(real: Tensor, rebuilt: Tensor) -> Tensor:
    """What the discriminator minimises, from its verdicts on real and on rebuilt pictures (Lim & Ye 2017)."""
    return F.relu(1 - real).mean() + F.relu(1 + rebuilt).mean()


class Adversary:
    """Discriminator, its optimiser and its share in the VAE's loss; same weights on every rank."""

    def __init__(self, channels: int, objective: ObjectiveConfig, *, seed: int, runtime: Runtime) -> None:
        self.weight, self.start, self.runtime = objective.adversarial, objective.adversarial_start, runtime
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(image_generator(seed, ADVERSARY).initial_seed())
            self.network = runtime.place(PatchDiscriminator(channels)).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), betas=(0.5, 0.9))
        self.last_loss: float | None = None
        self._pair: tuple[Tensor, Tensor] | None = None

    def is_active(self, spent: float) -> bool:
        """Whether it takes part when this share of the phase's plan is used."""
        return spent >= self.start

    def term(self, x: Tensor, rebuilt: Tensor, reconstruction_loss: Tensor, last_weight: Tensor) -> Tensor:
        """The weighted generator loss, a scalar; x and its rebuilt version [B, C, H, W] are kept for `learn`.

        It is scaled so that at the decoder's last layer its gradient is `weight` times as long as that of
        `reconstruction_loss` (Esser et al. 2021, eq. 7), over the images of all ranks.
        """
        with self.runtime.autocast():
            verdict = self.network(rebuilt)
        loss = -verdict.mean()
        [wanted] = torch.autograd.grad(reconstruction_loss, last_weight, retain_graph=True)
        [found] = torch.autograd.grad(loss, last_weight, retain_graph=True)
        balance = (mean_over_ranks(wanted).norm() / (mean_over_ranks(found).norm() + 1e-6)).clamp(max=MAX_BALANCE)
        self._pair = x, rebuilt.detach()
        return self.weight * balance * loss

    def learn(self, rate: float) -> None:
        """One update on the pictures of the last `term`, if any, at RATE_SHARE of the VAE's learning rate.

        A gradient that is not finite is passed over, as it would spoil the weights of every later checkpoint.
        """
        if self._pair is None:
            return
        (x, rebuilt), self._pair = self._pair, None
        self.network.requires_grad_(True)
        with self.runtime.autocast():
            verdicts = self.network(torch.cat([x, rebuilt]))
        loss = hinge_loss(*verdicts.chunk(2))
        gradients = [mean_over_ranks(each) for each in torch.autograd.grad(loss, list(self.network.parameters()))]
        self.network.requires_grad_(False)
        if all(bool(gradient.isfinite().all()) for gradient in gradients):
            for parameter, gradient in zip(self.network.parameters(), gradients, strict=True):
                parameter.grad = gradient
            for group in self.optimizer.param_groups:
                group["lr"] = RATE_SHARE * rate
            self.optimizer.step()
        self.last_loss = loss.item()

    def state(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.network.load_state_dict(state["network"])
        restore(self.optimizer, state["optimizer"])
