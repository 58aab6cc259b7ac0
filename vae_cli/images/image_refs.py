"""Millions of images by name, in a few bytes each: as objects of Python they would take what training needs."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import eq
from pathlib import Path
from typing import Any, NamedTuple

from vae_cli.images.image_ref import ImageRef


class Kind(NamedTuple):
    """What many images have in common. archive: what they lie in, under their ids without the prefix; None = files."""

    label: str | None = None
    split: str | None = None
    archive: Path | None = None
    prefix: str = ""


def archive_of(member: ImageRef | None) -> tuple[Path | None, str]:
    """Archive and prefix of an image's kind, which is a member of an archive, or None."""
    return (member.path, member.id.removesuffix(member.member or "")) if member else (None, "")


class _EqualByItems(Sequence[Any]):
    """Compared with any other sequence, as tuples are with one another."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]


class Names(_EqualByItems, Sequence[str]):
    """Strings in one piece of memory, made as they are asked for."""

    def __init__(self, names: Iterable[str]) -> None:
        self._text, self._ends = bytearray(), array("q", [0])
        for name in names:
            self._text += name.encode("utf-8", "surrogatepass")
            self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:  # type: ignore[override]  # no slices: see `taken`
        row = range(len(self))[index]
        return self._text[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogatepass")


class ImageRefs(_EqualByItems, Sequence[ImageRef]):
    """Images of one folder, list or archive, or of several tars.

    place: what the ids of files are relative to; kinds: one of each image; spans: of members of tars, end to end.
    """

    def __init__(self, place: Path, names: Names, kinds: Iterable[Kind], spans: Iterable[int] = ()) -> None:
        self.place, self.names, self.spans = place, names, array("q", spans)
        numbers = dict[Kind, int]()
        self._kinds = array("i", (numbers.setdefault(kind, len(numbers)) for kind in kinds))
        self._table = list(numbers)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> ImageRef:  # type: ignore[override]  # no slices: see `taken`
        row = range(len(self))[index]
        name, kind = self.names[row], self.kind(row)
        if kind.archive is None:
            return ImageRef(name, self.place / name, None, kind.label, kind.split)
        span = (self.spans[2 * row], self.spans[2 * row + 1]) if self.spans else None
        return ImageRef(name, kind.archive, name.removeprefix(kind.prefix), kind.label, kind.split, span)

    def take(self, rows: Iterable[int]) -> "ImageRefs":
        """Some of them, in the order of the rows."""
        rows = array("q", rows)
        spans = chain.from_iterable(self.spans[2 * row : 2 * row + 2] for row in rows)
        return ImageRefs(self.place, Names(self.names[row] for row in rows), map(self.kind, rows), spans)

    def kind(self, row: int) -> Kind:
        return self._table[self._kinds[row]]

    def kinds(self) -> Iterator[Kind]:
        return (self._table[number] for number in self._kinds)

    def num_of_each(self) -> Counter[Kind]:
        counts = Counter(self._kinds)
        return Counter({kind: counts[number] for number, kind in enumerate(self._table)})


def taken(refs: Sequence[ImageRef], rows: Iterable[int]) -> Any:
    """Some of the images, as compact as they came."""
    return refs.take(rows) if isinstance(refs, ImageRefs) else tuple(refs[row] for row in rows)


def joined(one: Sequence[ImageRef], other: Sequence[ImageRef]) -> Sequence[ImageRef]:
    """Both of what `taken` has made of some images."""
    if not isinstance(one, ImageRefs) or not isinstance(other, ImageRefs):
        return (*one, *other)
    names, kinds = Names(chain(one.names, other.names)), chain(one.kinds(), other.kinds())
    return ImageRefs(one.place, names, kinds, chain(one.spans, other.spans))


def names_of(refs: Sequence[ImageRef], rows: Iterable[int] | None = None) -> Sequence[str]:
    """The ids of the images, or of some of them."""
    names = refs.names if isinstance(refs, ImageRefs) else [ref.id for ref in refs]
    return names if rows is None else Names(names[row] for row in rows)


def labels_of(refs: Sequence[ImageRef], rows: Iterable[int]) -> Iterator[str | None]:
    """The labels of some of the images."""
    return (refs.kind(row).label if isinstance(refs, ImageRefs) else refs[row].label for row in rows)
