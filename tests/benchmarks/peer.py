"""pythae 0.1.2 as the benchmarks use it: its own networks, its own trainer stopped by the clock, its own samplers.

Settings are those of the library's own MNIST example (examples/scripts/configs/mnist: batch 100, Adam 1e-3, latents of
16); the library's bare defaults, 64 and 1e-4, learn more slowly. The trainer counts epochs; a callback ends it when the
time is up, and the weights of that moment are taken: its loss is still falling then.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset, DatasetOutput
from pythae.models import VAE, VAEConfig
from pythae.models.nn.benchmarks.celeba import Decoder_Conv_AE_CELEBA, Encoder_Conv_VAE_CELEBA
from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST
from pythae.samplers import GaussianMixtureSampler, GaussianMixtureSamplerConfig, MAFSampler, NormalSampler
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor

BATCH_SIZE, LEARNING_RATE = 100, 1e-3
EVALUATION_BATCH_SIZE = 128
"""The trainer averages over batches, so this has to divide the number of images that it evaluates."""
MNIST_LATENTS, CELEBA_LATENTS = 16, 64
MIXTURE_COMPONENTS = 10
UNBOUNDED_EPOCHS = 100_000


class OutOfTimeError(Exception):
    """Ends the trainer from inside; it has no other way to stop before its last epoch."""


@dataclass
class Clock(TrainingCallback):  # type: ignore[misc]
    """Stops training after so many seconds or updates, and writes down when what happened."""

    max_seconds: float = float("inf")
    max_updates: float = float("inf")
    started: float = 0.0
    update_seconds: list[float] = field(default_factory=list)
    """Since the start, at the end of each update."""
    validations: list[dict[str, float]] = field(default_factory=list)
    """Epoch by epoch: seconds since the start and the evaluation loss."""

    def on_train_begin(self, training_config: Any, **kwargs: Any) -> None:
        self.started = time.perf_counter()

    def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:
        self.update_seconds.append(time.perf_counter() - self.started)
        if self.update_seconds[-1] >= self.max_seconds or len(self.update_seconds) >= self.max_updates:
            raise OutOfTimeError

    def on_log(self, training_config: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if "eval_epoch_loss" in logs:
            seconds = time.perf_counter() - self.started
            self.validations.append({"seconds": seconds, "loss": float(logs["eval_epoch_loss"])})

    @property
    def images_per_second(self) -> float:
        """Over the second half of the updates: the first ones compile kernels."""
        middle, last = len(self.update_seconds) // 2 - 1, len(self.update_seconds) - 1
        return BATCH_SIZE * (last - middle) / (self.update_seconds[last] - self.update_seconds[middle])


class DrawnBinary(BaseDataset):  # type: ignore[misc]
    """Grey images drawn black or white anew at every visit, as `data.binarize: dynamic` does."""

    def __getitem__(self, index: int) -> DatasetOutput:
        grey = self.data[index]
        return DatasetOutput(data=(torch.rand_like(grey) < grey).float())


def mnist_vae(reconstruction_loss: str) -> VAE:
    """The library's convolutional VAE for 28×28 grey images, `mse` or `bce`."""
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=MNIST_LATENTS, reconstruction_loss=reconstruction_loss)
    return VAE(config, encoder=Encoder_Conv_VAE_MNIST(config), decoder=Decoder_Conv_AE_MNIST(config))


def celeba_vae() -> VAE:
    """The library's convolutional VAE for 64×64 colour images."""
    config = VAEConfig(input_dim=(3, 64, 64), latent_dim=CELEBA_LATENTS, reconstruction_loss="mse")
    return VAE(config, encoder=Encoder_Conv_VAE_CELEBA(config), decoder=Decoder_Conv_AE_CELEBA(config))


def as_input(pixels: np.ndarray) -> Tensor:
    """uint8 [N, H, W, C] -> float32 [N, C, H, W] in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255


def as_pixels(images: Tensor) -> np.ndarray:
    """Inverse of as_input, values rounded to grey levels."""
    levels = (images.detach().cpu().float() * 255).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().numpy()


def as_dataset(images: Tensor, *, draw_binary: bool = False) -> BaseDataset:
    """With labels that nothing reads: the library wants some."""
    kind = DrawnBinary if draw_binary else BaseDataset
    return kind(images, torch.zeros(len(images)))


def settings(folder: Path, *, device: str, seed: int, epochs: int = UNBOUNDED_EPOCHS) -> BaseTrainerConfig:
    """The trainer's configuration; what the library writes goes under `folder`."""
    return BaseTrainerConfig(
        output_dir=str(folder), num_epochs=epochs, per_device_train_batch_size=BATCH_SIZE,
        per_device_eval_batch_size=EVALUATION_BATCH_SIZE, learning_rate=LEARNING_RATE, seed=seed,
        no_cuda=device == "cpu",
    )  # fmt: skip


def train(
    model: VAE, learn_from: BaseDataset, config: BaseTrainerConfig, clock: Clock, validate_on: BaseDataset | None = None
) -> dict[str, Any]:
    """Train until the epochs are made or the clock ends it; `model` then holds the newest weights, in eval mode."""
    trainer = BaseTrainer(model=model, train_dataset=learn_from, eval_dataset=validate_on, training_config=config,
                          callbacks=[clock])  # fmt: skip
    with contextlib.suppress(OutOfTimeError):
        trainer.train()
    model.eval()
    return {
        "seconds": time.perf_counter() - clock.started,
        "updates": len(clock.update_seconds),
        "epochs": len(clock.update_seconds) / len(trainer.train_loader),
        "validations": clock.validations,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def trained(path: Path, model: VAE, make: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """`make` with the weights written to `path` after it."""

    def made() -> dict[str, Any]:
        facts = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), path)
        return facts

    return made


def load_weights(path: Path, model: VAE) -> VAE:
    """The model with the weights of `path`, in eval mode."""
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()


@torch.no_grad()
def reconstruct(model: VAE, pixels: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, C]: posterior means decoded."""
    device = next(model.parameters()).device
    return np.concatenate([as_pixels(model.predict(batch.to(device)).recon_x)
                           for batch in as_input(pixels).split(EVALUATION_BATCH_SIZE)])  # fmt: skip


def draw(model: VAE, sampler: str, num: int, learn_from: Tensor, config: BaseTrainerConfig) -> np.ndarray:
    """uint8 [num, H, W, C] from `normal`, `mixture` or `maf`; the latter two are first fitted to the latents."""
    torch.manual_seed(config.seed)
    np.random.seed(config.seed)  # scikit-learn's mixture takes NumPy's global generator
    match sampler:
        case "normal":
            drawer = NormalSampler(model)
        case "mixture":
            drawer = GaussianMixtureSampler(model, GaussianMixtureSamplerConfig(n_components=MIXTURE_COMPONENTS))
            drawer.fit(learn_from)
        case "maf":
            drawer = MAFSampler(model)
            drawer.fit(learn_from, training_config=config)
        case _:
            raise ValueError(f"no such sampler: {sampler}")
    with torch.no_grad():
        return as_pixels(drawer.sample(num_samples=num))
