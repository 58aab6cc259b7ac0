"""Random damage for training and evaluation: which pixels are observed, and how noisy they are.

Everything is a function of the generator's state alone. Masks are float [num, 1, H, W], 1 = observed.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from vae_cli.config import SMALL_SIDE

FAMILIES = ("center", "half", "brush", "random", "scattered")
_SMALL_MIX = {"nothing": 0.30, "everything": 0.10, "scattered": 0.20, "brush": 0.15, "half": 0.10, "center": 0.05,
              "random": 0.10}  # fmt: skip
_PHOTOGRAPH_MIX = {"nothing": 0.48, "everything": 0.06, "scattered": 0.09, "brush": 0.08, "half": 0.11, "center": 0.07,
                   "random": 0.11}  # fmt: skip
"""What flows learn from. Of photographs they have most to learn where least is known: samples and large holes."""
_EVALUATED_MISSING_SHARE = 0.75  # of "scattered", as in the published tables
_TRAINED_MISSING_SHARE = (0.50, 0.95)
_MAX_STROKES = 4
_STROKE_RADIUS = (0.04, 0.10)  # of the shorter side
_BRUSH_GRID = 64  # strokes on larger images are computed on a grid of about this size
DENOISING_SIGMA = (5.0, 60.0)
"""Least and most noise on images that are all observed, 0-255 scale."""
_SLIGHT_SIGMA = (1.0, 15.0)
_SLIGHT_NOISE_SHARE = 0.25


@dataclass(frozen=True)
class Damage:
    """observed [num, 1, H, W], 1 = known; noise_sigma [num] of Gaussian noise on what is known, 0..255 scale."""

    observed: Tensor
    noise_sigma: Tensor


def draw_observed(family: str, num: int, height: int, width: int, generator: Generator) -> Tensor:
    """[num, 1, H, W] masks of one of FAMILIES, or of "nothing" and "everything" observed."""
    if family == "scattered":
        missing = torch.full((num,), _EVALUATED_MISSING_SHARE, device=generator.device)
        return _scattered(missing, height, width, generator)
    if family == "half":
        return _halves(num, height, width, generator)
    if family == "brush":
        return _strokes(num, height, width, generator)
    if family == "random":
        return _rectangles(num, height, width, generator)
    observed = torch.ones(num, 1, height, width, device=generator.device)
    if family == "nothing":
        observed.zero_()
    elif family == "center":  # a box of half the side is missing
        box_height, box_width = max(1, height // 2), max(1, width // 2)
        top, left = (height - box_height) // 2, (width - box_width) // 2
        observed[:, :, top : top + box_height, left : left + box_width] = 0
    elif family != "everything":
        raise ValueError(f"unknown family {family!r}; one of {', '.join(FAMILIES)}")
    return observed


def training_damage(num: int, height: int, width: int, generator: Generator) -> Damage:
    """The mix that the flow learns from: nothing observed, all observed, or part.

    Noise is strong where all is observed, slight on a quarter of the partly observed, and none elsewhere.
    """
    device = generator.device
    mix = _SMALL_MIX if max(height, width) <= SMALL_SIDE else _PHOTOGRAPH_MIX
    shares = torch.tensor(list(mix.values()), device=device)
    chosen = torch.multinomial(shares, num, replacement=True, generator=generator)
    observed = torch.zeros(num, 1, height, width, device=device)
    for number, family in enumerate(mix):
        rows = torch.nonzero(chosen == number).flatten()
        if len(rows) == 0:
            continue
        if family == "scattered":
            missing = _uniform(len(rows), generator, _TRAINED_MISSING_SHARE)
            observed[rows] = _scattered(missing, height, width, generator)
        else:
            observed[rows] = draw_observed(family, len(rows), height, width, generator)
    strong, slight = _uniform(num, generator, DENOISING_SIGMA), _uniform(num, generator, _SLIGHT_SIGMA)
    is_slight = _uniform(num, generator) < _SLIGHT_NOISE_SHARE
    kinds = list(mix)
    sigma = torch.where(chosen == kinds.index("everything"), strong, slight * is_slight)
    return Damage(observed, sigma * (chosen != kinds.index("nothing")))


def _uniform(num: int, generator: Generator, bounds: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    return torch.rand(num, generator=generator, device=generator.device) * (bounds[1] - bounds[0]) + bounds[0]


def _halves(num: int, height: int, width: int, generator: Generator) -> Tensor:
    """The left, right, upper or lower half is missing."""
    four = torch.zeros(4, 1, height, width, device=generator.device)
    four[0, :, : height // 2] = 1
    four[1, :, height // 2 :] = 1
    four[2, :, :, : width // 2] = 1
    four[3, :, :, width // 2 :] = 1
    return four[torch.randint(4, (num,), generator=generator, device=generator.device)]


def _rectangles(num: int, height: int, width: int, generator: Generator) -> Tensor:
    """A rectangle of 10 to 70 % of the area, anywhere, is missing."""
    area = _uniform(num, generator, (0.1, 0.7))
    stretch = torch.exp2(_uniform(num, generator, (-0.5, 0.5)))  # square root of the aspect ratio, 1/2 to 2
    tall = torch.minimum(torch.maximum(area.sqrt() * stretch, area), torch.ones_like(area))
    missing_rows = _interval(tall, height, generator).view(num, 1, height, 1)
    missing_columns = _interval(area / tall, width, generator).view(num, 1, 1, width)
    return 1 - (missing_rows & missing_columns).float()


def _interval(share: Tensor, length: int, generator: Generator) -> Tensor:
    """bool [num, length]: a run of about share * length somewhere."""
    size = (share * length).round().clamp(1, max(1, length - 1))
    start = (_uniform(len(share), generator) * (length - size + 1)).floor()
    position = torch.arange(length, device=generator.device)
    return (position >= start[:, None]) & (position < (start + size)[:, None])


def _scattered(missing_share: Tensor, height: int, width: int, generator: Generator) -> Tensor:
    """Every pixel is missing on its own with its image's probability."""
    values = torch.rand(len(missing_share), 1, height, width, generator=generator, device=generator.device)
    return (values >= missing_share.view(-1, 1, 1, 1)).float()


def _strokes(num: int, height: int, width: int, generator: Generator) -> Tensor:
    """One to four joined thick strokes are missing; their thickness grows with the image."""
    device = generator.device
    step = max(1, min(height, width) // _BRUSH_GRID)
    rows, columns = -(-height // step), -(-width // step)
    extent = torch.tensor([rows - 1.0, columns - 1.0], device=device)
    points = torch.rand(num, _MAX_STROKES + 1, 2, generator=generator, device=device) * extent
    radius = (_uniform(num, generator, _STROKE_RADIUS) * min(rows, columns)).clamp_min(0.75)
    num_strokes = torch.randint(1, _MAX_STROKES + 1, (num, 1), generator=generator, device=device)
    is_left_out = torch.arange(_MAX_STROKES, device=device) >= num_strokes  # [num, S]
    distance = _squared_distance(points[:, :-1], points.diff(dim=1), rows, columns)
    distance = distance.masked_fill(is_left_out[..., None, None], torch.inf).amin(1, keepdim=True)
    observed = (distance > radius.square().view(num, 1, 1, 1)).float()
    if step > 1:
        observed = observed.repeat_interleave(step, 2).repeat_interleave(step, 3)[..., :height, :width].contiguous()
    return observed


def _squared_distance(start: Tensor, direction: Tensor, rows: int, columns: int) -> Tensor:
    """[num, S, rows, columns] from each grid point to each segment; start and direction are [num, S, 2]."""
    row = torch.arange(rows, device=start.device).view(1, 1, rows, 1) - start[..., :1, None]
    column = torch.arange(columns, device=start.device).view(1, 1, 1, columns) - start[..., 1:, None]
    length = direction.square().sum(-1).clamp_min(1e-6)[..., None, None]
    down, right = direction[..., :1, None], direction[..., 1:, None]
    along = ((row * (down / length)) + (column * (right / length))).clamp_(0, 1)
    return (row - along * down).square_() + (column - along * right).square_()
