"""Exit codes: each mistake is told in one to three lines, and in one JSON object where that is asked for."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from vae_cli import errors
from vae_cli.cli.app import app


def assert_short(outcome, code: int, *words: str) -> None:
    assert outcome.code == code, outcome.stderr
    assert 1 <= len(outcome.errors) <= 3, outcome.stderr
    for word in words:
        assert word in outcome.stderr


USAGE = [
    (("smple",), "Did you mean 'sample'"),
    (("sample",), "Missing argument 'RUN'"),
    (("sample", "no-such-run"), "no-such-run"),
    (("sample", "x", "--nmu", "3"), "--nmu"),
    (("sample", "x", "--num", "many"), "--num"),
    (("sample", "x", "--prior", "gauss"), "'flow'"),
    (("sample", "x", "--seed", str(2**63)), "--seed"),
    (("interpolate", "x", "a.png"), "--from-samples"),
    (("interpolate", "x", "--from-samples", "3"), "two numbers"),
    (("interpolate", "x", "--from-samples", "a,b"), "a,b"),
    (("inpaint", "x", "a.png"), "--mask-color"),
    (("inpaint", "x", "a.png", "--mask-alpha", "--mask-color", "red"), "exactly one"),
    (("inpaint", "x", "a.png", "--mask-color", "reddish"), "reddish"),
    (("inpaint", "x", "a.png", "--mask-alpha", "--format", "doc"), "doc"),
    (("check", "no-such-folder"), "no-such-folder"),
    (("check", "long" * 200), "name too long"),
    (("sample", "long" * 200), "name too long"),
    (("--bogus",), "--bogus"),
]


@pytest.mark.parametrize(("words", "named"), USAGE)
def test_usage_errors(vae, words: tuple[str, ...], named: str) -> None:
    assert_short(vae(*words), 2, named)
    outcome = vae(*words, "--json")
    assert outcome.json["status"] == "failed" and outcome.json["schema_version"] == 1
    assert outcome.json["error"]["code"] == 2 and named in outcome.json["error"]["message"]
    assert outcome.json["command"] == (words[0] if words[0] in ("sample", "interpolate", "inpaint", "check") else None)


FAILURES = [
    (errors.ConfigError("data: wrong"), 2),
    (errors.DataError("data: bad"), 3),
    (errors.CheckpointError("run: damaged"), 4),
    (errors.DivergedError("training: diverged"), 5),
    (errors.OutOfMemoryError("the device ran out"), 6),
    (MemoryError(), 6),
    (torch.OutOfMemoryError("CUDA out of memory"), 6),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 6),
    (errors.WriteError("out: cannot be written"), 7),
    (OSError(errno.ENOSPC, "No space left on device", "out.png"), 7),
    (PermissionError(errno.EACCES, "Permission denied", "out.png"), 7),
    (OSError(errno.EROFS, "Read-only file system", "out.png"), 7),
    (ZeroDivisionError("a bug"), 70),
    (KeyboardInterrupt(), 130),
]


@pytest.mark.parametrize(("error", "code"), FAILURES)
def test_every_exit_code(monkeypatch, tmp_path: Path, error: BaseException, code: int) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("vae_cli.data.scan.scan", fail)
    result = CliRunner().invoke(app, ["check", str(tmp_path), "--json"])
    assert result.exit_code == code
    assert f'"code": {code}' in result.stdout and result.stdout.count("\n") == 1
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") <= 3 and "Traceback" not in result.stderr
    assert ("--debug" in result.stderr) == (code == 70)
    if code == 70:
        assert "Traceback" in CliRunner().invoke(app, ["check", str(tmp_path), "--debug"]).stderr


def test_sigterm(tmp_path: Path) -> None:
    code = (
        "import time, vae_cli.data.scan as s; s.scan = lambda *a, **k: (print('ready', flush=True), time.sleep(60))\n"
    )
    command = [sys.executable, "-c", code + "from vae_cli.cli.app import main; main()", "check", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 143 and "Traceback" not in stderr


def test_closed_pipe_is_quiet(photos: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "vae_cli", "check", str(photos)]
    outcome = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert "Traceback" not in outcome.stderr and "bug" not in outcome.stderr and "BrokenPipe" not in outcome.stderr


def test_damaged_checkpoints(vae, run: Path, tmp_path: Path) -> None:
    weights = next(run.glob("checkpoints/best/model.safetensors"))
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:1000])
    (tmp_path / "empty").mkdir()
    for broken in ("cut.safetensors", "empty"):
        assert_short(vae("sample", tmp_path / broken, "--out", tmp_path / "o"), 4, broken)
        assert_short(vae("info", tmp_path / broken), 4, broken)


def test_devices_that_are_not_there(vae, run: Path, tmp_path: Path) -> None:
    for device in ("cuda:7", "abacus"):
        assert_short(vae("sample", run, "--device", device, "--out", tmp_path / "o"), 2, device)


def test_disk_that_takes_nothing(vae, run: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        locked = Path("/proc")  # root may write everywhere else
    assert_short(vae("sample", run, "-n", 2, "--out", locked / "grid.png"), 7, "grid.png")


def test_started_is_set_by_main(monkeypatch) -> None:
    from vae_cli.cli import app as module

    monkeypatch.setattr(sys, "argv", ["vae", "--version"])
    monkeypatch.setattr(module, "STARTED", 0.0)
    before = time.monotonic()
    with pytest.raises(SystemExit):
        module.main()
    assert before <= module.STARTED
