"""The commented configuration: it says everything, and reads back to the same."""

from pathlib import Path

import pytest
from tiny import LADDER, tiny_config

from vae_cli.config import RunConfig, Section, known_keys
from vae_cli.config_layers import parse_yaml, resolve_config
from vae_cli.config_text import commented_yaml
from vae_cli.presets import PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_reads_back_to_itself(preset: str, tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(commented_yaml(resolve_config(preset=preset)), encoding="utf-8")
    assert resolve_config(file=path) == resolve_config(preset=preset)


@pytest.mark.parametrize("name", ["a # b: c", "two\nlines", "é " * 80, "1e-3", "59:59", "null", "- a", "\x1b[31m"])
def test_a_run_reads_back_to_itself_whatever_its_data_are_called(name: str, tmp_path: Path) -> None:
    mixture = {"kind": "logistic_mixture", "components": 3}
    config = tiny_config({"data": {"path": name}, "model": {"latents": list(LADDER), "likelihood": mixture}})
    path = tmp_path / "all.yaml"
    path.write_text(commented_yaml(config), encoding="utf-8")
    assert resolve_config(file=path).as_dict() == config.as_dict()
    told = parse_yaml(path.read_text(encoding="utf-8"))
    assert {**told, "model": {"nets": {"kind": "ladder"}, **told["model"]}} == config.as_dict(), "nobody's choice"


def test_every_setting_has_its_meaning_range_and_default() -> None:
    lines = commented_yaml(resolve_config(preset="flat")).splitlines()
    text = "\n".join(lines)
    at = lines.index("  batch_size: 32  # whole number from 1 to 1,048,576; default 32")
    assert lines[at - 1] == "  # Images an update over all ranks."
    assert "  time: 240.0  # number above 0 to 1,000,000,000 or null; default null" in lines
    assert "  width: auto  # whole number from 8 to 8,192 in steps of 8 or auto; default auto" in lines
    assert "  dropout: 0.0  # number from 0 and below 1; default 0.0" in lines
    assert "  fit: crop  # crop | pad | stretch; default crop" in lines
    assert "  #   components: Logistics in the mixture of a pixel. (whole number from 1 to 100; default 10)" in lines
    assert "  - {stride: global, layers: 1, channels: 32}" in lines
    assert "nets:" not in text, "of a folder that was not given"
    for key in (key for key in known_keys() if not key.startswith("model.nets")):
        assert f"{key.rpartition('.')[2]}: " in text or f"{key.rpartition('.')[2]}:\n" in text, key


def test_every_setting_is_explained_where_it_is_defined() -> None:
    """Except the `kind` of an alternative, which its own text explains."""
    sections = [kind for kind in Section.__subclasses__() if kind is not RunConfig]
    assert len(sections) >= 9
    for section in sections:
        assert section.__doc__ and not section.__doc__.startswith("Base of"), section
        nested = [name for name, field in section.model_fields.items() if isinstance(field.default, Section)]
        silent = {name for name, field in section.model_fields.items() if not field.description} - {*nested, "kind"}
        assert not silent, f"{section.__name__}: {silent}"
