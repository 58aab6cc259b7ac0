"""Folders, lists and zips that hold what is no file, or no name."""

import os
import zipfile
from pathlib import Path

import pytest

from vae_cli.dataset.cache import load_images
from vae_cli.dataset.scan import scan
from vae_cli.errors import DataError
from vae_cli.images.colours import WHITE
from vae_cli.images.decode import open_image
from vae_cli.images.recipe import ImageRecipe


def test_a_member_without_a_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"nothing")
        archive.writestr("a.png", b"no picture")
        archive.filelist[0].filename = ""  # in the directory, which is written at the end
    found = scan(tmp_path / "a.zip")
    assert [ref.id for ref in found.images] == ["a.png"]
    assert [(entry.id, "without a name" in entry.reason) for entry in found.skipped] == [("(no name)", True)]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.zip", "a.png"])
def test_data_that_is_a_device(tmp_path: Path, name: str) -> None:
    if not os.path.exists("/dev/zero"):
        pytest.skip("no devices with names here")
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(DataError, match="not a regular file"):
        scan(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert [entry.reason for entry in scan(tmp_path).skipped] == ["not a regular file"] * (name == "a.png")


def test_images_that_are_gone_or_became_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the scan and the decoding."""
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    for name in ("data/a.png", "data/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no picture")
    refs = scan(tmp_path / "data").images
    (tmp_path / "data/a.png").unlink()
    (tmp_path / "data/b.png").unlink()
    (tmp_path / "data/b.png").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="No such file"):
        load_images(refs, ImageRecipe((8, 8), 1, "crop", WHITE))
    with pytest.raises(DataError, match="not a regular file" if os.path.exists("/dev/zero") else "No such file"):
        open_image(refs[1])
