"""Between a picture's pixels and the model's: what a window shows, and how an answer comes back into a hole.

A window is shrunk from its known pixels only, and the answer is fitted to the known pixels along the hole's edge. A
picture of exactly the model's size is seen whole and without resampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from vae_cli.dataset.close_ups import zoom_of
from vae_cli.images.pixels import grey_levels, to_unit
from vae_cli.model.continuation import membrane
from vae_cli.model.texture import textured
from vae_cli.randomness import image_generator
from vae_cli.windows.around_holes import Box, Window
from vae_cli.windows.picture_noise import estimate_sigma
from vae_cli.windows.resample import area_weights, cubic_weights

_ROWS_AT_ONCE = 256
_NOISE_MARGIN = 64  # pixels around a hole in which the picture's noise is measured


def observed_of(hole: np.ndarray) -> Tensor:
    """float32 [1, 1, H, W], 1 = known, of a hole, bool [H, W], True = to fill: the one place where this is turned."""
    return torch.from_numpy(~hole).float()[None, None]


def hole_of(observed: Tensor) -> np.ndarray:
    """Inverse of `observed_of`."""
    return observed[0, 0].numpy() == 0


@dataclass
class Filling:
    """One fill of one picture in the making: an input of the model and an answer for each of its windows."""

    image: np.ndarray  # uint8 or uint16 [H, W, C]
    classes: np.ndarray  # uint8 [H, W], 0 = known; see `thickness_classes`
    windows: Sequence[Window]
    model_size: tuple[int, int]
    feather: float = 0.0  # pixels inside the hole's edge that blend into its surroundings
    noise_seed: tuple[int, ...] | None = None  # numbers that fix the noise on enlarged answers, None = add none

    def __post_init__(self) -> None:
        self.pixels = np.zeros(self.image.shape, np.float32)
        """[H, W, C] in 0..255 in the targets of answered windows; 0 elsewhere."""
        self.hole = self.classes > 0

    @property
    def scale(self) -> float:
        """How many of the picture's pixels a model pixel spans in the widest window; 1 = not reduced."""
        return max((window.height / self.model_size[0] for window in self.windows), default=1.0)

    def inputs(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """x [C, h, w] in [-1, 1] and observed [1, h, w] of a window, as from `to_window`, and its zoom []."""
        window = self.windows[index]
        x, observed = to_window(self.image, self.hole, window, self.model_size)
        zoom = zoom_of(window.height / self.model_size[0], self.hole.shape, self.model_size)
        return x[0], observed[0], torch.tensor(zoom)

    def answer(self, index: int, picture: Tensor, halvings: int = 0) -> None:
        """Put a picture [C, h, w] of a window into the hole pixels that the window answers for.

        halvings: of the resolution down to which texture from beside the hole is copied into the picture.
        """
        window = self.windows[index]
        copied = self._textured(index, picture, halvings) if halvings else None
        for target in window.targets:
            region = target.grown(2).overlap(window).inside(self.hole.shape)  # with known pixels around the target
            if copied is not None:
                patch = copied[region.from_corner(window.inside(self.hole.shape)).slices]
            else:
                patch = self._fitted(window, picture, region)
                if (window.height, window.width) != self.model_size and self.noise_seed is not None:
                    patch = self._grainy(patch, target, index)
            chosen = self.classes[target.slices] == window.thickness
            self.pixels[target.slices][chosen] = patch[target.from_corner(region).slices][chosen]

    def _grainy(self, patch: np.ndarray, target: Box, index: int) -> np.ndarray:
        """The patch with its surroundings' noise, since enlarged pixels of the model are too clean.

        The noise is alike in all channels, as film grain is.
        """
        around = target.grown(_NOISE_MARGIN).inside(self.hole.shape).slices
        generator = image_generator(*(self.noise_seed or ()), index, target.top, target.left)
        noise = torch.randn((*patch.shape[:2], 1), generator=generator).numpy()
        return (patch + estimate_sigma(self.image[around], ~self.hole[around]) * noise).clip(0, 255)

    def _fitted(self, window: Window, picture: Tensor, region: Box) -> np.ndarray:
        """[H, W, C] in 0..255: the picture in a region of its window, fitted to what is known there."""
        is_resampled = (window.height, window.width) != self.model_size
        patch, part = from_window(picture, window, region), region.slices
        return blend(self.image[part], patch, self.hole[part], feather=self.feather, is_resampled=is_resampled)

    def _textured(self, index: int, picture: Tensor, halvings: int) -> np.ndarray | None:
        """[H, W, C] in 0..255: the part of a window that lies in the picture, or None without any texture to copy."""
        window = self.windows[index]
        region = window.inside(self.hole.shape)
        hole = self.hole[region.slices]
        patch = np.where(hole[..., None], self._fitted(window, picture, region), grey_levels(self.image[region.slices]))
        start = _batch_of(patch)[0] / 127.5 - 1
        generator = image_generator(*(self.noise_seed or ()), index)
        found = textured(start, observed_of(hole)[0, 0] == 0, generator, halvings)
        if found is None:
            return None
        patch = ((found + 1) * 127.5).permute(1, 2, 0).contiguous().numpy()
        return blend(self.image[region.slices], patch, hole, feather=self.feather, is_resampled=False)


def to_window(image: np.ndarray, hole: np.ndarray, window: Box, model_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The window at the model's size: x float32 [1, C, h, w] in [-1, 1], observed float32 [1, 1, h, w].

    Averages known pixels only; a model pixel is observed when at least half of its area is known, and 0 in x
    otherwise. What lies outside the picture is unknown.
    """
    visible = window.inside(hole.shape)
    if (window.height, window.width) == (visible.height, visible.width) == model_size:
        observed = observed_of(hole[visible.slices])
        return torch.where(observed > 0, to_unit(image[visible.slices][None]), 0.0), observed
    inner = visible.from_corner(window).slices
    rows = area_weights(window.height, model_size[0])[:, inner[0]]
    columns = area_weights(window.width, model_size[1])[:, inner[1]]
    sums = torch.zeros(image.shape[2] + 1, *model_size)
    for start in range(0, visible.height, _ROWS_AT_ONCE):  # so that few rows at a time are floats
        strip = Box(visible.top + start, visible.left, min(_ROWS_AT_ONCE, visible.height - start), visible.width)
        known = observed_of(hole[strip.slices])[0]
        planes = torch.cat([_batch_of(image[strip.slices])[0] * known, known])  # [C + 1, rows, columns]
        sums += rows[:, start : start + strip.height] @ (planes @ columns.T)
    values, share, half_range = sums[:-1], sums[-1:], np.iinfo(image.dtype).max / 2
    observed = (share >= 0.5 - 1e-4).float()
    x = torch.where(observed > 0, values / share.clamp(min=1e-4) / half_range - 1, 0.0)
    return x[None], observed[None]


def from_window(answer: Tensor, window: Box, region: Box) -> np.ndarray:
    """float32 [region height, region width, C] in 0..255: that part of a model's picture [C, h, w] in [-1, 1].

    region: a box inside the window, in pixels of the picture.
    """
    picture = answer.detach().float().cpu()
    size, inner = (window.height, window.width), region.from_corner(window).slices
    if picture.shape[1:] == size:
        patch = picture[:, *inner]
    else:
        rows, columns = ((area_weights if have > wanted else cubic_weights)(have, wanted)[part]
                         for have, wanted, part in zip(picture.shape[1:], size, inner, strict=True))  # fmt: skip
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
    edge = ndimage.maximum_filter(hole, 3) & ~hole
    if not edge.any() or not (is_resampled or feather > 0):
        return patch
    weight = torch.from_numpy(edge).float()[None, None]
    known, fitted = _batch_of(grey_levels(image)), _batch_of(patch)
    if is_resampled:
        fitted = fitted + membrane(known - fitted, weight)
    if feather > 0:
        depth = torch.from_numpy(ndimage.distance_transform_edt(hole)).float()
        fitted = torch.lerp(membrane(known, weight), fitted, (depth / feather).clamp(0, 1))
    return fitted.clamp(0, 255)[0].permute(1, 2, 0).contiguous().numpy()


def _batch_of(array: np.ndarray) -> Tensor:
    """[H, W, C] -> float32 [1, C, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(array, np.float32)).permute(2, 0, 1)[None]
