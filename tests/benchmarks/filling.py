"""Holes, fills by the model and by classical methods, and hole PSNR: what fills.py and emoji.py have in common."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from skimage.restoration import inpaint_biharmonic

from vae_cli.checkpoint import Model
from vae_cli.metrics import pictures
from vae_cli.tasks.conditional_draws import Method
from vae_cli.tasks.evaluate_holes import draw_holes, fill_holes

Classical = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Fills uint8 [H, W, C] in the hole, bool [H, W]."""
RADIUS = 3.0
"""Of OpenCV's methods, in pixels: what its own examples use."""


def opencv(method: int) -> Classical:
    return lambda image, hole: cv2.inpaint(image, hole.astype(np.uint8), RADIUS, method).reshape(image.shape)


def biharmonic(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    filled = inpaint_biharmonic(image / 255.0, hole, channel_axis=-1)
    return (filled.clip(0, 1) * 255).round().astype(np.uint8)


CLASSICAL: dict[str, Classical] = {
    "telea": opencv(cv2.INPAINT_TELEA),
    "navier_stokes": opencv(cv2.INPAINT_NS),
    "biharmonic": biharmonic,
}


def holes_of(family: str, images: np.ndarray, seed: int) -> np.ndarray:
    """bool [N, H, W] for images [N, H, W, C]; hole i depends on (seed, i) alone."""
    return np.stack(list(draw_holes(family, len(images), images.shape[1:3], seed)))


def model_fills(
    model: Model,
    images: np.ndarray,
    holes: np.ndarray,
    *,
    fills: int,
    seed: int,
    solver_steps: int | None = None,
    method: Method = "auto",
) -> np.ndarray:
    """uint8 [fills, N, H, W, C]: the pictures as they would be written, known pixels put back.

    images: uint8 [N, H, W, C] at the model's size, holes: bool [N, H, W].
    """
    found = fill_holes(model, images, holes, fills=fills, seed=seed, solver_steps=solver_steps, method=method)
    return np.stack([filled.fills for filled in found], axis=1)


def classical_fills(name: str, images: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, C] by one of CLASSICAL; none of them changes a known pixel."""
    filled = np.stack([CLASSICAL[name](image, hole) for image, hole in zip(images, holes, strict=True)])
    return np.where(holes[..., None], filled, images)


def unit(images: np.ndarray) -> torch.Tensor:
    """float64 [N, C, H, W] in [0, 1] from [N, H, W, C] in 0..255."""
    return torch.from_numpy(images / 255).permute(0, 3, 1, 2)


def hole_psnr_db(images: np.ndarray, filled: np.ndarray, holes: np.ndarray) -> float:
    """Mean over images of the PSNR in their holes; images and filled [N, H, W, C] in 0..255."""
    found = pictures.hole_psnr_db(unit(images), unit(filled), torch.from_numpy(holes)[:, None])
    return found.double().mean().item()


def measure_ours(
    model: Model, images: np.ndarray, family: str, *, fills: int, seed: int, solver_steps: int | None = None
) -> dict[str, float]:
    """Hole PSNR in dB of the mean of the fills, which is not rounded, of the first one, of the mean where the model's
    fills are not mixed with smooth ones, and of the smooth ones."""
    holes, found = holes_of(family, images, seed), {}
    for method, suffix in (("auto", ""), ("model", "_of_model")):
        drawn = model_fills(
            model, images, holes, fills=fills, seed=seed, solver_steps=solver_steps, method=method
        )  # fmt: skip
        found[f"mean_of_fills{suffix}"] = hole_psnr_db(images, drawn.mean(0), holes)
        if method == "auto":
            found["single_fill"] = hole_psnr_db(images, drawn[0], holes)
    smooth = model_fills(model, images, holes, fills=1, seed=seed, method="classical")[0]
    return {**found, "smooth": hole_psnr_db(images, smooth, holes)}


def measure_classical(images: np.ndarray, family: str, *, seed: int) -> dict[str, float]:
    """Hole PSNR in dB of every classical method on the same holes."""
    holes = holes_of(family, images, seed)
    return {name: hole_psnr_db(images, classical_fills(name, images, holes), holes) for name in CLASSICAL}


def with_gain(ours: dict[str, float], classical: dict[str, float]) -> dict[str, float]:
    """All of them, and by how much the mean of our fills is ahead of the best classical method."""
    return {**ours, **classical, "gain": ours["mean_of_fills"] - max(classical.values())}
