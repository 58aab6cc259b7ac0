"""A training as a job: nothing is touched before it runs, everything is an event, and not a word goes to a screen."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from tiny import pictures

from vae_cli import locks
from vae_cli.checkpoint_folders import checkpoints_in
from vae_cli.errors import CheckpointError, ConfigError, DataError
from vae_cli.jobs.data_remarks import skipped_remarks
from vae_cli.jobs.events import Advanced, Finished, Remark
from vae_cli.jobs.train import Started, TrainingEvent, TrainingJob
from vae_cli.jobs.train_request import TrainingRequest
from vae_cli.training.events import PhaseDone, Saved, StepLogged, Validated

SETS = ("training.batch_size=4", "model.width=8", "model.flow.width=16", "training.log_every=1", "training.threads=1")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(pictures(7, (8, 8), 3)):
        Image.fromarray(picture).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "bad.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def job_of(photos: Path | None, out: Path | None, steps: int = 4, **settings: object) -> TrainingJob:
    options = {"training": {"steps": steps}}
    return TrainingJob(TrainingRequest(photos, out, "tiny" if photos else None, sets=SETS if photos else (),
                                       options=options, device="cpu", **settings))  # type: ignore[arg-type]  # fmt: skip


def kinds(events: list[TrainingEvent]) -> list[type]:
    return list(dict.fromkeys(type(event) for event in events))


def test_skipped_files_are_told_by_reasons() -> None:
    reasons = {"a.png": "empty", **{f"{number}.jpg": "cut off" for number in range(7)}}
    skipped = tuple(SimpleNamespace(id=name, reason=reason) for name, reason in reasons.items())
    assert [remark.text for remark in skipped_remarks(SimpleNamespace(skipped=skipped))] == [
        "skipped 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 2 more: cut off", "skipped a.png: empty",
    ]  # fmt: skip


def test_it_tells_everything_in_order_and_prints_nothing(photos: Path, tmp_path: Path, capfd) -> None:
    reported: list[object] = []
    job = job_of(photos, tmp_path / "run")
    assert not (tmp_path / "run").exists(), "a plan touches nothing"
    events = list(job.run(report=reported.append))
    assert capfd.readouterr() == ("", "")
    assert reported and all(isinstance(event, Advanced) for event in reported)
    assert [kind for kind in kinds(events) if kind in (Remark, Started, StepLogged, PhaseDone, Finished)] == [
        Remark, Started, StepLogged, PhaseDone, Finished,
    ]  # fmt: skip
    assert {Validated, Saved} <= set(kinds(events))
    warnings = [event.text for event in events if isinstance(event, Remark) and event.kind == "warning"]
    assert "skipped bad.png" in warnings[0]
    assert isinstance(events[-1], Finished)
    facts = events[-1].facts
    assert (facts["status"], facts["steps"], facts["images"], facts["skipped"]) == ("finished", 4, 6, 1)
    assert facts["run"] == tmp_path / "run" and facts["validation"]["images"] == 1
    assert {name: phase["steps"] for name, phase in facts["phases"].items()} == {"vae": 2, "flow": 2}
    assert (tmp_path / "run" / "report.html").exists()


def test_a_stop_leaves_a_run_that_goes_on(photos: Path, tmp_path: Path) -> None:
    seen: list[TrainingEvent] = []
    job = job_of(photos, tmp_path / "run")
    for event in job.run(stop=lambda: any(isinstance(each, StepLogged) and each.step == 3 for each in seen)):
        seen.append(event)
    assert seen[-1].facts["status"] == "interrupted" and seen[-1].facts["validation"] is None
    assert "saved at step 3; go on with" in seen[-2].text
    again = list(job_of(None, tmp_path / "run", resume=True).run())
    assert again[-1].facts["status"] == "finished" and again[-1].facts["phases"]["flow"]["steps"] == 1
    assert list(job_of(None, tmp_path / "run", resume=True).run())[-1].facts["status"] == "nothing_to_do"


def test_a_run_that_another_process_trains_is_not_called_damaged(photos: Path, tmp_path: Path) -> None:
    """Its checkpoints come and go while they are looked at."""
    list(job_of(photos, tmp_path / "run").run())
    for trainer in tmp_path.rglob("trainer.pt"):
        trainer.unlink()
    with locks.locked(tmp_path / "run"), pytest.raises(ConfigError, match="in use by process"):
        job_of(None, tmp_path / "run", resume=True)
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        job_of(None, tmp_path / "run", resume=True)


def test_a_run_that_is_there_stays_as_it_is(photos: Path, tmp_path: Path) -> None:
    list(job_of(photos, tmp_path / "run").run())
    with pytest.raises(ConfigError, match="--overwrite"):
        job_of(photos, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*") if path.is_file()}
    job = job_of(photos, tmp_path / "run", overwrite=True, strict=True)
    with pytest.raises(DataError, match="--strict"):
        list(job.run())
    inputs, cost = job_of(photos, tmp_path / "run", overwrite=True).estimate()
    assert (len(inputs.train.ids), cost.steps) == (6, 4) and cost.seconds > 0
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*") if path.is_file()} == before


def test_a_run_that_appeared_meanwhile_is_not_removed(photos: Path, tmp_path: Path) -> None:
    """Planned when the folder was free, begun when it no longer is."""
    late = job_of(photos, tmp_path / "run", steps=2)
    list(job_of(photos, tmp_path / "run").run())
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="--overwrite"):
        list(late.run())
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_run_that_was_copied_there_meanwhile_is_not_removed(photos: Path, tmp_path: Path) -> None:
    """By a program that heeds no lock, while the images are read."""
    training = job_of(photos, tmp_path / "run").run()
    while not isinstance(next(training), Started):
        pass
    (tmp_path / "run" / "checkpoints" / "best").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "best" / "model.safetensors").write_text("precious")
    with pytest.raises(ConfigError, match="--overwrite"):
        next(training)
    assert (tmp_path / "run" / "checkpoints" / "best" / "model.safetensors").read_text() == "precious"


def test_best_alone_is_not_trained_over(photos: Path, tmp_path: Path) -> None:
    """Step checkpoints take space, and somebody may have removed them when the run was finished."""
    sets = (*SETS, "training.save_every=2")
    request = TrainingRequest(photos, tmp_path / "run", "tiny", sets=sets, options={"training": {"steps": 4}},
                              device="cpu")  # fmt: skip
    list(TrainingJob(request).run())
    for folder in checkpoints_in(tmp_path / "run"):
        shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match="step checkpoints are gone"):
        job_of(None, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "checkpoints" / "best" / "model.safetensors").exists()


def test_a_kill_during_the_first_save_starts_anew(photos: Path, tmp_path: Path) -> None:
    """The update after which it is made has been logged by then."""
    sets = (*SETS, "training.save_every=2", "training.log_every=1")
    request = TrainingRequest(photos, tmp_path / "run", "tiny", sets=sets, options={"training": {"steps": 4}},
                              device="cpu")  # fmt: skip
    list(TrainingJob(request).run())
    for folder in checkpoints_in(tmp_path / "run"):
        shutil.rmtree(folder)
    metrics = tmp_path / "run" / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(line for line in lines if json.loads(line)["step"] <= 2))
    assert job_of(None, tmp_path / "run", resume=True).resumable is None


def test_two_that_go_on_do_not_mix(photos: Path, tmp_path: Path) -> None:
    seen: list[TrainingEvent] = []
    for event in job_of(photos, tmp_path / "run").run(stop=lambda: any(isinstance(each, StepLogged) for each in seen)):
        seen.append(event)
    first, second = (job_of(None, tmp_path / "run", resume=True) for _ in range(2))
    training = first.run()
    while not isinstance(event := next(training), StepLogged):
        pass
    with pytest.raises(ConfigError, match="in use by process"):
        list(second.run())
    assert list(training)[-1].facts["status"] == "finished"
    assert list(second.run())[-1].facts["status"] == "nothing_to_do", "it looks again at where the run stands"
    assert not (tmp_path / "run" / "training.lock").exists()


def test_two_without_a_name_get_one_each(photos: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    both = [job_of(photos, None, steps=2) for _ in range(2)]
    assert both[0].folder == both[1].folder
    trainings = [job.run() for job in both]
    for training in trainings:
        while not isinstance(next(training), Started):
            pass
    assert [str(job.folder) for job in both] == ["runs/photos", "runs/photos-2"]
    ends = [list(training)[-1] for training in trainings]
    assert [(end.facts["status"], str(end.facts["run"])) for end in ends] == [
        ("finished", "runs/photos"), ("finished", "runs/photos-2"),
    ]  # fmt: skip


def test_data_that_cannot_be_used_leaves_no_folder(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError):
        list(job_of(tmp_path / "none", tmp_path / "runs" / "run").run())
    assert not (tmp_path / "runs").exists()


def test_time_counts_from_when_the_caller_says(photos: Path, tmp_path: Path) -> None:
    """An hour of which all but a moment has gone: one update of either phase, and a whole model."""
    request = TrainingRequest(photos, tmp_path / "run", "tiny", sets=SETS, options={"training": {"time": 3600}},
                              device="cpu")  # fmt: skip
    events = list(TrainingJob(request, started=time.monotonic() - 3600).run())
    assert [event.steps for event in events if isinstance(event, PhaseDone)] == [1, 1]
    assert events[-1].facts["status"] == "finished" and checkpoints_in(tmp_path / "run")[-1].name == "step-00000002"
