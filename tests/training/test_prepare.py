"""What the data decide, the run folder, the estimate, and that a model can learn eight images by heart."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import image_set, pictures, tiny_config, tiny_inputs

from vae_cli.config import Layer
from vae_cli.config_layers import resolve_config
from vae_cli.errors import CheckpointError, ConfigError, DataError
from vae_cli.jobs.train_request import TrainingRequest
from vae_cli.training import run_folder
from vae_cli.training.estimate import estimate
from vae_cli.training.events import StepLogged
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.loop import train
from vae_cli.training.prepare import prepare
from vae_cli.training.training_run import open_run


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))


def write_pictures(folder: Path, num: int, size: tuple[int, int], channels: int = 3, *, binary: bool = False) -> Path:
    for number, picture in enumerate(pictures(num, size, channels)):
        path = folder / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = np.where(picture > 100, 255, 0).astype(np.uint8) if binary else picture
        Image.fromarray(picture if channels == 3 else picture[..., 0]).save(path)
    return folder


def prepared(folder: Path, *layers: Layer) -> TrainingInputs:
    config = resolve_config(preset="tiny", options={"data": {"path": str(folder)}})
    for layer in layers:
        config = config.updated(layer)
    return prepare(config, workers=1)


def test_grey_pictures_of_one_size_decide_channels_and_size(tmp_path: Path) -> None:
    found = prepared(write_pictures(tmp_path / "photos", 6, (16, 24), 1))
    data, model = found.config.data, found.config.model
    assert (data.image_size, data.channels) == ((16, 24), 1)
    assert model.likelihood.kind not in ("auto", "bernoulli")
    assert "auto" not in (model.latents, model.width, model.flow.patch)
    assert found.train.pixels.shape[1:] == (16, 24, 1)
    assert not set(found.train.ids) & set(found.validation.ids) and len(found.validation.ids) >= 1


def test_colour_and_binary_pictures(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 3, (16, 16), 1)
    Image.new("RGB", (16, 16), (250, 10, 10)).save(tmp_path / "photos" / "red.png")
    assert prepared(tmp_path / "photos").config.data.channels == 3
    binary = prepared(write_pictures(tmp_path / "binary", 5, (16, 16), 1, binary=True))
    assert binary.config.model.likelihood.kind == "bernoulli"


def test_sides_are_rounded_and_it_says_so(tmp_path: Path) -> None:
    found = prepared(write_pictures(tmp_path / "photos", 3, (30, 45)), {"data": {"image_size": "30x45"}})
    assert found.config.data.image_size is not None
    assert all(side % 4 == 0 for side in found.config.data.image_size)
    assert any("30×45" in note for note in found.notes)


def test_bernoulli_on_grey_levels_is_refused(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "photos", 3, (16, 16))
    layer: Layer = {"model": {"likelihood": {"kind": "bernoulli"}}}
    with pytest.raises(ConfigError, match=r"model\.likelihood\.kind.*\n.*binarize"):
        prepared(folder, layer)
    assert prepared(folder, layer, {"data": {"binarize": "dynamic"}}).config.model.likelihood.kind == "bernoulli"
    with pytest.raises(ConfigError, match="bernoulli"):
        prepared(folder, {"model": {"likelihood": {"kind": "gaussian"}}}, {"data": {"binarize": "dynamic"}})


def test_labels_come_from_folders(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_pictures(tmp_path / "photos" / name, 3, (16, 16))
    found = prepared(tmp_path / "photos")
    assert found.label_names == ("cat", "dog") and set(found.train.labels) == {0, 1}
    assert prepared(tmp_path / "photos", {"data": {"labels": "none"}}).label_names == ()


def test_folders_beside_loose_images_are_no_labels_and_it_says_so(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_pictures(tmp_path / "photos" / name, 5, (16, 16))
    write_pictures(tmp_path / "photos", 4, (16, 16))
    found = prepared(tmp_path / "photos")
    assert found.label_names == () and any("--labels folders" in note for note in found.notes)
    asked = prepared(tmp_path / "photos", {"data": {"labels": "folders"}})
    assert asked.label_names == ("cat", "dog") and not any("label" in note for note in asked.notes)
    ids = np.array([id.count("/") for id in asked.train.ids])
    assert (asked.train.labels[ids == 0] == -1).all() and (asked.train.labels[ids == 1] >= 0).all()


def test_a_label_without_training_images_is_named(tmp_path: Path) -> None:
    for place in ("train/cat", "train/dog", "test/cow"):
        write_pictures(tmp_path / "photos" / place, 4, (16, 16))
    found = prepared(tmp_path / "photos")
    assert found.label_names == ("cat", "cow", "dog")
    assert [note for note in found.notes if "cow" in note and "cannot be drawn" in note]


def test_folders_that_became_splits_are_named_and_remain_splits(tmp_path: Path) -> None:
    """Also when others come beside them: a resumed run holds out the same images."""
    for place in ("train/cat", "train/dog", "test/cat"):
        write_pictures(tmp_path / "photos" / place, 4, (16, 16))
    found = prepared(tmp_path / "photos")
    assert found.config.data.splits == "folders" and found.label_names == ("cat", "dog")
    assert "splits by the folders test/, train/: test 4, train 8 images; --splits none ignores them" in found.notes
    write_pictures(tmp_path / "photos" / "cat", 4, (16, 16))
    again = prepare(found.config, workers=1)
    assert set(found.validation.ids) <= set(again.validation.ids) and set(found.train.ids) <= set(again.train.ids)
    anew = prepared(tmp_path / "photos")
    assert anew.config.data.splits == "auto" and any("may well be a class" in note for note in anew.notes)
    assert any(id.startswith("test/") for id in anew.train.ids)
    none = prepared(tmp_path / "photos", {"data": {"splits": "none"}})
    assert none.config.data.splits == "none" and not any("split" in note for note in none.notes)


def test_a_resumed_run_keeps_its_splits(tmp_path: Path) -> None:
    for place in ("train", "val"):
        write_pictures(tmp_path / "photos" / place, 4, (16, 16))
    stored = prepared(tmp_path / "photos").config
    for asked in ({}, {"splits": "auto"}):
        assert TrainingRequest(options={"data": asked}).resumed_config(stored).data.splits == "folders"
    with pytest.raises(ConfigError, match=r"data\.splits: none differs from the run's folders"):
        TrainingRequest(options={"data": {"splits": "none"}}).resumed_config(stored)


def test_bad_files_are_skipped_and_named(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "photos", 4, (16, 16))
    (folder / "bad.png").write_bytes(b"no picture")
    assert [item.id for item in prepared(folder).skipped] == ["bad.png"]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError):
        prepared(tmp_path / "none")


def test_the_builtin_data() -> None:
    found = prepare(resolve_config(preset="tiny"))
    assert (found.config.data.image_size, found.config.data.channels) == ((28, 28), 1)
    assert len(found.label_names) == 10 and len(found.train.ids) + len(found.validation.ids) == 10_000
    with pytest.raises(ConfigError, match="28×28"):
        prepare(resolve_config(preset="tiny", sets=["data.image_size=32"]))


def test_a_run_folder_is_never_taken_over_silently(tmp_path: Path) -> None:
    inputs = tiny_inputs(tiny_config())
    run = tmp_path / "run"
    run_folder.create(run, inputs)
    (run / "mine.txt").write_text("keep")
    assert run_folder.stored_config(run) == inputs.config
    assert json.loads((run / "data.json").read_text())["training_images"] == 10
    with pytest.raises(ConfigError, match="--resume"):
        run_folder.require_free(run, overwrite=False)
    run_folder.require_free(run, overwrite=True)
    run_folder.create(run, inputs)
    assert (run / "mine.txt").read_text() == "keep"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".0123456789abcdef.part").write_text("left by a kill")
    run_folder.require_free(tmp_path / "other", overwrite=False)
    (tmp_path / "other" / "thesis.txt").write_text("keep")
    with pytest.raises(ConfigError, match="not a run"):
        run_folder.require_free(tmp_path / "other", overwrite=True)
    (run / "config.yaml").write_text("training: {")
    with pytest.raises(CheckpointError, match=r"config\.yaml"):
        run_folder.stored_config(run)


def test_the_log_forgets_what_is_done_again(tmp_path: Path) -> None:
    for first_step in (0, 2):
        log = run_folder.MetricsLog(tmp_path, first_step=first_step)
        for step in range(first_step + 1, 5):
            log.write(step, "vae", {"elbo_nats": float(first_step), "loss": math.nan})
        log.close()
    for damage in (b'{"step": 5, "pha', b'{"step": 5}', b"\xff\x00\x00\n", b"\x00" * 40, b"5\n"):
        with (tmp_path / "metrics.jsonl").open("ab") as file:
            file.write(damage)
        run_folder.MetricsLog(tmp_path, first_step=9).close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["elbo_nats"]) for line in lines] == [(1, 0), (2, 0), (3, 2), (4, 2)]
    assert {line["loss"] for line in lines} == {None}, "JSON has no NaN"


def test_the_estimate_counts_what_will_be_built() -> None:
    inputs = tiny_inputs(tiny_config())
    cost = estimate(inputs)
    assert cost.steps == 6 and cost.seconds > 0 and cost.disk_bytes > 4 * cost.parameters
    without = estimate(tiny_inputs(tiny_config({"training": {"flow_share": 0.0}})))
    assert without.flow_step_seconds == 0 and without.parameters < cost.parameters


def test_it_overfits_eight_images(tmp_path: Path) -> None:
    config = tiny_config(
        {"training": {"steps": 250, "batch_size": 8, "flow_share": 0.0, "learning_rate": 3e-3, "log_every": 50},
         "objective": {"kl_weight": 0.1}}
    )  # fmt: skip
    plain = tiny_inputs(config)
    images = image_set(8)
    inputs = TrainingInputs(config, images, images, (), plain.runtime)
    run_folder.create(tmp_path / "run", inputs)
    events = train(open_run(inputs, tmp_path / "run", started=time.monotonic()))
    bounds = [event.figures["elbo_nats"] for event in events if isinstance(event, StepLogged)]
    assert bounds[-1] > bounds[0] + 30
