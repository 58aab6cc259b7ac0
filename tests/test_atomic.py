"""Files appear whole or not at all."""

import os
from pathlib import Path

import pytest

from vae_cli.atomic import is_partial, replacing, write_atomically, writing
from vae_cli.errors import WriteError


def test_a_file_appears_at_the_end_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "file.bin"
    with writing(path) as file:
        file.write(b"begin")
        (partial,) = path.parent.iterdir()
        assert is_partial(partial) and not path.exists()
        file.seek(0)
        assert file.read() == b"begin", "it can be read back"
    assert path.read_bytes() == b"begin" and [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt()])
def test_what_goes_wrong_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), writing(path) as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old" and [*tmp_path.iterdir()] == [path]


def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(WriteError, match=r"file: cannot be written \(No space left on device\)"):
        write_atomically(tmp_path / "file", b"new")
    with pytest.raises(OSError, match="No space left"), replacing(tmp_path / "file") as file:
        file.write(b"new")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", [".download.part", "0123456789abcdef.part", ".0123456789abcdef.png", "a.png"])
def test_other_files_are_not_taken_for_leftovers(name: str) -> None:
    assert not is_partial(Path(name))
