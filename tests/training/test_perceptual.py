"""Terms beside the bound: the distance of edges, and the adversary."""

import copy
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import CPU, image_set, same_tensors, tiny_config, tiny_inputs
from torch import nn
from torch.nn import functional as F

from vae_cli.checkpoint import load_resumable
from vae_cli.checkpoint_folders import checkpoints_in
from vae_cli.config import Layer, ObjectiveConfig
from vae_cli.images.pixels import to_unit
from vae_cli.runtime import Runtime
from vae_cli.training import run_folder
from vae_cli.training.adversary import Adversary, PatchDiscriminator, hinge_loss
from vae_cli.training.events import PhaseDone, StepLogged, Validated
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.loop import train
from vae_cli.training.objective import gradient_distance
from vae_cli.training.training_run import open_run
from vae_cli.training.vae_phase import VaePhase

BFLOAT16 = Runtime(torch.device("cpu"), torch.bfloat16, channels_last=True)
PERCEPTUAL: Layer = {"objective": {"perceptual": 2.0}}
ADVERSARIAL: Layer = {"objective": {"adversarial": 0.5, "adversarial_start": 0.5}}


# The distance of edges


def test_the_distance_by_hand() -> None:
    """One 4×4 step of height 2 between columns: sums 8 and 4 of 12 and 2 differences, and 16 values."""
    a, b = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    b[..., 2:] = 2.0
    assert gradient_distance(a, b).item() == pytest.approx(16 * (8 / 12 + 4 / 2) / 2)


def test_equal_pictures_are_no_distance_apart() -> None:
    x = torch.randn(2, 3, 9, 12)
    assert gradient_distance(x, x).tolist() == [0.0, 0.0]
    torch.testing.assert_close(gradient_distance(x, x + 0.3), torch.zeros(2), atol=1e-3, rtol=0)


def test_blur_costs_more_than_a_shift_of_equal_square_error() -> None:
    x = to_unit(image_set(8, (32, 32), 3).pixels)
    blurred = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    error = (blurred - x).square().mean((1, 2, 3), keepdim=True).sqrt()
    shift, blur = gradient_distance(x + error, x), gradient_distance(blurred, x)
    assert (shift < 1e-3 * blur).all() and (blur > 100).all()


def test_the_distance_can_be_descended() -> None:
    """Plain gradient descent on it alone brings the edges together, in bfloat16 pictures as well."""
    x = to_unit(image_set(1, (16, 16)).pixels)
    found = nn.Parameter(torch.zeros_like(x))
    optimizer = torch.optim.Adam([found], lr=0.05)
    first = gradient_distance(found, x).item()
    for _ in range(60):
        optimizer.zero_grad()
        gradient_distance(found.bfloat16(), x).sum().backward()
        optimizer.step()
    assert gradient_distance(found, x).item() < 0.2 * first


# In the VAE's loss


def batch_of(inputs: TrainingInputs, step: int = 0) -> object:
    from vae_cli.dataset.batches import Batches

    with Batches(inputs.train, inputs.config.training.batch_size, seed=1, start_step=step) as batches:
        return next(batches)


def losses(layer: Layer, spent: float = 1.0) -> tuple[VaePhase, dict[str, torch.Tensor], torch.Tensor]:
    from vae_cli.model.vae import build_vae

    inputs = tiny_inputs(tiny_config(layer))
    torch.manual_seed(0)
    phase = VaePhase(inputs, build_vae(inputs.config))
    loss = phase.loss(phase.module, batch_of(inputs), spent)  # type: ignore[arg-type]
    return phase, loss.figures, loss.total


def test_weights_multiply_and_zero_is_off() -> None:
    _, plain_figures, plain = losses({})
    _, once_figures, once = losses({"objective": {"perceptual": 1.0}})
    _, _, thrice = losses({"objective": {"perceptual": 3.0}})
    assert set(plain_figures) == {"elbo_nats", "rate_nats"}
    assert once_figures["perceptual_nats"] > 0
    assert (once - plain).item() == pytest.approx(once_figures["perceptual_nats"].item(), rel=1e-4)
    assert (thrice - plain).item() == pytest.approx(3 * (once - plain).item(), rel=1e-4)
    assert once_figures["elbo_nats"] == plain_figures["elbo_nats"], "the bound that is reported stays the bound"


def test_the_perceptual_term_counts_in_validation() -> None:
    plain, _, _ = losses({})
    phase, _, _ = losses(PERCEPTUAL)
    assert phase.validate(phase.module) > plain.validate(plain.module) + 1


def test_the_adversary_waits_for_its_start() -> None:
    _, before, plain = losses(ADVERSARIAL, spent=0.49)
    phase, after, total = losses(ADVERSARIAL, spent=0.5)
    assert "adversarial_loss" not in before and "adversarial_loss" in after
    assert total.item() == pytest.approx(plain.item() + after["adversarial_loss"].item())
    assert phase.adversary is not None and phase.adversary.is_active(0.5)


def test_the_adversary_pulls_as_hard_as_its_weight_says() -> None:
    """At the decoder's last layer its gradient is half as long as the likelihood's (Esser et al. 2021, eq. 7)."""
    phase, figures, total = losses({"objective": {"adversarial": 0.5, "adversarial_start": 0.0, "kl_weight": 0.0}})
    weight = phase.module.last_weight
    (adversarial,) = torch.autograd.grad(figures["adversarial_loss"], weight, retain_graph=True)
    (everything,) = torch.autograd.grad(total, weight)
    assert adversarial.norm() > 0
    assert (adversarial.norm() / (everything - adversarial).norm()).item() == pytest.approx(0.5, rel=1e-3)


# The adversary itself


def test_a_verdict_sees_a_patch_of_26_pixels() -> None:
    """Group norms look at the whole image, so they are left out here."""
    network = PatchDiscriminator(1)
    network.layers = nn.Sequential(*(layer for layer in network.layers if not isinstance(layer, nn.GroupNorm)))
    x = torch.randn(1, 1, 64, 64, requires_grad=True)
    verdicts = network(x)
    assert verdicts.shape == (1, 1, 16, 16)
    (gradient,) = torch.autograd.grad(verdicts[0, 0, 8, 8], x)
    seen = gradient[0, 0].abs().sum(0).nonzero().flatten()
    assert (seen[-1] - seen[0] + 1).item() == 26


def test_the_hinge_by_hand() -> None:
    loss = hinge_loss(torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0]))
    assert loss.item() == pytest.approx((0 + 0.5) / 2 + (0 + 1) / 2)


def adversary(runtime: Runtime = CPU) -> Adversary:
    return Adversary(1, ObjectiveConfig(adversarial=1.0, adversarial_start=0.0), seed=3, runtime=runtime)


def teach(optimisation: Adversary, num: int, x: torch.Tensor, rebuilt: torch.Tensor) -> list[float]:
    """Losses of some updates on the same pictures."""
    found = []
    for _ in range(num):
        optimisation._pair = x, rebuilt
        optimisation.learn(5e-3)
        assert optimisation.last_loss is not None
        found.append(optimisation.last_loss)
    return found


@pytest.mark.parametrize("runtime", [CPU, BFLOAT16], ids=["float32", "bfloat16"])
def test_it_learns_to_tell_blurred_from_real(runtime: Runtime) -> None:
    x = runtime.move(to_unit(image_set(8, (16, 16)).pixels))
    blurred = F.avg_pool2d(x, 3, stride=1, padding=1)
    found = teach(adversary(runtime), 40, x, blurred)
    assert found[0] > 1.5 and found[-1] < 0.7


def test_it_is_restored_whole() -> None:
    x = to_unit(image_set(4, (16, 16)).pixels)
    first, second = adversary(), adversary()
    assert same_tensors(first.network.state_dict(), second.network.state_dict()), "the seed decides"
    teach(first, 3, x, -x)
    second.load(copy.deepcopy(first.state()))
    assert teach(first, 3, x, -x) == teach(second, 3, x, -x)
    assert same_tensors(first.network.state_dict(), second.network.state_dict())


def test_it_learns_only_after_an_update_and_never_from_nonsense() -> None:
    optimisation = adversary()
    before = {name: value.clone() for name, value in optimisation.network.state_dict().items()}
    optimisation.learn(1e-2)
    teach(optimisation, 1, torch.full((2, 1, 16, 16), torch.nan), torch.zeros(2, 1, 16, 16))
    assert same_tensors(before, optimisation.network.state_dict())


def test_making_one_leaves_the_global_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    adversary()
    assert torch.equal(torch.get_rng_state(), before)


# A whole run with both


def trained(
    folder: Path, inputs: TrainingInputs, stop_after: int | None = None, *, resume: bool = False
) -> list[object]:
    if not resume:
        run_folder.create(folder, inputs)
    run = open_run(inputs, folder, started=time.monotonic(), resume=load_resumable(folder) if resume else None)
    return list(train(run, lambda: stop_after is not None and run.state.step >= stop_after))


BOTH: Layer = {
    "objective": {"perceptual": 1.0, "adversarial": 0.5, "adversarial_start": 0.4},
    "training": {"steps": 10, "flow_share": 0.2, "save_every": 100, "validate_every": 2},
}


@pytest.mark.parametrize("runtime", [CPU, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("stop_after", [2, 6])
def test_it_resumes_bit_for_bit(tmp_path: Path, runtime: Runtime, stop_after: int) -> None:
    """Stopped before the adversary's start (at update 4) and after it."""
    inputs = tiny_inputs(tiny_config(BOTH), runtime=runtime)
    trained(tmp_path / "whole", inputs)
    trained(tmp_path / "stopped", inputs, stop_after)
    state = load_resumable(tmp_path / "stopped").trainer["adversary"]
    assert bool(state["optimizer"]["state"]) == (stop_after == 6), "it learns from its start on"
    trained(tmp_path / "stopped", inputs, resume=True)
    for name in ("step-00000008", "step-00000010", "best"):
        files = [tmp_path / run / "checkpoints" / name / "model.safetensors" for run in ("whole", "stopped")]
        assert same_tensors(load_file(files[0]), load_file(files[1])), name
    states = [torch.load(tmp_path / run / "checkpoints" / "step-00000008" / "trainer.pt", weights_only=True)
              for run in ("whole", "stopped")]  # fmt: skip
    assert same_tensors(states[0]["adversary"]["network"], states[1]["adversary"]["network"])


def test_it_stays_out_of_the_model_and_the_newest_weights_are_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound gets worse while looks improve: a score that rises must bring back neither old weights nor an end."""
    scores = iter(range(100))
    monkeypatch.setattr(VaePhase, "validate", lambda self, module: float(next(scores)))
    layer: Layer = {"training": {"patience": 1, "flow_share": 0.0}, "objective": {"adversarial_start": 0.0}}
    events = trained(tmp_path / "run", tiny_inputs(tiny_config(BOTH, layer)))
    marks = [event.is_best for event in events if isinstance(event, Validated)]
    assert marks == [True] * 5
    assert [event.steps for event in events if isinstance(event, PhaseDone)] == [10]
    names = load_file(checkpoints_in(tmp_path / "run")[-1] / "model.safetensors")
    assert all(name.startswith("vae.") and "adversary" not in name for name in names)
    figures = [event.figures for event in events if isinstance(event, StepLogged)][-1]
    assert {"perceptual_nats", "adversarial_loss", "discriminator_loss", "active_units"} <= figures.keys()


def test_it_may_be_switched_on_in_a_run_that_had_none(tmp_path: Path) -> None:
    inputs = tiny_inputs(tiny_config(BOTH, {"objective": {"adversarial": 0.0}}))
    trained(tmp_path / "run", inputs, 5)
    assert load_resumable(tmp_path / "run").trainer["adversary"] is None
    changed = replace(inputs, config=inputs.config.updated({"objective": {"adversarial": 0.5}}))
    trained(tmp_path / "run", changed, resume=True)
    assert torch.load(tmp_path / "run" / "checkpoints" / "step-00000008" / "trainer.pt", weights_only=True)["adversary"]
