"""`vae compare`: figures, settings that differ and pictures of several runs, also of damaged ones."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def other(run: Path, tmp_path: Path) -> Path:
    """A run with another seed and better reconstructions."""
    folder = shutil.copytree(run, tmp_path / "other <b>")
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(re.sub(r"(?m)^  seed: 0$", "  seed: 7", config))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines[-1] |= {"psnr_db": 33.25, "samples_drawn": 64, "samples_detail": 0.5, "samples_copies": 3}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_table_of_figures_and_of_settings_that_differ(vae, run: Path, other: Path) -> None:
    outcome = vae("compare", run, other)
    assert outcome.code == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["tiny", "other", "<b>"] and all(len(line) <= 80 for line in lines)
    figures = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    rows = {line[: line.index("  ")]: line.split()[-2:] for line in lines if "  " in line.strip()}
    assert rows["PSNR (dB)"] == [f"{figures['psnr_db']:.4g}", "33.25"] and rows["samples copied"][1] == "3"
    assert rows["detail of samples"][1] == "50%"
    assert lines[lines.index("settings that differ") + 1 :] == [lines[-1]] and rows["training.seed"] == ["0", "7"]


def test_latents_that_differ_are_told_in_words(vae, run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "b")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    first = config["model"]["latents"][0]
    words = [f"stride {first['stride']}, channels {first['channels'] + more}" for more in (0, 1)]
    first["channels"] += 1
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    line = next(line for line in vae("compare", run, folder).stdout.splitlines() if line.startswith("model.latents"))
    assert re.split(r"\s{2,}", line)[1:] == words


def test_json_has_the_names_of_train_and_evaluate(vae, run: Path, other: Path) -> None:
    answer = vae("compare", run, other, "--json").json
    own, second = answer["runs"]
    assert (answer["schema_version"], answer["command"], answer["status"]) == (1, "compare", "ok")
    assert own["run"] == str(run) and own["steps"] == 30 and own["labels"] == ["cat", "dog"] and own["channels"] == 3
    assert own["images"] + own["validation"]["images"] == 12 and own["image_size"] == [16, 16]
    assert own["parameters"] == vae("info", run, "--json").json["parameters"]
    assert second["validation"]["psnr_db"] == 33.25 and second["samples"] == {"drawn": 64, "detail": 0.5, "copies": 3}
    assert answer["settings"] == {"training.seed": [0, 7]} and answer["files"] == []
    assert 0 < own["seconds"] < 3600 and own["precision"] in ("float32", "bfloat16")


def test_a_page_with_the_pictures_of_all(vae, run: Path, other: Path, tmp_path: Path) -> None:
    path = tmp_path / "both.html"
    outcome = vae("compare", run, other, "--out", path, "--json")
    assert outcome.code == 0 and [file["output"] for file in outcome.json["files"]] == [str(path)]
    text = path.read_text()
    assert text.count("data:image/png") == 2 * len(list((run / "previews").glob("[!s]*.png"))) + 2
    assert "other &lt;b&gt;" in text and "<b>tiny" not in text and "33.25" in text and "training.seed" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)|https?:|url\(|@import", text)
    assert vae("compare", run, other, "--out", path).code == 2
    assert vae("compare", run, other, "--out", path, "--overwrite").code == 0
    assert vae("compare", run, other, "--out", tmp_path / "both.pdf").code == 2


def test_many_runs_are_shown_below_one_another(vae, run: Path) -> None:
    lines = vae("compare", *[run] * 5).stdout.splitlines()
    assert all(len(line) <= 80 for line in lines) and sum(line.startswith("PSNR (dB)") for line in lines) > 1
    assert sum(len(line.split()) - 2 for line in lines if line.startswith("PSNR (dB)")) == 5


def test_damaged_runs_are_named_and_the_others_compared(vae, run: Path, other: Path, tmp_path: Path) -> None:
    """One whose figures are lost is compared by its settings; one whose settings are strange, as far as they go."""
    without = shutil.copytree(run, tmp_path / "without")
    (without / "metrics.jsonl").write_bytes(b"\xff\x00{\n[1]\n")
    (without / "data.json").unlink()
    answer = vae("compare", run, without, "--json").json
    assert answer["status"] == "ok" and answer["runs"][1]["validation"] is None and answer["runs"][1]["images"] is None

    figures = {"step": 6, "phase": "end", "fill_share": 10**400, "psnr_db": 10**400, "images": "x"}  # no floats
    (without / "metrics.jsonl").write_text(f"{json.dumps(figures)}\n")
    assert vae("compare", run, without).code == vae("report", without, "--overwrite").code == 0

    older = shutil.copytree(run, tmp_path / "older")
    (older / "config.yaml").write_text("preset: tiny\nmodel: {flow: {stages: 3}}\ntraining: 5\n")
    damaged = shutil.copytree(run, tmp_path / "damaged")
    (damaged / "config.yaml").write_text("{")
    outcome = vae("compare", run, damaged, older, other, "--json")
    assert outcome.code == 1 and outcome.json["status"] == "partial"
    assert [Path(each["run"]).name for each in outcome.json["runs"]] == ["tiny", "older", "other <b>"]
    assert [(Path(file["input"]).name, file["status"]) for file in outcome.json["files"]] == [
        ("damaged", "failed"), ("older", "failed")]  # fmt: skip
    assert outcome.json["settings"]["model.flow.stages"] == [None, 3, None]
    assert all(f"{folder / 'config.yaml'}: " in outcome.stderr for folder in (damaged, older))

    for runs in ((damaged, damaged), (run, damaged), (tmp_path / "images", run)):
        (tmp_path / "images").mkdir(exist_ok=True)
        assert vae("compare", *runs).code == 4
    assert vae("compare", run, tmp_path / "nowhere").code == 2
    assert vae("compare", run).code == 2


def test_weights_files_are_compared_by_their_settings(vae, run: Path) -> None:
    answer = vae("compare", run, run / "checkpoints" / "best" / "model.safetensors", "photo", "--json").json
    assert len(answer["runs"]) == 3 and answer["runs"][2]["image_size"] == [64, 64]
    assert answer["settings"]["data.image_size"] == [[16, 16], [16, 16], [64, 64]]


def test_run_folders_are_read_without_torch(run: Path) -> None:
    code = ("import sys\nfrom vae_cli.cli.app import main\ntry:\n    main()\nexcept SystemExit as end:\n"
            "    print(end.code, 'torch' in sys.modules)")  # fmt: skip
    words = [sys.executable, "-c", code, "compare", str(run), str(run)]
    outcome = subprocess.run(words, capture_output=True, text=True, check=False)
    assert outcome.stdout.endswith("0 False\n"), outcome.stdout + outcome.stderr
