"""The program, run in the process of the tests: importing torch takes longer than most of what it does there."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from vae_cli.cli.app import app


def run_program(words: list[str], cache: Path) -> Result:
    """What it has printed; fails unless it leaves with 0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_CACHE", str(cache))
        result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    return result
