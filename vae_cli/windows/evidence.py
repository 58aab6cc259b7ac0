"""Which source fills a deep hole: known pixels beside it are hidden, and the one that foresees them is chosen.

In a thin hole the least squared error decides. In a deep one it would choose fog, the average of all that may be there.
So sources are compared by the energy score (Gneiting & Raftery 2007), which rewards draws that differ as much from one
another as from the truth.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy import ndimage, signal
from torch import Tensor
from torch.nn import functional as F

from vae_cli.model.texture import textured
from vae_cli.randomness import image_generator

Source = Literal["smooth", "mixed", "model"]
"""Of a fill's colours and shapes: a smooth continuation, the model's fill, or both as was measured best."""
_ALL, _FINEST = 16, 1  # halvings of the resolution down to which texture is copied: shapes as well, or detail alone
_CONVINCING_TRUST = 0.5
"""In the model deep inside a hole, as mixed there, from which its fills may be tried as they are, too."""
_SHRINKING = 2**-0.5
_LEAST_SIDE = 3
_MOST_PLACES = 4
_MARGIN = 2  # pixels between the hole and what is hidden
_BLOCK = 8  # pixels of the squares whose differences are compared


@dataclass(frozen=True)
class Choice:
    """How a deep hole is filled."""

    source: Source
    halvings: int = 0  # as of `textured`; 0 = no texture is copied

    def drawn(self, pictures: Mapping[Source, Tensor], hole: Tensor, seed: int) -> Tensor | None:
        """[C, h, w]: this fill of a hole, bool [h, w], or None where there is no texture to copy."""
        picture = pictures[self.source]
        return textured(picture, hole, image_generator(seed), self.halvings) if self.halvings else picture


def choices(trust: float | None) -> list[Choice]:
    """The ways to fill a deep hole. trust: of the model there, 0 to 1; None = no model is asked."""
    source: Source = "smooth" if trust is None else "mixed"
    found = [Choice(source), Choice(source, _ALL)]
    if trust is not None and trust >= _CONVINCING_TRUST:
        found += [Choice("mixed", _FINEST), Choice("model"), Choice("model", _FINEST)]
    return found


class Trial:
    """What is hidden in the view of a deep hole, and how well each way to fill it foresees that."""

    def __init__(self, x: Tensor, observed: Tensor, choices: Sequence[Choice]) -> None:
        """x [C, h, w] in [-1, 1], observed [1, h, w]: the view, as the model is given it."""
        self.x, self.hole, self.choices = x, observed[0] == 0, choices
        self.hidden = torch.from_numpy(hidden_beside(self.hole.numpy()))
        self.observed = observed * ~self.hidden
        self.draws: list[Mapping[Source, Tensor]] = []
        self.num_draws = 2 * bool(self.hidden.any())
        """Of pictures from each source, by which is chosen once they are all there."""

    @functools.cached_property
    def choice(self) -> Choice:
        """The best one by the draws; the first one where nothing could be hidden."""
        return min(self.choices, key=self._score) if self.draws else self.choices[0]

    @functools.cached_property
    def safe_choice(self) -> Choice:
        """The same, but the model's own pictures only where they are no farther from the truth than smooth ones."""
        if self.choice.source != "model" or self._squares("model") <= self._squares("smooth"):
            return self.choice
        return min((choice for choice in self.choices if choice.source != "model"), key=self._score)

    def _squares(self, source: Source) -> float:
        """The squared error of a source's draws where something is hidden."""
        return sum(float(((pictures[source] - self.x).square() * self.hidden).sum()) for pictures in self.draws)

    def _score(self, choice: Choice) -> float:
        unknown = self.hole | self.hidden
        first, second = (choice.drawn(pictures, unknown, number) for number, pictures in enumerate(self.draws))
        if first is None or second is None:
            return torch.inf
        return energy_score(first, second, self.x, self.hidden)


def energy_score(first: Tensor, second: Tensor, truth: Tensor, hidden: Tensor) -> float:
    """How badly two draws [C, h, w] foresee the truth where it is hidden, bool [h, w]: the least is best.

    E|draw - truth| - E|draw - other draw| / 2, of the norms of small squares.
    """

    def pooled(values: Tensor) -> Tensor:
        return F.avg_pool2d(values[None] * hidden, _BLOCK, _BLOCK // 2, _BLOCK // 2)

    def distance(a: Tensor, b: Tensor) -> float:
        squares = pooled((a - b).square().mean(0, keepdim=True))
        return float((squares * share).sqrt().sum() / share.sum())

    share = pooled(torch.ones_like(truth[:1]))
    return (distance(first, truth) + distance(second, truth) - distance(first, second)) / 2


def hidden_beside(hole: np.ndarray) -> np.ndarray:
    """bool [H, W]: known pixels beside a hole, bool [H, W], in its shape, as large as there is room; none without."""
    hidden = np.zeros_like(hole)
    if not hole.any() or hole.all():
        return hidden
    rows, columns = ndimage.find_objects(hole.astype(np.uint8))[0]
    shape = whole = hole[rows, columns]
    middle = np.array([rows.start + rows.stop, columns.start + columns.stop]) / 2
    taken = ndimage.maximum_filter(hole, 2 * _MARGIN + 1).astype(np.float32)
    scale = 1.0
    while not hidden.any() and min(shape.shape) >= _LEAST_SIDE:
        for _ in range(_MOST_PLACES):
            free = np.argwhere(signal.fftconvolve(taken, shape[::-1, ::-1].astype(np.float32), "valid") < 0.5)
            if not len(free):
                break
            top, left = free[np.square(free + np.array(shape.shape) / 2 - middle).sum(1).argmin()]
            here = slice(top, top + shape.shape[0]), slice(left, left + shape.shape[1])
            hidden[here] |= shape
            taken[max(0, here[0].start - shape.shape[0] // 2) : here[0].stop + shape.shape[0] // 2,
                  max(0, here[1].start - shape.shape[1] // 2) : here[1].stop + shape.shape[1] // 2] = 1  # fmt: skip
        scale *= _SHRINKING
        shrunk = [max(1, round(side * scale)) for side in whole.shape]
        shape = whole[np.ix_(*(np.arange(new) * old // new for new, old in zip(shrunk, whole.shape, strict=True)))]
    return hidden
