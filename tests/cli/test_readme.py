"""README.md tells the truth: its commands run, its options exist, its files and pictures are there."""

import json
import re
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image, ImageDraw

from vae_cli.cli.app import COMMANDS, app
from vae_cli.metrics import classifier

from .conftest import draw, draw_mask

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [line.removeprefix("$ ").partition("  #")[0].strip()
         for block in re.findall(r"^```(?:console|sh)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
         for line in block.splitlines() if line.strip()]  # fmt: skip
INSTALLATION = [
    "uv venv && uv pip install --torch-backend cpu -e . && source .venv/bin/activate",
    "python3 -m venv .venv && source .venv/bin/activate && pip install -e .",
    'docker run -it --rm -v "$PWD":/src -w /src python:3.12-slim sh -c "pip install -e . && vae train"',
    'pip install -e ".[test]"',
    "python -m pytest -n auto",
]
"""The lines that this test leaves out: the first test of a fresh checkout is to run them."""
TOY_SIZE = {
    "vae train": "vae train --preset tiny --steps 20",  # the line without arguments
    "--time 15m": "--preset tiny --steps 100",
    "--image-size 96x128": "--image-size 12x16 --preset tiny --steps 20",
    "-n 64": "-n 4",
    "-n 100": "-n 4",
    "--per-image 4": "--per-image 1",
}
"""What stands in a line of README, and what is run instead; `vae train` only where it is all of the line."""
CLASSIFIER_STEPS = 40  # enough to tell light from dark


def at_toy_size(line: str) -> str:
    if line in TOY_SIZE:
        return TOY_SIZE[line]
    for words, smaller in TOY_SIZE.items():
        line = line if words == "vae train" else re.sub(rf"{words}(?!\S)", smaller, line)
    return line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that README speaks of: images of two classes, damaged and noisy ones, masks."""
    for number in range(60):  # cats are light and dogs dark, which a model learns in no time
        name, ground = (("cats", 200), ("dogs", 30))[number % 2]
        image = Image.new("RGB", (16, 16), (ground, ground + number, ground))
        ImageDraw.Draw(image).ellipse((number % 5, number % 7, number % 5 + 6, number % 7 + 6), fill=(ground + 50,) * 3)
        image.save(_below(tmp_path / "photos" / name, f"{number:02d}.png"))
    for number in range(2):
        for name in ("new", "noisy", "sunsets"):
            draw(tmp_path / name / f"{number}.png", 30 + number)
        draw_mask(tmp_path / "masks" / f"{number}.png", box=(20, 20, 40, 40), side=96)
        _scratched().save(_below(tmp_path / "scans", f"{number}.png"))
    marks = [{"input": "scans/0.png", "mark": "redo"}, {"input": "scans/1.png", "mark": "accept"}]
    (tmp_path / "sheet-marks.json").write_text(json.dumps(marks))  # as the page of `inpaint --sheet` stores it
    with zipfile.ZipFile(tmp_path / "scans-masks.zip", "w") as archive:  # as the page of `masks` stores it
        for path in (tmp_path / "masks").iterdir():
            archive.write(path, path.name)
    for name in ("a.jpg", "b.jpg"):
        draw(tmp_path / name, 40 + ord(name[0]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _scratched() -> Image.Image:
    """Slow shading with two long scratches, which --mask-auto finds."""
    rows, columns = np.mgrid[:96, :96]
    shading = np.stack([70 + rows * 0.6, 90 + columns * 0.5, 140 - rows * 0.4], axis=-1).astype(np.uint8)
    image = Image.fromarray(shading)
    for line in ((8, 10, 85, 60), (70, 5, 20, 90)):
        ImageDraw.Draw(image).line(line, fill=(250, 250, 245), width=2)
    return image


def _below(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def test_every_command_of_the_readme_runs(vae, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All lines in their order, in one folder; what one writes the next may use."""
    monkeypatch.setattr(classifier, "NUM_STEPS", CLASSIFIER_STEPS)  # of `augment`; and of `evaluate`:
    defaults = dict(classifier.train_classifier.__kwdefaults__, num_steps=CLASSIFIER_STEPS)
    monkeypatch.setattr(classifier.train_classifier, "__kwdefaults__", defaults)
    assert [line for line in LINES if not line.startswith("vae ")] == INSTALLATION
    for line in LINES:
        if line not in INSTALLATION:
            outcome = vae(*shlex.split(at_toy_size(line))[1:])
            assert outcome.code == 0, f"{line}\n{outcome.stderr}"


def help_of(vae, command: str) -> set[str]:
    """The options in the help of a command."""
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", vae(command, "--help").stdout))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_in_its_help(vae, command: str) -> None:
    group = typer.main.get_command(app)
    _, found, _ = group.resolve_command(typer.Context(group), [command])
    options = {name for param in found.params if param.param_type_name == "option" for name in param.opts}
    assert "--debug" in options and options <= help_of(vae, command)


def test_every_option_in_the_readme_exists(vae) -> None:
    """Those behind `vae COMMAND` are that command's, all others some command's."""
    known = {command: help_of(vae, command) for command in COMMANDS}
    used = re.findall(r"\bvae ([a-z]+)([^`\n]*)", README)
    shown = {command for command, _ in used} - {"help", "version"}
    assert shown == set(COMMANDS), "a command that is not shown, or none of ours"
    for command, words in used:
        options = set(re.findall(r"(?<!\S)--?[a-z][a-z0-9-]*", words))
        assert options <= known.get(command, set()), f"vae {command}{words}"
    foreign = {"--torch-backend", "--rm", "--standalone", "--nproc-per-node", "--nnodes"}
    foreign |= {"--rdzv-backend", "--rdzv-endpoint"}
    anywhere = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", README)) - foreign
    assert anywhere <= {"--version", "--install-completion"}.union(*known.values())


def test_every_file_in_the_readme_exists_and_every_sample_is_shown() -> None:
    linked = set(re.findall(r"\]\(([^)#:]+)\)", README))
    assert linked and all((ROOT / name).is_file() for name in linked)
    pictures = {f"sample_configs/{path.name}" for path in (ROOT / "sample_configs").glob("*.png")}
    assert pictures and pictures <= linked
    configurations = {path.name for path in (ROOT / "sample_configs").glob("*.yaml")}
    assert configurations == set(re.findall(r"^\| `([\w-]+\.yaml)`", README, re.MULTILINE))


def test_the_tree_names_every_room() -> None:
    tree = re.search(r"^vae_cli/\n(.*?)^tests/", README, re.DOTALL | re.MULTILINE)
    assert tree is not None
    named = {name.rstrip("/") for name in re.findall(r"(?<=[ \n])[a-z_]+(?:/|\.py)", "\n" + tree[1])}
    present = {path.name for path in (ROOT / "vae_cli").iterdir() if path.name[0] != "_"}
    assert named <= present and {name for name in present if not name.endswith((".py", ".typed"))} <= named
