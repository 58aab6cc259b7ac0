"""The card of a run says what the model is, and stays as it is once somebody has changed it."""

import json
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open
from tiny import tiny_model, weights_of

from vae_cli.checkpoint import Facts, read_weights, write_checkpoint
from vae_cli.jobs.export import export_whole
from vae_cli.jobs.model_card import write_card


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two labels, one of them a stranger's, figures and a picture."""
    model, folder = tiny_model(num_labels=2), tmp_path / "my_run"
    facts = Facts(model.config, ("cats", "<b>|`x"), (3, 4, 1), 6, "flow")
    write_checkpoint(folder / "checkpoints" / "best", facts, weights_of(model.vae, model.flow), None)
    lines = [{"step": 5, "phase": "flow", "flow_loss": 1.0},
             {"step": 6, "phase": "end", "weights_step": 6, "psnr_db": 26.44, "bits_per_dim": None}]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / "previews").mkdir()
    (folder / "previews" / "samples.png").write_bytes(b"")
    return folder


def test_it_names_the_model_and_what_is_the_publishers_to_say(run: Path) -> None:
    assert write_card(run, run) == run / "README.md"
    text = (run / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["library_name"] == "vae-cli" and "vae" in head["tags"] and "license" not in head
    assert "# license:" in text and "# my\\_run\n" in text
    assert "8 images" in text and "cats, \\<b\\>\\|\\`x" in text
    assert "| reconstructions, PSNR (dB) | 26.44 |" in text and "dimension" not in text
    assert "(previews/samples.png)" in text and "reconstructions.png" not in text, "only pictures that are there"


def test_it_is_renewed_until_somebody_has_changed_it(run: Path) -> None:
    write_card(run, run)
    (run / "previews" / "samples.png").unlink()
    assert write_card(run, run) and "samples.png" not in (run / "README.md").read_text()
    own = (run / "README.md").read_text().replace("# license: choose one", "license: mit")
    (run / "README.md").write_text(own)
    assert write_card(run, run) is None and (run / "README.md").read_text() == own


def test_a_link_in_its_place_is_left_alone(run: Path, tmp_path: Path) -> None:
    write_card(run, run)
    (run / "README.md").rename(tmp_path / "elsewhere")
    (run / "README.md").symlink_to(tmp_path / "elsewhere")
    assert write_card(run, run) is None and (run / "README.md").is_symlink()


def test_figures_of_other_weights_are_left_out(run: Path) -> None:
    (run / "metrics.jsonl").write_text('{"step": 9, "phase": "end", "weights_step": 9, "psnr_db": 20.0}\n')
    write_card(run, run)
    assert "## Figures" not in (run / "README.md").read_text()


def test_other_programs_know_the_weights_as_torchs(run: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "a.safetensors", tmp_path / "b.safetensors"):
        export_whole(run, path)
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["format"] == "pt" and file.metadata().keys() == {"format", "vae"}
        assert read_weights(path)[0].label_names[0] == "cats"
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert (int.from_bytes((tmp_path / "a.safetensors").read_bytes()[:8], "little") % 8) == 0
