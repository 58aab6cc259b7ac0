"""Where results go, and what must not be there."""

from pathlib import Path

import pytest

from vae_cli.errors import ConfigError
from vae_cli.jobs import outputs


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_another_command_is_writing_is_refused(tmp_path: Path, monkeypatch, overwrite: bool) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(outputs, "claim", lambda paths: asked.extend(paths) or asked[-1])
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(ConfigError, match=r"b\.png: another vae command is writing there"):
        outputs.refuse_existing(paths, overwrite=overwrite)
    assert asked == paths
    paths[0].write_text("there already")
    with pytest.raises(ConfigError, match=r"writing there" if overwrite else "exists"):
        outputs.refuse_existing(paths, overwrite=overwrite)
