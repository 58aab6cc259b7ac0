"""How usual images are to a model: their likelihood, their reconstruction, and how near known latents lie to theirs.

What tells odd images best is how far their latents lie from their neighbours as a multiple of what is usual there: a
set has places where images are all alike and others where no two are. With sandals, bags or coats left out of training,
or cardboard out of what is known as usual, the area under the ROC curve is 0.96, 0.96, 0.62 and 0.84 by this
strangeness, 0.89, 0.92, 0.51 and 0.48 by the residual of a PCA of the pixels, 0.85, 0.95, 0.60 and 0.72 by the plain
distance, and 0.78, 0.79, 0.58 and 0.41 by the bound on the likelihood, which ranks what is complex above what is odd.
How that was measured is told in `tests/benchmarks/anomalies.py`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
from vae_cli.tasks.encode import CHUNK, comparable, inputs_of
from vae_cli.windows.chunks import in_chunks

MAX_KNOWN, MAX_KNOWN_VALUES = 10_000, 1 << 23
NUM_NEIGHBOURS = 20
SAME_IMAGE = 0.01  # as a share of the distance to the second nearest: what is nearer is the same image
LEAST_SPACING = 0.1  # as a share of the usual one: among copies of one image any other would be infinitely strange


@dataclass(frozen=True)
class Score:
    """What a model says of one image."""

    elbo_nats: float
    psnr_db: float
    latents: np.ndarray
    """float32 [D]: as `encode.comparable` gives them."""
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
        rows = comparable([layer.float().cpu().numpy() for layer in latents.noise])
        return list(map(Score, terms.elbo.tolist(), psnr_db(a, b).tolist(), rows, rebuilt, surprise.cpu().numpy()))

    return in_chunks(scored, pictures, CHUNK)


@dataclass(frozen=True)
class KnownLatents:
    """Latents that count as usual, and how far apart they lie around each of them."""

    rows: Tensor  # [N, D]
    spacings: Tensor  # [N] of each to its neighbours
    usual: np.ndarray
    """Sorted: the strangeness of each among the others."""

    @staticmethod
    def of(latents: np.ndarray) -> "KnownLatents":
        """From float32 [N, D] of at least two images, of which no more than needed are used, evenly."""
        rows = torch.from_numpy(thinned(latents, min(MAX_KNOWN, max(2, MAX_KNOWN_VALUES // latents.shape[1]))))
        distances, numbers, _ = _neighbours(rows, rows)
        spacings = distances.clamp(min=LEAST_SPACING * distances.median().item() + torch.finfo(torch.float32).tiny)
        return KnownLatents(rows, spacings, (distances / spacings[numbers].mean(1)).sort().values.numpy())

    def compare(self, latents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of latents float32 [N, D], each [N]: their strangeness, the numbers of the nearest known ones, and the share
        of known ones that are less strange among the others.

        Strangeness is the distance to the neighbours as a multiple of what these have to their own, so about 1 for what
        is usual (after the local outlier factor, Breunig et al. 2000). Of latents that are known themselves it is the
        strangeness among the others.
        """
        distances, numbers, nearest_ones = _neighbours(torch.from_numpy(latents), self.rows)
        strangeness = (distances / self.spacings[numbers].mean(1)).numpy()
        return strangeness, nearest_ones.numpy(), np.searchsorted(self.usual, strangeness) / len(self.usual)


def _neighbours(rows: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean distance [N] of each row to its neighbours, the nearest known ones but itself; which these are, [N, K];
    and which one is the nearest of all, [N]."""
    num = min(NUM_NEIGHBOURS, len(known) - 1)
    distances, numbers = nearest(rows, known, num + 1)
    is_known = distances[:, :1] <= SAME_IMAGE * distances[:, 1:2]
    others = is_known + torch.arange(num)  # places in the order of distance
    return distances.gather(1, others).mean(1), numbers.gather(1, others), numbers[:, 0]


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
        strangeness, numbers, shares = known.compare(np.stack([each.latents for each in scores]))
        compared = zip(strangeness.tolist(), shares.tolist(), numbers.tolist(), strict=True)
    return [
        {"elbo_nats": each.elbo_nats, "bits_per_dim": None if is_density else bits_per_dim(-each.elbo_nats, num_dims),
         "psnr_db": each.psnr_db, "strangeness": strange, "stranger_than": share, "nearest": number}
        for each, (strange, share, number) in zip(scores, compared, strict=True)
    ]  # fmt: skip


def strangest_first(of_images: Sequence[dict[str, Any]]) -> list[int]:
    """Numbers of images by their strangeness, where that is known, else by the bound on their likelihood."""

    def strangeness(number: int) -> float:
        facts = of_images[number]
        return float(-facts["elbo_nats"] if facts["strangeness"] is None else facts["strangeness"])

    return sorted(range(len(of_images)), key=strangeness, reverse=True)
