"""Files of latents by strangers: what they say of themselves is believed only where their size agrees."""

import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from vae_cli.errors import ConfigError, DataError
from vae_cli.jobs import latent_files

VALUES = np.arange(24, dtype="<f4")


def npy(header: str, version: tuple[int, int] = (1, 0)) -> bytes:
    length = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + length + header.encode() + VALUES.tobytes()


def described(shape: str, kind: str = "'<f4'", order: bool = False) -> str:
    return f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}}}\n"


def npz(*members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return content.getvalue()


def encrypted() -> bytes:
    content = bytearray(npz(("latents.npy", npy(described("(3, 8)")))))
    content[6] |= 1
    content[content.rfind(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


SOUND = {
    "plain.npy": npy(described("(3, 8)")),
    "second version.npy": npy(described("(3, 8)"), (2, 0)),
    "odd members.npz": npz(("latents.npy", npy(described("(3, 8)"))), ("notes", b"x"), ("more.npy", b"junk")),
    "another name.npz": npz(("mine.npy", npy(described("(3, 8)")))),
    "stored.npz": npz(("latents.npy", npy(described("(3, 8)"))), compression=zipfile.ZIP_STORED),
    "lzma.npz": npz(("latents.npy", npy(described("(3, 8)"))), compression=zipfile.ZIP_LZMA),
    "plain under another suffix.npz": npy(described("(3, 8)")),
    "table.csv": ("file," + ",".join(f"z{n}" for n in range(8)) + "\n").encode()
    + b"".join(b"a," + ",".join(map(str, row)).encode() + b"\n\n" for row in VALUES.reshape(3, 8)),
}
HOSTILE_HEADERS = [
    *(described(shape) for shape in ("(10**9,)", "(4000000000, 4000000000)", "(-3, -8)", "(-1, 8)", "()", "(3, 7)",
                                     f"({'1, ' * 70})", f"({'9' * 30}, 0)", "'ab'", "(3.0, 8)")),
    *(described("(3, 8)", kind) for kind in ("'O'", "'S0'", "3", "'x'", "('<f4', (10**9,))", "'V0'", "[('a', 'O')]")),
    *("(" * 5000, "-" * 9000 + "1", "[" * 150, "{'a': 1}", "'" * 3, "9" * 9000, "", "\0" * 50),
]  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_sound_files_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SOUND[name])
    (found,) = latent_files.read(tmp_path / name)
    np.testing.assert_array_equal(found, VALUES.reshape(3, 8))


@pytest.mark.parametrize("header", HOSTILE_HEADERS, ids=lambda header: ascii(header[:60]))
def test_a_header_that_does_not_agree_with_its_file(tmp_path: Path, header: str) -> None:
    """Nothing is made of the size that it names."""
    for name, content in (("l.npy", npy(header)), ("l.npz", npz(("latents.npy", npy(header, (2, 0)))))):
        (tmp_path / name).write_bytes(content)
        tracemalloc.start()
        try:
            with pytest.raises(DataError, match=name):
                latent_files.read(tmp_path / name)
            assert tracemalloc.get_traced_memory()[1] < 50e6
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("content", [
    npz(), npz(("latents", b"raw")), npz(("latents.npy", b"")), npz(("latents/", b"")), npz(("notes.txt", b"hello")),
    npz(*((f"x{n}.npy", b"") for n in range(2000))), b"PK\x03\x04" + b"x" * 100, b"P", encrypted(),
], ids=range(9))  # fmt: skip
def test_zips_that_hold_no_latents(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "l.npz").write_bytes(content)
    with pytest.raises(DataError) as caught:
        latent_files.read(tmp_path / "l.npz")
    assert str(tmp_path / "l.npz") in str(caught.value) and len(str(caught.value)) < 600


def test_a_zip_is_not_unpacked_beyond_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_files, "MAX_BYTES", 2**20)
    header = described("(2000000,)", "'|i1'")
    content = npy(header)[: -VALUES.nbytes] + bytes(2_000_000)
    (tmp_path / "bomb.npz").write_bytes(npz(("latents.npy", content)))
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    (tmp_path / "large.npy").write_bytes(content)
    for name in ("bomb.npz", "large.npy"):
        with pytest.raises(DataError, match=r"more than .* MiB"):
            latent_files.read(tmp_path / name)


@pytest.mark.parametrize(
    "text", ["", "z0\n" + "y" * 140_000, "z0\n" + "y" * 100_000, "z0\n\0\n", "z0,z1\n1\n", '"z0\n', "a\n1\n"]
)
def test_tables_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    try:
        (found,) = latent_files.read(tmp_path / "l.csv")
        assert found.size == 0
    except DataError as error:
        assert str(tmp_path / "l.csv") in str(error) and len(str(error)) < 600


def test_a_table_becomes_no_larger_than_other_files_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bytes of text are eight as a number; a line is a list of pieces before it is looked at."""
    monkeypatch.setattr(latent_files, "MAX_BYTES", 4000)
    (tmp_path / "l.csv").write_text("z0\n" + "1\n" * 500)
    assert latent_files.read(tmp_path / "l.csv")[0].shape == (500, 1)
    (tmp_path / "l.csv").write_text("z0\n" + "1\n" * 501)
    with pytest.raises(DataError, match="as numbers"):
        latent_files.read(tmp_path / "l.csv")
    monkeypatch.setattr(latent_files, "_MAX_LINE", 100)
    (tmp_path / "l.csv").write_text("z0,z1\n1,2" + "," * 300 + "\n")
    with pytest.raises(DataError, match="line 3"):
        latent_files.read(tmp_path / "l.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    for suffix in ("npy", "npz", "csv"):
        os.mkfifo(tmp_path / f"pipe.{suffix}")
        (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
        for name in ("pipe", "zero"):
            with pytest.raises(ConfigError, match=name):
                latent_files.read(tmp_path / f"{name}.{suffix}")


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64, torch.int32])
def test_latents_of_any_kind_of_number(tmp_path: Path, kind: torch.dtype) -> None:
    values = (torch.from_numpy(VALUES).double() / 3).to(kind)
    save_tensors({"latents": values}, tmp_path / "l.safetensors")
    (found,) = latent_files.read(tmp_path / "l.safetensors")
    np.testing.assert_array_equal(found, values.double().numpy())


@pytest.mark.skipif(not hasattr(torch, "float4_e2m1fn_x2"), reason="a torch without numbers of four bits")
def test_tensors_beside_the_latents_may_be_of_any_kind(tmp_path: Path) -> None:
    small = torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    save_tensors({"latents": torch.from_numpy(VALUES), "small": small}, tmp_path / "l.safetensors")
    np.testing.assert_array_equal(latent_files.read(tmp_path / "l.safetensors"), [VALUES])


def test_named_arrays_of_strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only arrays called latents are read, whatever else lies beside them, and none of a size beyond the bound."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = pyarrow.FixedSizeListArray.from_arrays(VALUES, 8)
    lists = pyarrow.array([[1.0], [2.0, 3.0], None])
    nulls = pyarrow.array([[0.5] * 8, None, [0.5] * 8], pyarrow.list_(pyarrow.float32(), 8))
    for name, columns in (("good", {"latents": rows, "text": ["a"] * 3}), ("lists", {"latents": lists}),
                          ("other", {"z": rows}), ("null", {"latents": nulls})):  # fmt: skip
        parquet.write_table(pyarrow.table(columns), tmp_path / f"{name}.parquet")
    np.testing.assert_array_equal(latent_files.read(tmp_path / "good.parquet")[0], VALUES.reshape(3, 8))
    save_file({"mine": VALUES}, tmp_path / "other.safetensors")
    for name in ("junk.parquet", "junk.safetensors"):
        (tmp_path / name).write_bytes(b"PAR1" + bytes(50) + b"PAR1")
    for name in ("lists.parquet", "other.parquet", "null.parquet", "other.safetensors", "junk.parquet",
                 "junk.safetensors"):  # fmt: skip
        with pytest.raises(DataError, match=name):
            latent_files.read(tmp_path / name)
    same = pyarrow.FixedSizeListArray.from_arrays(np.zeros(2**20, np.float32), 2**10)  # which packs into nothing
    parquet.write_table(pyarrow.table({"latents": same}), tmp_path / "bomb.parquet")
    monkeypatch.setattr(latent_files, "MAX_BYTES", 2**20)
    with pytest.raises(DataError, match=r"more than .* MiB"):
        latent_files.read(tmp_path / "bomb.parquet")
