"""Noise removed from Fashion-MNIST and colour icons: PSNR against four classical methods, each tuned.

    python tests/benchmarks/denoise.py --data FOLDER --work FOLDER [--sets fashion emoji] [--num 100]

Held-out images get Gaussian noise of sigma 25 and 50 (0-255 scale), cut to 0..255 and rounded as a file would be. Ours
is told sigma, as the classical methods are, and once more estimates it (`auto`, as `vae denoise` does by default).

Classical: scikit-image's TV-Chambolle, non-local means and wavelets (BayesShrink), OpenCV's fastNlMeansDenoising. Each
has the best of a grid of strengths (non-local means of patch sizes, too) by the mean PSNR on these very images, which
favours them. PSNR over whole images, values in [0, 1], mean over images; errors below 1e-6 count as 1e-6.

Models: those of fills.py (sets.py), trained here unless they lie under --work.

Tried on clothes: the mean of 8 pictures of 2 solver steps each is 0.1 dB better than that of 8 of 10 steps, and 1 dB
better than a single one.
"""

from collections.abc import Callable
from typing import Any

import common
import cv2
import emoji
import numpy as np
import sets
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

from vae_cli.checkpoint import Model
from vae_cli.tasks.denoise import denoise
from vae_cli.windows.picture_noise import estimate_sigma

SETS = ("fashion", "emoji")
GAINS = {25.0: 0.5, 50.0: 1.0}
"""Sigma to the least gain over the best classical method, in dB."""
SMALLEST_ERROR = 1e-6
Method = Callable[[np.ndarray], np.ndarray]
"""uint8 [H, W, C] -> 0..255 [H, W, C]."""


def psnr_db(images: np.ndarray, found: np.ndarray) -> float:
    """Mean over images [N, H, W, C], 0..255."""
    errors = np.square((images.astype(np.float64) - found) / 255).mean((1, 2, 3))
    return float(np.mean(-10 * np.log10(np.maximum(errors, SMALLEST_ERROR))))


def tv(sigma: float, strength: float) -> Method:
    return lambda image: 255 * denoise_tv_chambolle(image / 255, weight=strength * sigma / 255, channel_axis=-1)


def nl_means(sigma: float, strength: float, patch: int) -> Method:
    level = sigma / 255
    return lambda image: (
        255
        * denoise_nl_means(
            image / 255, patch_size=patch, patch_distance=5, h=strength * level, sigma=level, channel_axis=-1
        )
    )


def wavelet(sigma: float, strength: float) -> Method:
    return lambda image: (
        255 * denoise_wavelet(image / 255, sigma=strength * sigma / 255, channel_axis=-1, rescale_sigma=True)
    )


def fast_nl_means(sigma: float, strength: float) -> Method:
    def method(image: np.ndarray) -> np.ndarray:
        h = strength * sigma
        if image.shape[2] == 1:
            return cv2.fastNlMeansDenoising(image, None, h, 5, 15)
        return cv2.fastNlMeansDenoisingColored(image, None, h, h, 5, 15)

    return method


def classical(sigma: float) -> dict[str, list[Method]]:
    """Each method at every strength of its grid."""
    strengths = (0.6, 0.8, 1.0, 1.3)
    return {
        "tv": [tv(sigma, strength) for strength in (0.4, 0.6, 0.9, 1.2, 1.6, 2.2)],
        "nl_means": [nl_means(sigma, strength, patch) for strength in strengths for patch in (3, 5)],
        "wavelet": [wavelet(sigma, strength) for strength in (0.5, 0.7, 1.0, 1.4)],
        "fast_nl_means": [fast_nl_means(sigma, strength) for strength in strengths],
    }


def best(images: np.ndarray, noisy: np.ndarray, methods: list[Method]) -> float:
    """PSNR of the method that does best on these images."""

    def of(method: Method) -> float:
        found = np.stack([np.clip(method(image), 0, 255).reshape(image.shape) for image in noisy])
        return psnr_db(images, found)

    return max(of(method) for method in methods)


def ours(model: Model, noisy: np.ndarray, sigma: float | None, seed: int) -> np.ndarray:
    """uint8 [N, H, W, C]; sigma None = estimated for each image."""
    found = [
        next(denoise(model, image, sigma=sigma or estimate_sigma(image), image_id=str(number), seed=seed))
        for number, image in enumerate(noisy)
    ]
    return np.rint(np.stack(found)).clip(0, 255).astype(np.uint8)


def measure(model: Model, images: np.ndarray, sigma: float, seed: int) -> dict[str, float]:
    """PSNR of the noisy images, of ours and of each classical method, and our gain over the best of those, in dB."""
    noise = np.random.default_rng(seed).normal(0, sigma, images.shape)
    noisy = (images + noise).clip(0, 255).round().astype(np.uint8)
    peers = {name: best(images, noisy, methods) for name, methods in classical(sigma).items()}
    told = psnr_db(images, ours(model, noisy, sigma, seed))
    return {"noisy": psnr_db(images, noisy), "ours": told, "ours_auto": psnr_db(images, ours(model, noisy, None, seed)),
            **peers, "gain": told - max(peers.values())}  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__, data=True)
    sets.add_options(parser)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--num", type=int, default=100, help="images of each set (default 100)")
    args = parser.parse_args()
    found: dict[str, Any] = {}
    for name in args.sets:
        subject = sets.subject(name, args)
        chosen = emoji.spread(subject.images, args.num)
        found |= {f"{name}_{sigma:g}": measure(subject.model, chosen, sigma, args.seed) for sigma in GAINS}
    columns = list(next(iter(found.values())))
    common.table([("PSNR, dB", *columns), *((name, *psnr.values()) for name, psnr in found.items())])
    common.finish(
        "denoise",
        {f"{name}_gain_db": psnr["gain"] for name, psnr in found.items()} | {"psnr_db": found},
        targets=[common.Target(f"{name}_{sigma:g}_gain_db", least, at_least=True)
                 for name in args.sets for sigma, least in GAINS.items()],
        protocol={"minutes": {name: sets.minutes_of(name, args) for name in args.sets}, "images": args.num,
                  "seed": args.seed, "smallest_error": SMALLEST_ERROR},
    )  # fmt: skip


if __name__ == "__main__":
    main()
