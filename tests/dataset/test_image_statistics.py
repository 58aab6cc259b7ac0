from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vae_cli.dataset import image_statistics as statistics_module
from vae_cli.dataset.image_statistics import binary_share, image_statistics
from vae_cli.dataset.scan import scan

Draw = Callable[..., Path]


def test_sizes_and_modes_are_counted_as_displayed(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "a.png", (10, 20))
    draw(tmp_path / "b.png", (10, 20), mode="L")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (10, 20)).save(tmp_path / "c.jpg", exif=exif)
    (tmp_path / "d.png").write_bytes(b"")
    facts = image_statistics(scan(tmp_path).images)
    assert facts.sizes == {(10, 20): 3} and facts.common_size == (10, 20)
    assert facts.modes == {"RGB": 2, "L": 1} and not facts.grey
    assert [entry.id for entry in facts.skipped] == ["d.png"]


def test_grey_is_recognised_in_colour_files(tmp_path: Path, draw: Draw) -> None:
    grey = Image.open(draw(tmp_path / "a.png", mode="L"))
    grey.convert("RGB").save(tmp_path / "b.png")
    grey.convert("RGB").save(tmp_path / "c.jpg")
    grey.convert("P").save(tmp_path / "d.gif")
    Image.new("LA", (4, 4), (9, 0)).save(tmp_path / "e.png")
    facts = image_statistics(scan(tmp_path).images)
    assert facts.grey and facts.common_size is None
    assert not image_statistics(scan(tmp_path).images, background=(255, 0, 0)).grey
    draw(tmp_path / "f.png")
    assert not image_statistics(scan(tmp_path).images).grey


def test_grey_files_are_not_decoded(tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "a.png", mode="L")
    monkeypatch.setattr(statistics_module, "open_image", None)
    assert image_statistics(scan(tmp_path).images).grey


def test_binary_share() -> None:
    assert binary_share(np.array([0, 255, 7, 255], np.uint8).reshape(4, 1, 1, 1)) == 0.75
    assert binary_share(np.zeros((0, 2, 2, 1), np.uint8)) == 0
