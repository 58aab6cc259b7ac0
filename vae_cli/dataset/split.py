"""Which images are learned from and which are held out: what folders say, else a hash of each image's id."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vae_cli.images.image_ref import ImageRef

HELD_OUT_SHARE = 0.05


@dataclass(frozen=True)
class Split:
    """The three parts of a data set, each sorted by id."""

    train: tuple[ImageRef, ...]
    validation: tuple[ImageRef, ...]
    test: tuple[ImageRef, ...]


def id_hash(image_id: str) -> float:
    """A number in [0, 1) that depends on the id alone, the same on every machine."""
    digest = hashlib.blake2b(image_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def split_images(images: Sequence[ImageRef]) -> Split:
    """Training, validation and test images: by folders where there are any, else by the hash of the id.

    Held out is every id whose hash lies in the lowest 5 %, at least one image; a single image is in both parts.
    Without a validation folder the images of `train/` are held out in the same way; without any training image the
    folder names are taken for ordinary ones.
    """
    ordered = sorted(images, key=lambda ref: ref.id)
    if all(ref.split in ("validation", "test") for ref in ordered):
        ordered = [replace(ref, split=None) for ref in ordered]
    has_validation = any(ref.split == "validation" for ref in ordered)
    free = [ref for ref in ordered if ref.split is None or (ref.split == "train" and not has_validation)]
    least = 0 if has_validation else 1
    num_below = sum(id_hash(ref.id) < HELD_OUT_SHARE for ref in free)
    most = max(len(free) - 1, least)  # something has to be left to learn from in tiny sets
    held_out = {ref.id for ref in lowest_hashes(free, min(max(num_below, least), most))}
    validation = tuple(ref for ref in ordered if ref.split == "validation" or ref.id in held_out)
    test = tuple(ref for ref in ordered if ref.split == "test")
    train = tuple(ref for ref in ordered if ref.split in (None, "train") and ref.id not in held_out)
    return Split(train or validation, validation, test)


def lowest_hashes(images: Sequence[ImageRef], limit: int) -> tuple[ImageRef, ...]:
    """The `limit` images whose ids have the lowest hashes, sorted by id."""
    chosen = sorted(images, key=lambda ref: (id_hash(ref.id), ref.id))[:limit]
    return tuple(sorted(chosen, key=lambda ref: ref.id))
