"""Autoencoders in the layout of diffusers: taken over as they are, put to work, written back, and never trusted."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import pictures, same_tensors
from typer.testing import CliRunner

from vae_cli.autoencoder_folder import CONFIG, WEIGHTS, autoencoder_folder, read_spec, read_tensors
from vae_cli.checkpoint import read_model, weights_under
from vae_cli.errors import CheckpointError

diffusers = pytest.importorskip("diffusers")
SIDE = 16
STABLE_DIFFUSION: dict[str, Any] = {
    "block_out_channels": (8, 16), "down_block_types": ("DownEncoderBlock2D",) * 2, "norm_num_groups": 4,
    "up_block_types": ("UpDecoderBlock2D",) * 2, "latent_channels": 4, "layers_per_block": 1, "sample_size": SIDE,
}  # fmt: skip
FLUX = STABLE_DIFFUSION | {"scaling_factor": 0.3611, "shift_factor": 0.1159, "use_quant_conv": False,
                           "use_post_quant_conv": False, "latent_channels": 6, "force_upcast": False}  # fmt: skip
TRAIN = ("--preset", "tiny", "--steps", 4, "--image-size", SIDE, "--device", "cpu", "--set", "training.threads=1",
         "--set", "training.precision=float32", "--set", "training.batch_size=4")  # fmt: skip


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something has asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with eight photographs in `data`, and a cache of their own."""
    place = tmp_path_factory.mktemp("autoencoders")
    (place / "data").mkdir()
    for number, picture in enumerate(pictures(8, (SIDE, SIDE), 3)):
        Image.fromarray(picture).save(place / "data" / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_CACHE", str(place / "cache"))
        yield place


def saved(folder: Path, settings: dict[str, Any] = STABLE_DIFFUSION) -> Path:
    """A random autoencoder, as diffusers writes it."""
    torch.manual_seed(1)
    diffusers.AutoencoderKL(**settings).save_pretrained(folder)
    return folder


def vae(*words: object) -> str:
    """Runs the program; returns its stdout, and fails where it does."""
    from vae_cli.cli.app import app

    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def frozen(place: Path) -> Path:
    """A run on the autoencoder in `place / "flux"`."""
    vae("train", place / "data", "--init", saved(place / "flux", FLUX), "--out", place / "frozen", *TRAIN)
    return place / "frozen"


def test_a_frozen_one_encodes_and_decodes_as_diffusers_does(frozen: Path, place: Path) -> None:
    import vae_cli

    model, theirs = vae_cli.load(frozen, device="cpu"), diffusers.AutoencoderKL.from_pretrained(place / "flux")
    assert model.flow is not None and model.config.training.flow_share == 1 and model.facts.step == 4
    x = torch.from_numpy(pictures(3, (SIDE, SIDE), 3)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        wanted = theirs.encode(x).latent_dist
        found = model.vae.first_posterior(x)
        torch.testing.assert_close(found.mean, (wanted.mean - 0.1159) * 0.3611, atol=1e-4, rtol=0)
        torch.testing.assert_close(found.log_scale.exp(), wanted.std * 0.3611, atol=1e-4, rtol=0)
        rebuilt = model.vae.decode(model.vae.encode(x))
        torch.testing.assert_close(rebuilt, theirs.decode(wanted.mean).sample, atol=1e-4, rtol=0)
    error = (rebuilt.clamp(-1, 1) - x).square().mean().sqrt()
    assert model.vae.likelihood.scale.mean() == pytest.approx(error.item(), rel=0.3), "fitted, not the one of new VAEs"


def test_every_command_works_on_it(frozen: Path, place: Path) -> None:
    data, out = place / "data", place / "out"
    Image.fromarray(np.pad(np.full((6, 6), 255, np.uint8), 5)).save(place / "mask.png")
    commands: list[tuple[object, ...]] = [
        ("sample", frozen, "-n", 4, "--out", out / "samples.png"), ("info", frozen), ("report", frozen),
        ("reconstruct", frozen, data, "--out", out / "rebuilt"), ("evaluate", frozen, data, "--json"),
        ("inpaint", frozen, data / "0.png", "--mask", place / "mask.png", "--out", out / "fills"),
        ("denoise", frozen, data / "0.png", "--sigma", 20, "--out", out / "clean"),
        ("encode", frozen, data, "--out", out / "latents.npz"),
        ("sample", frozen, "--latents", out / "latents.npz", "--out", out / "decoded"),
        ("interpolate", frozen, data / "0.png", data / "1.png", "--steps", 3, "--out", out / "walk.png"),
        ("style", frozen, data / "0.png", "--like", data / "1.png", "--out", out / "styled"),
        ("export", frozen, "--out", out / "whole.safetensors"), ("info", out / "whole.safetensors"),
    ]  # fmt: skip
    for words in commands:
        vae(*words, *(() if words[0] in ("info", "report", "export") else ("--device", "cpu")))
    figures = json.loads(vae("evaluate", frozen, data, "--json", "--device", "cpu"))
    assert figures["psnr_db"] > 0 and figures["latent_units"] == 6 * 8 * 8


def test_the_layout_comes_back_as_it_was(frozen: Path, place: Path) -> None:
    vae("export", frozen, "--format", "diffusers", "--out", place / "back")
    old, new = (diffusers.AutoencoderKL.from_pretrained(place / name) for name in ("flux", "back"))
    public = [{key: value for key, value in model.config.items() if key[0] != "_"} for model in (old, new)]
    assert public[0] == public[1] and public[0]["shift_factor"] == 0.1159
    assert same_tensors(load_file(place / "flux" / WEIGHTS), load_file(place / "back" / WEIGHTS))
    assert read_spec(place / "back") == read_spec(place / "flux")


def test_a_tuned_one_has_moved_and_goes_on(place: Path) -> None:
    folder, run = saved(place / "sd"), place / "tuned"
    words = ("train", place / "data", "--init", folder, "--out", run, *TRAIN)
    vae(*words, "--set", "training.tune_vae=true", "--set", "training.flow_share=0.5")
    vae("train", "--out", run, "--resume", "--steps", 6, "--device", "cpu")
    _, facts, weights = read_model(run)
    old, new = load_file(folder / WEIGHTS), weights_under("vae.net.", weights)
    assert facts.step == 6 and old.keys() == new.keys()
    assert 0 < max((old[name] - new[name]).abs().max().item() for name in old) < 0.1
    vae("export", run, "--format", "diffusers", "--out", place / "tuned-back")
    assert same_tensors(load_file(place / "tuned-back" / WEIGHTS), new)


def test_names_and_numbers_of_older_files(tmp_path: Path) -> None:
    """Attention was named otherwise, and weights may be halves; a whole pipeline has it in `vae/`."""
    folder = saved(tmp_path / "pipeline" / "vae")
    spec, tensors = read_spec(folder), load_file(folder / WEIGHTS)
    new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, tensor in tensors.items():
        part = next((part for part in new if f".{part}." in name), None)
        old[name.replace(part, new[part]) if part else name] = tensor.half()
    assert old.keys() != tensors.keys()
    save_file(old, folder / WEIGHTS)
    assert autoencoder_folder(tmp_path / "pipeline") == folder
    found = read_tensors(folder, spec)
    assert same_tensors(found, {name: tensor.half().float() for name, tensor in tensors.items()})


@pytest.mark.parametrize(("change", "problem"), [
    ({"_class_name": "AutoencoderTiny"}, "AutoencoderTiny"),
    ({"block_out_channels": [8, 10**9]}, "block_out_channels"),
    ({"block_out_channels": [8192, 8192]}, "do not fit"),
    ({"layers_per_block": 17}, "layers_per_block"),
    ({"norm_num_groups": 3}, "norm_num_groups"),
    ({"latent_channels": 5}, "do not fit"),
    ({"down_block_types": ["AttnDownEncoderBlock2D"] * 2}, "down_block_types"),
    ({"up_block_types": ["UpDecoderBlock2D"]}, "blocks"),
    ({"scaling_factor": 0}, "scaling_factor"),
    ({"unheard_of": 1}, "unheard_of"),
])  # fmt: skip
def test_descriptions_of_strangers(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    folder = saved(tmp_path)
    (folder / CONFIG).write_text(json.dumps(json.loads((folder / CONFIG).read_text()) | change))
    with pytest.raises(CheckpointError, match=problem):
        read_tensors(folder, read_spec(folder))


def test_damaged_files_of_strangers(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    content = (folder / WEIGHTS).read_bytes()
    tensors = load_file(folder / WEIGHTS)
    save_file(tensors | {"decoder.conv_out.bias": torch.tensor([0, float("nan"), 0])}, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="not finite"):
        read_tensors(folder, read_spec(folder))
    for damaged in (content[: len(content) // 2], b"", b"pickle"):
        (folder / WEIGHTS).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=WEIGHTS):
            read_tensors(folder, read_spec(folder))
    for text in ("", "[]", "{" * 9000, '{"_class_name": "AutoencoderKL"}'):
        (folder / CONFIG).write_text(text)
        with pytest.raises(CheckpointError, match=r"config\.json"):
            read_spec(folder)


@pytest.mark.parametrize(("words", "problem"), [
    (("--set", "training.flow_share=0"), "nothing would be trained"),
    (("--channels", 1), "data.channels=3"),
    (("--set", "model.likelihood.kind=discretized_logistic"), "gaussian"),
    (("--set", "model.latents=[{stride: 4}]"), "model.latents"),
    (("--init", "none", "--set", "training.tune_vae=true"), "training.tune_vae"),
])  # fmt: skip
def test_settings_that_contradict_it(place: Path, words: tuple[object, ...], problem: str) -> None:
    from vae_cli.cli.app import app

    given = ("train", place / "data", "--init", saved(place / "sd"), "--out", place / "never", *TRAIN, *words)
    result = CliRunner().invoke(app, [str(word) for word in given])
    assert result.exit_code == 2 and problem in result.output and not (place / "never").exists(), result.output


def test_large_pictures_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Several small ones together, of large ones only as much as a tile at once."""
    from vae_cli.model import pretrained_vae

    monkeypatch.setattr(pretrained_vae, "TILE", 32)
    spec = read_spec(saved(tmp_path))
    seen: list[tuple[int, ...]] = []
    for size, batch, wanted in (((16, 16), 6, (4, 3, 16, 16)), ((64, 48), 2, (1, 3, 32, 32))):
        net = pretrained_vae.build_net(spec)
        net.encoder.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
        model = pretrained_vae.PretrainedVAE(net, spec, size).eval()
        with torch.no_grad():
            x = torch.rand(batch, 3, *size)
            assert model.decode(model.encode(x)).shape == x.shape
        assert max(seen, key=np.prod) == wanted
        seen.clear()


def test_our_own_vae_is_none_of_theirs(place: Path) -> None:
    from vae_cli.cli.app import app

    result = CliRunner().invoke(app, ["export", "photo", "--format", "diffusers", "--out", str(place / "never")])
    assert result.exit_code == 2 and "vae's own" in result.output and not (place / "never").exists()
