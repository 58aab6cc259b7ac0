"""Images by the million: as a sequence like any other, in few bytes each."""

import tracemalloc
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vae_cli.images.image_ref import ImageRef
from vae_cli.images.image_refs import ImageRefs, Kind, Names, joined, labels_of, names_of, taken

KINDS = [Kind("cat", "train"), Kind(), Kind("dog", "train"), Kind("cat", "train")]
NAMES = ["a.png", "b/ü.png", "b/\udcff.png", "c.png"]


def refs() -> ImageRefs:
    return ImageRefs(Path("at"), Names(NAMES), KINDS)


@given(st.lists(st.text(st.characters())))
def test_names_are_a_sequence_of_strings(texts: list[str]) -> None:
    names = Names(texts)
    assert names == texts and list(names) == texts and len(names) == len(texts)
    assert not texts or names[-1] == texts[-1]


def test_images_are_made_as_they_are_asked_for() -> None:
    assert refs()[1] == ImageRef("b/ü.png", Path("at/b/ü.png"))
    assert refs()[-1] == ImageRef("c.png", Path("at/c.png"), None, "cat", "train")
    last, first = taken(refs(), [2, 3]), taken(refs(), [0])
    assert last == [refs()[2], refs()[3]] == list(refs())[2:] and refs() != last
    assert joined(last, first) == [refs()[2], refs()[3], refs()[0]] == taken(refs(), [2, 3, 0])
    assert joined(tuple(refs()), first) == (*refs(), refs()[0]) and taken([*refs()], [1]) == (refs()[1],)
    assert dict(refs().num_of_each()) == {KINDS[0]: 2, KINDS[1]: 1, KINDS[2]: 1}
    for some in (refs(), list(refs())):
        assert names_of(some, [3, 0]) == ["c.png", "a.png"] and list(labels_of(some, [2, 1])) == ["dog", None]


def test_members_of_archives() -> None:
    kinds = [Kind("cat", None, Path("at/1.tar"), "1.tar/"), Kind(None, None, Path("at/2.tar"), "2.tar/")]
    found = ImageRefs(Path("at"), Names(["1.tar/a.png", "2.tar/b.png"]), kinds, [512, 7, 1024, 9])
    assert found == [ImageRef("1.tar/a.png", Path("at/1.tar"), "a.png", "cat", None, (512, 7)),
                     ImageRef("2.tar/b.png", Path("at/2.tar"), "b.png", None, None, (1024, 9))]  # fmt: skip
    assert joined(taken(found, [1]), taken(found, [0])) == [found[1], found[0]]
    (zipped,) = ImageRefs(Path("at"), Names(["a.png"]), [Kind(archive=Path("at/a.zip"))])
    assert zipped == ImageRef("a.png", Path("at/a.zip"), "a.png")


def test_few_bytes_an_image() -> None:
    num = 20_000
    tracemalloc.start()
    kept = ImageRefs(Path("at"), Names(f"folder/{number:08d}.png" for number in range(num)), [KINDS[0]] * num)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == num and size / num < 45  # 19 of the name, 8 of its place, 4 of its kind, and room to grow
