"""Results that are written back: what did not change stays, and writing beside computing loses nothing."""

import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vae_cli.cli.restored import Writers, with_changes
from vae_cli.data.originals import open_original
from vae_cli.errors import WriteError

WHITE = (255, 255, 255)


def opened(path: Path, image: Image.Image) -> Any:
    image.save(path)
    original = open_original(path)
    return original, original.display_array(3, WHITE)


def test_half_transparent_pixels_stay_and_opaque_ones_change(tmp_path: Path) -> None:
    pixels = np.full((6, 8, 4), (200, 40, 40, 255), np.uint8)
    pixels[:, :3, 3] = 128
    original, shown = opened(tmp_path / "a.png", Image.fromarray(pixels))
    after = np.asarray(with_changes(original, shown, shown + np.float32(10), WHITE).image)
    assert np.array_equal(after[:, :3], pixels[:, :3])
    assert (after[:, 3:, :3] == pixels[:, 3:, :3] + 10).all() and (after[:, 3:, 3] == 255).all()


@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "P", "L", "1"])
def test_without_a_change_nothing_is_touched(tmp_path: Path, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    image = Image.fromarray(noise, "CMYK") if mode == "CMYK" else Image.fromarray(noise, "RGBA").convert(mode)
    original, shown = opened(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), image)
    same = with_changes(original, shown, shown.astype(np.float32), WHITE)
    assert np.array_equal(np.asarray(same.image), np.asarray(original.image))


def written(gate: threading.Event | None = None, problem: str | None = None) -> tuple[str, ...]:
    if gate is not None:
        gate.wait(10)
    if problem is not None:
        raise WriteError(problem)
    return ()


def noted(told: list[int], number: int, saved: Any) -> None:
    saved.result()
    told.append(number)


def test_one_failed_write_hides_no_other() -> None:
    told: list[int] = []
    gate = threading.Event()
    with pytest.raises(WriteError, match="disk full"), Writers() as writers:
        for number in range(5):
            problem = "disk full" if number == 1 else None
            writers.add(1, partial(written, gate, problem), partial(noted, told, number))
        gate.set()
    assert told == [0, 2, 3, 4]


def test_few_pixels_wait_and_all_are_told_in_order() -> None:
    told: list[int] = []
    gate = threading.Event()
    with Writers() as writers:
        for number in range(3):
            writers.add(1, partial(written, gate), partial(noted, told, number))
        assert told == []
        gate.set()
        writers.add(1 << 30, partial(written, gate), partial(noted, told, 3))
        assert told == [0, 1, 2, 3], "too many pixels to go on with"


def test_ctrl_c_stays_ctrl_c_and_what_was_written_is_told() -> None:
    told: list[int] = []
    gate = threading.Event()
    with pytest.raises(KeyboardInterrupt), Writers() as writers:
        writers.add(1, partial(written, gate, "disk full"), partial(noted, told, 0))
        writers.add(1, partial(written, gate), partial(noted, told, 1))
        gate.set()
        raise KeyboardInterrupt
    assert told == [1]
