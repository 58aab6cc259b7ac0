"""A model as one file: the whole of it, or a part for other programs."""

import builtins
import shutil
from pathlib import Path

import numpy as np
import pytest

from .conftest import pixels


def test_the_whole_model_is_a_run_of_its_own(vae, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    outcome = vae("export", run, "--out", path, "--json")
    assert outcome.code == 0 and [entry["output"] for entry in outcome.json["files"]] == [str(path)]
    for source, name in ((run, "a.png"), (path, "b.png")):
        assert vae("sample", source, "-n", 2, "--out", tmp_path / name, "--device", "cpu").code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))
    assert vae("export", run, "--out", path).code == 2
    assert vae("export", run, "--out", path, "--overwrite").code == 0


def test_parts_go_where_they_are_sent(vae, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in them tests/tasks/test_export.py proves, and README's own line that the program writes one."""
    monkeypatch.setattr("vae_cli.jobs.export.to_onnx", lambda model, part: part.encode())
    own = shutil.copytree(run, tmp_path / "own")
    for words, path in (
        (("--part", "encoder"), own / "encoder.onnx"),
        (("--part", "encoder", "--out", tmp_path / "folder"), tmp_path / "folder" / "encoder.onnx"),
        (("--out", tmp_path / "x.onnx"), tmp_path / "x.onnx"),
    ):
        outcome = vae("export", own, *words)
        assert outcome.code == 0 and outcome.stdout.split() == [str(path)], outcome.stderr
        assert path.read_text() == ("decoder" if path.name == "x.onnx" else "encoder")
    assert vae("export", own).stdout.split() == [str(own / "own.safetensors")]


def test_what_cannot_be_exported(vae, run: Path, tmp_path: Path) -> None:
    assert vae("export", run, "--part", "decoder", "--out", tmp_path / "a.safetensors").code == 2
    assert vae("export", run, "--out", tmp_path / "a.pt").code == 2
    assert vae("export", run, "--part", "flow").code == 2
    assert vae("export", tmp_path).code == 4
    copy = shutil.copytree(run, tmp_path / "copy")
    weights = copy / "checkpoints" / "best" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-50] ^= 1
    weights.write_bytes(content)
    assert vae("export", copy, "--out", tmp_path / "b.safetensors").code == 4
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_missing_extra_is_named(vae, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_onnx(name: str, *arguments: object, **settings: object) -> object:
        if name == "onnx":
            raise ImportError("no", name=name)
        return real(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    outcome = vae("export", run, "--part", "decoder", "--out", tmp_path / "a.onnx")
    assert outcome.code == 2 and "pip install onnx onnxscript" in outcome.stderr


def test_a_folder_gets_a_card_that_commands_can_follow(vae, run: Path, tmp_path: Path) -> None:
    outcome = vae("export", run, "--out", tmp_path / "shared")
    assert outcome.stdout.split() == [str(tmp_path / "shared" / name) for name in ("tiny.safetensors", "README.md")]
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "vae sample tiny.safetensors" in card and "PSNR" in card and "dog" in card
    assert "vae sample . -n 64" in (run / "README.md").read_text()


@pytest.mark.parametrize("words", [
    ("info", "hf://somebody/model"), ("check", "https://a.org/set.zip"), ("train", "--init", "HTTPS://a.org/x"),
    ("inpaint", "photo", "s3://a/b.png"),
])  # fmt: skip
def test_addresses_are_refused_in_a_sentence(vae, words: tuple[str, ...]) -> None:
    outcome = vae(*words)
    assert outcome.code == 2 and len(outcome.errors) == 1 and "download it" in outcome.errors[0]
    assert words[-1] in outcome.errors[0]
