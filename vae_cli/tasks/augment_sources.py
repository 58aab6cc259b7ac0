"""The images that new ones are made from: which of them go together, and their latents."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.dataset.cache import ImageSet
from vae_cli.images.pixels import to_unit
from vae_cli.model.vae import Latents
from vae_cli.randomness import NUM_PLACES, place_of
from vae_cli.tasks.augment_checks import thumbnails
from vae_cli.tasks.encode import encode

NUM_PARTNERS = 64
"""Images of the class of which the nearest is the partner: what lies between two unlike ones is neither, and what lies
beyond one, away from an unlike one, falls apart. Test error of the trials at `augment.AUTO` with 1 / 16 / 64 images:
1.26 / 1.17 / 1.14 %."""
MAX_KNOWN_BYTES = 2**30
"""Of latents that are kept for the next partners."""
BLOCK = 256
"""Thumbnails are made of so many images at a time."""


class _Kind(NamedTuple):
    """Some of the images in the order of their places."""

    members: np.ndarray
    """Their positions."""
    places: np.ndarray


@dataclass(frozen=True)
class Sources:
    """Images, and what a model and their labels tell of them."""

    model: Model
    images: ImageSet

    @cached_property
    def places(self) -> np.ndarray:
        """uint64 [N]: a number for each image that depends on its id alone."""
        return np.array([place_of(image_id) for image_id in self.images.ids], np.uint64)

    @cached_property
    def _all(self) -> _Kind:
        order = np.argsort(self.places)
        return _Kind(order, self.places[order])

    @cached_property
    def _classes(self) -> dict[int, _Kind]:
        """The images of each label; those without one are each other's kind."""
        members, places = self._all
        by_label = np.argsort(self.images.labels[members], kind="stable")
        names, starts = np.unique(self.images.labels[members[by_label]], return_index=True)
        parts = np.split(by_label, starts[1:])
        return {int(name): _Kind(members[part], places[part]) for name, part in zip(names, parts, strict=True)}

    @cached_property
    def _counts(self) -> dict[int, int]:
        """Of each label."""
        names, counts = np.unique(self.images.labels, return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    @cached_property
    def _known(self) -> dict[int, tuple[Tensor, ...]]:
        """By position, the latents float32 [C, h, w] a layer of those images that `know` has encoded."""
        return {}

    @cached_property
    def _small(self) -> Tensor:
        """float16 [N, D]: thumbnails of the images, by which partners are chosen."""
        starts = range(0, len(self.images.ids), BLOCK)
        return torch.cat([thumbnails(self.images.pixels[start : start + BLOCK]).half() for start in starts])

    def label(self, position: int) -> int:
        """-1 = none."""
        return int(self.images.labels[position])

    def has_kin(self, position: int) -> bool:
        """Whether there is another image of its class."""
        return self._counts[self.label(position)] > 1

    @cached_property
    def have_looks(self) -> bool:
        """Whether there are two images whose latents have statistics over places; a vector is content alone."""
        return len(self.images.ids) > 1 and any(h * w > 1 for _, h, w in self.model.vae.latent_shapes)

    def kin(self, position: int, generator: torch.Generator) -> int:
        """The nearest of some other images of the class, which must have two."""
        kind = self._classes[self.label(position)]
        if len(kind.members) <= NUM_PARTNERS:
            drawn = kind.members[kind.members != position]
        else:
            drawn = _others(kind, position, NUM_PARTNERS, generator)
        moved = self._small[drawn].float() - self._small[position].float()
        return int(drawn[moved.square().sum(1).argmin()])

    def any_other(self, position: int, generator: torch.Generator) -> int:
        """Another image, whatever its class; there must be one."""
        return int(_others(self._all, position, 1, generator)[0])

    def know(self, positions: Sequence[int]) -> None:
        """Encodes those of these images that are not known yet; forgets all others before they grow too many."""
        wanted = set(positions)
        num_bytes = sum(4 * math.prod(shape) for shape in self.model.vae.latent_shapes)
        if (len(self._known) + len(wanted - self._known.keys())) * num_bytes > MAX_KNOWN_BYTES:
            self._known.clear()
        missing = sorted(wanted - self._known.keys())
        for position, encoded in zip(missing, encode(self.model, self.images.pixels[missing]), strict=True):
            self._known[position] = tuple(map(torch.from_numpy, encoded.means))

    def latents(self, positions: Sequence[int]) -> Latents:
        """Posterior means of images that are known, a row each, on the model's device."""
        layers = zip(*(self._known[position] for position in positions), strict=True)
        return Latents(tuple(self.model.runtime.move(torch.stack(layer)) for layer in layers))

    def inputs(self, positions: Sequence[int]) -> Tensor:
        """float32 [B, C, H, W] in [-1, 1], on the model's device."""
        return self.model.runtime.move(to_unit(self.images.pixels[list(positions)]))


def _others(kind: _Kind, position: int, count: int, generator: torch.Generator) -> np.ndarray:
    """int64 [count]: positions of images of a kind, which has two, but not this one's.

    Those are the next ones to random places, so that further images change few choices.
    """
    members, places = kind
    wanted = torch.randint(NUM_PLACES, (count,), generator=generator).numpy().astype(np.uint64)
    found = np.searchsorted(places, wanted) % len(members)
    return members[np.where(members[found] == position, (found + 1) % len(members), found)]
