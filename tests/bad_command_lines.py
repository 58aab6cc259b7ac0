"""Bad command lines of every command: one that would work, with one thing wrong in it.

The options come from the program itself, so that a new one is tried without being named here.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from PIL import Image
from tiny import tiny_model, weights_of

from vae_cli.checkpoint import write_checkpoint
from vae_cli.cli.app import COMMANDS, app

SOUND = {
    "train": "@DATA --preset tiny --steps 4 --dry-run",
    "sample": "@RUN -n 1 --out @NEW.png",
    "reconstruct": "@RUN @PICTURE --out @NEW",
    "inpaint": "@RUN @PICTURE --mask-alpha --out @NEW",
    "masks": "@PICTURE --out @NEW.html",
    "denoise": "@RUN @PICTURE --out @NEW",
    "style": "@RUN @PICTURE --like @PICTURE --out @NEW",
    "augment": "@RUN @DATA --out @NEW",
    "interpolate": "@RUN @PICTURE @PICTURE --out @NEW",
    "encode": "@RUN @PICTURE --out @NEW.npz",
    "evaluate": "@RUN @DATA",
    "score": "@RUN @DATA --normal @DATA --out @NEW.csv",
    "similar": "@RUN @PICTURE @DATA --out @NEW.csv",
    "report": "@RUN --out @NEW.html",
    "compare": "@RUN @RUN --out @NEW.html",
    "config": "@RUN",
    "export": "@RUN --out @NEW.safetensors",
    "check": "@DATA",
    "info": "@RUN",
}
"""A line of each command that works; words that begin with @ stand for places."""
NUMBERS = ("x" * 5000, "many", "nan", "1e999", "-1e30", "0x1g", "9" * 40, "1_0_", "-1")
NO_FILES = ("@NOWHERE", "@TEXT/inside", "long" * 200, "\x1b[31m\u202e", "/dev/null/x")
TEXTS = {
    "--device": ("banana", "cuda:", "cuda:-1", "cuda:257", "cuda:99999999999999999999", "cpu:0", "cpu:7", "mps:3",
                 "meta", "CPU", "cuda:0x1", " cpu", "auto "),
    "--preset": ("huge", "x" * 5000), "--format": ("doc", "p\u202eng"), "--to": ("nobody", "x" * 5000),
    "--label": ("nobody", "\x1b[2J"), "--sigma": (*NUMBERS, "0", "256"), "--from-samples": ("3", "a,b", "-1,2", ","),
    "--image-size": ("big", "0", "3", "64x", "x", "4097", "9" * 5000, "-8", "8x8x8"),
    "--background": ("reddish", "#12", "rgb(", "x" * 5000), "--mask-color": ("reddish", "#12"),
    "--time": ("soon", "-5", "0", "10 minutes", "1e999", "9" * 400, "1:30"), "--epochs": ("0", "1e18"),
    "--set": ("nonsense", "=5", "a.b=1", "training.batch_size=59:59", "training.seed=[1", "training.time=!!int ''",
              "x." * 3000 + "=1", "training.batch_size=" + "9" * 5000, "model.latents=" + "[" * 500,
              "data.path=&a [*a]", "model.width=1e300", "training.threads=123456789", 'training.init="\\0"',
              'training.init="\\ud800"', "training.init=" + "long" * 200),
    "--config": (*NO_FILES, "@DATA", "@FIFO", "@BAD.yaml", "/dev/zero"),
    "--latents": (*NO_FILES, "@DATA", "@FIFO", "@TEXT", "/dev/zero"),
    "--init": (*NO_FILES, "@DATA", "@FIFO", "@TEXT", "/dev/zero"),
    "--feature-weights": (*NO_FILES, "@DATA", "@FIFO"),
    "--normal": (*NO_FILES, "@FIFO"), "--save-latents": ("@TEXT/inside.npz", "/dev/null/x.npz"),
    "--mask": NO_FILES, "--like": NO_FILES, "--from": NO_FILES,
    "--only": (*NO_FILES, "@DATA", "@FIFO", "@TEXT", "/dev/zero"),
    "--pages": ("0", "3-1", "1-", "-1", "1;2", "99999999999", "NaN"), "--holes": ("square",),
    "--out": ("@TEXT/inside", "/dev/null/x"),
}  # fmt: skip
"""Words that an option cannot take."""


def lines() -> list[tuple[str, ...]]:
    """Every line; the same ones, in the same order, every time."""
    return [line for name in COMMANDS for line in dict.fromkeys(_lines_of(name, _parameters(name)))]


def _parameters(name: str) -> list[Any]:
    group: Any = typer.main.get_command(app)
    return list(group.resolve_command(typer.Context(group), [name])[1].params)


def _lines_of(name: str, parameters: list[Any]) -> Iterator[tuple[str, ...]]:
    sound = (name, *SOUND[name].split())
    for param in parameters:
        if param.param_type_name == "argument" or param.is_flag:
            continue
        option, bad = param.opts[0], list(TEXTS.get(param.opts[0], ()))
        beyond = [bound + step for bound, step in ((param.min, -1), (param.max, 1)) if bound is not None]
        if beyond:
            bad += [*NUMBERS, *(f"{bound:.0f}" for bound in beyond)]
        if "Literal" in str(param.type_descriptor.annotation):
            bad.append("banana")
        if (name, option) == ("train", "--out"):
            bad = []  # a dry run looks at none
        yield from ((*sound, option, word) for word in ("", *bad))
        yield (*sound, f"{option}=")
        yield (*sound, option)  # without its value
        yield (*sound, option[:-1] + "q", "1")
    places = [number for number, word in enumerate(sound) if word in ("@RUN", "@DATA", "@PICTURE")]
    for number in places:
        is_value = sound[number - 1].startswith("-")
        for word in ("", "@NOWHERE", "long" * 200, "\x1b[31m\u202e", "--bogus") if not is_value else ():
            yield (*sound[:number], word, *sound[number + 1 :])
    if sound[1] == "@RUN":
        yield from ((name, word, *sound[2:]) for word in ("@EMPTY", "@TEXT", "@PICTURE", "@FIFO", "/dev/zero"))
    if sound[1] == "@DATA":
        yield from ((name, word, *sound[2:]) for word in ("@EMPTY", "@TEXT/inside", "@BAD.yaml"))
    if name not in ("info", "config"):
        yield (name,) if name != "train" else (name, "--resume", "--out", "@NOWHERE")
    yield (*sound, "--json=yes")
    yield ("--bogus", *sound)
    yield (name[:-1] + "q", *sound[1:])


def make_places(folder: Path) -> dict[str, str]:
    """What the places of the lines stand for, made in `folder`: a run that was never trained, a picture and others."""
    model = tiny_model(num_labels=2)
    run = folder / "run"
    write_checkpoint(run / "checkpoints" / "best", model.facts, weights_of(model.vae, model.flow), None)
    (run / "config.yaml").write_text("{}")
    for number in range(4):
        path = folder / "data" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("LA", (8, 8), (60 * number, 128)).save(path)
    (folder / "empty").mkdir()
    (folder / "text.txt").write_text("no picture\n")
    (folder / "bad.yaml").write_text("training: {batch_size: [&a [1], *a, *a]}\n")
    os.mkfifo(folder / "fifo.csv")
    return {"@RUN": str(run), "@DATA": str(folder / "data"), "@PICTURE": str(folder / "data" / "a" / "0.png"),
            "@EMPTY": str(folder / "empty"), "@TEXT": str(folder / "text.txt"), "@BAD.yaml": str(folder / "bad.yaml"),
            "@FIFO": str(folder / "fifo.csv"), "@NOWHERE": str(folder / "nowhere"),
            "@NEW": str(folder / "new")}  # fmt: skip


def placed(line: tuple[str, ...], places: dict[str, str]) -> list[str]:
    """The words of a line with real paths in them."""
    words = []
    for word in line:
        name = next((name for name in places if word.startswith(name)), "")
        words.append(places.get(name, "") + word.removeprefix(name))
    return words


def complaint(code: int, stdout: str, stderr: str, *, as_json: bool) -> str | None:
    """What is wrong with how the program refused a line; None where it did that as it should."""
    errors = stderr.splitlines()
    first = next((number for number, line in enumerate(errors) if line.startswith("error: ")), len(errors))
    if code not in (2, 3, 4):
        return f"left with {code}"
    if "Traceback" in stderr or "\x1b" in stderr + stdout or "\u202e" in stderr + stdout:
        return "a traceback or a raw control character"
    if not 1 <= len(errors[first:]) <= 3 or any(len(line) > 600 for line in errors):
        return f"{len(errors[first:])} lines of error"
    if not as_json:
        return None
    try:
        facts = json.loads(stdout)
    except ValueError:
        return "not one JSON object on stdout"
    return None if facts["status"] == "failed" and facts["error"]["code"] == code else "another code in the JSON object"
