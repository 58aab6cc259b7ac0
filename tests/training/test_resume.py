"""Stopping, killing and resuming: the weights are those of a run that was never interrupted, bit for bit."""

import itertools
import json
import math
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from program import Program, run_program
from safetensors.torch import load_file
from tiny import CPU, image_set, pictures, same_tensors, tiny_config, tiny_flow, tiny_inputs
from torch import Tensor

from vae_cli.checkpoint import load_model, load_resumable, read_facts
from vae_cli.checkpoint_folders import checkpoints_in
from vae_cli.config import Layer
from vae_cli.errors import CheckpointError
from vae_cli.images.pixels import to_unit
from vae_cli.model.flow import LatentFlow
from vae_cli.runtime import Runtime
from vae_cli.training import flow_phase, loop, run_folder, training_run
from vae_cli.training import inputs as training_inputs
from vae_cli.training import vae_phase as phase_of_vae
from vae_cli.training.events import Calibrating, Event, PhaseDone, Saved, StepLogged, Validated
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.loop import train
from vae_cli.training.training_run import TrainingRun, open_run

BFLOAT16 = Runtime(torch.device("cpu"), torch.bfloat16, channels_last=True)


def begin(folder: Path, inputs: TrainingInputs, *, stop_after: int | None = None) -> list[Event]:
    """A new run, stopped after some updates or run to its end."""
    run_folder.create(folder, inputs)
    return follow(open_run(inputs, folder, started=time.monotonic()), stop_after)


def resume(folder: Path, inputs: TrainingInputs, *, stop_after: int | None = None, extend: bool = False) -> list[Event]:
    run = open_run(inputs, folder, started=time.monotonic(), resume=load_resumable(folder), extend=extend)
    return follow(run, stop_after)


def follow(run: TrainingRun, stop_after: int | None = None) -> list[Event]:
    """Every event, to the end or until the given update has been made."""
    return list(train(run, lambda: stop_after is not None and run.state.step >= stop_after))


def abandon(folder: Path, inputs: TrainingInputs, step: int) -> None:
    """What a kill right after update `step` leaves: nothing is written any more."""
    run_folder.create(folder, inputs)
    for event in train(open_run(inputs, folder, started=time.monotonic())):
        if isinstance(event, StepLogged) and event.step == step:
            return
    raise AssertionError(f"there was no update {step}")


def final(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Everything that a finished run has to say about its weights."""
    newest = checkpoints_in(folder)[-1]
    trainer = torch.load(newest / "trainer.pt", weights_only=True)
    momenta = {f"{number}.{key}.{name}": value for number, optimizer in enumerate(trainer["optimizers"])
               for key, state in optimizer["state"].items() for name, value in state.items()}  # fmt: skip
    return {
        "newest": load_file(newest / "model.safetensors"),
        "best": load_file(folder / "checkpoints" / "best" / "model.safetensors"),
        "module": trainer["module"],
        "momenta": momenta,
    }


def assert_same_run(a: Path, b: Path) -> None:
    assert checkpoints_in(a)[-1].name == checkpoints_in(b)[-1].name
    left, right = final(a), final(b)
    for what in left:
        assert same_tensors(left[what], right[what]), f"{what} weights differ"
    facts = [read_facts(run / "checkpoints" / "best" / "model.safetensors") for run in (a, b)]
    assert facts[0].step == facts[1].step and facts[0].phase == facts[1].phase


EVERY_STEP: Layer = {"training": {"validate_every": 1}}
SAVING: Layer = {"training": {"save_every": 2, "validate_every": 2}}
SAVING_AT_THE_CHANGE: Layer = {"training": {"save_every": 3, "validate_every": 2}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[TrainingInputs], Path]:
    """whole(inputs) -> a run of it that nothing interrupted; trained once."""
    runs: dict[str, Path] = {}

    def run_of(inputs: TrainingInputs) -> Path:
        key = f"{inputs.config.as_dict()} {inputs.label_names} {inputs.runtime}"
        if key not in runs:
            runs[key] = tmp_path_factory.mktemp("whole") / "run"
            begin(runs[key], inputs)
        return runs[key]

    return run_of


Whole = Callable[[TrainingInputs], Path]


@pytest.mark.parametrize(
    ("layer", "stop_after"),
    [*((SAVING, step) for step in (0, 1, 2, 3, 4, 5)), *((SAVING_AT_THE_CHANGE, step) for step in (2, 3, 4))],
)
def test_stopped_anywhere_it_ends_alike(tmp_path: Path, whole: Whole, layer: Layer, stop_after: int) -> None:
    """Inside the VAE (1, 2), at its last update, which is a save step or not (3), inside the flow (4, 5)."""
    inputs = tiny_inputs(tiny_config(layer), num_labels=2)
    run = tmp_path / "run"
    begin(run, inputs, stop_after=stop_after)
    if stop_after == 0:  # nothing to go on from: the program starts afresh
        assert not checkpoints_in(run)
        begin(run, inputs)
    else:
        assert checkpoints_in(run)[-1].name == f"step-{stop_after:08d}"
        assert (load_model(run, CPU).flow is None) == (stop_after <= 3), "no flow before its first update"
        resume(run, inputs)
    assert_same_run(whole(inputs), run)


@pytest.mark.parametrize("killed_after", [2, 3, 4, 5])
def test_killed_anywhere_it_ends_alike(tmp_path: Path, whole: Whole, killed_after: int) -> None:
    """Between two checkpoints the work since the last one is done again; `best` may be ahead of it."""
    inputs = tiny_inputs(tiny_config(EVERY_STEP, {"training": {"save_every": 1}}))
    abandon(tmp_path / "killed", inputs, killed_after)
    resume(tmp_path / "killed", inputs)
    assert_same_run(whole(inputs), tmp_path / "killed")


@pytest.mark.parametrize("runtime", [CPU, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("stop_after", [2, 5])
def test_dropout_binarised_pixels_and_bfloat16_resume_alike(
    tmp_path: Path, whole: Whole, stop_after: int, runtime: Runtime
) -> None:
    config = tiny_config(
        {"data": {"binarize": "dynamic"}, "model": {"dropout": 0.3, "likelihood": {"kind": "bernoulli"}}}
    )
    inputs = tiny_inputs(config, num_labels=3, runtime=runtime)
    begin(tmp_path / "stopped", inputs, stop_after=stop_after)
    resume(tmp_path / "stopped", inputs)
    assert_same_run(whole(inputs), tmp_path / "stopped")


@pytest.mark.parametrize("runtime", [CPU, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("stop_after", [9, 11])
def test_muon_resumes_alike(tmp_path: Path, whole: Whole, stop_after: int, runtime: Runtime) -> None:
    """Of 6 + 6 updates, stopped between two at which what makes its steps orthogonal is found anew."""
    config = tiny_config({"model": {"flow": {"width": 32}}, "training": {"steps": 12}})
    inputs = tiny_inputs(config, runtime=runtime)
    begin(tmp_path / "stopped", inputs, stop_after=stop_after)
    stored = load_resumable(tmp_path / "stopped").trainer["optimizers"]
    assert "whitening" in next(iter(stored[1]["state"].values()))
    resume(tmp_path / "stopped", inputs)
    assert_same_run(whole(inputs), tmp_path / "stopped")


def test_dropout_is_on_in_training(tmp_path: Path) -> None:
    """Otherwise the test above would prove nothing."""
    plain, dropped = (tiny_config({"model": {"dropout": share}}) for share in (0.0, 0.3))
    for name, config in (("plain", plain), ("dropped", dropped)):
        begin(tmp_path / name, tiny_inputs(config))
    assert not same_tensors(final(tmp_path / "plain")["module"], final(tmp_path / "dropped")["module"])


def test_interrupted_twice(tmp_path: Path, whole: Whole) -> None:
    inputs = tiny_inputs(tiny_config(EVERY_STEP))
    begin(tmp_path / "stopped", inputs, stop_after=1)
    for stop_after in (2, 4, None):
        resume(tmp_path / "stopped", inputs, stop_after=stop_after)
    assert_same_run(whole(inputs), tmp_path / "stopped")


def test_damaged_newest_checkpoint_is_passed_over(tmp_path: Path, whole: Whole) -> None:
    inputs = tiny_inputs(tiny_config(SAVING))
    begin(tmp_path / "hurt", inputs, stop_after=5)
    newest = checkpoints_in(tmp_path / "hurt")[-1]
    assert newest.name == "step-00000005"
    (newest / "trainer.pt").write_bytes((newest / "trainer.pt").read_bytes()[:500])
    resume(tmp_path / "hurt", inputs)
    assert_same_run(whole(inputs), tmp_path / "hurt")


def test_it_saves_by_the_clock_too_and_that_changes_nothing(tmp_path: Path, whole: Whole, monkeypatch) -> None:
    """`save_every` is more than all steps; the clock says that a save is due at every other update."""
    inputs, looks = tiny_inputs(tiny_config()), itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: 200.0 * next(looks)))
    saved = [event.path.name for event in begin(tmp_path / "run", inputs) if isinstance(event, Saved)]
    assert len(saved) > len({"end of the VAE", "end of the flow"}), saved
    monkeypatch.undo()
    assert_same_run(whole(inputs), tmp_path / "run")


def test_a_state_of_training_that_is_none_of_ours(tmp_path: Path) -> None:
    inputs = tiny_inputs(tiny_config(SAVING))
    begin(tmp_path / "run", inputs, stop_after=2)
    resume = load_resumable(tmp_path / "run")
    for missing in ("guard", "best_score", "optimizers", "ema_updates"):
        trainer = {name: value for name, value in resume.trainer.items() if name != missing}
        with pytest.raises(CheckpointError, match=rf"trainer\.pt: not the state of .*{missing}"):
            other = replace(resume, trainer=trainer)
            follow(open_run(inputs, tmp_path / "run", started=time.monotonic(), resume=other))


def test_raised_budget_grows_only_the_flow_once_it_has_begun(tmp_path: Path) -> None:
    inputs = tiny_inputs(tiny_config(SAVING))
    begin(tmp_path / "run", inputs)
    vae = {name: value for name, value in final(tmp_path / "run")["newest"].items() if name.startswith("vae.")}
    more = replace(inputs, config=inputs.config.updated({"training": {"steps": 10}}))
    events = resume(tmp_path / "run", more, extend=True)
    assert [(event.phase, event.steps) for event in events if isinstance(event, PhaseDone)] == [("flow", 4)]
    after = final(tmp_path / "run")["newest"]
    assert checkpoints_in(tmp_path / "run")[-1].name == "step-00000010"
    assert same_tensors(vae, {name: value for name, value in after.items() if name.startswith("vae.")})


def test_raised_budget_grows_both_phases_before_the_flow(tmp_path: Path) -> None:
    """As if the larger budget had been asked for from the start, but for the part already done."""
    inputs = tiny_inputs(tiny_config(SAVING))
    begin(tmp_path / "run", inputs, stop_after=2)
    more = replace(inputs, config=inputs.config.updated({"training": {"steps": 12}}))
    events = resume(tmp_path / "run", more, extend=True)
    assert [(event.phase, event.steps) for event in events if isinstance(event, PhaseDone)] == [("vae", 4), ("flow", 6)]


def test_nothing_to_do_is_known(tmp_path: Path) -> None:
    inputs = tiny_inputs(tiny_config(SAVING))
    begin(tmp_path / "run", inputs)
    finished = open_run(inputs, tmp_path / "run", started=time.monotonic(), resume=load_resumable(tmp_path / "run"))
    assert finished.is_done
    more = replace(inputs, config=inputs.config.updated({"training": {"steps": 7}}))
    again = open_run(more, tmp_path / "run", started=time.monotonic(), resume=load_resumable(tmp_path / "run"))
    assert not again.is_done


def test_the_end_of_training_is_told_before_it_is_measured_and_saved(tmp_path: Path) -> None:
    events = begin(tmp_path / "run", tiny_inputs(tiny_config(SAVING)))
    kinds = [type(event) for event in events]
    assert kinds.count(Calibrating) == 1
    assert kinds[kinds.index(Calibrating) :] == [Calibrating, Saved, PhaseDone]


def test_budget_in_epochs_counts_images(tmp_path: Path) -> None:
    """Ten images in batches of four: two epochs are five updates."""
    inputs = tiny_inputs(tiny_config({"training": {"epochs": 2}}))
    assert inputs.config.training.steps is None
    begin(tmp_path / "run", inputs)
    assert checkpoints_in(tmp_path / "run")[-1].name == "step-00000005"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The trainer's clock, which goes on by a second whenever somebody looks at it, however busy the machine."""
    ticking = SimpleNamespace(monotonic=itertools.count().__next__)
    monkeypatch.setattr(loop, "time", ticking)
    monkeypatch.setattr(training_run, "time", ticking)
    return ticking


def test_a_budget_of_time_resumes_with_what_was_left(tmp_path: Path, clock: SimpleNamespace) -> None:
    seconds, run = 60.0, tmp_path / "run"
    training = {"training": {"time": seconds, "flow_share": 0.5, "validate_every": 1000, "save_every": 1000}}
    inputs = tiny_inputs(tiny_config(training))
    run_folder.create(run, inputs)
    follow(open_run(inputs, run, started=clock.monotonic()), stop_after=3)
    resumed = open_run(inputs, run, started=clock.monotonic(), resume=load_resumable(run))
    start = clock.monotonic()
    assert 0 < resumed.budget.seconds < seconds and not resumed.is_done
    done = [event for event in follow(resumed) if isinstance(event, PhaseDone)]
    assert [event.phase for event in done] == ["vae", "flow"]
    assert 0.8 * resumed.budget.seconds < clock.monotonic() - start < 1.2 * resumed.budget.seconds
    assert open_run(inputs, run, started=clock.monotonic(), resume=load_resumable(run)).is_done


def test_a_new_budget_of_time_lengthens_a_finished_flow(tmp_path: Path, clock: SimpleNamespace) -> None:
    inputs, run = tiny_inputs(tiny_config({"training": {"time": 60.0}})), tmp_path / "run"
    run_folder.create(run, inputs)
    follow(open_run(inputs, run, started=clock.monotonic()))
    again = open_run(inputs, run, started=clock.monotonic(), resume=load_resumable(run), extend=True)
    assert not again.is_done
    events = follow(again)
    assert [event.phase for event in events if isinstance(event, PhaseDone)] == ["flow"]
    assert sum(isinstance(event, StepLogged) for event in events) > 0


def test_best_follows_the_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores 5 3 4 in the VAE: the second update's average is kept, and the flow builds on it."""
    from vae_cli.training.flow_phase import FlowPhase
    from vae_cli.training.vae_phase import VaePhase

    scores = iter([5.0, 3.0, 4.0])
    monkeypatch.setattr(VaePhase, "validate", lambda self, module: next(scores))
    flow_scores = iter([float("nan"), 1.0, 2.0])
    monkeypatch.setattr(FlowPhase, "validate", lambda self, module: next(flow_scores))
    inputs = tiny_inputs(tiny_config(EVERY_STEP, {"training": {"save_every": 1}}))
    run_folder.create(tmp_path / "run", inputs)
    second, marks = {}, []
    for event in train(open_run(inputs, tmp_path / "run", started=time.monotonic())):
        if isinstance(event, Saved) and event.path.name == "step-00000002":
            second = load_file(event.path / "model.safetensors")
        if isinstance(event, Validated):
            marks.append(event.is_best)
    assert marks == [False, True, False] or marks == [True, True, False, False, True, False]
    best = load_file(tmp_path / "run" / "checkpoints" / "best" / "model.safetensors")
    assert second and same_tensors(second, {name: best[name] for name in second})
    assert read_facts(tmp_path / "run" / "checkpoints" / "best" / "model.safetensors").step == 5


def test_the_weights_that_scored_best_are_calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of update 5 here, not those of the last one."""
    from vae_cli.training.flow_phase import FlowPhase

    scores = iter([2.0, 1.0, 3.0])
    monkeypatch.setattr(FlowPhase, "validate", lambda self, module: next(scores))

    def mark(flow: LatentFlow) -> float:
        return 1 + flow.condition_out.weight.abs().sum().item()

    monkeypatch.setattr(FlowPhase, "calibrate", lambda self, flow: flow.noise_scale.fill_(mark(flow)))
    inputs = tiny_inputs(tiny_config(EVERY_STEP, {"training": {"save_every": 1}}))
    begin(tmp_path / "run", inputs)
    model = load_model(tmp_path / "run", CPU)
    assert model.flow is not None and model.facts.step == 5
    assert model.flow.noise_scale.item() == pytest.approx(mark(model.flow)) and model.flow.noise_scale > 1


def test_trust_in_fills_is_measured_on_all_held_out_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evenly over them, in whose order classes follow one another; and it ends up among the weights."""
    monkeypatch.setattr(training_inputs, "CHUNK", 4)
    monkeypatch.setattr(flow_phase, "WEIGHED_IMAGES", 5)
    inputs = replace(tiny_inputs(tiny_config()), validation=image_set(17))
    vae, flow = tiny_flow()
    seen: list[Tensor] = []
    real = flow_phase.evidence

    def evidence(fill: Tensor, smooth: Tensor, truth: Tensor, observed: Tensor) -> Tensor:
        seen.append(truth)
        return real(fill, smooth, truth, observed)

    monkeypatch.setattr(flow_phase, "evidence", evidence)
    flow_phase.FlowPhase(inputs, flow, vae).calibrate(flow)
    expected = to_unit(inputs.validation.pixels[[0, 4, 8, 12, 16]])
    assert len(seen) == 5 and all(torch.equal(truth, expected) for truth in seen)
    assert (flow.fill_weight < 1).any() and (flow.fill_weight >= 0).all()


def test_large_images_are_looked_at_in_smaller_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = replace(tiny_inputs(tiny_config()), validation=image_set(17))
    assert [len(x) for x, *_ in inputs.validation_chunks()] == [17]
    monkeypatch.setattr(training_inputs, "CHUNK_PIXELS", 5 * math.prod(inputs.train.pixels.shape[1:3]))
    assert [len(x) for x, *_ in inputs.validation_chunks()] == [5, 5, 5, 2]


def test_large_grids_are_calibrated_with_fewer_images(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, (vae, flow), drawn = tiny_inputs(tiny_config()), tiny_flow(), []
    monkeypatch.setattr(flow_phase, "calibrate_noise", lambda flow, z, *_, **__: drawn.append(len(z)))
    positions = flow.shape[1] * flow.shape[2]
    for full_grid in (positions, positions // 4, 0):
        monkeypatch.setattr(flow_phase, "FULL_GRID", full_grid)
        flow_phase.FlowPhase(inputs, flow, vae).calibrate(flow)
    assert drawn == [flow_phase.CALIBRATION_IMAGES, flow_phase.CALIBRATION_IMAGES // 4,
                     flow_phase.FEWEST_CALIBRATION_IMAGES]  # fmt: skip


# The program itself: signals to a real process


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "photos"
    folder.mkdir()
    for number, picture in enumerate(pictures(9, (8, 8), 3)):
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


STEPS, SAVE_EVERY = 24, 7


def words_of(photos: Path, out: Path, precision: str, dropout: float, save_every: int = SAVE_EVERY) -> list[str]:
    sets = {
        "training.save_every": save_every, "training.validate_every": 5, "training.log_every": 1,
        "training.preview_every": 1000, "training.precision": precision, "training.threads": 1,
        "training.batch_size": 4, "training.flow_share": 0.5, "model.dropout": dropout, "model.width": 8,
        "model.latents": "[{stride: 4, layers: 1, channels: 2}]", "model.flow.width": 16,
    }  # fmt: skip
    assignments = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    return ["train", str(photos), "--preset", "tiny", "--steps", str(STEPS), "--device", "cpu", "--out", str(out),
            *assignments]  # fmt: skip


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "VAE_CACHE": str(cache), "NO_COLOR": "1"}


def slow_down(after: int) -> None:
    """A pause before each update after the first so many: on a busy machine the program would be over before a signal
    reached it."""
    update, updates = loop.update_weights, itertools.count()

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.5 * (next(updates) >= after))
        return update(*arguments)

    loop.update_weights = slowly


def start_program(words: list[str], cache: Path, pause_after: int) -> Program:
    return Program(words, cache.with_name("printed"), environment(cache), partial(slow_down, pause_after))


def wait_for_step(process: Program, run: Path, step: int) -> None:
    """Returns as soon as the log of a running program holds update `step`."""
    log, deadline = run / "metrics.jsonl", time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        if any(line.endswith("\n") and json.loads(line)["step"] >= step for line in lines):
            return
        time.sleep(0.002)
    raise AssertionError(f"update {step} was never logged")


@pytest.fixture(scope="module")
def uninterrupted(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, float], Path]:
    """uninterrupted(precision, dropout) -> a run that the program finished in one go; trained once."""
    runs: dict[str, Path] = {}

    def run_of(precision: str, dropout: float) -> Path:
        if precision not in runs:
            runs[precision] = tmp_path_factory.mktemp("whole") / "run"
            run_program(words_of(photos, runs[precision], precision, dropout), runs[precision].parent / "cache")
        return runs[precision]

    return run_of


Uninterrupted = Callable[[str, float], Path]


@pytest.mark.parametrize(("precision", "dropout"), [("float32", 0.0), ("bfloat16", 0.2)])
def test_a_killed_program_resumes_bit_for_bit(
    uninterrupted: Uninterrupted, photos: Path, tmp_path: Path, precision: str, dropout: float
) -> None:
    """SIGKILL at a moment drawn with a seed."""
    run, cache = tmp_path / "run", tmp_path / "cache"
    moments = random.Random(precision)
    step = moments.randint(SAVE_EVERY + 1, STEPS - 6)
    process = start_program(words_of(photos, run, precision, dropout), cache, pause_after=step + 3)
    wait_for_step(process, run, step)
    time.sleep(moments.uniform(0, 0.03))
    process.kill()
    process.communicate()
    assert process.poll() == -signal.SIGKILL, "it was over before it could be killed"
    run_program(["train", "--out", str(run), "--resume", "--device", "cpu"], cache)
    assert_same_run(uninterrupted(precision, dropout), run)


def test_killed_before_the_first_checkpoint(photos: Path, tmp_path: Path) -> None:
    run, cache = tmp_path / "run", tmp_path / "cache"
    process = start_program(words_of(photos, run, "float32", 0.0, save_every=1000), cache, pause_after=6)
    wait_for_step(process, run, 2)
    process.kill()
    process.communicate()
    assert checkpoints_in(run) == []
    result = run_program(["train", "--out", str(run), "--resume", "--steps", "4", "--device", "cpu"], cache)
    assert "starting from the beginning" in result.stderr
    assert checkpoints_in(run)[-1].name == "step-00000004"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_program_saves_and_resumes_bit_for_bit(
    uninterrupted: Uninterrupted, photos: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run, cache = tmp_path / "run", tmp_path / "cache"
    step = 8 if number == signal.SIGINT else 16
    process = start_program([*words_of(photos, run, "float32", 0.0), "--json"], cache, pause_after=step)
    wait_for_step(process, run, step)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.poll() == code, errors
    answer = json.loads(out)
    assert answer["status"] == "interrupted"
    assert answer["parameters"] == load_model(uninterrupted("float32", 0.0), CPU).num_parameters
    assert answer["phases"].keys() == {"vae", "flow"} and answer["phases"]["vae"]["steps"] > 0
    assert (answer["phases"]["flow"]["steps"] > 0) == (number == signal.SIGTERM)
    assert "Traceback" not in errors and "--resume" in errors
    saved = int(checkpoints_in(run)[-1].name.removeprefix("step-"))
    assert saved == answer["steps"] < STEPS
    run_program(["train", "--out", str(run), "--resume", "--device", "cpu"], cache)
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps) and steps[-1] == STEPS
    assert_same_run(uninterrupted("float32", 0.0), run)


# Several draws of the posterior an image, from some update on

SEVERAL_DRAWS: Layer = {
    "objective": {"importance_samples": 2, "importance_start": 0.6},
    "training": {"steps": 8, "flow_share": 0.0, "save_every": 100, "validate_every": 2, "patience": 1},
}


@pytest.mark.parametrize("stop_after", [2, 6])
def test_a_run_that_weighs_draws_resumes_bit_for_bit(tmp_path: Path, stop_after: int) -> None:
    inputs = tiny_inputs(tiny_config(SEVERAL_DRAWS), runtime=BFLOAT16)
    begin(tmp_path / "whole", inputs)
    begin(tmp_path / "stopped", inputs, stop_after=stop_after)
    resume(tmp_path / "stopped", inputs)
    for name in ("step-00000008", "best"):
        files = [tmp_path / run / "checkpoints" / name / "model.safetensors" for run in ("whole", "stopped")]
        assert same_tensors(load_file(files[0]), load_file(files[1])), name


@pytest.mark.parametrize(("batch_size", "rows"), [(4, 4), (5, 4)])
def test_draws_are_weighed_from_their_start_on_and_the_newest_weights_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int, rows: int
) -> None:
    """A score of one draw, which then rises, must bring back neither old weights nor an end."""
    scores = iter(range(100))
    monkeypatch.setattr(phase_of_vae.VaePhase, "validate", lambda self, module: float(next(scores)))
    used: list[int] = []
    weigh = phase_of_vae.negative_importance_bound
    monkeypatch.setattr(
        phase_of_vae, "negative_importance_bound", lambda terms, num: used.append(len(terms.elbo)) or weigh(terms, num)
    )
    inputs = tiny_inputs(tiny_config(SEVERAL_DRAWS, {"training": {"patience": 2, "batch_size": batch_size}}))
    events = begin(tmp_path / "run", inputs)
    assert used == [rows] * 3, "as many rows an update as before, and only at the end"
    assert [event.is_best for event in events if isinstance(event, Validated)] == [True, False, True, True]
