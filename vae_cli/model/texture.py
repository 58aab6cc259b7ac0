"""Texture from beside a hole, copied into it: what a restorer does where a smooth continuation would be fog.

Every patch of the fill is made to resemble a known patch, coarse to fine (Wexler et al. 2007). Similar patches are
found by PatchMatch (Barnes et al. 2009): a good match is handed on to its neighbours, and improved by random search.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Generator, Tensor
from torch.nn import functional as F

from vae_cli.model.continuation import membrane

_PATCH, _REACH = 5, 2
_FEATURES = 24
"""Principal components by which patches are compared where there are too many to compare them pixel by pixel."""
_FITTED_PATCHES = 1000
_COMPARED_AT_ONCE = 1 << 22
"""Pairs of patches up to which all are compared."""
_ROUNDS = (8, 4, 3, 2)
"""Searches at the coarsest level, at the next, and so on."""
_MOST_SEARCHED = 300_000
"""Pixels of a hole beyond which a level takes over its matches from the coarser one, for the sake of time."""
_JUMPS = (1, 2, 4)
_CERTAINTY = 1.3
"""A pixel counts less by this factor with each pixel that it lies further from known ones."""
_SPREAD = 0.2
"""How far chance goes into which of several similar patches is copied, so that fills differ."""
_SHARPNESS = 0.2
"""Of how much less a patch counts that resembles its match less than others do."""
_FREEDOM = 1 / 4
"""Share of the hole's depth; colours over squares of about this side are those of the start."""


def textured(start: Tensor, hole: Tensor, generator: Generator, halvings: int = 16) -> Tensor | None:
    """The picture with detail in its hole that is copied from beside it, about the colours that it starts from.

    start: a picture [C, H, W] in [-1, 1] whose hole, bool [H, W], is filled somehow; halvings: of the resolution at
    which the search begins, at most; the fewer, the more of the start's structure stays. None where no patch is known.
    """
    pictures, holes = [start], [hole]
    while len(holes) <= halvings and min(holes[-1].shape) >= 4 * _PATCH and _depth(holes[-1]).max() > _REACH:
        even = [-side % 2 for side in holes[-1].shape]
        wider = (0, even[1], 0, even[0])
        pictures.append(F.avg_pool2d(F.pad(pictures[-1][None], wider, mode="replicate"), 2)[0])
        holes.append(F.max_pool2d(F.pad(holes[-1][None, None].float(), wider, mode="replicate"), 2)[0, 0] > 0)
    level = None
    for number in reversed(range(len(holes))):
        finer = _Level(pictures[number], holes[number])
        if len(finer.sources):
            rounds = _ROUNDS[min(len(holes) - 1 - number, len(_ROUNDS) - 1)]
            finer.match_all(level, rounds if len(finer.targets) <= _MOST_SEARCHED or level is None else 0, generator)
            level = finer
    if level is None:
        return None
    # The copy is fitted to the known pixels along the edge. Further inside, matches drift: there the colours at large
    # are those of the start, which has been measured to be near the truth.
    edge = _grown(hole, 3) & ~hole
    found = level.said + membrane((start - level.said)[None], edge[None, None].float())[0]
    depth, inside = _depth(hole), hole.float()
    sigma = max(1.0, _FREEDOM * float(depth.max()))
    share = np.maximum(ndimage.gaussian_filter(inside.numpy(), sigma), 1e-3)
    drift = [ndimage.gaussian_filter(plane, sigma) / share for plane in ((start - found) * inside).numpy()]
    found = found + torch.from_numpy(np.stack(drift)) * (depth / sigma).clamp(max=1)
    return torch.where(hole, found, start).clamp(-1, 1)


def _grown(hole: Tensor, side: int) -> Tensor:
    """bool [H, W]: whether there is any of the hole in the square around a pixel."""
    return F.max_pool2d(hole[None].float(), side, 1, side // 2)[0] > 0


def _depth(hole: Tensor) -> Tensor:
    """float32 [H, W]: how far each pixel lies from known ones; 0 = known."""
    return torch.from_numpy(ndimage.distance_transform_edt(hole.numpy())).float()


class _Level:
    """One resolution: a picture whose hole is being filled, and for each patch that touches the hole a known one."""

    def __init__(self, picture: Tensor, hole: Tensor) -> None:
        """picture [C, H, W], hole bool [H, W]."""
        self.picture, self.hole = picture.clone(), hole
        self.height, self.width = hole.shape
        touches = _grown(hole, _PATCH)
        is_source = torch.zeros_like(hole)
        inner = (slice(_REACH, -_REACH), slice(_REACH, -_REACH))
        is_source[inner] = ~touches[inner]
        self.is_source = is_source.flatten()
        self.sources, self.targets = (each.flatten().nonzero()[:, 0] for each in (is_source, touches))  # places
        self.number = torch.full((hole.numel(),), -1)  # of the target at each place
        self.number[self.targets] = torch.arange(len(self.targets))
        self.certainty = _CERTAINTY ** -_depth(touches).flatten()[self.targets]
        self.match = self.error = self.targets  # the place of each target's source, and how different it is
        self.said = self.picture  # what the matches say, in the hole and along its edge

    def match_all(self, coarse: "_Level | None", rounds: int, generator: Generator) -> None:
        """Fill the hole by `rounds` of matching and voting, from the matches of a coarser level where there is one."""
        self.match = self.sources[torch.randint(len(self.sources), self.targets.shape, generator=generator)]
        self.error = torch.full(self.targets.shape, torch.inf)
        if coarse is not None:
            y, x = self.targets // self.width, self.targets % self.width
            parent = coarse.match[coarse.number[(y // 2) * coarse.width + x // 2].clamp(min=0)]
            self._offer(2 * (parent // coarse.width) + y % 2, 2 * (parent % coarse.width) + x % 2)
            self._vote(torch.ones_like(self.certainty))
        for _ in range(rounds):
            if len(self.targets) * len(self.sources) <= _COMPARED_AT_ONCE:
                self._compare_all(generator)
            else:
                self._search(generator)
            self._vote(torch.exp(-self.error / (_SHARPNESS * self.error.median()).clamp(min=1e-8)) + 1e-6)

    def _compare_all(self, generator: Generator) -> None:
        planes = torch.cat([self.picture, (_CERTAINTY ** -_depth(self.hole))[None]])
        padded = F.pad(planes[None], (_REACH,) * 4, mode="replicate")
        patches = F.unfold(padded, _PATCH)[0].T.unflatten(1, (len(planes), -1))  # [places, C + 1, patch]
        known, wanted = patches[self.sources, :-1].flatten(1), patches[self.targets, :-1].flatten(1)
        weight = patches[self.targets, -1].repeat(1, len(self.picture))
        weight = weight / weight.mean(1, keepdim=True)
        error = weight @ known.square().T - 2 * (weight * wanted) @ known.T
        error = (error + (weight * wanted.square()).sum(1, keepdim=True)).clamp(min=0)
        chance = 1 + _SPREAD * torch.rand(len(self.sources), generator=generator)
        self.error, best = ((error + 0.01 * error.mean()) * chance).min(1)
        self.match = self.sources[best]

    def _search(self, generator: Generator) -> None:
        features = self._features(generator)
        self.error = (features[self.match] - features[self.targets]).square().sum(1)
        y, x = self.targets // self.width, self.targets % self.width
        for dy, dx in ((down * jump, right * jump) for jump in _JUMPS
                       for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0))):  # fmt: skip
            is_inside = (y + dy >= 0) & (y + dy < self.height) & (x + dx >= 0) & (x + dx < self.width)
            neighbour = self.number[torch.where(is_inside, self.targets + dy * self.width + dx, self.targets)]
            match = self.match[neighbour.clamp(min=0)]
            self._offer(match // self.width - dy, match % self.width - dx, features)
        radius = max(self.height, self.width)
        while radius >= 1:
            steps = ((2 * torch.rand((2, len(y)), generator=generator) - 1) * radius).round().long()
            self._offer(self.match // self.width + steps[0], self.match % self.width + steps[1], features)
            radius //= 3

    def _features(self, generator: Generator) -> Tensor:
        """[places, _FEATURES] of the patches around all places."""
        padded = F.pad(self.picture[None], (_REACH,) * 4, mode="replicate")
        chosen = self.sources[torch.randint(len(self.sources), (_FITTED_PATCHES,), generator=generator)]
        offsets = torch.arange(_PATCH)
        rows, columns = (each[:, None] + offsets for each in (chosen // self.width, chosen % self.width))
        patches = padded[0][:, rows[:, :, None], columns[:, None]].movedim(1, 0).flatten(1)
        _, vectors = torch.linalg.eigh(torch.cov(patches.T))
        kernels = vectors[:, -_FEATURES:].T.unflatten(1, (-1, _PATCH, _PATCH))
        return F.conv2d(padded, kernels)[0].flatten(1).T.contiguous()

    def _offer(self, y: Tensor, x: Tensor, features: Tensor | None = None) -> None:
        """Take matches at rows y, columns x where they are sources, and nearer by their features if there are any."""
        is_inside = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
        place = torch.where(is_inside, y * self.width + x, 0)
        rows = (is_inside & self.is_source[place]).nonzero()[:, 0]
        place = place[rows]
        if features is not None:
            error = (features[place] - features[self.targets[rows]]).square_().sum(1)
            is_better = error < self.error[rows]
            rows, place = rows[is_better], place[is_better]
            self.error[rows] = error[is_better]
        self.match[rows] = place

    def _vote(self, weight: Tensor) -> None:
        """Make each pixel of the hole the mean of what the matches of the patches around it say."""
        places = _grown(self.hole, 3).flatten().nonzero()[:, 0]
        y, x = places // self.width, places % self.width
        pixels, weight = self.picture.flatten(1), weight * self.certainty
        total, weights = torch.zeros(len(pixels), len(places)), torch.zeros(len(places))
        for dy in range(-_REACH, _REACH + 1):
            for dx in range(-_REACH, _REACH + 1):
                is_inside = (y >= dy) & (y - dy < self.height) & (x >= dx) & (x - dx < self.width)
                target = self.number[torch.where(is_inside, places - dy * self.width - dx, places)]
                counts = weight[target] * (is_inside & (target >= 0))
                total += counts * pixels[:, self.match[target] + dy * self.width + dx]
                weights += counts
        self.said = self.picture.clone()
        self.said.flatten(1)[:, places] = total / weights
        self.picture = torch.where(self.hole, self.said, self.picture)
