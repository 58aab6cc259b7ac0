"""A run folder: who has it, what may be removed there, and what is known of it when parts are lost or changed."""

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny import image_set, tiny_config, tiny_inputs

from vae_cli import locks
from vae_cli.checkpoint_folders import WEIGHTS
from vae_cli.config_layers import dump_yaml
from vae_cli.errors import CheckpointError, ConfigError, WriteError
from vae_cli.files.new_pictures import save_picture
from vae_cli.jobs.train_request import known_config
from vae_cli.training import run_folder
from vae_cli.training.inputs import TrainingInputs

INPUTS = tiny_inputs(tiny_config())


def content_of(folder: Path) -> dict[str, bytes | str | None]:
    """Every file, link and folder below it."""
    return {str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
            if path.is_file() else None for path in folder.rglob("*")}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has saved something, and holds a file of the user's."""
    run_folder.create(tmp_path / "run", INPUTS)
    best = tmp_path / "run" / "checkpoints" / "best"
    best.mkdir()
    (best / WEIGHTS).write_text("weights")
    (tmp_path / "run" / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "run" / "previews" / "samples.png").write_text("a picture")
    (tmp_path / "run" / "mine.txt").write_text("keep")
    return tmp_path / "run"


# Whose it is


def test_two_that_start_at_once_get_folders_of_their_own(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with run_folder.claimed(None, "photos") as (first, _), run_folder.claimed(None, "photos") as (second, _):
        assert [str(first), str(second)] == ["runs/photos", "runs/photos-2"]
        with pytest.raises(ConfigError, match="in use by process"), run_folder.claimed(first, "photos"):
            pytest.fail("claimed twice")
    assert list(tmp_path.iterdir()) == [], "nothing was written, nothing stays"


def test_a_name_that_no_file_can_have_is_left_to_the_scan() -> None:
    long = "long" * 200
    assert run_folder.default_base(long) == Path("runs", long)


def test_the_slower_one_takes_the_next_number(tmp_path: Path, monkeypatch) -> None:
    """Between looking for a free name and making the folder another process makes it."""
    monkeypatch.chdir(tmp_path)
    names = iter([Path("runs/photos"), Path("runs/photos-2")])
    monkeypatch.setattr(run_folder, "default_folder", lambda data: next(names))
    Path("runs/photos").mkdir(parents=True)
    with run_folder.claimed(None, "photos") as (folder, _):
        assert folder == Path("runs/photos-2")
    assert Path("runs/photos").exists() and not Path("runs/photos-2").exists()


@pytest.mark.parametrize(
    ("name", "content"), [("training.lock", b"process 1 on x"), ("training.lock", None), ("x", b"")]
)
def test_a_start_that_was_killed_before_it_wrote_leaves_its_folder_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None
) -> None:
    monkeypatch.chdir(tmp_path)
    left = Path("runs/photos", name)
    left.parent.mkdir(parents=True)
    left.mkdir() if content is None else left.write_bytes(content)
    is_free = name == "training.lock" and content is not None
    with run_folder.claimed(None, "photos") as (first, _), run_folder.claimed(None, "photos") as (second, _):
        assert [first.name, second.name] == (["photos", "photos-2"] if is_free else ["photos-2", "photos-3"])


def test_what_was_written_or_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with run_folder.claimed(tmp_path / "empty", None):
        pass
    with run_folder.claimed(tmp_path / "new" / "run", None) as (folder, _):
        (folder / "config.yaml").write_text("")
    assert sorted(map(str, content_of(tmp_path))) == ["empty", "new", "new/run", "new/run/config.yaml"]


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_place_that_cannot_be_a_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("keep")
    with pytest.raises(WriteError, match="file"), run_folder.claimed(tmp_path / place, None):
        pytest.fail("claimed")


@pytest.mark.parametrize("lost", ["config.yaml", "data.json", "metrics.jsonl", "previews"])
def test_a_run_that_has_lost_a_part_is_still_one(run: Path, lost: str) -> None:
    shutil.rmtree(run / lost) if (run / lost).is_dir() else (run / lost).unlink()
    with pytest.raises(ConfigError, match="--overwrite"):
        run_folder.require_free(run, overwrite=False)


@pytest.mark.parametrize("name", ["metrics.jsonl", "report.html", "previews/a.png", "checkpoints/notes.txt"])
def test_more_than_a_start_leaves_is_never_taken_for_free(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / "config.yaml").write_text("left by a kill at the start")
    (tmp_path / locks.NAME).write_text("")
    (tmp_path / "previews").mkdir(exist_ok=True)
    run_folder.require_free(tmp_path, overwrite=False) if "/" not in name else None
    (tmp_path / name).write_text("of somebody")
    with pytest.raises(ConfigError):
        run_folder.require_free(tmp_path, overwrite=False)


# What is removed


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["data.json", "metrics.jsonl", "previews"])
def test_pipes_are_not_waited_for(run: Path, name: str) -> None:
    shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    with pytest.raises(ConfigError, match=f"{name}: neither"):
        run_folder.require_own(run)


@pytest.mark.parametrize("name", ["checkpoints", "previews", "metrics.jsonl", "report.html", "config.yaml"])
def test_links_are_replaced_and_not_followed(run: Path, tmp_path: Path, name: str) -> None:
    shutil.move(run / name, tmp_path / "target") if (run / name).exists() else (tmp_path / "target").write_text("")
    (run / name).symlink_to(tmp_path / "target")
    before = content_of(tmp_path / "target") or (tmp_path / "target").read_bytes()
    with pytest.raises(ConfigError, match=f"{name}: is a link"):
        run_folder.require_own(run)
    run_folder.create(run, INPUTS)
    run_folder.require_own(run)
    assert (content_of(tmp_path / "target") or (tmp_path / "target").read_bytes()) == before
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "data.json", "mine.txt",
                                                           "previews"]  # fmt: skip


@pytest.mark.parametrize("broken", ["rename of checkpoints", "mkdir of checkpoints", "describe", "Ctrl-C"])
def test_an_overwrite_that_fails_leaves_the_old_run(run: Path, monkeypatch, broken: str) -> None:
    before = content_of(run)
    if broken in ("describe", "Ctrl-C"):
        error = WriteError("disk full") if broken == "describe" else KeyboardInterrupt()

        def describe(folder: Path, inputs: TrainingInputs) -> None:
            (folder / "config.yaml").write_text("new")
            raise error

        monkeypatch.setattr(run_folder, "describe", describe)
    else:
        method, _, name = broken.split()
        honest = getattr(Path, method)

        def fail(self: Path, *arguments: object, **named: object) -> object:
            if self == run / name:
                raise PermissionError(13, "Permission denied")
            return honest(self, *arguments, **named)

        monkeypatch.setattr(Path, method, fail)
    with pytest.raises(KeyboardInterrupt if broken == "Ctrl-C" else WriteError):
        run_folder.create(run, INPUTS)
    monkeypatch.undo()
    assert content_of(run) == before


OURS = ("checkpoints/.best.tmp", "checkpoints/.step-00000004.old", "checkpoints/.step-00000004.77.tmp",
        ".0123456789abcdef.part", "previews/.0123456789abcdef.part", ".0123456789abcdef.replaced")  # fmt: skip
OTHERS = ("checkpoints/.git", "checkpoints/.step-4.tmp", "checkpoints/.best", "checkpoints/.cache.tmp", ".venv",
          "previews/.thumbnails", ".part")  # fmt: skip


def test_only_what_killed_writers_left_is_removed(run: Path) -> None:
    for name in (*OURS, *OTHERS):
        (run / name).mkdir(parents=True)
        (run / name / "file").write_text("")
    run_folder.tidy(run)
    assert [name for name in (*OURS, *OTHERS) if (run / name).exists()] == list(OTHERS)
    assert (run / "checkpoints" / "best" / WEIGHTS).exists()


@pytest.mark.parametrize("name", ["checkpoints", "previews"])
def test_nothing_is_removed_through_a_link(run: Path, tmp_path: Path, name: str) -> None:
    shutil.rmtree(run / name)
    (run / name).symlink_to("..")
    for left in (".best.tmp", ".best.old", ".0123456789abcdef.part"):
        (tmp_path / left).mkdir()
    before = content_of(tmp_path)
    run_folder.tidy(run)
    assert content_of(tmp_path) == before


def test_a_best_that_was_being_replaced_comes_back(run: Path) -> None:
    (run / "checkpoints" / "best").rename(run / "checkpoints" / ".best.old")
    run_folder.tidy(run)
    assert (run / "checkpoints" / "best" / WEIGHTS).read_text() == "weights"


# What is known


@pytest.mark.parametrize("content", [None, "", "training: {", "preset: tiny\n", "7", "\x00"])
def test_a_configuration_that_is_lost_is_in_every_checkpoint(run: Path, content: str | None) -> None:
    path = run / "config.yaml"
    path.unlink() if content is None else path.write_text(content)
    config, (remark,) = known_config(run, INPUTS.config)
    assert config == INPUTS.config and str(path) in remark and "newest checkpoint" in remark
    with pytest.raises(CheckpointError, match=r"config\.yaml"):
        known_config(run, None)


EDITS = {
    "model.width": ({"model": {"width": 24}}, False),
    "model.likelihood.kind": ({"model": {"likelihood": {"kind": "logistic_mixture"}}}, False),
    "training.flow_optimizer": ({"training": {"flow_optimizer": "adamw"}}, False),
    "training.batch_size": ({"training": {"batch_size": 2}}, False),
    "training.steps": ({"training": {"steps": 12}}, True),
    "training.time": ({"training": {"time": 60}}, True),
}


@pytest.mark.parametrize("key", EDITS)
def test_an_edited_configuration_changes_what_may_change_and_that_is_said(run: Path, key: str) -> None:
    layer, may_change = EDITS[key]
    edited = INPUTS.config.updated(layer)
    (run / "config.yaml").write_text(dump_yaml(edited))
    config, remarks = known_config(run, INPUTS.config)
    assert config == (edited if may_change else INPUTS.config)
    assert any(key in text for text in remarks) and any("kept for life" in text for text in remarks) != may_change
    assert known_config(run, edited) == (edited, [])


def changed(change: Callable[[np.ndarray, list[str]], tuple[np.ndarray, list[str]]]) -> TrainingInputs:
    images = INPUTS.train
    pixels, ids = change(images.pixels.copy(), list(images.ids))
    return replace(INPUTS, train=replace(images, pixels=pixels, ids=tuple(ids), labels=np.full(len(ids), -1)))


def test_changes_of_the_data_are_named(run: Path) -> None:
    assert run_folder.changes_of_data(run, INPUTS) is None
    added = changed(lambda pixels, ids: (np.concatenate([pixels, pixels[:1]]), [*ids, "new\x1b.png"]))
    assert "1 added (new\\x1b.png)" in (run_folder.changes_of_data(run, added) or "")
    removed = changed(lambda pixels, ids: (pixels[:4], ids[:4]))  # of ten; the held-out ones are called 0 to 2
    expected = "6 removed (004.png, 005.png, 006.png, 007.png, 008.png, …)"
    assert expected in (run_folder.changes_of_data(run, removed) or "")
    other = changed(lambda pixels, ids: (np.concatenate([pixels[:9], 255 - pixels[9:]]), ids))
    assert (run_folder.changes_of_data(run, other) or "").endswith(": 1 replaced (009.png)")
    run_folder.describe(run, other)
    assert run_folder.changes_of_data(run, other) is None, "they are told once"


def test_held_out_images_count_too(run: Path) -> None:
    extra = image_set(4)
    named = replace(extra, ids=tuple(f"held-out-{name}" for name in extra.ids))
    said = run_folder.changes_of_data(run, replace(INPUTS, validation=named)) or ""
    assert "4 added (held-out-000.png" in said


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"images": 7}', '{"images": [1]}', "[" * 100_000, "\xff"])
def test_a_list_of_images_that_is_lost_is_said(run: Path, content: str | None) -> None:
    path = run / "data.json"
    path.unlink() if content is None else path.write_text(content, encoding="latin-1")
    assert "missing or damaged" in (run_folder.changes_of_data(run, INPUTS) or "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_log_on_a_full_disk_is_named(tmp_path: Path) -> None:
    log = run_folder.MetricsLog(tmp_path, first_step=0)
    os.dup2(os.open("/dev/full", os.O_WRONLY), log._file.fileno())
    with pytest.raises(WriteError, match=r"metrics\.jsonl: cannot be written \(No space left"):
        log.write(1, "vae", {"loss": 1.0})


def test_a_folder_in_place_of_the_log_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(ConfigError, match=r"metrics\.jsonl: a folder where a run has a file; move it away"):
        run_folder.require_own(tmp_path)


def test_the_log_counts_the_seconds_of_all_invocations(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 3, "phase": "vae", "seconds": 500.5}\n'
                                            '{"step": 4, "phase": "vae", "seconds": "x"}\n'
                                            '{"step": 9, "phase": "vae", "seconds": 900.5}\n')  # fmt: skip
    with closing(run_folder.MetricsLog(tmp_path, first_step=5)) as log:
        assert 500.5 <= log.seconds() < 600, "what an interrupted run did after step 5 is done again"


def test_tensorboard_gets_scalars_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[Any, ...]] = []

    class Board:
        def __init__(self, folder: str, purge_step: int) -> None: ...

        def add_scalar(self, name: str, value: float, step: int) -> None:
            shown.append((name, value, step))

        def add_image(self, name: str, pixels: np.ndarray, step: int, dataformats: str) -> None:
            shown.append((name, pixels.tolist(), step, dataformats))

        def close(self) -> None: ...

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Board))
    picture = tmp_path / "step-00000007-samples.png"
    save_picture(np.full((1, 2, 2), 255, np.uint8), picture)
    with closing(run_folder.MetricsLog(tmp_path, first_step=0)) as log:
        log.write(7, "vae", {"elbo_nats": -2.5, "machine": "a computer"})
        log.add_pictures(7, [picture])
    assert shown == [("vae/elbo_nats", -2.5, 7), ("samples", [[[255] * 3] * 2], 7, "HWC")]
