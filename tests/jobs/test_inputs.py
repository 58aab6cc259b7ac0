"""INPUT becomes a list, and files become arrays a few at a time."""

import warnings
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vae_cli.config import RunConfig
from vae_cli.errors import ConfigError
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.recipe import ImageRecipe
from vae_cli.jobs.events import FileDone, JobEvent, Remark
from vae_cli.jobs.inputs import Input, batches, computed_ahead, decoded, find_inputs, scan_as_trained

RECIPE = ImageRecipe((4, 4), 3, "stretch", (255, 255, 255))


def picture(path: Path, grey: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (grey, grey, grey)).save(path)
    return path


def test_files_and_folders_have_their_places(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "below" / "1.png", 1)
    (tmp_path / "a" / "lost.png").symlink_to("nowhere.png")
    single, failed = picture(tmp_path / "2.png", 2), list[JobEvent]()
    found = find_inputs([tmp_path / "a", single], failed.append)
    assert [str(item.relative) for item in found] == ["a/below/1.png", "2.png"]
    assert [item.name for item in found] == [str(tmp_path / "a" / "below" / "1.png"), str(single)]
    assert [event.input for event in failed if isinstance(event, FileDone)] == [str(tmp_path / "a" / "lost.png")]
    assert [str(item.relative) for item in find_inputs([tmp_path / "a"], failed.append)] == ["below/1.png"]
    with pytest.raises(ConfigError, match="no such file"):
        find_inputs([tmp_path / "b"], failed.append)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_what_cannot_be_decoded_is_reported_in_its_turn(tmp_path: Path, batch_size: int) -> None:
    for number in range(7):
        picture(tmp_path / f"{number}.png", 10 * number)
    for number in (2, 6):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    events: list[object] = []
    items = find_inputs([tmp_path], events.append)
    for item, pixels in decoded(items, RECIPE, events.append, batch_size=batch_size):
        assert pixels.shape == (4, 4, 3) and (pixels == 10 * int(item.relative.stem)).all()
        events.append(item.relative.name)
    named = [Path(event.input or "").name if isinstance(event, FileDone) else event for event in events]
    assert named == [f"{number}.png" for number in range(7)]
    assert [number for number, event in enumerate(events) if isinstance(event, FileDone)] == [2, 6]


def test_what_a_decoder_remarks_is_told_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ImageRecipe.decode

    def decode(recipe: ImageRecipe, source: ImageRef) -> np.ndarray:
        if source.id == "1.png":
            warnings.warn("odd\ntags", UserWarning, stacklevel=1)
        return whole(recipe, source)

    monkeypatch.setattr(ImageRecipe, "decode", decode)
    items = [Input(ImageRef(f"{n}.png", picture(tmp_path / f"{n}.png", n)), PurePosixPath(f"{n}.png"), f"{n}.png")
             for n in range(3)]  # fmt: skip
    events: list[object] = []
    assert len(list(decoded(items, RECIPE, events.append))) == 3
    assert events == [Remark("1.png: read, with a remark of its decoder: odd tags", "detail")]


def test_a_batch_is_computed_before_the_first_of_it_is_given() -> None:
    made: list[int] = []
    given = computed_ahead((made.append(number) or number for number in range(5)), 2)  # type: ignore[func-returns-value]
    assert next(given) == 0 and made == [0, 1]
    assert list(given) == [1, 2, 3, 4]
    assert list(batches("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]]


def test_class_folders_beside_unlabelled_images_count_as_in_training(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "set" / ("cat" if number < 2 else "dog") / f"{number}.png", number)
    picture(tmp_path / "set" / "loose.png", 9)
    for asked, names in (("folders", ("cat", "dog")), ("auto", ()), ("none", ())):
        model: Any = SimpleNamespace(config=RunConfig().updated({"data": {"labels": asked}}))
        assert scan_as_trained(tmp_path / "set", model).label_names == names
