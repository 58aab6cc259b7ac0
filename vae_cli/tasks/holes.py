"""Geometry between a picture of any size and the model's window: where to look, how to get there and back.

A model sees a fixed size. For each hole (or group of near ones) a window of the model's aspect ratio is cut out,
shrunk from its known pixels only, filled by the caller's model and put back inside the hole. A picture of exactly
the model's size is one window, seen whole and without resampling.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FillWindow = Callable[[Tensor, Tensor, int], Tensor]

_LARGEST_HOLE_SHARE = 0.35
_SHARE_STEP = 1.1  # windows grow by this factor until the hole is small enough in them
_GRID_SIDE = 1024  # components are found on a grid of at most this many cells a side
_ROWS_AT_ONCE = 256
_MEMBRANE_SWEEPS = 2


@dataclass(frozen=True, order=True)
class Box:
    """A rectangle in pixels of the picture; it may stick out of it."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns; only for boxes inside the picture."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def grown(self, margin: int) -> "Box":
        return Box(self.top - margin, self.left - margin, self.height + 2 * margin, self.width + 2 * margin)

    def overlap(self, other: "Box") -> "Box":
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.height, other.top + other.height)
        right = min(self.left + self.width, other.left + other.width)
        return Box(top, left, max(bottom - top, 0), max(right - left, 0))

    def inside(self, picture_size: tuple[int, int]) -> "Box":
        """The part inside a picture of (height, width)."""
        return self.overlap(Box(0, 0, *picture_size))


@dataclass(frozen=True, order=True)
class Window(Box):
    """What the model sees at once. It answers for the hole pixels in `targets`."""

    targets: tuple[Box, ...] = ()


def fill_picture(
    image: np.ndarray,
    hole: np.ndarray,
    model_size: tuple[int, int],
    fill_window: FillWindow,
    *,
    feather: float = 0.0,
) -> np.ndarray:
    """float32 [H, W, C] in 0..255, meaningful where `hole` (bool [H, W]) is set and 0 elsewhere.

    image: uint8 or uint16 [H, W, C]. fill_window(x [1, C, h, w] in [-1, 1], observed [1, 1, h, w], window number)
    returns the model's picture [1, C, h, w]. feather: pixels inside the hole's edge that blend into its surroundings.
    """
    result = np.zeros(image.shape, np.float32)
    for index, window in enumerate(windows(hole, model_size)):
        x, observed = to_window(image, hole, window, model_size)
        answer = fill_window(x, observed, index)
        is_resampled = (window.height, window.width) != model_size
        for target in window.targets:
            region = target.grown(2).overlap(window).inside(hole.shape)  # and the known pixels around the target
            patch = from_window(answer, window, region)
            patch = blend(image[region.slices], patch, hole[region.slices], feather=feather, is_resampled=is_resampled)
            inner = Box(target.top - region.top, target.left - region.left, target.height, target.width)
            chosen = hole[target.slices]
            result[target.slices][chosen] = patch[inner.slices][chosen]
    return result


def windows(hole: np.ndarray, model_size: tuple[int, int]) -> list[Window]:
    """Windows of the model's aspect ratio, ordered by place; each hole pixel lies in a target of at least one.

    Windows stay inside the picture where it is large enough, and leave room around the hole.
    """
    by_place: dict[Window, list[Box]] = {}
    for box in _hole_boxes(hole, model_size):
        count = int(np.count_nonzero(hole[box.slices]))
        by_place.setdefault(_window_for(box, count, hole.shape, model_size), []).append(box)
    return sorted(replace(window, targets=tuple(sorted(boxes))) for window, boxes in by_place.items())


def to_window(image: np.ndarray, hole: np.ndarray, window: Box, model_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The window at the model's size: x float32 [1, C, h, w] in [-1, 1], observed float32 [1, 1, h, w].

    Averages known pixels only; a model pixel is observed when at least half of its area is known. What lies outside
    the picture is unknown. Unobserved pixels of x continue their surroundings smoothly.
    """
    picture_size = hole.shape
    seen = window.inside(picture_size)
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
    x = torch.where(share > 1e-4, values / share.clamp(min=1e-4), 0.0) / half_range - 1
    return membrane(x[None], observed[None]), observed[None]


def from_window(answer: Tensor, window: Box, region: Box) -> np.ndarray:
    """float32 [region height, region width, C] in 0..255: that part of a model's picture [1, C, h, w] in [-1, 1].

    region: a box inside the window, in pixels of the picture.
    """
    _, _, height, width = answer.shape
    rows = _resampling(height, window.height, _catmull_rom)[region.top - window.top :][: region.height]
    columns = _resampling(width, window.width, _catmull_rom)[region.left - window.left :][: region.width]
    patch = rows @ (answer[0].detach().float().cpu() @ columns.T)  # [C, region height, region width]
    return ((patch + 1) * 127.5).clamp_(0, 255).permute(1, 2, 0).contiguous().numpy()


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


def membrane(values: Tensor, weight: Tensor) -> Tensor:
    """values [1, C, H, W] where weight [1, 1, H, W] is 1, continued smoothly where it is 0.

    Push-pull (Gortler et al. 1996) with smoothing sweeps on each level: close to a harmonic interpolation. Values
    under weight 0 have no influence; without any weight the result is 0.
    """
    values = values * weight
    height, width = values.shape[-2:]
    if bool((weight > 0).all()) or height == width == 1:
        return values
    padding = (0, width % 2, 0, height % 2)
    shares = F.avg_pool2d(F.pad(weight, padding), 2)
    coarse = F.avg_pool2d(F.pad(values, padding), 2) / shares.clamp(min=0.25)
    coarse = membrane(coarse, (shares > 0).float())
    smooth = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
    for _ in range(_MEMBRANE_SWEEPS):
        smooth = torch.where(weight > 0, values, smooth)
        smooth = F.avg_pool2d(F.pad(smooth, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.where(weight > 0, values, smooth)


def _window_for(box: Box, count: int, picture_size: tuple[int, int], model_size: tuple[int, int]) -> Window:
    """The smallest good window around a hole of `count` pixels in `box`."""
    sides = tuple(zip((box.height, box.width), picture_size, model_size, strict=True))
    whole = max(side / model for _, side, model in sides)  # this scale shows the whole picture
    scale = max(min(2 * hole, side) / model for hole, side, model in sides)
    scale = min(max(scale, 1.0), whole)
    while scale < whole:
        area = math.prod(min(scale * model, side) for _, side, model in sides)
        if count <= _LARGEST_HOLE_SHARE * area:
            break
        scale = min(scale * _SHARE_STEP, whole)
    height, width = (math.ceil(scale * model - 1e-6) for model in model_size)
    top = _start(box.top + box.height / 2, height, picture_size[0])
    return Window(top, _start(box.left + box.width / 2, width, picture_size[1]), height, width)


def _start(centre: float, length: int, side: int) -> int:
    """Where a stretch of `length` around `centre` begins: shifted inside the picture, or centred on it if longer."""
    if length >= side:
        return -((length - side) // 2)
    return min(max(round(centre - length / 2), 0), side - length)


def _hole_boxes(hole: np.ndarray, model_size: tuple[int, int]) -> list[Box]:
    """Tight boxes of the hole's components; near ones are one, so that scattered holes make few boxes."""
    cell = max(1, math.ceil(max(hole.shape) / _GRID_SIDE))
    grid = hole
    if cell > 1:
        for axis in (0, 1):
            grid = np.logical_or.reduceat(grid, np.arange(0, grid.shape[axis], cell), axis=axis)
    boxes = _united(*_runs(grid))
    while len(merged := _merged(boxes, grid.shape, np.array(model_size) / 4 / cell)) < len(boxes):
        boxes = merged
    return [_tight(hole, *(int(edge) * cell for edge in box)) for box in boxes]


def _merged(boxes: np.ndarray, grid_size: tuple[int, ...], least_margin: np.ndarray) -> np.ndarray:
    """Boxes [K, 4] joined where they overlap once grown by half their sides, or by least_margin [2]."""
    margin = np.ceil(np.maximum((boxes[:, 2:] - boxes[:, :2]) / 2, least_margin)).astype(np.int64)
    top, left = (boxes[:, :2] - margin).clip(min=0).T
    bottom, right = np.minimum(boxes[:, 2:] + margin, grid_size).T
    corners = np.zeros((grid_size[0] + 1, grid_size[1] + 1), np.int32)
    for rows, columns, sign in ((top, left, 1), (bottom, right, 1), (top, right, -1), (bottom, left, -1)):
        np.add.at(corners, (rows, columns), sign)
    painted = corners.cumsum(0).cumsum(1)[:-1, :-1] > 0
    runs, numbers = _runs(painted)
    places = runs[:, 0] * grid_size[1] + runs[:, 1]
    return _united(boxes, numbers[np.searchsorted(places, top * grid_size[1] + left, side="right") - 1])


def _united(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Boxes [K, 4] (top, left, bottom, right) joined by label [K]."""
    found, labels = np.unique(labels, return_inverse=True)
    joined = np.empty((len(found), 4), np.int64)
    joined[:, :2], joined[:, 2:] = np.iinfo(np.int64).max, -1
    np.minimum.at(joined[:, :2], labels, boxes[:, :2])
    np.maximum.at(joined[:, 2:], labels, boxes[:, 2:])
    return joined


def _tight(hole: np.ndarray, top: int, left: int, bottom: int, right: int) -> Box:
    part = hole[top:bottom, left:right]
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    return Box(
        top + int(rows[0]), left + int(columns[0]), int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
    )


def _runs(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The runs of each row of bool [H, W] as boxes int64 [R, 4], in reading order, and their components' numbers [R].

    Runs that touch, also at corners, have the same number. All unions of a round are made at once.
    """
    width = grid.shape[1] + 2  # rows are laid end to end with a gap, so that runs never touch over row ends
    change = np.diff(np.pad(grid, ((0, 0), (1, 1))).ravel().astype(np.int8))
    starts, ends = np.flatnonzero(change == 1) + 1, np.flatnonzero(change == -1) + 1
    first = np.searchsorted(ends, starts - width, side="left")  # the runs first..last of the row above touch this one
    last = np.searchsorted(starts, ends - width, side="right")
    num_touching = np.maximum(last - first, 0)
    below = np.repeat(np.arange(len(starts)), num_touching)
    above = np.arange(len(below)) + np.repeat(first - np.cumsum(num_touching) + num_touching, num_touching)
    top, left = starts // width, starts % width - 1
    return np.column_stack([top, left, top + 1, left + ends - starts]), _roots(below, above, len(starts))


def _roots(left: np.ndarray, right: np.ndarray, count: int) -> np.ndarray:
    """[count] smallest member of each item's set after joining the pairs left[i], right[i]."""
    parents = np.arange(count)
    while True:
        one, other = parents[left], parents[right]
        differ = one != other
        if not differ.any():
            return parents
        np.minimum.at(parents, np.maximum(one, other)[differ], np.minimum(one, other)[differ])
        while not np.array_equal(parents, shorter := parents[parents]):
            parents = shorter


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
    for step in range(math.ceil(limit)):
        padded = np.pad(inner, 1, mode="edge")
        rows = padded[:-2] & padded[1:-1] & padded[2:]
        columns = padded[:, :-2] & padded[:, 1:-1] & padded[:, 2:]
        square = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
        inner = square if step % 2 else rows[:, 1:-1] & columns[1:-1]
        depth += inner
    return depth
