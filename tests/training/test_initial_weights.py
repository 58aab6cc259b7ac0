"""Training that starts from an earlier model: what is taken over, what starts anew, and which settings follow it."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from tiny import same_tensors, tiny_config, tiny_flow, tiny_inputs, weights_of
from torch import nn

from vae_cli import pretrained
from vae_cli.checkpoint import Facts, load_model, load_resumable, write_checkpoint
from vae_cli.config_layers import resolve_config
from vae_cli.errors import CheckpointError, ConfigError
from vae_cli.model.flow import LatentFlow
from vae_cli.model.vae import VAE
from vae_cli.training import run_folder
from vae_cli.training.initial_weights import LABELS, settled_init, settled_model
from vae_cli.training.loop import train
from vae_cli.training.prepare import with_geometry
from vae_cli.training.training_run import TrainingRun, open_run


class Earlier(NamedTuple):
    path: Path
    vae: VAE
    flow: LatentFlow


@pytest.fixture
def earlier(tmp_path: Path) -> Earlier:
    """A checkpoint of a labelled 8×8 model whose every weight, statistic and calibration is its own."""
    vae, flow = tiny_flow(num_labels=3)
    facts = Facts(tiny_config(), ("a", "b", "c"), (1, 1, 1, 0), 6, "flow")
    write_checkpoint(tmp_path / "earlier", facts, weights_of(vae, flow), None)
    return Earlier(tmp_path / "earlier" / "model.safetensors", vae, flow)


def run_from(earlier: Earlier, *layers: dict[str, Any], num_labels: int = 2) -> TrainingRun:
    inputs = tiny_inputs(tiny_config({"training": {"init": str(earlier.path)}}, *layers), num_labels=num_labels)
    return open_run(inputs, earlier.path.parent / "run", started=time.monotonic())


def has_weights_of(module: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(own, other.get_parameter(name)) for name, own in module.named_parameters() if name != LABELS)


def test_what_was_learned_is_taken_over_and_what_belongs_to_the_images_is_not(earlier: Earlier) -> None:
    run = run_from(earlier)
    assert run.flow is not None and has_weights_of(run.vae, earlier.vae) and has_weights_of(run.flow, earlier.flow)
    assert run.notes == ()
    no_label = earlier.flow.velocity_net.embed_label.weight[-1]
    assert torch.equal(run.flow.velocity_net.embed_label.weight, no_label.expand(3, -1)), "two labels, and none"
    assert torch.equal(run.flow.mean, torch.zeros_like(run.flow.mean)), "statistics are found anew"
    assert not run.flow.fill_weight.any(), "fills are not trusted before they have been measured"
    assert run.state.step == 0 and run.state.phase == "vae"


def test_what_does_not_fit_starts_anew_and_is_named(earlier: Earlier) -> None:
    wider = run_from(earlier, {"model": {"flow": {"width": 32}}})
    (note,) = wider.notes
    assert note.startswith("flow: ") and "velocity_net.conv_in" in note and "refiner" not in note
    assert has_weights_of(wider.vae, earlier.vae)
    finer = run_from(earlier, {"model": {"latents": [{"stride": 2, "layers": 1, "channels": 5}]}})
    assert [note.split(":")[0] for note in finer.notes] == ["vae", "flow"]
    assert not has_weights_of(run_from(earlier, {"training": {"init": "none"}}).vae, earlier.vae)


@pytest.mark.parametrize("stop_after", [2, 4])
def test_a_stopped_run_ends_as_an_uninterrupted_one(earlier: Earlier, tmp_path: Path, stop_after: int) -> None:
    """Whichever phase it was stopped in, it does not need the model again that it started from."""
    inputs = tiny_inputs(tiny_config({"training": {"init": str(earlier.path), "save_every": 1}}), num_labels=2)
    for name in ("whole", "stopped"):
        run_folder.create(tmp_path / name, inputs)
    list(train(open_run(inputs, tmp_path / "whole", started=time.monotonic())))
    first = open_run(inputs, tmp_path / "stopped", started=time.monotonic())
    list(train(first, lambda: first.state.step >= stop_after))
    earlier.path.unlink()
    resumable = load_resumable(tmp_path / "stopped")
    list(train(open_run(inputs, tmp_path / "stopped", started=time.monotonic(), resume=resumable)))
    whole, stopped = (load_model(tmp_path / name, inputs.runtime) for name in ("whole", "stopped"))
    assert whole.flow is not None and stopped.flow is not None
    assert same_tensors(whole.vae.state_dict(), stopped.vae.state_dict())
    assert same_tensors(whole.flow.state_dict(), stopped.flow.state_dict())


def test_a_start_that_is_gone_or_damaged(earlier: Earlier, tmp_path: Path) -> None:
    inputs = tiny_inputs(tiny_config({"training": {"init": str(earlier.path)}}), num_labels=2)
    run_folder.create(tmp_path / "run", inputs)
    run = open_run(inputs, tmp_path / "run", started=time.monotonic())
    list(train(run, lambda: run.state.step >= 2))
    resumable = load_resumable(tmp_path / "run")
    resumable.trainer["flow"] = {"x": 1}
    with pytest.raises(CheckpointError, match=r"trainer\.pt: not the start of this run's flow"):
        open_run(inputs, tmp_path / "run", started=time.monotonic(), resume=resumable)
    earlier.path.unlink()
    settings = inputs.config.training.init, None
    assert settled_init(inputs.config, (8, 8), 3) == settings, "a complete configuration asks nothing of it"
    with pytest.raises(ConfigError, match=r"training\.init: .* is gone"):
        open_run(inputs, tmp_path / "run", started=time.monotonic())


def test_settings_left_open_are_the_earlier_models(earlier: Earlier) -> None:
    model = tiny_config().model
    asked = resolve_config(options={"model": {"width": 48}, "training": {"init": str(earlier.path)}})
    init, found = settled_init(asked, (64, 64), 3)
    assert init == str(earlier.path) and found == model
    settled = settled_model(asked.model, (64, 64), 3, found)
    assert settled["width"] == 48 and settled["flow"]["width"] == model.flow.width
    assert settled["latents"] == [spec.model_dump() for spec in model.latents]
    complete = with_geometry(asked, (64, 64), 3, found)
    assert complete.model.flow.blocks == model.flow.blocks and complete.model.flow.patch == model.flow.patch


@pytest.mark.parametrize(
    ("layer", "size", "channels", "expected"),
    [
        ({}, (64, 64), 3, "photo"), ({}, (48, 64), 3, "photo"), ({}, (40, 64), 3, "none"), ({}, (64, 64), 1, "none"),
        ({"model": {"width": 64}}, (64, 64), 3, "none"), ({"training": {"flow_share": 0}}, (64, 64), 3, "none"),
        ({"training": {"init": "none"}}, (64, 64), 3, "none"), ({"training": {"init": "photo"}}, (32, 32), 1, "photo"),
    ],
)  # fmt: skip
def test_auto_takes_the_shipped_model_for_photographs(
    earlier: Earlier,
    monkeypatch: pytest.MonkeyPatch,
    layer: dict[str, Any],
    size: tuple[int, int],
    channels: int,
    expected: str,
) -> None:
    monkeypatch.setattr(pretrained, "PHOTO", earlier.path)
    assert settled_init(resolve_config(options=layer), size, channels)[0] == expected


@pytest.mark.parametrize(
    ("layer", "expected"), [({}, 0.85), ({"wider": True}, 0.6), ({"flow_share": 0.6}, 0.6), ({"init": "none"}, 0.6)]
)
def test_a_vae_that_starts_trained_takes_less_of_the_time(
    earlier: Earlier, layer: dict[str, Any], expected: float
) -> None:
    model = {"width": 48} if layer.pop("wider", False) else {}
    config = resolve_config(options={"training": {"init": str(earlier.path)} | layer, "model": model})
    _, found = settled_init(config, (64, 64), 3)
    assert with_geometry(config, (64, 64), 3, found).training.flow_share == expected


def test_images_in_a_folder_called_photo_are_not_taken_for_the_model(
    earlier: Earlier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "PHOTO", earlier.path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo").mkdir()
    init, model = settled_init(resolve_config(), (64, 64), 3)
    assert init == str(earlier.path) and model is not None


def test_a_start_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    for init, error in ((tmp_path / "other.safetensors", CheckpointError), (tmp_path / "missing", ConfigError)):
        with pytest.raises(error, match=init.name):
            settled_init(resolve_config(options={"training": {"init": str(init)}}), (64, 64), 3)
