"""Tars: read in place like zips, with the labels of WebDatasets, and believed only as far as their bytes go."""

import io
import os
import tarfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vae_cli.dataset.scan import Scan, scan
from vae_cli.errors import DataError
from vae_cli.images.decode import open_image

Member = tuple[str, bytes]


def png(level: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (8, 8), level).save(content, "PNG")
    return content.getvalue()


def write(path: Path, *members: Member, kind: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def levels(found: Scan) -> list[int]:
    return [open_image(ref).getpixel((0, 0)) for ref in found.images]


def level(ref: object) -> int:
    return open_image(ref).getpixel((0, 0))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_webdataset_with_both_kinds_of_labels(tmp_path: Path, kind: int) -> None:
    long = "f" * 90 + "/文" if kind != tarfile.USTAR_FORMAT else "f/g"
    path = write(
        tmp_path / "set.tar",
        ("./0001.cls", b"cat\n"), ("./0001.png", png(1)), ("0002.json", b'{\n "label": "dog", "x": [1]}'),
        ("0002.png", png(2)), ("0003.png", png(3)), (f"{long}/0004.left.png", png(4)), (f"{long}/0004.cls", b"7"),
        ("0001.txt", b"a caption"), ("0003.json", b"[" * 9000), (".hidden.png", png(9)), kind=kind,
    )  # fmt: skip
    found = scan(path)
    assert [ref.id for ref in found.images] == ["0001.png", "0002.png", "0003.png", f"{long}/0004.left.png"]
    assert [ref.label for ref in found.images] == ["cat", "dog", None, "7"] and found.label_names == ("7", "cat", "dog")
    assert levels(found) == [1, 2, 3, 4] and not found.skipped
    with ProcessPoolExecutor(2) as pool:
        assert list(pool.map(level, found.images)) == [1, 2, 3, 4]
    assert sorted(tmp_path.iterdir()) == [path], "nothing is extracted"


def test_class_folders_and_splits_inside(tmp_path: Path) -> None:
    members = [(f"photos/{part}/{name}/{number}.png", png(number)) for part in ("train", "val")
               for number, name in enumerate(("cat", "dog"))]  # fmt: skip
    found = scan(write(tmp_path / "photos.tar", *members))
    assert [(ref.split, ref.label) for ref in found.images] == [
        ("train", "cat"), ("train", "dog"), ("validation", "cat"), ("validation", "dog"),
    ]  # fmt: skip


def test_shards_in_a_folder_are_one_set(tmp_path: Path) -> None:
    for number, name in enumerate(("train/a-000.tar", "train/a-001.tar", "val/a-000.tar")):
        write(tmp_path / name, ("1.png", png(number)), ("1.cls", b"%d" % number))
    found = scan(tmp_path)
    assert [ref.id for ref in found.images] == [
        "train/a-000.tar/1.png", "train/a-001.tar/1.png", "val/a-000.tar/1.png",
    ]  # fmt: skip
    assert [ref.split for ref in found.images] == ["train", "train", "validation"] and found.has_split_folders
    assert [ref.label for ref in found.images] == ["0", "1", "2"] and levels(found) == [0, 1, 2]
    write(tmp_path / "flat" / "a.tar", ("1.png", png(0)))
    write(tmp_path / "flat" / "b.tar", ("1.png", png(0)))
    assert scan(tmp_path / "flat").label_names == (), "a shard is no class"
    (tmp_path / "flat" / "c.png").write_bytes(png(5))
    assert [ref.id for ref in scan(tmp_path / "flat").images] == ["c.png"], "beside images a tar is only a file"


def test_links_devices_and_names_that_point_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(99))
    path = write(tmp_path / "set.tar", ("good.png", png(1)), ("../secret.png", png(2)), ("/etc/x.png", png(3)))
    with tarfile.open(path, "a") as archive:
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(f"odd{number}.png")
            info.type, info.linkname = kind, str(tmp_path / "secret.png")
            archive.addfile(info)
    found = scan(path)
    assert [ref.id for ref in found.images] == ["good.png"]
    assert {entry.id: entry.reason.split(":")[0] for entry in found.skipped} == {
        "../secret.png": "unsafe name", "/etc/x.png": "unsafe name",
        **{f"odd{number}.png": "not a regular file" for number in range(4)},
    }  # fmt: skip


def test_of_one_name_the_last_one_counts(tmp_path: Path) -> None:
    assert levels(scan(write(tmp_path / "set.tar", ("a.png", png(1)), ("a.png", png(2))))) == [2]


def claiming(size: bytes) -> Callable[[bytes], bytes]:
    """The last of two members' headers says another size, with a sound checksum."""

    def change(content: bytes) -> bytes:
        header = bytearray(content[1024:1536])
        header[124:136] = size.ljust(12, b"\0")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        return content[:1024] + bytes(header) + content[1536:]

    return change


@pytest.mark.parametrize("change", [
    lambda content: content[:1600],  # in the middle of the second picture
    lambda content: content[:1300],  # in the middle of its header
    lambda content: content[:1024] + b"x" * 512 + content[1536:],
    claiming(b"77777777777"),
    claiming(b"\xff" * 12),  # -1
    claiming(b"\xff" * 10 + b"\xf0\x00"),  # back to the first header, for ever
    claiming(b"\x80" + b"\x7f" * 11),
], ids=range(7))  # fmt: skip
def test_what_is_whole_in_a_damaged_tar_is_used(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path / "set.tar", ("a.png", png(1)), ("b.png", png(2)), kind=tarfile.USTAR_FORMAT)
    path.write_bytes(change(path.read_bytes()))
    found = scan(path)
    assert [ref.id for ref in found.images] == ["a.png"] and levels(found) == [1]
    assert [entry.id for entry in found.skipped] == ["set.tar"] and "damaged" in found.skipped[0].reason


def test_a_name_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**33
    path = tmp_path / "set.tar"
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2**33 + 2**20)  # a hole on the disk
    with pytest.raises(DataError, match="no readable tar"):
        scan(path)


@pytest.mark.parametrize("content", [b"", b"no tar" * 200, b"\x1f\x8b\x08" + bytes(600)])
def test_what_is_no_tar(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "set.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"set\.tar: no readable tar file"):
        scan(tmp_path / "set.tar")


def test_a_picture_that_changed_after_the_scan_fails_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "set.tar", ("a.png", png(1)), ("b.png", png(2)), kind=tarfile.USTAR_FORMAT)
    first, second = scan(path).images
    os.truncate(path, 1600)
    np.testing.assert_array_equal(np.asarray(open_image(first)), 1)
    with pytest.raises(DataError, match="cut off"):
        open_image(second)
