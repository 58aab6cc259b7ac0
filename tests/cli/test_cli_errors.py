"""Exit codes: each mistake is told in one to three lines, and in one JSON object where that is asked for."""

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from vae_cli import errors
from vae_cli.cli.app import app
from vae_cli.cli.stops import Terminated
from vae_cli.jobs import write_pictures
from vae_cli.printable import shell_quoted

from .conftest import draw


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
    (("inpaint", "x", "a.png"), "--mask-color"),
    (("inpaint", "x", "a.png", "--mask-alpha", "--mask-color", "red"), "exactly one"),
    (("inpaint", "x", "a.png", "--mask-color", "reddish"), "reddish"),
    (("inpaint", "x", "a.png", "--mask-alpha", "--format", "doc"), "doc"),
    (("inpaint", "x", "a.png", "--mask-alpha", "--format", "png", "--out", "b.jpg"), "leave one of them out"),
    (("augment", "x", "photos", "--method", "mix"), "'extrapolate'"),
    (("train", "--set", "preset=base"), "use --preset"),
    (("check", "no-such-folder"), "no-such-folder"),
    (("train", "--set", "data.path=2024-02-30"), "not valid YAML"),
    (("check", "long" * 200), "name too long"),
    (("train", "long" * 200), "name too long"),
    (("sample", "long" * 200), "name too long"),
    (("--bogus",), "--bogus"),
]


@pytest.mark.parametrize(("words", "named"), USAGE)
def test_usage_errors(vae, words: tuple[str, ...], named: str) -> None:
    assert_short(vae(*words), 2, named)
    outcome = vae(*words, "--json")
    assert outcome.json["status"] == "failed" and outcome.json["schema_version"] == 1
    assert outcome.json["error"]["code"] == 2 and named in outcome.json["error"]["message"]
    assert outcome.json["command"] == (None if words[0] in ("smple", "--bogus") else words[0])


@pytest.mark.parametrize(("words", "named"), [
    (("a.png",), "--from-samples"), (("--from-samples", "3"), "two numbers"), (("--from-samples", "a,b"), "a,b"),
])  # fmt: skip
def test_ends_of_no_walk(vae, run: Path, words: tuple[str, ...], named: str) -> None:
    assert_short(vae("interpolate", run, *words), 2, named)


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

    monkeypatch.setattr("vae_cli.jobs.check.scan", fail)
    result = CliRunner().invoke(app, ["check", str(tmp_path), "--json"])
    assert result.exit_code == code
    assert f'"code": {code}' in result.stdout and result.stdout.count("\n") == 1
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") <= 3 and "Traceback" not in result.stderr
    assert ("--debug" in result.stderr) == (code == 70)
    if code == 70:
        assert "Traceback" in CliRunner().invoke(app, ["check", str(tmp_path), "--debug"]).stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGHUP, 129)])
def test_signals_stop_every_command(tmp_path: Path, number: int, code: int) -> None:
    script = (
        "import time, vae_cli.dataset.scan as s\n"
        "s.scan = lambda *a, **k: print('ready', flush=True) or time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script + "from vae_cli.cli.app import main; main()", "check", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)) as process:  # fmt: skip
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in stderr


@pytest.mark.skipif(sys.platform != "linux", reason="a terminal as Linux closes it")
def test_a_terminal_that_closes_under_a_progress_bar(tmp_path: Path) -> None:
    """The kernel sends SIGHUP, and whatever is printed from then on fails."""
    script = (
        "import time, vae_cli.dataset.scan as s\nfrom vae_cli.cli.progress import Messages\n"
        "from vae_cli.screen import Standing\n"
        "def scan(*a, **k):\n"
        "    with Messages().progress() as show:\n"
        "        show(Standing('looking', 0.1, 1.0, 9.0, ''))\n"
        f"        open({str(tmp_path / 'ready')!r}, 'w').close(); time.sleep(60)\n"
        "s.scan = scan\nfrom vae_cli.cli.app import main; main()"
    )
    (tmp_path / "data").mkdir()
    terminal, inside = os.openpty()

    def enter() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.login_tty(inside)

    command = [sys.executable, "-c", script, "check", str(tmp_path / "data"), "--json"]
    with subprocess.Popen(command, env={**os.environ, "TERM": "xterm"}, preexec_fn=enter) as process:
        os.close(inside)
        while not (tmp_path / "ready").exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.close(terminal)
        assert process.wait(timeout=60) == 129


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_a_stop_while_the_command_line_is_read(vae, monkeypatch, stop: type[KeyboardInterrupt], code: int) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise stop

    monkeypatch.setattr(typer.core.TyperGroup, "make_context", interrupted)
    outcome = vae("info", "--json")
    assert_short(outcome, code, "stopped")
    assert outcome.json["error"]["code"] == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("command", "redirected"), [("check", "2>/dev/full"), ("check", "<&- 2>&-"), ("sample", "2>&-")]
)
def test_a_log_that_cannot_be_written_ends_no_work(
    run: Path, photos: Path, tmp_path: Path, command: str, redirected: str
) -> None:
    given = ["check", str(photos)] if command == "check" else ["sample", str(run), "-n", "1", "--out", str(tmp_path)]
    line = shlex.join([sys.executable, "-m", "vae_cli", *given, "--json"])
    outcome = subprocess.run(f"{line} {redirected}", shell=True, capture_output=True, check=False)
    assert outcome.returncode == 0 and json.loads(outcome.stdout)["status"] == "ok"
    assert command == "check" or [path.name for path in tmp_path.glob("*.png")] == ["000000.png"]


@pytest.mark.parametrize("words", [("info",), ("check",), ("report",), ("export", "--out", os.devnull)])
def test_a_device_is_refused_where_none_is_needed(vae, run: Path, photos: Path, words: tuple[str, ...]) -> None:
    command, *options = words
    outcome = vae(command, photos if command == "check" else run, *options, "--device", "banana")
    assert_short(outcome, 2, "--device banana")


def test_images_none_of_which_can_be_read(vae, run: Path, tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_bytes(b"no picture")
    assert_short(vae("evaluate", run, tmp_path), 3, "none of 2 images", "the first, one.png")


def test_a_file_name_in_a_suggested_command_is_no_option() -> None:
    assert shell_quoted(Path("-x y.png")) == "'./-x y.png'" and shell_quoted(Path("a/-x.png")) == "a/-x.png"
    assert shell_quoted("-label") == "-label"


def test_closed_pipe_is_quiet(photos: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "vae_cli", "check", str(photos)]
    outcome = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert outcome.returncode == 0, outcome.stderr
    assert "Traceback" not in outcome.stderr and "bug" not in outcome.stderr and "BrokenPipe" not in outcome.stderr


def test_a_reader_that_leaves_ends_no_work(run: Path, tmp_path: Path) -> None:
    """`vae sample … | head -1` writes every picture."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "vae_cli", "sample", str(run), "-n", "5", "--out", str(tmp_path / "samples")]
    outcome = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert outcome.returncode == 0, outcome.stderr
    assert len(list((tmp_path / "samples").glob("*.png"))) == 5 and "Broken" not in outcome.stderr


def test_what_was_written_before_a_stop_is_listed(vae, run: Path, tmp_path: Path, monkeypatch) -> None:
    save, paths = write_pictures.save_picture, []

    def save_twice(pixels: np.ndarray, path: Path, **options: object) -> None:
        if len(paths) == 2:
            raise KeyboardInterrupt
        save(pixels, path, **options)
        paths.append(str(path))

    monkeypatch.setattr(write_pictures, "save_picture", save_twice)
    outcome = vae("sample", run, "-n", 5, "--out", tmp_path / "samples", "--json")
    assert outcome.code == 130 and outcome.json["error"]["code"] == 130
    listed = [entry["output"] for entry in outcome.json["files"]]
    assert sorted(listed) == sorted(paths) and len(paths) >= 2  # in threads one more may have begun
    assert "files" not in vae("sample", "no-such-run", "--json").json


def test_a_reason_does_not_repeat_the_file(vae, run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(draw(tmp_path / "a.png", 0).read_bytes()[:60])
    outcome = vae("denoise", run, tmp_path / "a.png", broken, "--out", tmp_path / "out", "--json")
    said = outcome.stderr.partition("next: ")[0]
    assert outcome.code == 1 and said.count("broken.png") == 1, outcome.stderr
    assert [str(tmp_path) in (entry["reason"] or "") for entry in outcome.json["files"]] == [False, False]


def test_a_dry_run_refuses_what_the_run_would(vae, run: Path, photos: Path) -> None:
    words = ("train", photos, "--preset", "tiny", "--steps", 4, "--dry-run", "--device", "cpu")
    assert_short(vae(*words, "--out", run), 2, "--overwrite")
    assert vae(*words, "--out", run, "--overwrite").code == 0 and (run / "checkpoints" / "best").exists()
    assert "33×33 becomes" in vae(*words, "--image-size", 33, "--out", run.with_name("new")).stderr


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


def test_weights_that_are_no_numbers_are_damaged(vae, run: Path, tmp_path: Path) -> None:
    """Black pictures with exit code 0 would be worse than no pictures."""
    broken = shutil.copytree(run, tmp_path / "broken")
    weights = broken / "checkpoints" / "best" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-400:-300] = b"\xff" * 100
    weights.write_bytes(content)
    outcome = vae("sample", broken, "-n", 2, "--out", tmp_path / "samples", "--device", "cpu")
    assert outcome.code == 4 and "damaged" in outcome.errors[0]


def test_a_name_of_many_lines_leaves_room_for_what_is_wrong(vae, tmp_path: Path) -> None:
    outcome = vae("check", tmp_path / "a\nb\nc\nd.png", "--json")
    assert outcome.code == 2 and len(outcome.errors) == 1
    assert outcome.json["error"]["message"].endswith("a\\nb\\nc\\nd.png: no such file or folder")


def test_a_name_too_long_for_the_disk(vae, run: Path, tmp_path: Path) -> None:
    outcome = vae("sample", run, "-n", 2, "--out", tmp_path / ("a" * 300), "--device", "cpu")
    assert outcome.code == 7, outcome.stderr


def test_the_current_folder_may_be_gone(vae, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for words in (("report", run, "--out", "r.html"), ("sample", run, "--out", "a.png")):
        outcome = vae(*words)
        assert outcome.code == 2 and "the current folder is gone" in outcome.stderr


def test_the_reader_of_messages_may_go(photos: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for words, code in ((("check", photos), 0), (("check", photos / "gone"), 2)):
        command = [sys.executable, "-m", "vae_cli", *map(str, words)]
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=writing, timeout=120)
        assert ended.returncode == code
    os.close(writing)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_json_that_cannot_be_printed(photos: Path) -> None:
    command = [sys.executable, "-m", "vae_cli", "check", str(photos), "--json"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert ended.returncode == 7 and "Traceback" not in ended.stderr, ended.stderr


@pytest.mark.parametrize("words", [("DATA", "--steps", "50"), ("--steps", "5")], ids=["other labels", "nothing to do"])
def test_a_resume_that_trains_nothing_leaves_the_description(
    vae, run: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:  # fmt: skip
    copy = shutil.copytree(run, tmp_path / "copy")
    other = draw(tmp_path / "other" / "bird" / "0.png", 0).parent.parent
    draw(other / "fish" / "1.png", 1)
    before = [(copy / name).read_bytes() for name in ("config.yaml", "data.json")]
    words = tuple(str(other) if word == "DATA" else word for word in words)
    outcome = vae("train", *words, "--out", copy, "--resume", "--device", "cpu")
    assert outcome.code == (2 if len(words) == 3 else 0), outcome.stderr
    assert [(copy / name).read_bytes() for name in ("config.yaml", "data.json")] == before


def test_an_overwrite_that_cannot_train_leaves_the_old_run(vae, monkeypatch, photos: Path, run: Path, tmp_path: Path):
    def refuse(*arguments: object, **settings: object) -> None:
        raise MemoryError

    copy = shutil.copytree(run, tmp_path / "copy")
    monkeypatch.setattr("vae_cli.jobs.train.open_run", refuse)
    outcome = vae("train", photos, "--preset", "tiny", "--steps", 4, "--out", copy, "--overwrite", "--device", "cpu")
    assert outcome.code == 6, outcome.stderr
    monkeypatch.undo()
    assert vae("sample", copy, "-n", 1, "--out", tmp_path / "a.png", "--device", "cpu").code == 0


@pytest.mark.parametrize("side", [17, 35, 36])
def test_the_same_command_with_resume_is_no_change(vae, photos: Path, tmp_path: Path, side: int) -> None:
    """Also where the side is rounded (16), and where the latents of the rounded side (32) are others."""
    words = ("train", photos, "--out", tmp_path / "run", "--image-size", side, "--channels", "auto", "--device", "cpu",
             "--set", "data.patches=auto", "--set", "training.flow_share=0", "--steps", 2)  # fmt: skip
    assert vae(*words).code == 0
    again = vae(*words, "--resume")
    assert again.code == 0 and "nothing to do" in again.stderr, again.stderr
    assert vae(*words, "--resume", "--set", "data.image_size=null").code == 0
    assert_short(vae(*words, "--resume", "--image-size", 64), 2, "image_size", "start a new run")
    assert_short(vae(*words, "--resume", "--set", "training.patiance=auto"), 2, "training.patiance")
