import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vae_cli.dataset.batches import Batches, batch_indices
from vae_cli.dataset.cache import ImageSet


def numbered(num_images: int) -> ImageSet:
    pixels = np.arange(num_images, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(4, 1)
    return ImageSet(pixels, tuple(map(str, range(num_images))), np.arange(num_images, dtype=np.int64))


@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 2**32), st.integers(0, 5))
def test_every_epoch_holds_every_image_once(num_images: int, batch_size: int, seed: int, epoch: int) -> None:
    stream = np.concatenate([batch_indices(num_images, batch_size, seed, step) for step in range(num_images * 6)])
    part = stream[epoch * num_images : (epoch + 1) * num_images]
    assert sorted(part.tolist()) == list(range(num_images))[: len(part)]


def test_batches_depend_on_seed_and_step_alone() -> None:
    first = batch_indices(1000, 64, seed=1, step=50)
    assert first.dtype == np.int64
    batch_indices(1000, 64, seed=2, step=0)
    np.testing.assert_array_equal(batch_indices(1000, 64, seed=1, step=50), first)
    assert not np.array_equal(batch_indices(1000, 64, seed=2, step=50), first)
    assert not np.array_equal(batch_indices(64, 64, seed=1, step=0), batch_indices(64, 64, seed=1, step=1))


def test_order_is_fixed_for_ever() -> None:
    """A resumed run of an earlier version must see the images in the same order."""
    assert batch_indices(10, 10, seed=0, step=0).tolist() == [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]


def test_pixels_and_labels_follow_the_order() -> None:
    with Batches(numbered(20), 8, seed=3, start_step=5) as batches:
        for step in (5, 6, 7):
            batch = next(batches)
            expected = batch_indices(20, 8, 3, step)
            assert batch.step == step and batch.pixels.dtype == torch.uint8 and batch.pixels.shape == (8, 4, 1, 1)
            assert batch.labels.tolist() == expected.tolist() == batch.pixels[:, 0, 0, 0].tolist()
        assert batches.seconds_waited > 0


def test_ranks_share_the_global_batch() -> None:
    parts = []
    for rank in range(3):
        with Batches(numbered(20), 8, seed=0, rank=rank, world_size=3) as batches:
            parts.append(next(batches).labels)
    assert torch.cat(parts).tolist() == batch_indices(20, 8, 0, 0).tolist()


def test_close_ends_the_thread() -> None:
    before = threading.active_count()
    batches = Batches(numbered(4), 2, seed=0)
    next(batches)
    batches.close()
    batches.close()
    assert threading.active_count() == before
    with pytest.raises(ValueError, match="closed"):
        next(batches)


def test_trouble_in_the_thread_reaches_the_consumer() -> None:
    broken = ImageSet(np.zeros((4, 1, 1, 1), np.uint8), ("a",) * 4, np.zeros(1, np.int64))
    batches = Batches(broken, 4, seed=0)
    with pytest.raises(IndexError):
        next(batches)


def close_ups(num_images: int) -> ImageSet:
    """Numbered from 100 on; the zoom is a tenth of the number."""
    images = numbered(num_images)
    return replace(images, pixels=images.pixels + 100, labels=np.full(num_images, -1), zooms=np.arange(num_images) / 10)


def test_every_fourth_image_is_a_close_up_where_there_are_any() -> None:
    with Batches(numbered(20), 8, patches=close_ups(5), seed=3, start_step=2) as batches:
        batch = next(batches)
    numbers = batch.pixels[:, 0, 0, 0]
    is_patch = torch.tensor([False, False, False, True] * 2)
    assert torch.equal(numbers >= 100, is_patch)
    assert numbers[~is_patch].tolist() == batch_indices(20, 6, 3, 2).tolist() == batch.labels[~is_patch].tolist()
    assert (numbers[is_patch] - 100).tolist() == batch_indices(5, 2, 3, 2).tolist()
    assert batch.labels[is_patch].tolist() == [-1, -1] and batch.zooms[~is_patch].tolist() == [0] * 6
    torch.testing.assert_close(batch.zooms[is_patch], (numbers[is_patch].float() - 100) / 10)


def test_ranks_share_close_ups_too() -> None:
    parts = []
    for rank in range(2):
        with Batches(numbered(20), 8, patches=close_ups(5), seed=0, rank=rank, world_size=2) as batches:
            parts.append(next(batches).pixels[:, 0, 0, 0])
    with Batches(numbered(20), 8, patches=close_ups(5), seed=0) as batches:
        assert torch.equal(torch.cat(parts), next(batches).pixels[:, 0, 0, 0])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 8])
def test_a_quarter_of_all_images_are_close_ups_whatever_the_batch(batch_size: int) -> None:
    """And each set goes on where the last batch left it."""
    drawn = []
    with Batches(numbered(20), batch_size, patches=close_ups(5), seed=3) as batches:
        for _ in range(-(-40 // batch_size)):
            drawn += next(batches).pixels[:, 0, 0, 0].tolist()
    is_patch = [number >= 100 for number in drawn[:40]]
    assert is_patch == [False, False, False, True] * 10
    wholes = [number for number in drawn[:40] if number < 100]
    assert wholes == batch_indices(20, 30, 3, 0).tolist()
    assert [number - 100 for number in drawn[:40] if number >= 100] == batch_indices(5, 10, 3, 0).tolist()
