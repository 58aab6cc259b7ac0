"""Which images are learned from and which are held out: what folders say, else a hash of each image's id."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from vae_cli.images.image_ref import ImageRef, suffix_of
from vae_cli.images.image_refs import ImageRefs, Kind, names_of, taken
from vae_cli.printable import printable

HELD_OUT_SHARE = 0.05
SPLIT_NAMES = {
    "train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Split:
    """The three parts of a data set, each sorted by id."""

    train: Sequence[ImageRef]
    validation: Sequence[ImageRef]
    test: Sequence[ImageRef]


def split_folders(folders: Set[str], splits: str = "auto") -> dict[str, str]:
    """Which of the folders at the top are splits, and which ones.

    splits: auto = those called so where no other folder is there, since a class may be called `train` as well;
    folders = all that are called so; none.
    """
    named = {folder: SPLIT_NAMES[folder.lower()] for folder in folders if folder.lower() in SPLIT_NAMES}
    return named if splits == "folders" or (splits == "auto" and named.keys() == folders) else {}


def split_note(kinds: Mapping[Kind, int], folders: Set[str], used: Mapping[str, str], splits: str) -> list[str]:
    """What there is to say about splits, in a line or none.

    kinds: numbers of images; folders: all at the top; used: those that are splits.
    """
    counts = Counter[str]()
    for kind, number in kinds.items():
        counts[kind.split or "no split"] += number
    if counts.keys() != {"no split"}:
        source = f"the folders {_listed(used)}" if used else "a column of that name"
        sizes = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        note = f"splits by {source}: {sizes} images; --splits none ignores them"
        is_for_training = counts.keys() & {"train", "no split"}
        return [note if is_for_training else f"{note}, and so does training, since none is called train"]
    others = {folder for folder in folders if folder.lower() not in SPLIT_NAMES}
    if splits == "auto" and (alike := folders - others):
        return [f"no splits: {_listed(alike)} may well be a class, since there are images in {_listed(others)}, too"]
    return []


def _listed(folders: Set[str] | Mapping[str, str]) -> str:
    names = [f"{printable(name)}/" for name in sorted(folders)]
    return ", ".join(names[:8] + ["…"] * (len(names) > 8))


def folders_of(entry_id: str) -> list[str]:
    """The folders of an image from the top down, without the shard that it lies in; none of an absolute path, which has
    its top elsewhere."""
    folders = [] if entry_id.startswith("/") else entry_id.split("/")[:-1]
    return [part for part in folders if part != "." and suffix_of(part) != ".tar"]


def wrapping_folder(names: Sequence[str]) -> str:
    """'photos/' when an archive holds one top folder and everything lies at least one folder deeper; else ''.

    File managers zip a folder together with its name, which is no class and no split.
    """
    top, *others = {name.split("/")[0] for name in names}
    is_deep = all(name.count("/") >= 2 for name in names)
    return f"{top}/" if not others and is_deep and top.lower() not in SPLIT_NAMES else ""


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
    names = names_of(images)
    ordered = sorted(range(len(images)), key=names.__getitem__)
    splits = [kind.split for kind in images.kinds()] if isinstance(images, ImageRefs) else [ref.split for ref in images]
    if all(split in ("validation", "test") for split in splits):
        splits = [None] * len(splits)
    has_validation = "validation" in splits
    free = [row for row in ordered if splits[row] is None or (splits[row] == "train" and not has_validation)]
    hashes = {row: id_hash(names[row]) for row in free}
    least = 0 if has_validation else 1
    num_below = sum(value < HELD_OUT_SHARE for value in hashes.values())
    most = max(len(free) - 1, least)  # something has to be left to learn from in tiny sets
    # sorted by hash, and by id where two were to have the same
    held_out = {*sorted(free, key=hashes.__getitem__)[: min(max(num_below, least), most)]}
    validation = taken(images, (row for row in ordered if splits[row] == "validation" or row in held_out))
    test = taken(images, (row for row in ordered if splits[row] == "test"))
    train = taken(images, (row for row in ordered if splits[row] in (None, "train") and row not in held_out))
    return Split(train or validation, validation, test)


def lowest_hashes(images: Sequence[ImageRef], limit: int) -> tuple[ImageRef, ...]:
    """The `limit` images whose ids have the lowest hashes, sorted by id."""
    chosen = sorted(images, key=lambda ref: (id_hash(ref.id), ref.id))[:limit]
    return tuple(sorted(chosen, key=lambda ref: ref.id))
