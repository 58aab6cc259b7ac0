"""How usual images are to a model: their likelihood, their reconstruction, and how near known latents lie to theirs.

What tells odd images best is the latents. With each class of Fashion-MNIST in turn taken as odd, the area under the ROC
curve is on average 0.76 for the distance below, 0.70 for the residual of a PCA of the pixels, 0.74 for the nearest
pixels, and 0.53 for the bound on the likelihood and for the reconstruction's error, which rank what is complex above
what is odd; subtracting the length of a PNG (Serrà et al. 2020) raises them to 0.54 (`tests/benchmarks/anomalies.py`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.images.pixels import to_pixels
from vae_cli.metrics.features import nearest
from vae_cli.metrics.likelihood import binarized, bits_per_dim
from vae_cli.metrics.pictures import psnr_db
from vae_cli.model.vae import draw_noise
from vae_cli.randomness import image_generator, place_of
from vae_cli.tasks.encode import CHUNK, inputs_of
from vae_cli.windows.chunks import in_chunks

SHRINKAGE = 0.3  # share of the mean variance that is added to every direction's: few images leave many without any
MAX_KNOWN, MAX_KNOWN_VALUES = 10_000, 1 << 25
NUM_FITTED = 1000  # known images that tell the spread, and as many others what distance is usual


@dataclass(frozen=True)
class Score:
    """What a model says of one image."""

    elbo_nats: float
    psnr_db: float
    means: np.ndarray
    """float32 [D]: the posterior's means of all layers, one after another."""
    rebuilt: np.ndarray
    """uint8 [H, W, C]"""
    surprise: np.ndarray
    """float32 [H, W]: -log p(x | z) of each pixel at the posterior's mean, nats."""


def score(model: Model, pictures: Iterable[tuple[str, np.ndarray]], *, seed: int = 0) -> Iterator[Score]:
    """For pairs of an id and an image uint8 [H, W, C] at the model's size; noise depends on (seed, id)."""

    @torch.inference_mode()
    def scored(chunk: Sequence[tuple[str, np.ndarray]]) -> list[Score]:
        ids, images = zip(*chunk, strict=True)
        vae, runtime, x = model.vae, model.runtime, inputs_of(model, images)
        generators = [image_generator(seed, place_of(name)) for name in ids]
        noise = zip(*(draw_noise(vae.latent_shapes, 1, generator) for generator in generators), strict=True)
        if model.config.data.binarize == "dynamic":
            uniform = torch.stack([torch.rand(x.shape[1:], generator=generator) for generator in generators])
            x = binarized(x, runtime.move(uniform))
        with runtime.autocast():
            terms = vae(x, [runtime.move(torch.cat(layer)) for layer in noise])
            latents = vae.encode(x)
            params = vae.decode(latents)
        surprise = -vae.likelihood.log_prob(params, x)
        rebuilt = to_pixels(vae.likelihood.mean(params).clamp(-1, 1))
        # Pictures are compared as they would be written, in whole grey levels.
        a, b = (torch.from_numpy(each).permute(0, 3, 1, 2) / 255 for each in (to_pixels(x), rebuilt))
        means = torch.cat([layer.float().flatten(1) for layer in latents.noise], dim=1)
        return list(map(Score, terms.elbo.tolist(), psnr_db(a, b).tolist(), means.cpu().numpy(), rebuilt,
                        surprise.cpu().numpy()))  # fmt: skip

    return in_chunks(scored, pictures, CHUNK)


@dataclass(frozen=True)
class KnownLatents:
    """Latents that count as usual, in units of their own spread along each direction (Mahalanobis distance)."""

    mean: Tensor
    directions: Tensor  # [K, D] orthonormal; the others have hardly any spread
    gains: Tensor  # [K + 1] what a direction is multiplied with; the last one is for all others
    rows: Tensor  # [N, D], scaled
    usual: np.ndarray
    """Sorted: the distances of known images to the nearest other one."""

    @staticmethod
    def of(means: np.ndarray) -> "KnownLatents":
        """From float32 [N, D] of at least two images, of which no more than needed are used, evenly.

        Every other row says what the spread is, and the ones between how far apart images usually are: those that the
        spread is taken from seem nearer to one another than new ones can be.
        """
        rows = torch.from_numpy(thinned(means, min(MAX_KNOWN, max(2, MAX_KNOWN_VALUES // means.shape[1])))).double()
        mean, fitted = rows.mean(0), thinned(rows[::2], NUM_FITTED)
        _, lengths, directions = torch.linalg.svd(fitted - mean, full_matrices=False)
        variances = lengths.square() / len(fitted)
        floor = SHRINKAGE * variances.sum() / means.shape[1] + torch.finfo(torch.float32).tiny
        known = KnownLatents(mean, directions, torch.cat([variances + floor, floor[None]]).rsqrt(), rows, np.empty(0))
        scaled = known.scaled(rows)
        usual = nearest(thinned(scaled[1::2], NUM_FITTED), scaled, 2)[0][:, 1]  # the nearest is the image itself
        return replace(known, rows=scaled, usual=usual.sort().values.numpy())

    def scaled(self, rows: Tensor) -> Tensor:
        """[N, D] in units of the known latents' spread."""
        centred, others = rows.double() - self.mean, self.gains[-1]
        return others * centred + (centred @ self.directions.T * (self.gains[:-1] - others)) @ self.directions

    def compare(self, means: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of latents float32 [N, D], each [N]: the distance to the nearest known ones, their number, and the share of
        known images that lie nearer to another one than that."""
        distances, numbers = (found[:, 0].numpy() for found in nearest(self.scaled(torch.from_numpy(means)), self.rows))
        return distances, numbers, np.searchsorted(self.usual, distances) / len(self.usual)


def thinned(rows: Any, most: int) -> Any:
    """At most so many rows of an array or tensor, spread evenly."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def figures(model: Model, scores: Sequence[Score], known: KnownLatents | None) -> list[dict[str, Any]]:
    """The figures of each image under their names in files and JSON; those of latents are None without known ones.

    `nearest` is the number of a known image.
    """
    is_density, num_dims = model.vae.likelihood.is_density, model.channels * model.image_size[0] * model.image_size[1]
    compared: Iterable[tuple[float | None, ...]] = ((None, None, None) for _ in scores)
    if known is not None and scores:
        distances, numbers, shares = known.compare(np.stack([each.means for each in scores]))
        compared = zip(distances.tolist(), shares.tolist(), numbers.tolist(), strict=True)
    return [
        {"elbo_nats": each.elbo_nats, "bits_per_dim": None if is_density else bits_per_dim(-each.elbo_nats, num_dims),
         "psnr_db": each.psnr_db, "latent_distance": distance, "stranger_than": share, "nearest": number}
        for each, (distance, share, number) in zip(scores, compared, strict=True)
    ]  # fmt: skip


def strangest_first(of_images: Sequence[dict[str, Any]]) -> list[int]:
    """Numbers of images by their latents' distance, where that is known, else by the bound on their likelihood."""

    def strangeness(number: int) -> float:
        facts = of_images[number]
        return float(-facts["elbo_nats"] if facts["latent_distance"] is None else facts["latent_distance"])

    return sorted(range(len(of_images)), key=strangeness, reverse=True)
