"""Models and runs of strangers: what their descriptions name is said, escaped, and not followed blindly."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_model, weights_of

from vae_cli.checkpoint import write_checkpoint

ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202e"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def stranger(folder: Path, label: str = "a", **settings: Any) -> Path:
    """A run whose model was never trained and says of itself what it likes."""
    model = tiny_model(num_labels=2)
    facts = replace(model.facts, config=model.config.updated(settings), label_names=(label, "b"))
    write_checkpoint(folder / "checkpoints" / "best", facts, weights_of(model.vae, model.flow), None)
    (folder / "config.yaml").write_text("{}\n")
    return folder


@pytest.mark.parametrize("words", [
    ("info",), ("info", "--verbose"), ("info", "--json"), ("report", "--out", "page.html"),
    ("sample", "--label", "nobody"), ("evaluate",), ("export", "--out", "x.doc"),
])  # fmt: skip
def test_no_escape_sequence_of_a_model_reaches_the_terminal(vae, tmp_path: Path, words: tuple[str, ...]) -> None:
    run = stranger(tmp_path / "run", ESCAPES, preset=ESCAPES, data={"path": f"/{ESCAPES}", "background": ESCAPES})
    outcome = vae(words[0], run, *words[1:])
    assert not {"\x1b", "\x07", "\u202e"} & set(outcome.stdout + outcome.stderr)
    assert outcome.code == (0 if words[0] in ("info", "report") else 2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize(("path", "reason"), [
    ("/", "root of a disk"), ("@" + 64 * "/..", "root of a disk"), ("@/pipe.zip", "regular file"),
    ("@/pipe.txt", "regular file"), ("@/pipe", "regular file"), ("/dev/zero", "regular file"),
    ("@/nowhere", "no such"),
])  # fmt: skip
def test_a_stored_path_is_said_and_leads_to_images_or_nowhere(vae, tmp_path: Path, path: str, reason: str) -> None:
    for name in ("pipe", "pipe.zip", "pipe.txt"):
        os.mkfifo(tmp_path / name)
    path = path.replace("@", str(tmp_path))
    outcome = vae("evaluate", stranger(tmp_path / "run", data={"path": path}))
    assert outcome.code == 2 and reason in outcome.errors[0] and len(outcome.errors) <= 3, outcome.stderr
    said = outcome.stderr.index("the run itself names: ")
    assert path.removesuffix("/") in outcome.stderr[said:].splitlines()[0]


def test_a_run_s_own_images_are_measured_after_they_are_named(vae, tmp_path: Path, photos: Path) -> None:
    outcome = vae("evaluate", stranger(tmp_path / "run", data={"path": str(photos)}))
    assert outcome.code == 0 and f"the run itself names: {photos}\n" in outcome.stderr, outcome.stderr


def test_the_images_of_a_run_that_goes_on_are_named_too(vae, tmp_path: Path) -> None:
    from vae_cli.config_layers import dump_yaml

    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text(dump_yaml(tiny_model().config.updated({"data": {"path": "/"}})))
    outcome = vae("train", "--out", run, "--resume")
    assert outcome.code == 2 and "root of a disk" in outcome.errors[0] and "itself names: /\n" in outcome.stderr
