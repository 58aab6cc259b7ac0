"""Masks and images by their names, and what is said where they do not fit."""

import itertools
import unicodedata
from pathlib import Path, PurePosixPath

import pytest

from vae_cli.files.mask_pairs import NoMask, mask_names, pair_masks
from vae_cli.images.image_ref import ImageRef, Skipped


def refs(*names: str, root: str = "root") -> tuple[ImageRef, ...]:
    return tuple(ImageRef(name, Path(root, name)) for name in names)


def pairs(images: tuple[str, ...], masks: tuple[str, ...], mask_root: str = "masks") -> dict[str, str]:
    """Image id -> mask id, or '!' and the reason."""
    found = pair_masks(refs(*images), refs(*masks, root=mask_root))
    return {key: f"!{value.reason}" if isinstance(value, Skipped) else value.id for key, value in found.items()}


@pytest.mark.parametrize("mask", ["a.png", "a_mask.png", "a-mask.gif", "a.mask.tif"])
def test_pairs_by_stem(mask: str) -> None:
    assert pairs(("a.jpg",), (mask, "other.png")) == {"a.jpg": mask}


def test_pairs_keep_folders_and_case() -> None:
    found = pairs(("x/a.jpg", "y/a.jpg", "A.jpg"), ("y/a.png", "x/a_mask.png", "a.png"))
    assert found["x/a.jpg"] == "x/a_mask.png" and found["y/a.jpg"] == "y/a.png"
    assert found["A.jpg"] == "a.png"


def test_inputs_of_one_stem_are_an_error_for_the_pair() -> None:
    found = pairs(("a.jpg", "a.png", "b.png"), ("a.png", "b.png"))
    assert "a.jpg and a.png share one stem" in found["a.jpg"] and found["a.png"].startswith("!")
    assert found["b.png"] == "b.png"


def test_masks_of_one_stem_are_an_error() -> None:
    assert "several masks" in pairs(("a.jpg",), ("a.png", "a_mask.png"))["a.jpg"]


def test_input_whose_name_ends_in_mask() -> None:
    assert pairs(("cat_mask.jpg",), ("cat_mask.png",)) == {"cat_mask.jpg": "cat_mask.png"}


def test_no_image_is_its_own_mask() -> None:
    names = ("a.png", "a_mask.png", "b.png")
    found = pairs(names, names, mask_root="root")
    assert found["a.png"] == "a_mask.png"
    assert found["a_mask.png"].startswith("!no mask") and found["b.png"].startswith("!no mask")


def test_one_mask_for_all() -> None:
    found = pair_masks(refs("a.jpg", "a.png"), Path("root/m.png"))
    assert [mask.path for mask in found.values() if isinstance(mask, ImageRef)] == [Path("root/m.png")] * 2


NFC, NFD = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.jpg", "a_mask001.png"), ("a.jpg", "a_mask_1.png"), ("a.jpg", "a.jpg.png"), ("a.jpg", "a.jpg_mask.png"),
        ("a.jpg", "a.JPG.mask.png"), ("a.jpg", "mask_a.png"), ("a.jpg", "Mask-a.png"), ("a.jpg", "a_Mask.png"),
        ("a.jpg", "a masks.png"), ("a.jpg", "mask_a.jpg.png"), ("IMG_1.JPG", "img_1.png"),
        ("x/IMG_1.JPG", "X/img_1_MASK.PNG"), (f"{NFC}.jpg", f"{NFD}.png"), (f"{NFD}.jpg", f"{NFC.upper()}_mask.png"),
        ("Straße.jpg", "STRASSE.png"), ("a.b.jpg", "a.b.png"), ("mask.png", "mask.png"), ("mask_1.jpg", "mask_1.png"),
        ("1.png", "mask_1.png"), ("a_mask.png", "a_mask_mask.png"), ("a\nb.jpg", "a\nb_mask.png"),
    ],
)  # fmt: skip
def test_names_that_fit(image: str, mask: str) -> None:
    assert pairs((image, "other.jpg"), ("unused.png", mask)) == {
        image: mask,
        "other.jpg": pairs(("other.jpg",), ())["other.jpg"] + "; unused are unused.png",
    }


@pytest.mark.parametrize(
    ("image", "mask"),
    [("a.jpg", "ba.png"), ("a.jpg", "amask.png"), ("a.jpg", "x/a.png"), ("a.tif", "a.jpg.png"), ("a.jpg", "mask.png")],
)
def test_names_that_do_not_fit(image: str, mask: str) -> None:
    assert pairs((image,), (mask,))[image].startswith("!no mask a.* or a_mask.*; ")


def test_the_same_name_comes_first() -> None:
    """Case and form are put aside only for images that have no mask of their very name."""
    images = ("A.jpg", "a.jpg", f"{NFC}.jpg", f"{NFD}.png")
    masks = ("A.png", "a_mask.png", f"{NFC}.png", f"{NFD}_mask.png")
    assert list(pairs(images, masks).values()) == list(masks)
    assert pairs(("a.jpg",), ("A.png", "a.png")) == {"a.jpg": "a.png"}
    found = pairs(("A.jpg", "a.jpg"), ("a.png",))
    assert found["a.jpg"] == "a.png" and found["A.jpg"].startswith("!no mask")
    found = pairs(("A.jpg", "a.JPG"), ("A_mask.png", "a.png", "B.png"))
    assert found == {"A.jpg": "A_mask.png", "a.JPG": "a.png"}


def test_a_mask_called_by_the_whole_name_is_no_other_image_s() -> None:
    assert pairs(("a.jpg", "a.png"), ("a.jpg.png", "a.png")) == {"a.jpg": "a.jpg.png", "a.png": "a.png"}
    found = pairs(("a.jpg", "a.png", "a.tif"), ("a.jpg.png", "a.gif"))
    assert found["a.jpg"] == "a.jpg.png" and "a.png and a.tif share one stem" in found["a.tif"]
    assert "call its own a.tif.png" in found["a.tif"]


def test_an_image_beside_its_namesake_needs_a_mask_that_says_so() -> None:
    found = pair_masks(refs("IMG_1.JPG", "img_1.png"), refs("IMG_1.JPG", "img_1.png"))
    reason = found["IMG_1.JPG"]
    assert isinstance(reason, Skipped) and reason.reason.endswith(
        "; img_1.png is taken for an image; --mask-pattern '{stem}.png' makes it the mask"
    )
    found = pair_masks(refs("IMG_1.JPG", "img_1.png"), refs("IMG_1.JPG", "img_1.png"), "{stem}.png")
    assert isinstance(found["IMG_1.JPG"], ImageRef) and isinstance(found["img_1.png"], NoMask)


@pytest.mark.parametrize(
    ("image", "mask", "pattern"),
    [
        ("a.jpg", "a_damage.png", "{stem}_damage.png"), ("a.jpg", "damage-A.png", "damage-{stem}.png"),
        ("sub/a.jpg", "a.png", "../{stem}.png"), ("sub/a.jpg", "holes/a.png", "../holes/{stem}.png"),
        ("a.jpg", "holes of a.b.tif", "holes of {stem}.b.tif"), ("a.jpg", "deep/a.gif", "deep/{stem}.gif"),
        (f"{NFC}.jpg", f"{NFD} 2.png", "{stem} 2.png"),
    ],
)  # fmt: skip
def test_the_message_names_a_pattern_that_fits(image: str, mask: str, pattern: str) -> None:
    """And so it does."""
    reason = pairs((image,), ("10.png", mask))[image]
    assert reason.startswith("!no mask") and f"{mask} would be one with --mask-pattern" in reason
    assert reason.endswith(f" {pattern!r}")
    found = pair_masks(refs(image), refs("10.png", mask, root="masks"), pattern)[image]
    assert isinstance(found, ImageRef) and found.id == mask


def test_a_pattern_decides_alone() -> None:
    images, masks = (
        refs("a.jpg", "b.jpg", "x/c.jpg"),
        refs("a_damage.png", "a.png", "b.png", "X/C_Damage.PNG", root="m"),
    )
    found = pair_masks(images, masks, "{stem}_damage")
    assert [mask.id if isinstance(mask, ImageRef) else None for mask in found.values()] == [
        "a_damage.png",
        "X/C_Damage.PNG",
        None,
    ]
    reason = found["b.jpg"]
    assert isinstance(reason, Skipped) and reason.reason.startswith("no mask b_damage; b.png would be one with")


def test_a_pattern_of_whole_names_and_of_images_beside() -> None:
    images = refs("a.jpg", "a.png")
    masks = refs("m/a.jpg.png", "m/a.png.png", root="masks")
    found = pair_masks(images, masks, "./m/{name}.png")
    assert [mask.id for mask in found.values() if isinstance(mask, ImageRef)] == ["m/a.jpg.png", "m/a.png.png"]
    shared = pair_masks(images, refs("a.gif"), "{stem}.gif")["a.png"]
    assert isinstance(shared, Skipped) and "{name} in --mask-pattern" in shared.reason
    beside = refs("a.jpg", "a.png", "a_hole.png")
    found = pair_masks(beside, beside, "{stem}_hole.png")
    assert "a.jpg and a.png share" in getattr(found["a.jpg"], "reason", "")


def test_images_elsewhere_are_not_offered_as_masks() -> None:
    reason = pairs(("a.jpg", "a.png"), ("b_mask.gif",))["a.jpg"]
    assert reason == "!no mask a.* or a_mask.*; unused are b_mask.gif"


def test_names_of_masks_are_found_again() -> None:
    """Whichever of the images are damaged, and so have a mask."""
    names = (
        "a.jpg",
        "a.png",
        "a.jpg.png",
        "A.tif",
        "a_mask.jpg",
        "mask_a.jpg",
        "a.jpg_mask.gif",
        f"{NFC}.jpg",
        f"{NFD}.jpg",
    )
    masks = [str(name) for name in mask_names([PurePosixPath("x", name) for name in names])]
    assert len({mask.casefold() for mask in masks}) == len(names)
    assert [str(name) for name in mask_names([PurePosixPath("b.tif"), PurePosixPath("c.jpg")])] == ["b.png", "c.png"]
    images = tuple(f"x/{name}" for name in names)
    for number in range(1, 4):
        for chosen in itertools.combinations(range(len(names)), number):
            found = pairs(images, tuple(masks[position] for position in chosen))
            wrong = {images[at]: found[images[at]] for at in range(len(names))
                     if (found[images[at]] != masks[at] if at in chosen else found[images[at]][0] != "!")}  # fmt: skip
            assert not wrong
