import errno
import io
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vae_cli.dataset.cache import ImageSet, cache_folder, load_images, load_statistics
from vae_cli.dataset.image_statistics import binary_share
from vae_cli.dataset.scan import scan
from vae_cli.dataset.stored_pixels import StoredPixels, checksums
from vae_cli.errors import DataError
from vae_cli.images.colours import WHITE
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.recipe import ImageRecipe

Draw = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    """Six images of two classes, one of them cut off."""
    for number in range(3):
        draw(tmp_path / f"data/cat/{number}.png", (10, 12), seed=number)
        draw(tmp_path / f"data/dog/{number}.png", (10, 12), seed=9 + number)
    (tmp_path / "data/cat/1.png").write_bytes(b"\x89PNG cut off")
    return tmp_path / "data"


def load(folder: Path, **changes: object) -> ImageSet:
    found = scan(folder)
    settings = {"size": (8, 8), "channels": 3, "fit": "crop", "background": WHITE, "label_names": found.label_names,
                "on_progress": None, "workers": 2, **changes}  # fmt: skip
    recipe = ImageRecipe(*(settings.pop(name) for name in ("size", "channels", "fit", "background")))  # type: ignore[arg-type]
    return load_images(found.images, recipe, **settings)  # type: ignore[arg-type]


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(recipe: ImageRecipe, source: object) -> np.ndarray:
        raise AssertionError(f"{source} decoded again")

    monkeypatch.setattr(ImageRecipe, "decode", decode)


def test_decoded_once_and_compacted(folder: Path, cache: Path) -> None:
    seen: list[tuple[int, int]] = []
    images = load(folder, on_progress=lambda done, total: seen.append((done, total)))
    assert images.pixels.shape == (5, 8, 8, 3) and isinstance(images.pixels, np.memmap)
    assert not images.pixels.flags.writeable and images.notes == ()
    assert images.ids == ("cat/0.png", "cat/2.png", "dog/0.png", "dog/1.png", "dog/2.png")
    assert images.labels.tolist() == [0, 0, 1, 1, 1] and images.labels.dtype == np.int64
    assert [entry.id for entry in images.skipped] == ["cat/1.png"]
    assert seen == [(number, 6) for number in range(1, 7)]
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".u8"]
    np.testing.assert_array_equal(images.pixels[2], load(folder, workers=1).pixels[2])


def test_second_time_comes_from_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "cat/1.png").unlink()
    first = load(folder)
    forbid_decoding(monkeypatch)
    second = load(folder)
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert second.ids == first.ids
    assert load(folder, label_names=()).labels.tolist() == [-1] * 5


def test_what_decoders_remark_is_told_each_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ImageRecipe.decode

    def decode(recipe: ImageRecipe, source: ImageRef) -> np.ndarray:
        if source.id in ("cat/2.png", "cat/1.png"):
            warnings.warn("odd tags", UserWarning, stacklevel=1)
        return whole(recipe, source)

    monkeypatch.setattr(ImageRecipe, "decode", decode)
    told = ("cat/2.png: read, with a remark of its decoder: odd tags",)
    assert load(folder).notes == told  # and of the one that fails its reason
    (folder / "cat/1.png").unlink()
    assert load(folder).notes == told
    forbid_decoding(monkeypatch)
    assert load(folder).notes == told


def test_a_second_start_opens_no_image(folder: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for sizes and modes nor for pixels, and it does not read all of these; a changed file is looked at."""
    (folder / "cat/1.png").unlink()
    first, pixels = load_statistics(scan(folder).images, WHITE), load(folder).pixels
    extreme = np.count_nonzero((pixels == 0) | (pixels == 255)) / pixels.size
    with monkeypatch.context() as patched:
        patched.setattr(Image, "open", lambda *_, **__: pytest.fail("an image was opened"))
        patched.setattr(StoredPixels, "__getitem__", lambda *_: pytest.fail("pixels were read"))
        assert load_statistics(scan(folder).images, WHITE) == first
        again = load(folder).pixels
        assert binary_share(again) == extreme and len(checksums(again)) == 5
    assert first.sizes == {(10, 12): 5} and first.modes == {"RGB": 5} and not first.grey
    draw(folder / "cat/0.png", (30, 30))
    assert load_statistics(scan(folder).images, WHITE).sizes == {(30, 30): 1, (10, 12): 4}


def test_what_could_not_be_looked_at_is_looked_at_again(folder: Path) -> None:
    assert [item.id for item in load_statistics(scan(folder).images, WHITE).skipped] == ["cat/1.png"]
    stat, whole = (folder / "cat/1.png").stat(), (folder / "cat/0.png").read_bytes()
    (folder / "cat/1.png").write_bytes(whole)
    os.truncate(folder / "cat/1.png", max(stat.st_size, len(whole)))
    assert load_statistics(scan(folder).images, WHITE).skipped == ()


@pytest.mark.parametrize("change", [{"size": (4, 8)}, {"channels": 1}, {"fit": "pad"}, {"background": (0, 0, 0)}])
def test_settings_are_part_of_the_key(folder: Path, cache: Path, change: dict[str, object]) -> None:
    load(folder)
    load(folder, **change)
    assert len(list(cache.glob("*.json"))) == 2


def test_changed_file_is_decoded_again(folder: Path, draw: Draw) -> None:
    before = np.array(load(folder).pixels)
    draw(folder / "cat/0.png", (10, 12), seed=77)
    os.utime(folder / "cat/0.png", ns=(1, 1))
    after = load(folder).pixels
    assert not np.array_equal(before[0], after[0]) and np.array_equal(before[1:], after[1:])


def test_failed_file_that_is_readable_by_now(folder: Path, draw: Draw) -> None:
    stat = (folder / "cat/1.png").stat()
    assert len(load(folder).ids) == 5
    content = draw(folder.parent / "whole.png").read_bytes()
    broken = (folder / "cat/1.png").read_bytes()
    (folder / "cat/1.png").write_bytes(content)
    assert len(load(folder).ids) == 6
    (folder / "cat/1.png").write_bytes(broken)
    os.utime(folder / "cat/1.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len(load(folder).ids) == 5


@pytest.mark.parametrize("damage", ["cut", "flip", "no pixels", "json", "wrong json", "empty json"])
def test_damaged_entry_is_rebuilt(folder: Path, cache: Path, damage: str) -> None:
    expected = np.array(load(folder).pixels)
    pixels, facts = next(cache.glob("*.u8")), next(cache.glob("*.json"))
    if damage == "cut":
        os.truncate(pixels, 100)
    elif damage == "flip":
        pixels.write_bytes(bytes([pixels.read_bytes()[0] ^ 1]) + pixels.read_bytes()[1:])
    elif damage == "no pixels":
        pixels.unlink()
    else:
        text = {"json": "{", "wrong json": json.dumps({"kept": "x", "failed": 3}), "empty json": ""}[damage]
        facts.write_text(text)
    np.testing.assert_array_equal(load(folder).pixels, expected)
    assert "kept" in json.loads(facts.read_text())


@pytest.mark.parametrize("damage", ["cut", "zeroed"])
def test_an_entry_that_is_damaged_while_in_use(folder: Path, cache: Path, draw: Draw, damage: str) -> None:
    """Each image is checked as it is taken out, decoded anew where it is not whole, and the entry is given up."""
    images = load(folder)
    expected = images.pixels[:].copy()
    with next(cache.glob("*.u8")).open("r+b") as file:
        if damage == "cut":
            file.truncate(8 * 8 * 3 + 5)
        else:
            file.seek(3 * 8 * 8 * 3)
            file.write(bytes(8 * 8 * 3))
    for index in (3, slice(None), slice(4, 0, -2), np.array([4, 3, 3]), [1, 3], np.arange(5) > 2, (3, 0), (..., 0), -2):
        np.testing.assert_array_equal(images.pixels[index], expected[index])
    assert not list(cache.glob("*.json"))
    draw(folder / "dog/1.png", (10, 12), seed=1234)
    with pytest.raises(DataError, match=r"dog.1\.png has changed"):
        images.pixels[3]
    assert len(load(folder).ids) == 5


def test_unusable_cache_folder_falls_back(folder: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    images = load(folder)
    assert images.pixels.shape == (5, 8, 8, 3) and not images.pixels.flags.writeable
    assert len(images.notes) == 1 and "not cached" in images.notes[0]


def test_full_disk_falls_back_to_memory(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk:
        free = 0

    monkeypatch.setattr(shutil, "disk_usage", lambda path: FullDisk)
    images = load(folder)
    assert "too little space" in images.notes[0] and len(images.ids) == 5
    assert not isinstance(images.pixels, np.memmap)
    assert list(cache.iterdir()) == []


def test_disk_that_fills_up_while_writing(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    images = load(folder)
    assert "No space left" in images.notes[0] and len(images.ids) == 5
    assert list(cache.iterdir()) == []


def test_disk_that_refuses_what_was_buffered(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails is tried again as the file closes, and fails again."""
    real = Path.open

    class Full(io.FileIO):
        def write(self, _: object) -> int:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    def open_full(path: Path, mode: str = "r", **settings: Any) -> Any:
        return io.BufferedRandom(Full(path, "x+")) if mode == "x+b" else real(path, mode, **settings)

    monkeypatch.setattr(Path, "open", open_full)
    images = load(folder)
    assert "quota" in images.notes[0] and len(images.ids) == 5


def test_an_interrupt_leaves_no_files(folder: Path, cache: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(folder, on_progress=interrupt)
    assert list(cache.iterdir()) == []


def test_nothing_decodable_is_a_data_error(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="empty file"):
        load(tmp_path)
    with pytest.raises(DataError):
        load_images([], ImageRecipe((8, 8), 1, "crop", WHITE))
    assert list(cache.iterdir()) == []


def test_two_at_once_are_harmless(folder: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: load(folder), range(12)))
    assert all(np.array_equal(result.pixels, results[0].pixels) for result in results)


def test_old_entries_are_pruned_and_used_ones_kept(folder: Path, cache: Path) -> None:
    load(folder)
    long_ago = time.time() - 40 * 24 * 3600
    for path in cache.iterdir():
        os.utime(path, (long_ago, long_ago))
    foreign = [cache / name for name in ("foreign.txt", "notes.json", "film.u8", ".download.part")]
    left = cache / f".{'0a' * 8}.part"
    for path in (left, *foreign):
        path.write_bytes(b"")
        os.utime(path, (long_ago, long_ago))
    load(folder)  # used: young again
    load(folder, channels=1)
    assert len(list(cache.glob("*.u8"))) == 2 + 1
    assert not left.exists() and all(path.exists() for path in foreign), "the folder may hold other things"
    for path in cache.iterdir():
        os.utime(path, (long_ago, long_ago))
    load(folder, size=(4, 4))
    assert len(list(cache.glob("*.u8"))) == 1 + 1


def test_cache_folder_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == Path(os.environ["VAE_CACHE"])
    monkeypatch.setenv("VAE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/vae")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache/vae"
