"""Two gloo ranks on one machine: the same weights as one process with the joined batch, and one voice."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch
from PIL import Image
from program import Program, run_program
from safetensors.torch import load_file
from tiny import pictures
from typer.testing import CliRunner

from vae_cli.checkpoint import load_resumable
from vae_cli.checkpoint_folders import checkpoints_in
from vae_cli.cli.app import app

TOLERANCE, MEAN_TOLERANCE = 2e-4, 2e-6
"""Two halves of a gradient are added in another order than its whole. AdamW magnifies that where a gradient is almost
nothing but rounding (a bias before a norm); ranks that truly differ would be a learning rate of 1e-3 a step apart."""

WEIGHTS = "model.safetensors"
FULL_CALIBRATION = True  # as in the processes that are compared with this one


def words_of(photos: Path, out: Path) -> list[str]:
    sets = {
        "training.batch_size": 4, "training.precision": "float32", "training.threads": 1, "training.flow_share": 0.5,
        "training.save_every": 4, "training.validate_every": 4, "training.log_every": 1, "model.width": 16,
        "training.warmup_steps": 2, "training.learning_rate": 1e-3, "training.flow_learning_rate": 1e-3,
        "model.latents": "[{stride: global, layers: 1, channels: 2}, {stride: 4, layers: 1, channels: 2}]",
        "model.flow.width": 16, "objective.free_nats": 0.5, "objective.importance_samples": 2,
        "objective.importance_start": 0.5,
    }  # fmt: skip
    assignments = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    return ["train", str(photos), "--preset", "tiny", "--steps", "8", "--device", "cpu",
            "--out", str(out), "--json", *assignments]  # fmt: skip


def surroundings(cache: Path, **variables: object) -> dict[str, str]:
    given = {name: str(value) for name, value in variables.items()}
    return {**os.environ, "OMP_NUM_THREADS": "1", "VAE_CACHE": str(cache), "NO_COLOR": "1", **given}


def start_ranks(words: list[str], cache: Path, num: int = 2) -> list[Program]:
    with closing(socket.socket()) as listener:
        listener.bind(("", 0))
        meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": listener.getsockname()[1], "WORLD_SIZE": num}
    return [
        Program(words, cache.with_name(f"rank-{rank}"), surroundings(cache, RANK=rank, **meeting))
        for rank in range(num)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten colour pictures in two class folders."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    for number, picture in enumerate(pictures(10, (8, 8), 3)):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return folder


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "vae_cli"]


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_ranks_end_with_the_weights_of_one(photos: Path, tmp_path: Path) -> None:
    """With a vector and a grid of latents, labels, free nats that bind, several draws an image, and both phases."""
    run_program(words_of(photos, tmp_path / "one"), tmp_path / "cache")
    command = [sys.executable, *TORCHRUN, *words_of(photos, tmp_path / "two")]
    two = subprocess.run(command, capture_output=True, text=True, timeout=180, env=surroundings(tmp_path / "cache"))
    assert two.returncode == 0, two.stderr

    answer = json.loads(two.stdout)  # exactly one object: only rank 0 speaks
    assert answer["status"] == "finished" and answer["steps"] == 8
    assert two.stderr.count("images to learn from") == 1

    for name in ("step-00000004", "step-00000008", "best"):
        left, right = (load_file(tmp_path / run / "checkpoints" / name / WEIGHTS) for run in ("one", "two"))
        assert left.keys() == right.keys()
        apart = torch.cat([(left[key] - right[key]).abs().flatten() for key in left])
        assert apart.max() < TOLERANCE and apart.mean() < MEAN_TOLERANCE, f"{name}: {apart.max()}, {apart.mean()}"
    logs = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("one", "two")]
    assert [json.loads(line)["step"] for line in logs[0]] == [json.loads(line)["step"] for line in logs[1]]
    assert not list((tmp_path / "two" / "checkpoints").glob(".*")), "a rank left something half-written"

    # From the checkpoint of two ranks a single one goes on, at the image at which they stopped.
    shutil.rmtree(tmp_path / "two" / "checkpoints" / "step-00000008")
    again = run_program([*words_of(photos, tmp_path / "two"), "--resume"], tmp_path / "cache")
    assert "going on at step 4" in again.stderr
    left, right = (load_file(tmp_path / run / "checkpoints" / "step-00000008" / WEIGHTS) for run in ("one", "two"))
    apart = torch.cat([(left[key] - right[key]).abs().flatten() for key in left])
    assert apart.max() < TOLERANCE and apart.mean() < MEAN_TOLERANCE, f"{apart.max()}, {apart.mean()}"


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_ranks_of_two_micro_batches_end_with_the_weights_of_one(photos: Path, tmp_path: Path) -> None:
    alone = ["--set", "objective.importance_samples=1"]
    run_program([*words_of(photos, tmp_path / "one"), *alone], tmp_path / "cache")
    words = [*words_of(photos, tmp_path / "two"), *alone, "--set", "training.gradient_accumulation=2"]
    ranks = start_ranks(words, tmp_path / "cache")
    answers = [rank.communicate(timeout=180) for rank in ranks]
    assert [rank.poll() for rank in ranks] == [0, 0], answers
    left, right = (load_file(tmp_path / run / "checkpoints" / "step-00000008" / WEIGHTS) for run in ("one", "two"))
    apart = torch.cat([(left[key] - right[key]).abs().flatten() for key in left])
    assert apart.max() < TOLERANCE and apart.mean() < MEAN_TOLERANCE, f"{apart.max()}, {apart.mean()}"


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_ranks_share_one_adversary(photos: Path, tmp_path: Path) -> None:
    """Its balance and its own gradients are means over the ranks: else their discriminators would drift apart."""
    objective = {"objective.adversarial": 0.5, "objective.adversarial_start": 0, "objective.perceptual": 1,
                 "objective.importance_samples": 1, "training.flow_share": 0}  # fmt: skip
    extra = [word for key, value in objective.items() for word in ("--set", f"{key}={value}")]
    run_program([*words_of(photos, tmp_path / "one"), *extra], tmp_path / "cache")
    ranks = start_ranks([*words_of(photos, tmp_path / "two"), *extra], tmp_path / "cache")
    answers = [rank.communicate(timeout=180) for rank in ranks]
    assert [rank.poll() for rank in ranks] == [0, 0], answers
    trainers = [
        torch.load(tmp_path / run / "checkpoints" / "step-00000004" / "trainer.pt", weights_only=True)
        for run in ("one", "two")
    ]
    for left, right in zip(*([found["adversary"]["network"], found["module"]] for found in trainers), strict=True):
        apart = torch.cat([(left[key] - right[key]).abs().flatten() for key in left])
        assert apart.max() < TOLERANCE and apart.mean() < MEAN_TOLERANCE, f"{apart.max()}, {apart.mean()}"


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_a_signal_to_one_rank_ends_both(photos: Path, tmp_path: Path) -> None:
    """To the one that does not write. Killed, it ends the other, too, and the last checkpoint is whole."""
    run = tmp_path / "run"
    words = [*words_of(photos, run), "--set", "training.save_every=100000", "--steps", "100000"]
    (out, errors), (nothing, _), codes = signalled(words, run, signal.SIGTERM, tmp_path / "cache")
    assert codes == [143, 143], errors
    answer = json.loads(out)
    assert answer["status"] == "interrupted" and nothing == ""
    assert [path.name for path in checkpoints_in(run)] == [f"step-{answer['steps']:08d}"]

    resume = [words[0], "--out", str(run), "--resume", "--json", "--device", "cpu"]
    (out, errors), _, codes = signalled(resume, run, signal.SIGKILL, tmp_path / "cache")
    assert codes == [2, -signal.SIGKILL] and "rank 0: cannot go on with the other ranks" in errors, errors
    assert load_resumable(run).facts.step == answer["steps"]


def signalled(
    words: list[str], run: Path, number: int, cache: Path
) -> tuple[tuple[str, str], tuple[str, str], list[int]]:
    """What two ranks print, and their exit codes, when the second one gets a signal after a few updates."""
    log, num_lines = run / "metrics.jsonl", 0
    if log.exists():
        num_lines = len(log.read_bytes().splitlines())
    processes = start_ranks(words, cache)
    deadline = time.monotonic() + 300
    while not (log.exists() and len(log.read_bytes().splitlines()) >= num_lines + 3) and time.monotonic() < deadline:
        assert all(process.poll() is None for process in processes), [each.communicate() for each in processes]
        time.sleep(0.02)
    processes[1].send_signal(number)
    first, second = (process.communicate(timeout=180) for process in processes)
    return first, second, [process.poll() for process in processes]


def test_a_batch_that_ranks_cannot_share_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    result = CliRunner().invoke(app, words_of(photos, tmp_path / "run"))
    assert result.exit_code == 2
    assert "training.batch_size" in result.stderr and "3 ranks in groups of 2; give a multiple of 6" in result.stderr
