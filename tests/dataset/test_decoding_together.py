"""The ranks of a node decode each image once between them, and end with what one of them alone would have."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ranks import together

from vae_cli.company import Company
from vae_cli.dataset import decoding
from vae_cli.dataset.cache import ImageSet, load_images, load_statistics
from vae_cli.dataset.scan import scan
from vae_cli.errors import DataError
from vae_cli.images.colours import WHITE
from vae_cli.images.recipe import ImageRecipe

RECIPE, NUM = ImageRecipe((8, 8), 3, "crop", WHITE), 3


@pytest.fixture
def folder(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    for number in range(7):
        draw(tmp_path / f"data/{'ab'[number % 2]}/{number}.png", (10, 12), seed=number)
    (tmp_path / "data/a/4.png").write_bytes(b"cut off")
    return tmp_path / "data"


def ranks_load(folder: Path) -> list[object]:
    """What NUM ranks of one node, each a thread, have of the folder, or raise."""
    found = scan(folder)

    def load(rank: int, store: "torch.distributed.HashStore") -> ImageSet:
        with Company(store, rank, NUM) as company:
            load_statistics(found.images, WHITE, company=company)
            return load_images(found.images, RECIPE, label_names=found.label_names, company=company)

    return together(load, NUM)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of images as they are decoded."""
    ids, decode = list[str](), ImageRecipe.decode
    monkeypatch.setattr(ImageRecipe, "decode", lambda recipe, ref: ids.append(ref.id) or decode(recipe, ref))
    return ids


def test_each_image_is_decoded_once_a_node(folder: Path, cache: Path, decoded: list[str]) -> None:
    results = ranks_load(folder)
    assert sorted(decoded) == sorted(ref.id for ref in scan(folder).images)
    assert len(list(cache.glob("*.u8"))) == 1 and not list(cache.glob(".*"))
    decoded.clear()
    alone = load_images(scan(folder).images, RECIPE, label_names=("a", "b"))
    assert decoded == ["a/4.png"], "only what has failed is tried again"
    for images in results:
        assert isinstance(images, ImageSet) and images.notes == ()
        np.testing.assert_array_equal(images.pixels, alone.pixels)
        assert images.ids == alone.ids and images.labels.tolist() == alone.labels.tolist()
        assert [item.id for item in images.skipped] == ["a/4.png"]


def test_a_rank_that_cannot_write_makes_all_decode_for_themselves(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part_of = decoding.part_of
    monkeypatch.setattr(decoding, "part_of", lambda path, position: part_of(path, position) if position != 1
                        else path / "below a file")  # fmt: skip
    for images in ranks_load(folder):
        assert isinstance(images, ImageSet) and len(images.ids) == 6 and "not cached" in images.notes[0]


def test_no_rank_can_use_any_image(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    assert all(isinstance(result, DataError) for result in ranks_load(folder))
