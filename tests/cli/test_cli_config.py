"""`vae config`: the settings of presets and runs, as YAML that `train --config` reads."""

import shutil
from pathlib import Path

from vae_cli.config import CompleteConfig, from_dict
from vae_cli.config_layers import parse_yaml, read_layer, resolve_config, sample_names


def test_a_preset(vae, tmp_path: Path) -> None:
    outcome = vae("config", "--preset", "nll")
    (tmp_path / "mine.yaml").write_text(outcome.stdout)
    assert outcome.code == 0 and resolve_config(file=tmp_path / "mine.yaml") == resolve_config(preset="nll")
    facts = vae("config", "--json").json
    assert facts["config"] == resolve_config().as_dict()
    assert facts["json_schema"]["$defs"]["TrainingConfig"]["properties"]["log_every"]["minimum"] == 1
    assert "did you mean small" in vae("config", "--preset", "smal").errors[0]


def test_a_run_a_checkpoint_and_a_file(vae, run: Path) -> None:
    stored = from_dict(read_layer(run / "config.yaml"), CompleteConfig).as_dict()
    best = run / "checkpoints" / "best"
    for path in (run, best, best / "model.safetensors"):
        assert from_dict(parse_yaml(vae("config", path).stdout), CompleteConfig).as_dict() == stored, path


def test_what_has_no_settings(vae, run: Path, tmp_path: Path) -> None:
    assert vae("config", tmp_path / "nowhere").code == 2
    assert vae("config", run, "--preset", "tiny").code == 2
    damaged = shutil.copytree(run, tmp_path / "damaged")
    (damaged / "config.yaml").write_text("training: {batch_size: none}\n")
    outcome = vae("config", damaged)
    assert outcome.code == 4 and str(damaged / "config.yaml") in outcome.errors[0]


def test_samples_are_listed_and_found_by_name(vae, photos: Path) -> None:
    words = " ".join(vae("config", "--help").stdout.split())
    assert sample_names() and f"by name: {', '.join(sample_names())} (" in words
    outcome = vae("train", photos, "--config", "textbook", "--dry-run", "--json")
    assert outcome.json["config"]["model"]["latents"] == [{"stride": "global", "layers": 1, "channels": 16}]


def test_what_is_left_open_on_resume_stays_as_the_run_has_it(vae, run: Path, tmp_path: Path) -> None:
    resumed = shutil.copytree(run, tmp_path / "resumed")
    stored = from_dict(read_layer(run / "config.yaml"), CompleteConfig)
    sets = ["model.flow.clusters=auto", "training.flow_share=auto", "objective.latent_noise=auto"]
    words = [word for each in sets for word in ("--set", each)]
    outcome = vae("train", "--out", resumed, "--resume", "--steps", stored.training.steps, "--device", "cpu", *words)
    assert outcome.code == 0, outcome.stderr
    assert from_dict(read_layer(resumed / "config.yaml"), CompleteConfig) == stored
