"""MNIST under the masks of ACFlow's table: part `mnist` and `mnist-padded` of fills.py.

Masks: a pixel missing with probability 1/2 (weight 2), one of the four halves (1 each), a square of half the side
somewhere (2), a rectangle of at least 30 % of the area (2). Figures: PSNR of the whole picture, known pixels put back,
values in [0, 1], mean over images; pictures filled without any error, whose PSNR is infinite, are left out, as in the
public scripts.

What the published figures measure (Li et al., "ACFlow", ICML 2020, table of PSNRs; its public code, and that of
posterior matching, Strauss and Oliva 2022):

* ACFlow 17.35: the PSNR of each single sample, ten an image, then the mean of these. Compare `psnr_single_db`.
* ACFlow's best guess 20.83: one picture an image, the base distribution's mean decoded by a model that was also trained
  for the squared error of that very picture. It is an estimate of the mean; compare `psnr_mean_db`.
* VAEAC 19.61: measured by ACFlow's authors, whose code for it is not public. It stands beside their single samples, so
  it may be a figure of single samples, too; nothing says so.
* The mean of ten fills (`psnr_mean_db`), over five trials, is what posterior matching's public script measures.

ACFlow's code pads MNIST to 32×32 with black and draws its masks there, so that errors are shared among 1,024 pixels
(1.16 dB more for equally wrong fills of equal holes) and nothing can go wrong in the padding. `mnist` is without it, as
in posterior matching, and has the target; `mnist-padded` follows ACFlow: masks of 32×32, of which the model sees the
inner 28×28, errors over 1,024 pixels. Single fills under `mnist-padded` are what ACFlow's own 17.35 has to be held
against, so each figure is given both ways.

Deviations: evenly spaced test images rather than all 10,000, and one trial unless --trials says otherwise.
"""

from typing import Any

import numpy as np
from filling import model_fills, unit

from vae_cli.checkpoint import Model

WEIGHTS = {"pixels": 2, "left": 1, "upper": 1, "right": 1, "lower": 1, "square": 2, "rectangle": 2}
LEAST_SHARE = 0.3
"""Of the area, for rectangles."""
PADDING = 2


def holes(num: int, side: int, seed: int) -> np.ndarray:
    """bool [num, side, side], True = missing."""
    rng, names = np.random.default_rng(seed), list(WEIGHTS)
    share = np.array(list(WEIGHTS.values())) / sum(WEIGHTS.values())
    return np.stack([hole(names[kind], side, rng) for kind in rng.choice(len(names), num, p=share)])


def hole(kind: str, side: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "pixels":
        return rng.random((side, side)) < 0.5
    missing, half = np.zeros((side, side), bool), side // 2
    if kind == "square":
        top, left = rng.integers(0, side - half, 2)
        missing[top : top + half, left : left + half] = True
    elif kind == "rectangle":
        missing[_rectangle(side, rng)] = True
    else:
        halves = {"left": np.s_[:, :half], "upper": np.s_[:half], "right": np.s_[:, half:], "lower": np.s_[half:]}
        missing[halves[kind]] = True
    return missing


def _rectangle(side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Corners anywhere, drawn again until the area is large enough."""
    while True:
        (top, bottom), (left, right) = np.sort(rng.integers(0, side, (2, 2)), axis=1)
        if (bottom - top + 1) * (right - left + 1) >= LEAST_SHARE * side**2:
            return slice(top, bottom + 1), slice(left, right + 1)


def psnr_db(images: np.ndarray, filled: np.ndarray, padding: int) -> np.ndarray:
    """[N] of whole pictures [N, H, W, C] in 0..255 with a frame of known pixels around; infinite without any error."""
    height, width = images.shape[1:3]
    share = height * width / ((height + 2 * padding) * (width + 2 * padding))
    errors = (unit(images) - unit(filled)).square().mean((1, 2, 3)).numpy() * share
    with np.errstate(divide="ignore"):
        return -10 * np.log10(errors)


def measure(
    model: Model, images: np.ndarray, *, padding: int, fills: int, seed: int, solver_steps: int
) -> dict[str, Any]:
    """Figures of one trial on images uint8 [N, 28, 28, 1]."""
    inner = slice(padding, images.shape[1] + padding)
    missing = holes(len(images), images.shape[1] + 2 * padding, seed)[:, inner, inner]
    drawn = model_fills(model, images, missing, fills=fills, seed=seed, solver_steps=solver_steps)
    mean = psnr_db(images, drawn.mean(0), padding)
    single = np.concatenate([psnr_db(images, fill, padding) for fill in drawn])
    finite = mean[np.isfinite(mean)]
    return {"psnr_mean_db": float(finite.mean()), "standard_error_db": float(finite.std() / len(finite) ** 0.5),
            "psnr_single_db": float(single[np.isfinite(single)].mean()),
            "exact_means": int(np.isinf(mean).sum()), "exact_singles": int(np.isinf(single).sum())}  # fmt: skip
