"""Results that are written back: what did not change stays, and writing beside computing loses nothing."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vae_cli.cli.restored import Writers, own_colours, with_changes
from vae_cli.cli.results import Results
from vae_cli.errors import DataError, WriteError
from vae_cli.files.originals import open_original

from .conftest import draw, pixels

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


@pytest.mark.parametrize(("mode", "alpha"), [("RGBA", 128), ("RGBA", 30), ("LA", 128), ("RGBA", 255), ("RGBA", 0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_fill_looks_as_wanted_through_half_transparent_pixels(
    tmp_path: Path, mode: str, alpha: int, channels: int
) -> None:
    background, hole = (0, 200, 100), np.zeros((6, 8), bool)
    hole[2:4, 3:6] = True
    image = Image.new("RGBA", (8, 6), (90, 90, 90, alpha))
    original, _ = opened(tmp_path / "a.png", image.convert(mode))
    wanted = original.display_array(channels, background).astype(np.float32)
    pixels = own_colours(original, wanted, hole, background)
    shown = original.with_fill(pixels, hole).display_array(channels, background).astype(np.float32)
    np.testing.assert_allclose(shown, wanted, atol=1.5)
    if alpha > 0:
        np.testing.assert_allclose(pixels[hole], 90, atol=255 / alpha, err_msg="something of the background")
    assert (pixels[~hole] == wanted[~hole]).all()


def writer(gate: threading.Event | None = None, error: Exception | None = None, remark: str = "") -> tuple[str, ...]:
    if gate is not None:
        gate.wait(10)
    if error is not None:
        raise error
    return (remark,) if remark else ()


@pytest.fixture
def results() -> Results:
    return Results("denoise", quiet=True, as_json=True)


def states(results: Results) -> dict[str, str]:
    """By their numbers, in the order in which they were recorded."""
    return {entry["input"]: entry["status"] for entry in results.files}


def add(writers: Writers, number: int, write: Callable[[], tuple[str, ...]] = writer, num_pixels: int = 1) -> None:
    writers.add(str(number), Path(f"{number}.png"), num_pixels, write, sample=number)


def test_one_failed_write_hides_no_other(results: Results) -> None:
    gate = threading.Event()
    with pytest.raises(WriteError, match="disk full"), Writers(results) as writers:
        for number in range(5):
            add(writers, number, partial(writer, gate, WriteError("disk full") if number == 1 else None))
        gate.set()
    assert states(results) == dict.fromkeys("0234", "ok")
    assert [entry["sample"] for entry in results.files] == [0, 2, 3, 4]


def test_what_a_format_cannot_hold_is_recorded_for_its_file(results: Results, capsys: pytest.CaptureFixture) -> None:
    with Writers(results) as writers:
        for number in range(3):
            add(writers, number, partial(writer, error=DataError("no such mode") if number == 1 else None))
    assert states(results) == {"0": "ok", "1": "failed", "2": "ok"}
    assert results.files[1]["reason"] == "no such mode" and "no such mode" in capsys.readouterr().err


def test_the_order_is_that_of_the_images(results: Results) -> None:
    """Whatever becomes of them, and however long it takes."""
    gate = threading.Event()
    with Writers(results) as writers:
        writers.failed("0", "no picture")
        assert states(results) == {"0": "failed"}, "there was nothing to wait for"
        add(writers, 1, partial(writer, gate))
        writers.present("2", Path("2.png"))
        writers.failed("3", "no picture")
        add(writers, 4)
        assert states(results) == {"0": "failed"}
        gate.set()
    assert list(states(results).items()) == [
        ("0", "failed"), ("1", "ok"), ("2", "skipped"), ("3", "failed"), ("4", "ok"),
    ]  # fmt: skip


def test_a_remark_counts_images_not_files(capsys: pytest.CaptureFixture) -> None:
    results = Results("denoise", as_json=True)
    with Writers(results) as writers:
        for name in ("a", "a", "b"):
            writers.add(name, Path("x.png"), 1, partial(writer, remark="re-encoded"))
        writers.remark("c", "left as it is")
    writers.tell_remarks(4)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert sorted(said) == ["note: left as it is (1 of 4 images)", "note: re-encoded (2 of 4 images)"]


def test_few_pixels_wait(results: Results) -> None:
    gate = threading.Event()
    with Writers(results) as writers:
        for number in range(3):
            add(writers, number, partial(writer, gate))
        assert states(results) == {}
        gate.set()
        add(writers, 3, partial(writer, gate), num_pixels=1 << 30)
        assert list(states(results)) == list("0123"), "too many pixels to go on with"


def test_ctrl_c_stays_ctrl_c_and_what_was_written_is_told(results: Results) -> None:
    gate = threading.Event()
    with pytest.raises(KeyboardInterrupt), Writers(results) as writers:
        add(writers, 0, partial(writer, gate, WriteError("disk full")))
        add(writers, 1, partial(writer, gate))
        gate.set()
        raise KeyboardInterrupt
    assert states(results) == {"1": "ok"}


def test_colours_take_over_the_brightness_of_a_grey_models_change(tmp_path: Path) -> None:
    pixels = np.full((6, 8, 3), (200, 40, 90), np.uint8)
    original, _ = opened(tmp_path / "a.png", Image.fromarray(pixels))
    grey = original.display_array(1, WHITE)
    after = np.asarray(with_changes(original, grey, grey + np.float32(10), WHITE).image)
    assert (after == pixels + 10).all()


def test_a_grey_model_says_so_of_images_in_colour(vae, grey_run: Path, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png", 0)
    draw(tmp_path / "in" / "b.png", 1, mode="L")
    words = ("--device", "cpu", "--out", tmp_path / "out")
    outcome = vae("denoise", grey_run, tmp_path / "in", "--sigma", 20, *words)
    assert outcome.code == 0 and "the model is grey: colours keep their noise (1 of 2 images)" in outcome.stderr
    before, after = (pixels(tmp_path / folder / "a.png").astype(int) for folder in ("in", "out"))
    inside = ((after > 0) & (after < 255)).all(-1)
    apart = [np.abs((picture[..., 0] - picture[..., 1])[inside]) for picture in (before, after)]
    assert (before != after).any() and inside.any() and np.abs(apart[0] - apart[1]).max() <= 1
