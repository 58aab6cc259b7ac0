"""Loss, schedules, refused updates and the average, all by hand; and a run that diverges."""

import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny import pictures, resealed, same_tensors, tiny_config, tiny_inputs
from torch import Tensor, nn
from typer.testing import CliRunner

from vae_cli.checkpoint import load_model, load_resumable
from vae_cli.checkpoint_folders import checkpoints_in
from vae_cli.cli.app import app
from vae_cli.config import Layer
from vae_cli.errors import DivergedError
from vae_cli.model.vae import ElboTerms
from vae_cli.training import loop, run_folder
from vae_cli.training.events import PhaseDone, Retreated, StepLogged
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.loop import train
from vae_cli.training.objective import (
    FINAL_RATE,
    MAX_REFUSED_IN_A_ROW,
    MAX_RETREATS,
    RETREAT_AFTER,
    UpdateGuard,
    kl_weight_at,
    negative_elbo_loss,
    negative_importance_bound,
    rate_factor_at,
)
from vae_cli.training.optimizer import Ema, PhaseOptimizer
from vae_cli.training.phase import Loss
from vae_cli.training.run_state import RunState
from vae_cli.training.training_run import TrainingRun, open_run
from vae_cli.training.vae_phase import VaePhase


def terms(kl: list[list[float]]) -> tuple[ElboTerms, Tensor]:
    """Log-likelihoods -10 and -30, and the given KLs with gradients."""
    leaf = torch.tensor(kl, requires_grad=True)
    return ElboTerms(torch.tensor([-10.0, -30.0]), leaf, torch.zeros(2, 1, 4, 4)), leaf


def test_the_loss_is_the_negative_bound() -> None:
    bound, _ = terms([[1.0, 2.0], [3.0, 6.0]])
    loss = negative_elbo_loss(bound, kl_weight=1.0, free_nats=0.0)
    assert loss.item() == pytest.approx(20 + 2 + 4) == -bound.elbo.mean().item()


def test_weight_zero_leaves_the_likelihood() -> None:
    bound, leaf = terms([[1.0, 2.0], [3.0, 6.0]])
    loss = negative_elbo_loss(bound, kl_weight=0.0, free_nats=0.0)
    assert loss.item() == pytest.approx(20)
    loss.backward()
    assert leaf.grad is not None and leaf.grad.abs().max() == 0


def test_free_nats_bind_per_layer_and_stop_its_gradient() -> None:
    """Layer means are 2 and 4; a floor of 3 replaces the first and frees it, and leaves the second alone."""
    bound, leaf = terms([[1.0, 2.0], [3.0, 6.0]])
    loss = negative_elbo_loss(bound, kl_weight=0.5, free_nats=3.0)
    assert loss.item() == pytest.approx(20 + 0.5 * (3 + 4))
    loss.backward()
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, torch.tensor([[0.0, 0.25], [0.0, 0.25]]))


def test_several_draws_are_weighed_by_their_probability() -> None:
    """Two draws of one image with log weights -13 and -39, and two images with a draw each."""
    bound, leaf = terms([[1.0, 2.0], [3.0, 6.0]])
    loss = negative_importance_bound(bound, 2)
    assert loss.item() == pytest.approx(-math.log((math.exp(-13) + math.exp(-39)) / 2))
    loss.backward()
    assert leaf.grad is not None
    shares = torch.tensor([-13.0, -39.0]).softmax(0)
    torch.testing.assert_close(leaf.grad, shares[:, None].expand(2, 2))
    assert negative_importance_bound(bound, 1).item() == pytest.approx((13 + 39) / 2)


def test_the_kl_weight_warms_up_linearly() -> None:
    weights = [kl_weight_at(step, target=2.0, warmup_steps=4) for step in range(6)]
    assert weights == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    assert kl_weight_at(0, target=2.0, warmup_steps=0) == 2.0


def test_the_rate_warms_up_stays_and_falls() -> None:
    def rate(step: int, fraction: float) -> float:
        return rate_factor_at(step, fraction, warmup_steps=9, decay_share=0.4)

    assert [rate(step, 0.0) for step in (0, 4, 9, 50)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert rate(50, 0.6) == pytest.approx(1)
    assert rate(50, 0.8) == pytest.approx((1 + FINAL_RATE) / 2)
    assert rate(50, 1.0) == pytest.approx(FINAL_RATE)
    falling = [rate(50, 0.6 + 0.04 * number) for number in range(11)]
    assert falling == sorted(falling, reverse=True)
    assert rate_factor_at(0, 1.0, warmup_steps=0, decay_share=0.0) == pytest.approx(1)


# Refused updates


def judged(guard: UpdateGuard, loss: float, norm: float) -> bool:
    """Whether an update is accepted, which then is known to the guard."""
    is_accepted = bool(guard.accepts(torch.tensor(loss), torch.tensor(norm)))
    guard.note(is_accepted, norm)
    return is_accepted


def experienced() -> UpdateGuard:
    guard = UpdateGuard()
    assert all(judged(guard, 1.0, 10.0) for _ in range(UpdateGuard.MIN_HISTORY))
    return guard


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_refused_and_counted(loss: float) -> None:
    guard = UpdateGuard()
    assert not judged(guard, loss, 1.0)
    assert guard.num_refused == guard.num_in_a_row == 1
    assert judged(guard, 1.0, 1.0)
    assert (guard.num_refused, guard.num_in_a_row) == (1, 0)


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_refused(norm: float) -> None:
    guard = experienced()
    assert not judged(guard, 1.0, norm)
    assert all(math.isfinite(value) for value in guard.norms)


def test_an_outlier_is_refused_but_not_before_there_is_a_median() -> None:
    assert judged(UpdateGuard(), 1.0, 1e9)
    guard = experienced()
    assert not judged(guard, 1.0, 1e4)
    assert judged(guard, 1.0, 30.0)


def test_a_lasting_change_of_scale_becomes_normal_after_a_retreat() -> None:
    guard = experienced()
    for _ in range(RETREAT_AFTER):
        assert not guard.is_retreat_due and not judged(guard, 1.0, 200.0)
    assert guard.is_retreat_due
    guard.retreat()
    assert all(judged(guard, 1.0, 200.0) for _ in range(UpdateGuard.MIN_HISTORY))
    assert not judged(guard, 1.0, 1e4) and judged(guard, 1.0, 200.0)


def test_too_many_in_a_row_end_training() -> None:
    guard = experienced()
    for _ in range(MAX_REFUSED_IN_A_ROW - 1):
        assert not judged(guard, math.nan, math.nan)
    with pytest.raises(DivergedError, match=str(MAX_REFUSED_IN_A_ROW)) as caught:
        judged(guard, math.nan, math.nan)
    assert caught.value.exit_code == 5


def test_retreats_are_few_and_each_halves_the_rate() -> None:
    guard, factors = experienced(), []
    for _ in range(MAX_RETREATS):
        for _ in range(RETREAT_AFTER):
            judged(guard, math.nan, math.nan)
        assert guard.is_retreat_due
        guard.retreat()
        factors.append(guard.rate_factor)
        assert not guard.is_retreat_due and judged(guard, 1.0, 10.0)
    assert factors == [0.5 ** (n + 1) for n in range(MAX_RETREATS)]
    for _ in range(RETREAT_AFTER):
        judged(guard, math.nan, math.nan)
    assert not guard.is_retreat_due


def test_nothing_good_to_go_back_to_is_no_retreat() -> None:
    guard = UpdateGuard()
    for _ in range(RETREAT_AFTER):
        judged(guard, math.nan, math.nan)
    assert not guard.is_retreat_due


def test_a_guard_is_restored_whole() -> None:
    guard = experienced()
    for _ in range(RETREAT_AFTER):
        judged(guard, math.nan, 1.0)
    guard.retreat()
    assert all(judged(guard, 1.0, 10.0) for _ in range(UpdateGuard.MIN_HISTORY))
    judged(guard, math.nan, 1.0)
    other = RunState.from_dict(RunState(guard=guard).as_dict()).guard
    assert other == guard and other is not guard
    assert not judged(other, 1.0, 1e4), "the median came along"
    assert all(judged(other, 1.0, 10.0) for _ in range(UpdateGuard.WINDOW)) and len(other.norms) == UpdateGuard.WINDOW


# The average


def test_the_average_by_hand() -> None:
    """Decays 2/11 and 3/12, then at most the one given."""
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(0.0)
    ema = Ema(module, 0.25)
    expected = 0.0
    for value, decay in ((1.0, 2 / 11), (5.0, 3 / 12), (2.0, 0.25), (8.0, 0.25)):
        module.weight.data.fill_(value)
        ema.update(module)
        expected = decay * expected + (1 - decay) * value
        assert next(ema.module.parameters()).item() == pytest.approx(expected)


def test_the_average_copies_buffers_and_is_never_trained() -> None:
    module = nn.BatchNorm1d(2)
    ema = Ema(module, 0.9)
    module(torch.randn(8, 2) + 5)
    ema.update(module)
    assert torch.equal(ema.module.get_buffer("running_mean"), module.running_mean)  # type: ignore[arg-type]
    assert not ema.module.training and module.training
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())
    assert next(ema.module.parameters()).data_ptr() != next(module.parameters()).data_ptr()


# A run that goes wrong


def start(folder: Path, inputs: TrainingInputs) -> TrainingRun:
    run_folder.create(folder, inputs)
    return open_run(inputs, folder, started=time.monotonic())


def poisoned(from_step: int, to_step: float = math.inf) -> Any:
    """VaePhase.loss that is not a number in some updates."""
    honest = VaePhase.loss

    def loss(self: VaePhase, module: Any, batch: Any, spent: float) -> Loss:
        found = honest(self, module, batch, spent)
        return Loss(found.total * math.nan, found.figures) if from_step <= batch.step < to_step else found

    return loss


def exploding(at: Callable[[int], bool]) -> Any:
    """loop.update_weights after which, in some updates, no weight is a number."""
    honest = loop.update_weights

    def update(run: TrainingRun, *arguments: Any) -> Any:
        found = honest(run, *arguments)
        if at(run.state.step):
            with torch.no_grad():
                for parameter in run.vae.parameters():
                    parameter.fill_(math.nan)
        return found

    return update


def test_injected_nans_are_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refused update leaves the weights as they were, and the count reaches the end of the phase."""
    monkeypatch.setattr(VaePhase, "loss", poisoned(1, 3))
    inputs = tiny_inputs(tiny_config({"training": {"steps": 5, "flow_share": 0.0, "save_every": 1}}))
    run = start(tmp_path / "run", inputs)
    weights, refused = [], 0
    for event in train(run):
        if isinstance(event, StepLogged):
            weights.append({name: value.clone() for name, value in run.vae.state_dict().items()})
        if isinstance(event, PhaseDone):
            refused = event.num_refused
    assert refused == 2
    assert same_tensors(weights[0], weights[1]) and same_tensors(weights[1], weights[2])
    assert not same_tensors(weights[2], weights[3])
    assert all(value.isfinite().all() for value in weights[-1].values())


def test_lasting_nans_end_the_run_and_spare_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VaePhase, "loss", poisoned(6))
    inputs = tiny_inputs(tiny_config({"training": {"steps": 400, "save_every": 4, "validate_every": 4}}))
    run = start(tmp_path / "run", inputs)
    steps = 0
    with pytest.raises(DivergedError):
        for event in train(run):
            steps += isinstance(event, StepLogged)
    assert steps == 6 + MAX_REFUSED_IN_A_ROW - 1, "a bounded number of attempts"
    best = load_model(tmp_path / "run", inputs.runtime)
    assert best.facts.step in (4, 8), "at 8 the weights are still those of update 6"
    assert all(value.isfinite().all() for value in best.vae.state_dict().values())
    assert load_resumable(tmp_path / "run").facts.step <= 6 + MAX_REFUSED_IN_A_ROW


def test_weights_that_explode_never_replace_the_good_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do so again after every retreat; what is saved while updates are refused would push out what was good."""
    monkeypatch.setattr(loop, "update_weights", exploding(lambda step: step >= 9))
    training = {"steps": 400, "save_every": 4, "validate_every": 4, "patience": 0}
    run = start(tmp_path / "run", tiny_inputs(tiny_config({"training": training})))
    with pytest.raises(DivergedError):
        list(train(run))
    kept = load_resumable(tmp_path / "run")
    assert kept.facts.step == 8
    assert all(value.isfinite().all() for value in kept.weights.values())
    assert len(checkpoints_in(tmp_path / "run")) == 2


@pytest.mark.parametrize("rate", [30.0, 1e38])
def test_weights_that_an_accepted_update_ruins_are_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    """One huge step, which the average follows: back to the best weights, at half the rate, to the budget's end."""
    honest = PhaseOptimizer.step

    def step(self: PhaseOptimizer, scheduled: float, *judged: Tensor) -> None:
        is_ruined.append(len(is_ruined) == 30)
        honest(self, rate if is_ruined[-1] else scheduled, *judged)

    is_ruined: list[bool] = []
    monkeypatch.setattr(PhaseOptimizer, "step", step)
    length: Layer = {"training": {"steps": 90, "flow_share": 0.0, "save_every": 20, "validate_every": 20}}
    inputs = tiny_inputs(tiny_config(length))
    events = list(train(start(tmp_path / "run", inputs)))
    assert [event.rate_factor for event in events if isinstance(event, Retreated)] == [0.5]
    done = events[-1]
    assert isinstance(done, PhaseDone) and (done.steps, done.num_refused) == (90, RETREAT_AFTER)
    kept = load_resumable(tmp_path / "run")
    assert kept.facts.step == 90 and kept.trainer["guard"]["num_retreats"] == 1
    assert all(value.abs().max() < 10 for name, value in kept.trainer["module"].items())


@pytest.fixture
def vae_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """vae_train(*words) -> what `vae train` came to, on six pictures, into the folder `run`."""
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(pictures(6, (8, 8), 3)):
        Image.fromarray(picture).save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))

    def run(*words: str, **settings: float) -> Any:
        new = [] if "--resume" in words else [str(tmp_path / "photos"), "--preset", "tiny"]
        small = {"training.batch_size": 2, "model.width": 8, "training.precision": "float32", **settings}
        sets = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
        return CliRunner().invoke(
            app, ["train", *new, *words, *sets, "--out", str(tmp_path / "run"), "--device", "cpu"]
        )

    return run


def test_a_huge_learning_rate_ends_with_exit_code_5(vae_train: Callable[..., Any]) -> None:
    result = vae_train("--steps", "400", **{"training.learning_rate": 1e18})
    assert result.exit_code == 5, result.stderr
    assert "learning_rate" in result.stderr and "Traceback" not in result.stderr


def test_ctrl_c_wins_over_weights_that_cannot_be_saved(
    vae_train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No weight is a number any more when the signal comes; what was saved before is what there is to go on from."""

    def is_ruined(step: int) -> bool:
        if step == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return step >= 9

    monkeypatch.setattr(loop, "update_weights", exploding(is_ruined))
    result = vae_train("--steps", "400", **{"training.save_every": 4, "training.validate_every": 4})
    assert result.exit_code == 130, result.stderr
    assert "saved at step 8; go on with" in result.stderr and "diverged" not in result.stderr
    assert load_resumable(tmp_path / "run").facts.step == 8


def test_a_resumed_run_says_that_its_rate_was_halved(vae_train: Callable[..., Any], tmp_path: Path) -> None:
    assert vae_train("--steps", "6", **{"training.flow_share": 0.0}).exit_code == 0
    assert "going on at step 6 (vae phase)\n" in vae_train("--resume", "--steps", "7").stderr
    stored = checkpoints_in(tmp_path / "run")[-1] / "trainer.pt"
    state = torch.load(stored, weights_only=True)
    state["guard"]["num_retreats"] = 2
    torch.save(state, stored)
    resealed(stored.parent)
    said = vae_train("--resume", "--steps", "8").stderr
    assert "going on at step 7 (vae phase), at its learning rate times 0.25: the gradients had exploded" in said
