"""`photo`, the model that ships with the package, here a tiny one in its place; and filling without any model."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import vae_cli
from vae_cli import pretrained

from .conftest import draw, draw_mask, pixels


@pytest.fixture
def shipped(vae, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights in bfloat16, in the place of those of the package; the working folder is an empty one."""
    path = tmp_path / "package" / "photo.safetensors"
    assert vae("export", run, "--bfloat16", "--out", path).code == 0
    monkeypatch.setattr(pretrained, "PHOTO", path)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return path


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Colour, grey and 16 bits."""
    random, folder = np.random.default_rng(0), tmp_path / "scans"
    folder.mkdir()
    for name, shape, dtype in (("a.png", (40, 40, 3), np.uint8), ("b.tif", (30, 30), np.uint8),
                               ("c.png", (24, 24), np.uint16)):  # fmt: skip
        Image.fromarray(random.integers(0, np.iinfo(dtype).max, shape, dtype)).save(folder / name)
        draw_mask(tmp_path / "masks" / f"{name[0]}.png", side=shape[0])
    return folder


def test_half_the_size_and_nearly_the_same_pictures(vae, run: Path, shipped: Path, tmp_path: Path) -> None:
    assert vae("export", run, "--out", tmp_path / "whole.safetensors").code == 0
    half, whole = (load_file(path) for path in (shipped, tmp_path / "whole.safetensors"))
    assert half.keys() == whole.keys()
    for name, tensor in half.items():
        is_matrix = whole[name].ndim > 1 and whole[name].is_floating_point()
        assert tensor.dtype == (torch.bfloat16 if is_matrix else whole[name].dtype), name
        assert torch.equal(tensor, whole[name].to(tensor.dtype)), name
    loaded, original = (vae_cli.load(path, device="cpu") for path in (shipped, run))
    assert all(parameter.dtype == torch.float32 for parameter in (*loaded.vae.parameters(), *loaded.flow.parameters()))
    rebuilt, before = (model.reconstruct(pictures_of(tmp_path)).astype(float) for model in (loaded, original))
    assert 0 < np.abs(rebuilt - before).mean() < 2
    assert vae("export", run, "--bfloat16", "--out", tmp_path / "a.onnx").code == 2


def pictures_of(folder: Path) -> list[Path]:
    return [draw(folder / f"picture{number}.png", number) for number in range(3)]


def test_photo_stands_for_run_in_every_command(vae, shipped: Path, scans: Path, tmp_path: Path) -> None:
    before = sorted(shipped.parent.iterdir())
    for words in (
        ("sample", "photo", "-n", 2), ("interpolate", "photo", "--from-samples", "0,1", "--steps", 2),
        ("inpaint", "photo", scans, "--mask", tmp_path / "masks"), ("denoise", "photo", scans, "--sigma", 20),
        ("reconstruct", "photo", scans), ("encode", "photo", scans), ("style", "photo", scans, "--like", scans),
        ("evaluate", "photo", scans), ("info", "photo"), ("export", "photo"),
    ):  # fmt: skip
        outcome = vae(*words, "--device", "cpu")
        assert outcome.code == 0, (words, outcome.stderr)
    work = {str(path.relative_to(tmp_path / "work")) for path in (tmp_path / "work").rglob("*.*")}
    assert work == {"photo-samples/000000.png", "photo-samples/000001.png", "photo-interpolate/000000.png",
                    "photo-interpolate/000001.png", "photo.safetensors"}  # fmt: skip
    assert {path.name for path in tmp_path.glob("scans-*")} == {
        "scans-inpaint", "scans-denoise", "scans-reconstruct", "scans-encode.npz", "scans-style"}  # fmt: skip
    assert sorted(shipped.parent.iterdir()) == before, "nothing is written into the package"
    report = vae("report", "photo")
    assert report.code == 2 and "photo: no run folder" in report.stderr
    assert np.array_equal(vae_cli.load("photo", device="cpu").sample(2),
                          [pixels(tmp_path / "work" / "photo-samples" / f"{i:06d}.png") for i in (0, 1)])  # fmt: skip


def test_a_path_called_photo_comes_first(vae, run: Path, shipped: Path, scans: Path) -> None:
    shutil.copytree(run, "photo")
    assert vae("sample", "photo", "-n", 1).stdout == "photo/samples/000000.png\n"
    shutil.rmtree("photo")
    Path("photo").mkdir()
    assert vae("sample", "photo", "-n", 1).code == 4


def test_an_installation_without_the_model_says_so(vae, shipped: Path, scans: Path, tmp_path: Path) -> None:
    shipped.unlink()
    words = ("inpaint", "photo", scans, "--mask", tmp_path / "masks")
    for line in (("sample", "photo"), words, (*words, "--method", "classical"), ("info", "photo")):
        outcome = vae(*line)
        assert outcome.code == 2 and "lacks the model" in outcome.stderr and str(shipped) in outcome.stderr
        assert "vae train DATA" in outcome.stderr
    with pytest.raises(vae_cli.ConfigError, match="lacks"):
        vae_cli.load("photo")


def test_classical_fills_without_run(vae, scans: Path, tmp_path: Path) -> None:
    """Files, folders and several of them; what the API gives is the same."""
    words = ("--mask", tmp_path / "masks", "--method", "classical", "--feather", 1, "--json", "--out")
    whole = vae("inpaint", scans, *words, tmp_path / "one")
    assert whole.code == 0 and whole.json["method"] == "classical", whole.stderr
    named = vae("inpaint", *(scans / name for name in ("a.png", "b.tif", "c.png")), *words, tmp_path / "two")
    assert named.code == 0
    for name, kind in (("a.png", "RGB"), ("b.tif", "L"), ("c.png", "I;16")):
        for out in ("one", "two"):
            with Image.open(tmp_path / out / name) as image:
                assert image.mode == kind
                filled = np.array(image)
            mask = tmp_path / "masks" / f"{name[0]}.png"
            hole = pixels(mask) > 0
            assert (filled[~hole] == pixels(scans / name)[~hole]).all() and (filled != pixels(scans / name)).any()
            of_api = vae_cli.inpaint(scans / name, mask, method="classical", feather=1)[0]
            assert np.array_equal(of_api.reshape(filled.shape), filled)


def test_what_to_try_after_a_classical_fill_keeps_the_line(vae, scans: Path, tmp_path: Path) -> None:
    words = ("--mask", tmp_path / "masks", "--method", "classical", "--out", tmp_path / "good as new")
    outcome = vae("inpaint", scans, *words)
    command = shlex.split(outcome.stderr.splitlines()[-1].removeprefix("next: vae "))
    out = str(tmp_path / "good as new-dilated")
    assert command == ["inpaint", str(scans), "--method", "classical", "--mask", str(tmp_path / "masks"),
                       "--mask-dilate", "4", "--out", out]  # fmt: skip
    assert vae(*command).code == 0 and len(list(Path(out).iterdir())) == 3


@pytest.mark.parametrize("name", ["photos", "Photo", "phto", "foto"])
def test_a_slip_of_photo_is_noticed(vae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert "did you mean photo, the model that ships with vae?" in vae("info", name).stderr
    Path(name).mkdir()
    draw(tmp_path / name / "a.png", 1)
    outcome = vae("sample", name)
    assert outcome.code == 4 and "did you mean photo" in outcome.stderr
    assert "did you mean" not in vae("info", "runs/clothes").stderr


def test_what_is_a_model_stays_run(vae, run: Path, scans: Path, tmp_path: Path) -> None:
    """Though a run folder holds pictures, and a weights file is a file."""
    words = ("--mask", tmp_path / "masks" / "a.png", "--method", "classical", "--out")
    assert vae("export", run, "--out", tmp_path / "m.safetensors").code == 0
    for number, model in enumerate((run, run / "checkpoints" / "best", tmp_path / "m.safetensors")):
        outcome = vae("inpaint", model, scans / "a.png", *words, tmp_path / f"{number}.png")
        assert outcome.code == 0 and outcome.stdout == f"{tmp_path / f'{number}.png'}\n", outcome.stderr
        assert (pixels(tmp_path / f"{number}.png") == pixels(tmp_path / "0.png")).all()
        alone = vae("inpaint", model, *words, tmp_path / "x.png")
        assert alone.code == 2 and "Missing argument 'INPUT'" in alone.stderr


def test_wrong_lines_without_run(vae, scans: Path, tmp_path: Path) -> None:
    mask = ("--mask", tmp_path / "masks")
    for line, told in (
        ((scans, *mask), "Missing argument 'INPUT'"),
        ((scans, scans / "a.png", *mask), "no complete checkpoint here"),
        ((tmp_path / "nope", *mask, "--method", "classical"), "nope: no such file or folder"),
        ((scans, tmp_path / "nope.png", *mask, "--method", "classical"), "nope.png: no such file or folder"),
        ((scans, "--method", "classical"), "exactly one of --mask"),
    ):
        outcome = vae("inpaint", *line)
        assert outcome.code in (2, 4) and told in outcome.stderr, (line, outcome.stderr)
    with pytest.raises(vae_cli.ConfigError, match="need a model"):
        vae_cli.inpaint(scans / "a.png", tmp_path / "masks" / "a.png", method="auto")
