"""Millions of images by name, in a few bytes each: as objects of Python they would take what training needs."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import eq
from pathlib import Path
from typing import Any, overload

from vae_cli.images.image_ref import ImageRef

Kind = tuple[str | None, str | None]
"""Label and split of an image."""


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

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Names": ...
    def __getitem__(self, index: int | slice) -> "str | Names":
        if isinstance(index, slice):
            return Names(self[row] for row in range(len(self))[index])
        row = range(len(self))[index]
        return self._text[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogatepass")


class ImageRefs(_EqualByItems, Sequence[ImageRef]):
    """Images of one folder, list or zip. place: what ids are relative to, or the zip; kinds: one of each image."""

    def __init__(self, place: Path, names: Names, kinds: Iterable[Kind], *, is_zip: bool = False) -> None:
        self.place, self.names, self.is_zip = place, names, is_zip
        numbers = dict[Kind, int]()
        self._kinds = array("i", (numbers.setdefault(kind, len(numbers)) for kind in kinds))
        self._table = list(numbers)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> ImageRef: ...
    @overload
    def __getitem__(self, index: slice) -> "ImageRefs": ...
    def __getitem__(self, index: int | slice) -> "ImageRef | ImageRefs":
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        name, kind = self.names[index], self._table[self._kinds[index]]
        place = (self.place, name) if self.is_zip else (self.place / name, None)
        return ImageRef(name, *place, *kind)

    def __add__(self, other: "ImageRefs") -> "ImageRefs":
        return ImageRefs(self.place, Names(chain(self.names, other.names)), chain(self.kinds(), other.kinds()),
                         is_zip=self.is_zip)  # fmt: skip

    def take(self, rows: Iterable[int]) -> "ImageRefs":
        """Some of them, in the order of the rows."""
        rows = array("q", rows)
        return ImageRefs(self.place, Names(self.names[row] for row in rows),
                         (self._table[self._kinds[row]] for row in rows), is_zip=self.is_zip)  # fmt: skip

    def label(self, row: int) -> str | None:
        return self._table[self._kinds[row]][0]

    def kinds(self) -> Iterator[Kind]:
        return (self._table[number] for number in self._kinds)

    def num_of_each(self) -> Counter[Kind]:
        counts = Counter(self._kinds)
        return Counter({kind: counts[number] for number, kind in enumerate(self._table)})


def taken(refs: Sequence[ImageRef], rows: Iterable[int]) -> Any:
    """Some of the images, as compact as they came."""
    return refs.take(rows) if isinstance(refs, ImageRefs) else tuple(refs[row] for row in rows)


def names_of(refs: Sequence[ImageRef], rows: Iterable[int] | None = None) -> Sequence[str]:
    """The ids of the images, or of some of them."""
    names = refs.names if isinstance(refs, ImageRefs) else [ref.id for ref in refs]
    return names if rows is None else Names(names[row] for row in rows)


def labels_of(refs: Sequence[ImageRef], rows: Iterable[int]) -> Iterator[str | None]:
    """The labels of some of the images."""
    return (refs.label(row) if isinstance(refs, ImageRefs) else refs[row].label for row in rows)
