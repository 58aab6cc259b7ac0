"""Measure a model on images: the bound, the importance-weighted likelihood, reconstructions, latents, samples."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.dataset.cache import ImageSet
from vae_cli.dataset.ordered_threads import OnProgress
from vae_cli.errors import ConfigError
from vae_cli.images.pixels import to_pixels, to_unit
from vae_cli.metrics import classifier
from vae_cli.metrics.extractors import Extractor, of_classifier
from vae_cli.metrics.features import frechet_distance, kernel_distance, nearest_training, neighbourhoods
from vae_cli.metrics.latents import VarianceMeter
from vae_cli.metrics.likelihood import binarized, bits_per_dim, importance_log_likelihood, importance_weights
from vae_cli.metrics.pictures import copied, detail, psnr_db, ssim
from vae_cli.model.vae import draw_noise
from vae_cli.randomness import image_generator
from vae_cli.tasks.sample import learned_labels, sample

CHUNK = 64
CPU_ROWS, ACCELERATOR_PIXELS = 128, 1 << 21
"""Latents, or pixels, decoded at once for the likelihood: a CPU is fastest on what fits into its caches."""
MAX_COMPARED = 10_000  # most images, and as many samples, whose features are compared
MAX_SEARCHED, PART = 50_000, 4096  # training images among which copies are looked for, so many at a time
TRAINING_PER_IMAGE = 20  # most training images for each compared one, among which its nearest is searched for
LABEL_SAMPLES, MOST_LABEL_SAMPLES = 100, 2000  # of each label, and at most of all, for `label_accuracy`
BINARIZATION_SEED = 777  # of NumPy's legacy generator, as in the published tables (Norouzi et al. 2020)


@torch.inference_mode()
def evaluate(
    model: Model,
    images: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    importance_samples: int = 0,
    seed: int = 0,
    on_progress: OnProgress = lambda done, total: None,
) -> dict[str, Any]:
    """Figures of `vae evaluate` over images uint8 [N, H, W, C]; means of per-image values.

    The reconstructions behind `psnr_db` and `ssim` decode the posterior means. Noise depends on (seed, position).
    labels: int64 [N] class numbers, -1 = none, for `per_label`. Raises ValueError without images.
    """
    if not len(images):
        raise ValueError("no images to measure")
    values: dict[str, list[Tensor]] = {}
    meters = [VarianceMeter() for _ in model.vae.latent_shapes]
    uniform = np.random.RandomState(BINARIZATION_SEED)
    for start in range(0, len(images), CHUNK):
        x = to_unit(images[start : start + CHUNK])
        if model.config.data.binarize == "dynamic":
            x = binarized(x, torch.from_numpy(uniform.rand(*x.shape)))
        found = _measure(model, model.runtime.move(x), meters, importance_samples, image_generator(seed, start))
        for name, value in found.items():
            values.setdefault(name, []).append(value.cpu().double())
        on_progress(min(start + CHUNK, len(images)), len(images))
    totals = {name: sum((part.sum(0) for part in parts), torch.zeros(())) for name, parts in values.items()}
    figures: dict[str, Any] = {name: (total / len(images)).tolist() for name, total in totals.items()}
    layers = [
        {"shape": list(shape), "rate_nats": rate, "active_units": meter.num_active(), "latent_units": math.prod(shape)}
        for shape, meter, rate in zip(model.vae.latent_shapes, meters, figures["layer_rate_nats"], strict=True)
    ]
    nll, num_dims = figures.get("nll_nats"), math.prod(images.shape[1:])
    bound = -figures["elbo_nats"] if nll is None else nll
    per_label = {}
    for number, name in enumerate(model.label_names if labels is not None else ()):
        if len(rows := np.flatnonzero(labels == number)):
            means = {figure: float(torch.cat(values[figure]).numpy()[rows].mean())
                     for figure in ("elbo_nats", "psnr_db", "ssim")}  # fmt: skip
            per_label[name] = {"images": len(rows), **means}
    return {
        "images": len(images),
        "elbo_nats": figures["elbo_nats"],
        "nll_nats": nll,
        "importance_samples": importance_samples,
        "bits_per_dim": None if model.vae.likelihood.is_density else bits_per_dim(bound, num_dims),
        **{name: figures[name] for name in ("rate_nats", "distortion_nats")},
        **{name: sum(layer[name] for layer in layers) for name in ("active_units", "latent_units")},
        **{name: figures[name] for name in ("psnr_db", "ssim")},
        "layers": layers,
        "per_label": per_label or None,
    }


def _measure(
    model: Model, x: Tensor, meters: Sequence[VarianceMeter], importance_samples: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """[B] of every figure, [B, L] of the layers' rates; adds each layer's posterior means to its meter."""
    vae, runtime = model.vae, model.runtime
    figures = {}
    with runtime.autocast():
        terms = vae(x, [runtime.move(layer) for layer in draw_noise(vae.latent_shapes, len(x), generator)])
        latents = vae.encode(x)
        rebuilt = vae.decode_mean(latents)
        if importance_samples:
            rows = CPU_ROWS  # no figure depends on it but for rounding
            if runtime.device.type != "cpu":
                rows = max(CHUNK, ACCELERATOR_PIXELS // math.prod(model.image_size))
            weights = importance_weights(vae, x, importance_samples, generator, rows=rows)
            figures["nll_nats"] = -importance_log_likelihood(weights)
    for meter, layer in zip(meters, latents.noise, strict=True):
        meter.add(layer.flatten(1))
    # Pictures are compared as they would be written, in whole grey levels.
    truth, written = (torch.from_numpy(to_pixels(each)).permute(0, 3, 1, 2) / 255 for each in (x, rebuilt))
    return figures | {
        "elbo_nats": terms.elbo,
        "rate_nats": terms.kl.sum(1),
        "layer_rate_nats": terms.kl,
        "distortion_nats": -terms.log_likelihood,
        "psnr_db": psnr_db(truth, written),
        "ssim": ssim(truth, written),
    }


def compare_looks(samples: np.ndarray, held_out: np.ndarray, training: np.ndarray) -> dict[str, float]:
    """What can be seen of samples uint8 [N, H, W, C] beside images: their number (`drawn`), their mean `detail` as a
    share of that of held-out images, and how many of them are `copies` of training images."""

    def unit(pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2) / 255

    drawn, step = unit(samples), -(-len(training) // MAX_SEARCHED)
    parts = (unit(training[start : start + step * PART : step]) for start in range(0, len(training), step * PART))
    share = (detail(drawn).mean() / detail(unit(held_out)).mean().clamp(min=1e-6)).item()
    return {"drawn": len(drawn), "detail": share, "copies": int(copied(drawn, parts).sum())}


def num_compared(num_images: int) -> int:
    """How many of so many images, and how many samples, `compare_samples` compares."""
    return min(num_images, MAX_COMPARED)


def compare_samples(
    model: Model,
    images: np.ndarray,
    extractor: Extractor,
    *,
    training: np.ndarray | None = None,
    held_out: np.ndarray | None = None,
    seed: int = 0,
    on_progress: OnProgress = lambda done, total: None,
) -> dict[str, Any]:
    """Distances of as many samples as there are images from images uint8 [N, H, W, C], by the extractor's features.

    With `training` images also how near the samples come to them, against how near `held_out` images come (none = the
    measured images). Sets that are too large are thinned out evenly. Raises ConfigError for fewer than two images.
    """
    count = num_compared(len(images))
    if count < 2:
        raise ConfigError("--feature-weights: one image cannot be compared; give more of them: vae evaluate RUN DATA")
    num_training = min(MAX_COMPARED, TRAINING_PER_IMAGE * count, len(training) if training is not None else 0)
    num_held_out = num_compared(len(held_out)) if held_out is not None and num_training else 0
    done, total = 0, 2 * count + num_training + num_held_out

    def features(pictures: Iterable[np.ndarray]) -> Tensor:
        nonlocal done
        found, remaining = [], iter(pictures)
        while chunk := list(islice(remaining, CHUNK)):
            found.append(extractor.extract(np.stack(chunk)))
            done += len(chunk)
            on_progress(done, total)
        return torch.cat(found)

    def thinned(images: np.ndarray, count: int) -> Iterator[np.ndarray]:
        """Evenly, so that every class folder keeps its share."""
        return (images[number * len(images) // count] for number in range(count))

    real, drawn = features(thinned(images, count)), features(sample(model, count, seed=seed))
    kernel = kernel_distance(real, drawn, seed=seed)
    figures = {"fid": frechet_distance(real, drawn), "kid": kernel.mean, "kid_std": kernel.std}
    figures |= neighbourhoods(real, drawn)._asdict()
    if training is None or not num_training:
        return figures
    fresh = real if held_out is None else features(thinned(held_out, num_held_out))
    nearest = nearest_training(drawn, fresh, features(thinned(training, num_training)))
    return figures | {"nearest_training": nearest._asdict()}


def label_accuracy(
    model: Model, extractor: Extractor, *, seed: int = 0, on_progress: OnProgress = lambda done, total: None
) -> dict[str, float]:
    """For each label the share of its samples that the extractor's classifier recognises.

    The classifier has to number its classes as the model does. Raises ValueError for an extractor without one.
    """
    if extractor.classify is None:
        raise ValueError(f"{extractor.name} names no classes")
    labels = learned_labels(model)
    count = max(1, min(LABEL_SAMPLES, MOST_LABEL_SAMPLES // max(1, len(labels))))
    drawn, found = sample(model, count, labels=labels, seed=seed), {}
    for done, label in enumerate(labels, start=1):
        named = extractor.classify(np.stack(list(islice(drawn, count))))
        found[label] = float((named == model.label_names.index(label)).mean())
        on_progress(done * count, len(labels) * count)
    return found


def classifier_extractor(
    model: Model, training: ImageSet, held_out: ImageSet, *, seed: int = 0, on_progress: OnProgress | None = None
) -> tuple[Extractor, float]:
    """Features of a classifier trained on the spot, and the share of held-out images that it recognises.

    Raises ConfigError for images without two classes.
    """
    if len(np.unique(training.labels[training.labels >= 0])) < 2:
        raise ConfigError(
            "--feature-weights auto: trains a classifier, and these images have no classes;",
            "sort them into class folders, or give the file of a feature network",
        )
    net = classifier.train_classifier(
        training.pixels, training.labels, seed=seed, device=model.runtime.device, on_progress=on_progress
    )
    share_right = classifier.accuracy(net, held_out.pixels, held_out.labels)
    return of_classifier(net, "auto", model.runtime.device), share_right
