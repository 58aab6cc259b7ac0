"""Images changed and written back: in order, a batch at a time, and without losing what was written before an error."""

import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_config

from vae_cli.errors import DataError, WriteError
from vae_cli.images.image_ref import ImageRef
from vae_cli.jobs import change_images as module
from vae_cli.jobs.change_images import Answer, Opened, Part, Planned, SharedRemark, Storage, change_images
from vae_cli.jobs.events import Advanced, FileDone, Finished, JobEvent, Remark
from vae_cli.jobs.inputs import Input

SIDE = 4


@dataclass
class Copying:
    """Writes images as they are, once all of a batch are waiting and after `before_writing` of the image's number."""

    before_writing: Callable[[int], object] = int
    name: str = "copy"
    unit: str = "images"
    for_grey: str = "copied all the same"
    seed: int = 0
    model: Any = field(default_factory=lambda: SimpleNamespace(channels=1, config=tiny_config()))
    opened: list[int] = field(default_factory=list)
    batches: list[list[int]] = field(default_factory=list)
    all_wait: threading.Event = field(default_factory=threading.Event)

    def open(self, image: Opened) -> Iterator[Part | Opened]:
        self.opened.append(number_of(image))
        yield Remark(f"opened {self.opened[-1]}", "detail")
        yield image

    def answers(self, images: list[Opened]) -> Iterator[Answer]:
        self.batches.append([number_of(image) for image in images])
        for image, number in zip(images, self.batches[-1], strict=True):

            def change(image: Opened = image, number: int = number) -> object:
                self.all_wait.wait(10)
                self.before_writing(number)
                return image.original

            if number == self.batches[-1][-1]:
                self.all_wait.set()
            for sample in range(len(image.planned.targets)):
                yield Answer(change, sample, remarks=(SharedRemark(image.name, "copied"),))

    def end(self, images: Sequence[Planned], files: Sequence[FileDone]) -> Iterator[JobEvent]:
        yield Finished({"num_files": len(files)})


def number_of(image: Opened) -> int:
    return int(Path(image.name).stem)


def planned(folder: Path, count: int, *, samples: int = 1, broken: tuple[int, ...] = ()) -> list[Planned]:
    images = []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.fromarray(np.full((SIDE, SIDE, 3), number, np.uint8)).save(path)
        if number in broken:
            path.write_bytes(b"no picture")
        targets = tuple(folder / "out" / f"{number}.v{sample}.png" for sample in range(samples))
        images.append(Planned(Input(ImageRef(path.name, path), PurePosixPath(path.name), path.name), targets))
    return images


def raising(error: BaseException, at: int) -> Callable[[int], object]:
    def before_writing(number: int) -> None:
        if number == at:
            raise error

    return before_writing


def states(events: list[JobEvent]) -> dict[str, str]:
    """By the images' numbers, in the order in which they were reported."""
    return {str(event.input)[0]: event.status for event in events if isinstance(event, FileDone)}


def test_the_order_is_that_of_the_images(tmp_path: Path) -> None:
    """Whatever becomes of them, and however long it takes."""
    images = planned(tmp_path, 5, broken=(0, 3))
    images[2].targets[0].parent.mkdir()
    images[2].targets[0].write_bytes(b"there already")
    slow_first = Copying(lambda number: time.sleep(0.1 * (number == 1)))
    events = list(change_images(slow_first, images, Storage(skip_existing=True)))
    assert list(states(events).items()) == [
        ("0", "failed"), ("1", "ok"), ("2", "skipped"), ("3", "failed"), ("4", "ok"),
    ]  # fmt: skip
    assert images[2].targets[0].read_bytes() == b"there already"
    details = [event.text for event in events if isinstance(event, Remark) and event.kind == "detail"]
    assert details == ["opened 1", "opened 4"]


def test_a_link_that_leads_nowhere_exists(tmp_path: Path) -> None:
    """No result replaces it unasked, and it stops no other."""
    images = planned(tmp_path, 3)
    images[1].targets[0].parent.mkdir()
    images[1].targets[0].symlink_to("nowhere")
    events = list(change_images(Copying(), images, Storage(skip_existing=True)))
    assert states(events) == {"0": "ok", "1": "skipped", "2": "ok"}


def test_no_more_images_are_open_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = planned(tmp_path, 5)
    change = Copying()
    for event in change_images(change, images, Storage(), batch_size=2):
        done = sum(len(batch) for batch in change.batches[:-1])
        assert not isinstance(event, FileDone) or len(change.opened) <= done + 2
    assert change.batches == [[0, 1], [2, 3], [4]]
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 3 * SIDE * SIDE)
    list(change_images(change := Copying(), images, Storage(overwrite=True)))
    assert change.batches == [[0, 1, 2], [3, 4]]
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 1)
    list(change_images(change := Copying(), images, Storage(overwrite=True)))
    assert change.batches == [[0], [1], [2], [3], [4]], "each is larger than the limit"


ODD_ERRORS = (
    DataError("no such mode"),
    struct.error("no such mode"),
    KeyError("no such mode"),
    SystemError("no such mode"),
)


@pytest.mark.parametrize("error", ODD_ERRORS, ids=lambda error: type(error).__name__)
def test_what_cannot_be_stored_fails_its_file_alone(tmp_path: Path, error: Exception) -> None:
    """Whatever the encoder raises: those of Pillow and tifffile know no bounds."""
    events = list(change_images(Copying(raising(error, at=1)), planned(tmp_path, 3), Storage()))
    assert states(events) == {"0": "ok", "1": "failed", "2": "ok"}
    assert ["no such mode" in str(event.reason) for event in events if isinstance(event, FileDone)] == [0, 1, 0]


def test_an_image_for_which_memory_ends_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Greedy(Copying):
        def answers(self, images: list[Opened]) -> Iterator[Answer]:
            if number_of(images[0]) == 1:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            yield from super().answers(images)

    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 1)
    assert states(list(change_images(Greedy(), planned(tmp_path, 3), Storage()))) == {
        "0": "ok",
        "1": "failed",
        "2": "ok",
    }
    monkeypatch.setattr(module, "BYTES_A_PIXEL", 1 << 60)
    events = list(change_images(Copying(), planned(tmp_path, 2), Storage(overwrite=True)))
    assert states(events) == {"0": "failed", "1": "failed"}
    assert all("GB of memory" in str(event.reason) for event in events if isinstance(event, FileDone))


def test_what_decoders_remark_is_told_of_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    images = planned(tmp_path, 2)
    Image.new("L", (SIDE, SIDE)).save(path := images[1].item.ref.path.with_suffix(".tif"))
    content = path.read_bytes()
    compression = content.index(struct.pack("<HHI", 259, 3, 1))  # becomes two values instead of one
    path.write_bytes(content[: compression + 4] + struct.pack("<I", 2) + content[compression + 8 :])
    ref = ImageRef("1.png", path)
    images[1] = images[1]._replace(item=Input(ref, PurePosixPath("1.png"), "1.png"))
    texts = [
        event.text for event in change_images(Copying(), images, Storage(format="png")) if isinstance(event, Remark)
    ]
    assert any(text.startswith("1.png: Metadata Warning, tag 259") for text in texts)
    assert "note: read, with remarks of its decoder, which --verbose shows (1 of 2 images)" in texts
    assert capfd.readouterr() == ("", "")


def test_an_error_hides_no_other_file(tmp_path: Path) -> None:
    events: list[JobEvent] = []
    with pytest.raises(WriteError, match="disk full"):
        for event in change_images(Copying(raising(WriteError("disk full"), at=1)), planned(tmp_path, 5), Storage()):
            events.append(event)
    assert states(events) == dict.fromkeys("0234", "ok")


def test_ctrl_c_stays_ctrl_c_and_what_was_written_is_reported(tmp_path: Path) -> None:
    class Interrupted(Copying):
        def answers(self, images: list[Opened]) -> Iterator[Answer]:
            yield from islice(super().answers(images), 2)
            self.all_wait.set()
            raise KeyboardInterrupt

    events: list[JobEvent] = []
    with pytest.raises(KeyboardInterrupt):
        change = Interrupted(raising(WriteError("disk full"), at=0))
        for event in change_images(change, planned(tmp_path, 4), Storage()):
            events.append(event)
    assert states(events) == {"1": "ok"}


def test_a_remark_counts_images_not_files(tmp_path: Path) -> None:
    images = planned(tmp_path, 3, samples=2, broken=(1,))
    before = FileDone("no.png", "failed")
    *_, remark, end = change_images(Copying(), images, Storage(), left_out=[before])
    assert remark == Remark("note: copied (2 of 3 images)") and end == Finished({"num_files": 1 + 2 + 1 + 2})


def test_a_grey_model_says_so_of_images_in_colour(tmp_path: Path) -> None:
    images = planned(tmp_path, 2)
    Image.new("RGB", (SIDE, SIDE), (1, 2, 3)).save(images[1].item.ref.path)
    texts = [event.text for event in change_images(Copying(), images, Storage()) if isinstance(event, Remark)]
    assert "note: in colour, and the model is grey: copied all the same (1 of 2 images)" in texts


def test_an_image_whose_colours_cannot_be_asked_for_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = planned(tmp_path, 3)
    answers = iter([False, MemoryError(), False])

    def has_colour(*_: object) -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("vae_cli.jobs.change_images.has_colour", has_colour)
    assert states(change_images(Copying(), images, Storage())) == {"0": "ok", "1": "failed", "2": "ok"}


@pytest.mark.parametrize(("unit", "total"), [("images", 3), ("fills", 6)])
def test_progress_counts_images_or_results(tmp_path: Path, unit: str, total: int) -> None:
    images = planned(tmp_path, 3, samples=2, broken=(1,))
    steps = [
        event
        for event in change_images(Copying(unit=unit), images, Storage(), batch_size=2)
        if isinstance(event, Advanced)
    ]
    assert {step.total for step in steps} == {total} and [step.is_over for step in steps].count(True) == 1
    done = [step.done for step in steps]
    assert done == sorted(done) and set(done) == set(range(total + 1)) - ({3} if unit == "fills" else set())
