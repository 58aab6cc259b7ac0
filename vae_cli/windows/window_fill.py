"""Between a picture's pixels and the model's: what a window shows, and how an answer comes back into a hole.

A window is shrunk from its known pixels only, and the answer is fitted to the known pixels along the hole's edge. A
picture of exactly the model's size is seen whole and without resampling.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from vae_cli.dataset.close_ups import zoom_of
from vae_cli.model.continuation import membrane
from vae_cli.randomness import image_generator
from vae_cli.windows.around_holes import Box, Window
from vae_cli.windows.picture_noise import estimate_sigma, grain

_ROWS_AT_ONCE = 256
_GRAIN_MARGIN = 64
"""Pixels around a hole by whose noise its grain is measured."""


class Filling:
    """One fill of one picture in the making: a view and an answer for each of its windows."""

    def __init__(
        self,
        image: np.ndarray,
        hole: np.ndarray,
        windows: Sequence[Window],
        model_size: tuple[int, int],
        *,
        feather: float = 0.0,
        grain_seed: tuple[int, ...] | None = None,
    ) -> None:
        """image: uint8 or uint16 [H, W, C], hole: bool [H, W]; feather: pixels inside the hole's edge that blend into
        its surroundings; grain_seed: numbers that fix the grain of enlarged answers, None = without."""
        self.image, self.hole, self.windows = image, hole, windows
        self.model_size, self.feather, self.grain_seed = model_size, feather, grain_seed
        self.num_answered = 0
        self.pixels = np.zeros(image.shape, np.float32)
        """[H, W, C] in 0..255 in the targets of answered windows; 0 elsewhere."""

    @property
    def scale(self) -> float:
        """How much the model sees the picture reduced where it does so most; 1 = not at all."""
        return max((window.height / self.model_size[0] for window in self.windows), default=1.0)

    @property
    def is_complete(self) -> bool:
        return self.num_answered == len(self.windows)

    def zoom(self, index: int) -> Tensor:
        """[1] how close a window is, see data/patches.py."""
        window = self.windows[index]
        return torch.tensor([zoom_of(window.height / self.model_size[0], self.hole.shape, self.model_size)])

    def view(self, index: int) -> tuple[Tensor, Tensor]:
        """x [1, C, h, w] in [-1, 1] and observed [1, 1, h, w] of a window, as of `to_window`."""
        return to_window(self.image, self.hole, self.windows[index], self.model_size)

    def answer(self, index: int, picture: Tensor) -> None:
        """Put the model's picture [1, C, h, w] of a window into the hole pixels that the window answers for."""
        window = self.windows[index]
        is_resampled = (window.height, window.width) != self.model_size
        for target in window.targets:
            region = target.grown(2).overlap(window).inside(self.hole.shape)  # with known pixels around the target
            known, hole = self.image[region.slices], self.hole[region.slices]
            patch = from_window(picture, window, region)
            patch = blend(known, patch, hole, feather=self.feather, is_resampled=is_resampled)
            if is_resampled and self.grain_seed is not None:
                patch = self._with_grain(patch, target, (*self.grain_seed, index, target.top, target.left))
            inner = Box(target.top - region.top, target.left - region.left, target.height, target.width)
            chosen = self.hole[target.slices]
            self.pixels[target.slices][chosen] = patch[inner.slices][chosen]
        self.num_answered += 1

    def _with_grain(self, patch: np.ndarray, target: Box, place: tuple[int, ...]) -> np.ndarray:
        """The patch with as much noise as its surroundings have: the model's pixels, enlarged, are too clean."""
        around = target.grown(_GRAIN_MARGIN).inside(self.hole.shape)
        sigma = estimate_sigma(self.image[around.slices], ~self.hole[around.slices])
        return (patch + grain(patch.shape[:2], sigma, image_generator(*place))).clip(0, 255)


def to_window(image: np.ndarray, hole: np.ndarray, window: Box, model_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The window at the model's size: x float32 [1, C, h, w] in [-1, 1], observed float32 [1, 1, h, w].

    Averages known pixels only; a model pixel is observed when at least half of its area is known, and 0 in x
    otherwise. What lies outside the picture is unknown.
    """
    seen = window.inside(hole.shape)
    if (window.height, window.width) == (seen.height, seen.width) == model_size:
        return _as_it_is(image[seen.slices], hole[seen.slices])
    rows = _resampling(window.height, model_size[0], _linear)[:, seen.top - window.top :][:, : seen.height]
    columns = _resampling(window.width, model_size[1], _linear)[:, seen.left - window.left :][:, : seen.width]
    channels, half_range = image.shape[2], np.iinfo(image.dtype).max / 2
    sums = torch.zeros(channels + 1, *model_size)
    for start in range(0, seen.height, _ROWS_AT_ONCE):  # never more than some rows as floats
        strip = Box(seen.top + start, seen.left, min(_ROWS_AT_ONCE, seen.height - start), seen.width)
        known = torch.from_numpy(~hole[strip.slices]).float()
        pixels = torch.from_numpy(image[strip.slices].astype(np.float32)).permute(2, 0, 1)
        planes = torch.cat([pixels * known, known[None]])  # [C + 1, rows, columns]
        sums += rows[:, start : start + strip.height] @ (planes @ columns.T)
    values, share = sums[:-1], sums[-1:]
    observed = (share >= 0.5 - 1e-4).float()
    x = torch.where(observed > 0, values / share.clamp(min=1e-4) / half_range - 1, 0.0)
    return x[None], observed[None]


def _as_it_is(image: np.ndarray, hole: np.ndarray) -> tuple[Tensor, Tensor]:
    """`to_window` of a window whose pixels are the model's."""
    observed = torch.from_numpy(~hole).float()[None, None]
    pixels = _as_batch(image.astype(np.float32)) / (np.iinfo(image.dtype).max / 2) - 1
    return torch.where(observed > 0, pixels, 0.0), observed


def from_window(answer: Tensor, window: Box, region: Box) -> np.ndarray:
    """float32 [region height, region width, C] in 0..255: that part of a model's picture [1, C, h, w] in [-1, 1].

    region: a box inside the window, in pixels of the picture.
    """
    picture = answer[0].detach().float().cpu()
    _, height, width = picture.shape
    if (height, width) == (window.height, window.width):
        inner = Box(region.top - window.top, region.left - window.left, region.height, region.width)
        patch = picture[:, *inner.slices]
    else:
        rows = _resampling(height, window.height, _catmull_rom)[region.top - window.top :][: region.height]
        columns = _resampling(width, window.width, _catmull_rom)[region.left - window.left :][: region.width]
        patch = rows @ (picture @ columns.T)  # [C, region height, region width]
    return ((patch + 1) * 127.5).clamp(0, 255).permute(1, 2, 0).contiguous().numpy()


def blend(
    image: np.ndarray, patch: np.ndarray, hole: np.ndarray, *, feather: float = 0.0, is_resampled: bool = True
) -> np.ndarray:
    """The patch, float32 [H, W, C] in 0..255, fitted to the known pixels at the hole's edge.

    image: uint8 or uint16 [H, W, C]. A resampled patch lacks the picture's local shade: its difference to the known
    pixels along the edge is continued into the hole and added. Within `feather` pixels of the edge the patch fades
    into a smooth continuation of those pixels.
    """
    ring = _beside(hole) & ~hole
    if not ring.any() or not (is_resampled or feather > 0):
        return patch
    scale = 255 / np.iinfo(image.dtype).max
    weight = torch.from_numpy(ring).float()[None, None]
    known = _as_batch(image.astype(np.float32) * np.float32(scale))
    fitted = _as_batch(patch)
    if is_resampled:
        fitted = fitted + membrane(known - fitted, weight)
    if feather > 0:
        inwards = torch.from_numpy((_depth(hole, feather) / feather).clip(0, 1))[None, None]
        fitted = torch.lerp(membrane(known, weight), fitted, inwards)
    return fitted.clamp(0, 255)[0].permute(1, 2, 0).contiguous().numpy()


def _resampling(source: int, target: int, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """float32 [target, source]: rows average areas when shrinking and interpolate with the kernel when growing."""
    if source >= target:
        edges = torch.arange(target + 1, dtype=torch.float64) * source / target
        pixels = torch.arange(source, dtype=torch.float64)
        overlap = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
        return (overlap.clamp(min=0) * target / source).float()
    centres = (torch.arange(target, dtype=torch.float64) + 0.5) * source / target - 0.5
    floor = centres.floor()
    matrix = torch.zeros(target, source, dtype=torch.float64)
    for tap in (-1, 0, 1, 2):
        weights = kernel((centres - floor - tap).abs())
        matrix.scatter_add_(1, (floor + tap).clamp(0, source - 1).long()[:, None], weights[:, None])
    return matrix.float()


def _linear(distance: Tensor) -> Tensor:
    return (1 - distance).clamp(min=0)


def _catmull_rom(distance: Tensor) -> Tensor:
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return torch.where(distance <= 1, near, far)


def _as_batch(array: np.ndarray) -> Tensor:
    """float32 [H, W, C] -> [1, C, H, W]."""
    return torch.from_numpy(array).permute(2, 0, 1)[None]


def _beside(hole: np.ndarray) -> np.ndarray:
    """The hole grown by one pixel in eight directions."""
    padded = np.pad(hole, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


def _depth(hole: np.ndarray, limit: float) -> np.ndarray:
    """float32 [H, W]: about how many pixels inside the hole a pixel lies, at most limit + 1; 0 outside.

    The array's own border is no edge. Steps alternate between squares and crosses, which is nearly Euclidean.
    """
    depth, inner = hole.astype(np.float32), hole
    for step in range(math.ceil(min(limit, sum(hole.shape)))):
        padded = np.pad(inner, 1, mode="edge")
        rows = padded[:-2] & padded[1:-1] & padded[2:]
        columns = padded[:, :-2] & padded[:, 1:-1] & padded[:, 2:]
        square = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
        inner = square if step % 2 else rows[:, 1:-1] & columns[1:-1]
        depth += inner
    return depth
