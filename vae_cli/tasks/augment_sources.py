"""The images that new ones are made from: their latents, and which of them go together."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_cli.checkpoint import Model
from vae_cli.dataset.cache import ImageSet
from vae_cli.model.vae import Latents
from vae_cli.randomness import NUM_PLACES, place_of
from vae_cli.tasks.augment_checks import thumbnails
from vae_cli.tasks.encode import encode

NUM_PARTNERS = 64
"""Images of the class of which the nearest is the partner of an extrapolated image: beyond an image, away from an
unlike one, pictures fall apart."""
MAX_KNOWN_BYTES = 2**30  # of latents that are kept for the next partners
BLOCK = 256  # images of which thumbnails are made at a time


class _Group(NamedTuple):
    """Some of the images in the order of their places: their positions, and the places."""

    members: np.ndarray
    places: np.ndarray


class Sources:
    """Images, their latents under a model, and which other images each goes together with."""

    def __init__(self, model: Model, images: ImageSet) -> None:
        self.model, self.images = model, images
        self.places = np.array([place_of(image_id) for image_id in images.ids], np.uint64)
        """[N]: a number for each image that depends on its id alone."""
        order = np.argsort(self.places)
        self._all = _Group(order, self.places[order])
        by_label = {int(label): order[images.labels[order] == label] for label in np.unique(images.labels)}
        self._classes = {label: _Group(members, self.places[members]) for label, members in by_label.items()}
        """The images of each label, -1 among them."""
        self._known: dict[int, Latents] = {}
        """By position, the latents of those images that `encode` has been given."""

    @cached_property
    def _thumbnails(self) -> Tensor:
        """float16 [N, D], by which partners are chosen."""
        starts = range(0, len(self.images.ids), BLOCK)
        return torch.cat([thumbnails(self.images.pixels[start : start + BLOCK]).half() for start in starts])

    def _class_of(self, position: int) -> _Group:
        return self._classes[int(self.images.labels[position])]

    def has_classmate(self, position: int) -> bool:
        """Whether there is another image of its class."""
        return len(self._class_of(position).members) > 1

    def near_classmate(self, position: int, generator: torch.Generator) -> int:
        """The nearest of some other images of the class, or of all images where the class has no other."""
        group = self._class_of(position) if self.has_classmate(position) else self._all
        if len(group.members) <= NUM_PARTNERS:
            drawn = group.members[group.members != position]
        else:
            drawn = _others(group, position, NUM_PARTNERS, generator)
        distances = (self._thumbnails[drawn].float() - self._thumbnails[position].float()).square().sum(1)
        return int(drawn[distances.argmin()])

    def any_other(self, position: int, generator: torch.Generator) -> int:
        """Another image, whatever its class; there must be one."""
        return int(_others(self._all, position, 1, generator)[0])

    def encode(self, positions: Sequence[int]) -> None:
        """Makes `latents` of these images available; forgets all others before they grow too many."""
        wanted = set(positions)
        num_bytes = sum(4 * math.prod(shape) for shape in self.model.vae.latent_shapes)
        if (len(self._known) + len(wanted - self._known.keys())) * num_bytes > MAX_KNOWN_BYTES:
            self._known.clear()
        missing = sorted(wanted - self._known.keys())
        for position, encoded in zip(missing, encode(self.model, self.images.pixels[missing]), strict=True):
            self._known[position] = Latents(tuple(torch.from_numpy(layer)[None] for layer in encoded.means))

    def latents(self, positions: Sequence[int]) -> Latents:
        """Posterior means of images that have been encoded, a row each, on the model's device."""
        return Latents.joined([self._known[position] for position in positions]).map(self.model.runtime.move)


def _others(group: _Group, position: int, count: int, generator: torch.Generator) -> np.ndarray:
    """int64 [count]: positions of other images of a group of at least two.

    They are the next ones to random places, so that further images change few choices.
    """
    members, places = group
    wanted = torch.randint(NUM_PLACES, (count,), generator=generator).numpy().astype(np.uint64)
    found = np.searchsorted(places, wanted) % len(members)
    return members[np.where(members[found] == position, (found + 1) % len(members), found)]
