"""Bad command lines, generated: each is refused with the right code, in one to three lines and one JSON object."""

import random
from pathlib import Path

import pytest
from bad_command_lines import SOUND, complaint, lines, make_places, placed
from typer.testing import CliRunner

from vae_cli.cli.app import COMMANDS, app

LINES = lines()
SOME = random.Random(26).sample(LINES, 90)
"""tests/benchmarks/command_lines.py tries more of them, each in a process of its own."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_places(tmp_path_factory.mktemp("places"))


def test_every_command_has_many_bad_lines() -> None:
    assert set(SOUND) == set(COMMANDS)
    for name in COMMANDS:
        assert sum(line[0] == name for line in LINES) > 20, name


@pytest.mark.parametrize("line", SOME, ids=lambda line: ascii(" ".join(word[:20] for word in line)))
def test_a_bad_line(line: tuple[str, ...], places: dict[str, str]) -> None:
    first, *others = placed(line, places)
    for words in ([first, *others], [first, "--json", *others]):
        result = CliRunner().invoke(app, words)
        problem = complaint(result.exit_code, result.stdout, result.stderr, as_json="--json" in words)
        assert problem is None, f"{problem}: {result.stderr}"
    assert not Path(places["@NEW"]).exists()
