"""A batch worked through in micro-batches teaches what the whole batch does, in both phases."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import LADDER, same_tensors, tiny_config, tiny_inputs
from torch import Tensor

from vae_cli.checkpoint import load_resumable
from vae_cli.config import Layer
from vae_cli.errors import ConfigError
from vae_cli.jobs.train_request import memory_advice, require_shared_batches
from vae_cli.model.flow import LatentFlow
from vae_cli.model.vae import VAE
from vae_cli.training import run_folder
from vae_cli.training.events import StepLogged
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.loop import train
from vae_cli.training.training_run import open_run

TOLERANCE, MEAN_TOLERANCE = 2e-4, 2e-6
"""As between ranks, and for the same reason: gradients are added up in another order. The learning rate is 1e-3."""

EVERYTHING: Layer = {
    "data": {"binarize": "dynamic"},
    "model": {"latents": list(LADDER), "likelihood": {"kind": "bernoulli"}},
    "objective": {"free_nats": 0.17, "importance_samples": 2, "importance_start": 0.6},
    "training": {"batch_size": 8, "steps": 8},
}
BEFORE_A_FLOW: Layer = {
    "objective": {"latent_noise": 0.3, "perceptual": 1.0}, "training": {"batch_size": 8, "steps": 8},
}  # fmt: skip


def inputs_of(layer: Layer, num: int) -> TrainingInputs:
    return tiny_inputs(tiny_config(layer, {"training": {"gradient_accumulation": num}}), num_labels=2)


def trained(folder: Path, inputs: TrainingInputs, *, stop_after: int = 100) -> list[dict[str, float]]:
    """The figures of every update of a run, which goes on if it was stopped."""
    resume = load_resumable(folder) if folder.exists() else None
    if resume is None:
        run_folder.create(folder, inputs)
    run = open_run(inputs, folder, started=time.monotonic(), resume=resume)
    events = train(run, lambda: run.state.step >= stop_after)
    return [event.figures for event in events if isinstance(event, StepLogged)]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_resumable(folder).weights


@pytest.mark.parametrize("layer", [EVERYTHING, BEFORE_A_FLOW])
def test_micro_batches_end_with_the_weights_of_whole_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: Layer
) -> None:
    """With a ladder, labels, free nats that bind for some micro-batches and layers, several draws, noise on latents and
    shifted images."""
    whole = trained(tmp_path / "1", inputs_of(layer, 1))
    seen: set[tuple[str, int]] = set()
    for kind in (VAE, LatentFlow):

        def forward(self: Any, x: Tensor, *given: Any, honest: Any = kind.forward, **named: Any) -> Any:
            seen.add((type(self).__name__, len(x)))
            return honest(self, x, *given, **named)

        monkeypatch.setattr(kind, "forward", forward)
    parts = trained(tmp_path / "4", inputs_of(layer, 4))
    assert seen >= {("VAE", 2), ("LatentFlow", 2)}
    assert max(num for _, num in seen) == 3, "the images that are held out, without a gradient"

    left, right = weights(tmp_path / "1"), weights(tmp_path / "4")
    apart = torch.cat([(left[name] - right[name]).abs().flatten() for name in left])
    assert apart.max() < TOLERANCE and apart.mean() < MEAN_TOLERANCE, f"{apart.max()}, {apart.mean()}"
    for figures in (*whole, *parts):
        figures.pop("explained_variance", None)  # a ratio: the mean of four is not that of all
    for one, other in zip(whole, parts, strict=True):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-4)


def test_a_run_of_micro_batches_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Stopped in either phase."""
    inputs = inputs_of(EVERYTHING, 2)
    trained(tmp_path / "whole", inputs)
    for stop_after in (2, 5, 100):
        trained(tmp_path / "stopped", inputs, stop_after=stop_after)
    assert same_tensors(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))


def test_batches_that_micro_batches_cannot_share_are_refused() -> None:
    config = tiny_config({"training": {"batch_size": 8, "gradient_accumulation": 4}})
    require_shared_batches(config, 1)
    require_shared_batches(config, 2)
    with pytest.raises(ConfigError) as caught:
        require_shared_batches(config, 4)
    assert str(caught.value) == (
        "training.batch_size: 8 cannot be shared by 4 ranks of 4 micro-batches; give a multiple of 16"
    )
    drawing = config.updated({"objective": {"importance_samples": 4}})
    with pytest.raises(ConfigError, match="shared by 4 micro-batches in groups of 4; give a multiple of 16"):
        require_shared_batches(drawing, 1)


def test_an_adversary_is_not_weighed_by_micro_batches() -> None:
    config = tiny_config({"objective": {"adversarial": 0.5}})
    require_shared_batches(config, 2)
    with pytest.raises(ConfigError, match=r"whole batches; set training\.gradient_accumulation=1"):
        require_shared_batches(config.updated({"training": {"gradient_accumulation": 2}}), 1)


def test_who_runs_out_of_memory_is_told_the_next_number_that_batches_allow() -> None:
    config = tiny_config({"training": {"batch_size": 8, "gradient_accumulation": 2}})
    assert memory_advice(config, 1).startswith("try --set training.gradient_accumulation=4, for the same model, or a ")
    assert memory_advice(config, 4).startswith("try --batch-size 4 or a ")
    adversarial = tiny_config({"training": {"batch_size": 8}, "objective": {"adversarial": 0.5}})
    assert memory_advice(adversarial, 1).startswith("try --batch-size 4 or a ")
