"""Where the images of `augment` go when classes are called what no folder can be called."""

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from vae_cli.dataset.scan import Scan
from vae_cli.images.image_ref import ImageRef
from vae_cli.jobs.augment_data import SplitData

LABELS = (
    "a\0b",
    "..",
    ".",
    "/",
    "a/b",
    "../../etc",
    "x" * 300,
    "日" * 200,
    "C:\\x",
    "\n",
    " ",
    "cat",
    "Cat",
    "con.",
    "\udcff",
)
unused: Any = None


def places(*refs: ImageRef) -> list[PurePosixPath]:
    names = tuple(sorted({ref.label for ref in refs if ref.label is not None}))
    return SplitData(Path("list.csv"), Scan(refs, (), names), refs, unused, unused).places


@pytest.mark.parametrize("label", LABELS)
def test_any_label_has_a_folder_that_can_be_made(tmp_path: Path, label: str) -> None:
    (place,) = places(ImageRef("a/1.png", Path("1.png"), label=label))
    path = tmp_path / "out" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert path.resolve().parent.parent == (tmp_path / "out").resolve() and path.name == "1.png"


def test_no_two_labels_share_a_folder() -> None:
    found = places(*(ImageRef(f"{number}.png", Path("x"), label=label) for number, label in enumerate(LABELS)))
    assert len({str(place.parent).casefold() for place in found}) == len(LABELS)


def test_class_folders_keep_their_names_and_long_ones_of_a_zip_are_cut(tmp_path: Path) -> None:
    odd = "What: a *name*?"
    kept, deep = places(ImageRef(f"{odd}/1.png", Path("x"), label=odd),
                        ImageRef(f"{'y' * 300}/z/1.png", Path("x.zip"), member="m"))  # fmt: skip
    assert str(kept) == f"{odd}/1.png"
    (tmp_path / deep).parent.mkdir(parents=True)
    assert deep.parts[1:] == ("z", "1.png")
