"""Close-ups in training: when they are cut, what the flow is told of them, and that resuming knows them."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import CPU, image_set, pictures, same_tensors, tiny_config, tiny_flow, tiny_inputs, tiny_vae

from vae_cli.checkpoint import load_model, load_resumable
from vae_cli.config import Layer, RunConfig
from vae_cli.config_layers import resolve_config
from vae_cli.dataset.batches import Batch, Batches
from vae_cli.dataset.cache import ImageSet
from vae_cli.errors import ConfigError
from vae_cli.images.pixels import to_unit
from vae_cli.model.condition import Condition
from vae_cli.training.flow_phase import FlowPhase
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.loop import train
from vae_cli.training.prepare import prepare
from vae_cli.training.training_run import open_run
from vae_cli.training.vae_phase import VaePhase

SEEN: Layer = {"data": {"patches": 12}}


def settings(folder: Path) -> RunConfig:
    options: Layer = {"data": {"path": str(folder), "image_size": [8, 8]}, "training": {"steps": 4}}
    return resolve_config(preset="small", options=options)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten pictures three times as wide and high as the model, and one a little larger than it."""
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(pictures(10, (24, 24), 3)):
        Image.fromarray(picture).save(tmp_path / f"photos/{number}.png")
    Image.fromarray(pictures(1, (9, 9), 3)[0]).save(tmp_path / "photos/small.png")
    return tmp_path / "photos"


def with_patches(*layers: Layer) -> TrainingInputs:
    """The tiny inputs with twelve close-ups, and four of held-out images."""
    plain = tiny_inputs(tiny_config(SEEN, *layers))

    def close(num: int) -> ImageSet:
        return replace(image_set(num), zooms=np.linspace(0.5, 2, num, dtype=np.float32))

    return replace(plain, patches=close(12), validation_patches=close(4))


def test_images_far_larger_than_the_model_are_also_seen_closely(photos: Path) -> None:
    prepared = prepare(settings(photos), with_patches=True)
    assert prepared.config.data.patches == 8000 and any("close-ups" in note for note in prepared.notes)
    assert prepared.patches is not None and prepared.patches.zooms is not None
    assert prepared.patches.zooms.max() > 1.4 and prepared.patches.zooms.min() >= 0.5
    assert set(prepared.patches.ids) == set(prepared.train.ids) - {"small.png"}
    assert len(prepared.patches.pixels) == 64 * len(set(prepared.patches.ids))
    assert prepared.validation_patches is not None
    assert set(prepared.validation_patches.ids) == set(prepared.validation.ids)


def test_nobody_else_cuts_them(photos: Path) -> None:
    """Evaluation, say, which wants the run's images only."""
    prepared = prepare(settings(photos))
    assert prepared.config.data.patches == "auto" and prepared.patches is None


@pytest.mark.parametrize(
    "layer", [{"data": {"image_size": [12, 12]}}, {"training": {"flow_share": 0.0}}, {"data": {"patches": 0}}]
)
def test_otherwise_there_are_none(photos: Path, layer: Layer) -> None:
    prepared = prepare(settings(photos).updated(layer), with_patches=True)
    assert prepared.config.data.patches == 0 and prepared.patches is None and prepared.validation_patches is None


def test_images_too_small_for_close_ups_are_no_failure(photos: Path) -> None:
    """Those of a run that goes on may have been replaced by smaller ones."""
    config = settings(photos).updated({"data": {"patches": 50, "image_size": [24, 24]}})
    prepared = prepare(config, with_patches=True)
    assert config.updated(prepared.config.as_dict()).as_dict() == prepared.config.as_dict()
    assert prepared.config.data.patches == 50
    assert prepared.patches is None and any("no close-ups" in note for note in prepared.notes)


def test_a_broken_image_gives_no_close_up(photos: Path) -> None:
    (photos / "0.png").write_bytes(b"\x89PNG cut off")
    prepared = prepare(settings(photos).updated({"data": {"patches": 3}}), with_patches=True)
    assert prepared.patches is not None and "0.png" not in prepared.patches.ids


def test_the_built_in_images_have_no_close_ups() -> None:
    assert prepare(resolve_config(preset="small"), with_patches=True).config.data.patches == 0
    with pytest.raises(ConfigError, match=r"data\.patches"):
        prepare(resolve_config(preset="small", sets=["data.patches=50"]))


def test_the_flow_is_told_how_close_a_view_is() -> None:
    _, flow = tiny_flow(SEEN)
    flow.most_zoom.fill_(3.0)
    view = Condition.nothing(1, 1, (8, 8), torch.device("cpu"))
    far, near, nearest, beyond = (flow.condition(view.with_zoom(torch.tensor([zoom]))) for zoom in (0.0, 1.0, 3.0, 9.0))
    assert not torch.equal(far, near) and not torch.equal(near, nearest)
    assert torch.equal(nearest, beyond), "closer than it has ever seen"


def test_trust_depends_on_how_close_a_view_is() -> None:
    _, flow = tiny_flow(SEEN)
    flow.fill_weight.fill_(0.3)
    flow.patch_fill_weight.fill_(0.6)
    assert flow.trust(torch.tensor([0.0, 2.0]))[:, 0, 0].tolist() == pytest.approx([0.3, 0.6])
    elsewhere = flow.to("meta").trust(torch.tensor([0.0, 2.0]))
    assert elsewhere.device.type == "meta", "the zooms come from the CPU"
    _, plain = tiny_flow()
    plain.fill_weight.fill_(0.3)
    assert plain.trust(torch.tensor([0.0, 2.0]))[:, 0, 0].tolist() == pytest.approx([0.3, 0.3])


def test_an_epoch_is_longer_with_close_ups_between() -> None:
    assert tiny_inputs(tiny_config()).images_an_epoch == 10 and with_patches().images_an_epoch == 13


def test_close_ups_reach_the_loss_without_start_or_label(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = replace(with_patches(), train=image_set(10, num_labels=2), label_names=("a", "b"))
    vae, flow = tiny_flow(SEEN, num_labels=2)
    flow.most_zoom.fill_(2.0)
    views: list[Condition] = []
    monkeypatch.setattr(flow, "start_of", lambda z, label: torch.ones(len(z), *flow.start_at(label).shape[1:]))
    real = flow.condition

    def condition(view: Condition) -> torch.Tensor:
        views.append(view)
        return real(view)

    monkeypatch.setattr(flow, "condition", condition)
    with Batches(inputs.train, 4, patches=inputs.patches, seed=1) as batches:
        phase = FlowPhase(inputs, flow, vae)
        for _ in range(20):
            phase.loss(flow, next(batches), 0.0)
    zooms, starts, labels = (torch.cat([getattr(v, name) for v in views]) for name in ("zoom", "start", "label"))
    has_start = starts.flatten(1).any(1)
    assert (zooms > 0).float().mean() == pytest.approx(0.25)
    assert not has_start[zooms > 0].any() and has_start[zooms == 0].any()
    assert (labels[zooms > 0] == -1).all() and (labels[zooms == 0] >= 0).any()


def test_trust_in_fills_of_close_ups_is_measured_on_close_ups() -> None:
    inputs = with_patches()
    vae, flow = tiny_flow(SEEN)
    FlowPhase(inputs, flow, vae).calibrate(flow)
    assert not torch.equal(flow.patch_fill_weight, flow.fill_weight)
    without = replace(inputs, validation_patches=None)
    FlowPhase(without, flow, vae).calibrate(flow)
    assert torch.equal(flow.patch_fill_weight, flow.fill_weight)


def test_a_run_with_close_ups_resumes_bit_for_bit(tmp_path: Path) -> None:
    inputs = with_patches({"training": {"save_every": 1}})
    list(train(open_run(inputs, tmp_path / "whole", started=time.monotonic())))
    seen = 0

    def stop() -> bool:
        nonlocal seen
        seen += 1
        return seen > 5

    list(train(open_run(inputs, tmp_path / "cut", started=time.monotonic()), stop))
    assert not (tmp_path / "cut/checkpoints/step-00000006").exists()
    resumed = load_resumable(tmp_path / "cut")
    list(train(open_run(inputs, tmp_path / "cut", started=time.monotonic(), resume=resumed)))
    whole, again = (load_model(tmp_path / name, CPU).flow for name in ("whole", "cut"))
    assert whole is not None and again is not None and whole.most_zoom == 2
    assert same_tensors(whole.state_dict(), again.state_dict())


def test_close_ups_are_among_the_images_whose_draws_are_weighed() -> None:
    """They have every fourth place of a batch, and an update sees every second image: not always the same ones."""
    draws: Layer = {"objective": {"importance_samples": 2, "importance_start": 0.5}}
    inputs = with_patches(draws, {"data": {"augment": False}})
    shown: list[torch.Tensor] = []

    def module(x: torch.Tensor, noise: list[torch.Tensor], *, num_draws: int, latent_noise: None) -> None:
        shown.append(x)
        assert num_draws == 2 and all(len(layer) == 4 for layer in noise)
        raise StopIteration

    pixels = torch.from_numpy(inputs.train.pixels[:4])
    for step in (6, 7):
        with pytest.raises(StopIteration):
            VaePhase(inputs, tiny_vae()).loss(module, Batch(step, pixels, torch.full((4,), -1), torch.zeros(4)), 0.9)
    assert torch.equal(torch.stack(shown, dim=1).flatten(0, 1), to_unit(inputs.train.pixels[:4]))
