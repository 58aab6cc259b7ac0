"""Labels in training: the unlabelled count for no label, rare ones are not forgotten, and any name can be stored."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CPU, image_set, tiny_config, tiny_vae

from vae_cli.checkpoint import Facts, build_modules, load_model
from vae_cli.dataset.cache import ImageSet
from vae_cli.errors import CheckpointError
from vae_cli.model.flow import build_flow
from vae_cli.training import flow_phase
from vae_cli.training.flow_phase import FlowPhase
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.loop import train
from vae_cli.training.training_run import open_run

NAMES = ("rare", "often", "never")


def labelled(num: int, labels: np.ndarray) -> ImageSet:
    made = image_set(num)
    return ImageSet(made.pixels, made.ids, labels.astype(np.int64))


@pytest.fixture
def inputs() -> TrainingInputs:
    """200 images: one `rare` (the second), 99 `often`, none `never`, and 100 without a label."""
    labels = np.where(np.arange(200) < 100, 1, -1)
    labels[1] = 0
    config = tiny_config({"model": {"flow": {"clusters": 4}}})
    return TrainingInputs(config, labelled(200, labels), labelled(3, np.array([0, 1, -1])), NAMES, CPU)


def test_images_are_counted_by_label(inputs: TrainingInputs) -> None:
    assert inputs.facts().label_images == (1, 99, 0, 100)


def test_clusters_of_labels(inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second image finds the clusters, so that the rare label's only one is looked at for its own sake."""
    monkeypatch.setattr(flow_phase, "STATISTICS_IMAGES", 100)
    monkeypatch.setattr(flow_phase, "LABEL_ROWS", 60)
    vae = tiny_vae()
    flow = build_flow(inputs.config, vae.latent_shapes[0], len(NAMES))
    FlowPhase(inputs, flow, vae).prepare()
    assert flow.cluster_counts.sum(1).tolist() == [1, 60, 0, 100]
    means = vae.first_posterior(next(inputs.train_chunks(np.array([1])))).mean
    assert flow.cluster_counts[0, flow.cluster_of(means, torch.tensor([0]))] == 1
    monkeypatch.setattr(flow_phase, "LABEL_ROWS", 0)
    FlowPhase(inputs, flow, vae).prepare()
    assert flow.cluster_counts.sum(1).tolist() == [0, 50, 0, 100]


def test_a_run_remembers_its_labels(inputs: TrainingInputs, tmp_path: Path) -> None:
    for _ in train(open_run(inputs, tmp_path, started=0.0)):
        pass
    assert load_model(tmp_path, CPU).facts.label_images == (1, 99, 0, 100)


def test_unlabelled_images_teach_no_label(inputs: TrainingInputs, tmp_path: Path) -> None:
    """After a few updates without a single labelled image, the labels' embeddings are what they were."""
    config = tiny_config({"training": {"weight_decay": 0.0, "steps": 16}})
    unlabelled = replace(inputs, train=labelled(200, np.full(200, -1)), config=config)
    run = open_run(unlabelled, tmp_path, started=0.0)
    for _ in train(run):
        pass
    _, untrained = build_modules(unlabelled.facts(), has_flow=True)
    assert run.flow is not None and untrained is not None
    embedding, fresh = (flow.velocity_net.embed_label.weight for flow in (run.flow, untrained))
    assert torch.equal(embedding[:-1], fresh[:-1]) and not torch.equal(embedding[-1], fresh[-1])


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    names = (os.fsdecode(b"\xff\xe9"), "日本", "none")
    facts = Facts(tiny_config(), names, (1, 2, 3, 4), 12, "vae")
    facts.as_json().encode("ascii")
    assert Facts.from_json(facts.as_json(), tmp_path) == facts
    stored = json.loads(facts.as_json())
    unsealed = {name: stored[name] for name in stored.keys() - {"sha256", "label_images"}}
    with pytest.raises(CheckpointError, match="label_images"):
        Facts.from_json(json.dumps(unsealed), tmp_path)
