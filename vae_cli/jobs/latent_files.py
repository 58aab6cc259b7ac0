"""Files of latents: those of four formats that `vae encode` writes, and plain arrays as other tools do."""

import csv
import importlib.util
import io
import json
import math
import zipfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy
from safetensors.numpy import save

from vae_cli.atomic import write_atomically
from vae_cli.errors import ConfigError, DataError
from vae_cli.images.bad_files import BAD_BYTES
from vae_cli.jobs.inputs import require
from vae_cli.jobs.tables import as_csv
from vae_cli.tasks.encode import Encoded, numbered

if TYPE_CHECKING:
    from torch import Tensor

_MEANS, _STDS, _SCALE = "latents", "std", ("shift_factor", "scaling_factor")
_MAKE_ONE = "vae encode RUN INPUT --out FILE.npz makes one"
MAX_BYTES = 2**29
"""Of a file, and of the arrays in it when unpacked: the latents of a hundred thousand images."""
_TOO_LARGE = f"more than {MAX_BYTES >> 20} MiB"
_MAX_LINE = 2**24  # characters of a table: a million numbers
_MAX_HEADER = 1000  # characters; those of plain arrays have about a hundred


def write(path: Path, kind: str, encoded: Encoded, files: Sequence[str], labels: Sequence[str]) -> None:
    """Writes the latents of several images with their names and labels ('' = none); kind: npz, csv, safetensors or
    parquet. Raises WriteError when the disk refuses."""
    arrays = {numbered(name, layer): values for name, layers in ((_MEANS, encoded.means), (_STDS, encoded.stds))
              for layer, values in enumerate(layers)}  # fmt: skip
    scale = {name: np.float32(value) for name, value in zip(_SCALE, latent_scale(encoded.means[0]), strict=True)}
    content = io.BytesIO()
    if kind == "csv":
        content.write(as_csv(_table(encoded.flat_means(), files, labels)))
    elif kind == "safetensors":  # whose other entries would come in random order: equal latents, equal files
        names = {"vae": json.dumps({"files": files, "labels": labels})}
        content.write(save({**arrays, **{name: np.array(value) for name, value in scale.items()}}, names))
    elif kind == "parquet":
        _write_parquet(content, arrays, scale, files, labels)
    else:
        texts = {"files": np.array(files, np.str_), "labels": np.array(labels, np.str_)}
        np.savez(content, **arrays, **scale, **texts)  # type: ignore[arg-type]
    write_atomically(path, content.getbuffer())


def latent_scale(latents: np.ndarray) -> tuple[float, float]:
    """Shift and factor such that (latents - shift) · factor has mean 0 and standard deviation 1 over [N, C, h, w].

    Both are named as in the configuration of diffusers' AutoencoderKL.
    """
    values = latents.astype(np.float64)
    return values.mean(), 1 / (values.std() or 1.0)


def _table(rows: np.ndarray, files: Sequence[str], labels: Sequence[str]) -> Iterator[list[str]]:
    yield ["file", "label", *(f"z{number}" for number in range(rows.shape[1]))]
    for file, label, row in zip(files, labels, rows.tolist(), strict=True):
        yield [file, label, *(format(value, ".9g") for value in row)]  # nine digits tell any float32 apart


def _write_parquet(
    content: IO[bytes], arrays: dict[str, np.ndarray], scale: dict[str, np.float32],
    files: Sequence[str], labels: Sequence[str],
) -> None:  # fmt: skip
    """A column each of names, labels and flattened arrays, whose shapes and scale are JSON in the file's metadata."""
    import pyarrow
    from pyarrow import parquet

    texts = {name: [text.encode("utf-8", "backslashreplace").decode() for text in column]
             for name, column in (("file", files), ("label", labels))}  # fmt: skip
    lists = {name: pyarrow.FixedSizeListArray.from_arrays(values.ravel(), values[0].size)
             for name, values in arrays.items()}  # fmt: skip
    facts = {"shapes": {name: values.shape[1:] for name, values in arrays.items()},
             **{name: float(value) for name, value in scale.items()}}  # fmt: skip
    parquet.write_table(pyarrow.table({**texts, **lists}, metadata={"vae": json.dumps(facts)}), content)


def read(path: Path) -> list[np.ndarray]:
    """The arrays of a file: one for each latent layer, or one that holds all of them; latents are [N, ...].

    Raises ConfigError for a path without such a file, DataError for contents that are none.
    """
    require(path, f"no such file of latents; {_MAKE_ONE}")
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in (".npz", ".npy", ".csv", ".safetensors", ".parquet"):
        raise ConfigError(f"--latents {path}: give a .npz, .npy, .csv, .safetensors or .parquet file; {_MAKE_ONE}")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: {_TOO_LARGE}; {_MAKE_ONE}")
    if suffix == ".csv":
        arrays = [_read_csv(path)]
    elif suffix in (".safetensors", ".parquet"):
        arrays = _read_named(path)
    else:
        arrays = _read_arrays(path)
    if any(each.ndim == 0 for each in arrays):
        raise DataError(f"{path}: a single number; latents are arrays of a row an image")
    return arrays


def _read_arrays(path: Path) -> list[np.ndarray]:
    """`latents`, `latents_2`, ... of an .npz as far as there are, else its only array; nothing is ever unpickled."""
    try:
        with path.open("rb") as file:
            is_zip = file.read(2) == b"PK"
            file.seek(0)
            if not is_zip:
                return [_array(file, path.stat().st_size)]
            with zipfile.ZipFile(file) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                if _MEANS not in members and len(members) != 1:
                    what = f"no array called {_MEANS} in it (only {', '.join(members) or 'nothing'})"
                    raise DataError(f"{path}: {what}; {_MAKE_ONE}")
                layers = (numbered(_MEANS, layer) for layer in range(len(members)))
                chosen = [members[name] for name in (layers if _MEANS in members else members) if name in members]
                if sum(info.file_size for info in chosen) > MAX_BYTES:
                    raise DataError(f"{path}: {_TOO_LARGE} when unpacked; {_MAKE_ONE}")
                found = []
                for info in chosen:
                    with archive.open(info) as member:
                        found.append(_array(member, info.file_size))
                return found
    except DataError:
        raise
    except BAD_BYTES as error:
        what = "damaged, or no file of plain arrays (pickled objects are never read)"
        raise DataError(f"{path}: {what}; {_MAKE_ONE}") from error


def _read_named(path: Path) -> list[np.ndarray]:
    """`latents`, `latents_2`, ... of a .safetensors or .parquet file. Raises ConfigError without pyarrow, DataError."""
    from safetensors.torch import load_file  # as numpy does not know all kinds of numbers, such as bfloat16

    is_parquet = path.suffix.lower() == ".parquet"
    if is_parquet:
        require_format("parquet")
    try:
        found: Mapping[str, Any] = _parquet_columns(path) if is_parquet else load_file(path)
        layers = [found[name] for layer in range(len(found)) if (name := numbered(_MEANS, layer)) in found]
        if layers:
            return layers if is_parquet else [_as_numpy(each) for each in layers]
        what = f"no array called {_MEANS} in it (only {', '.join(found) or 'nothing'})"
    except BAD_BYTES as error:
        what = f"damaged, or no file of latents ({' '.join(str(error).split())[:100]})"
    raise DataError(f"{path}: {what}; {_MAKE_ONE}")


def _as_numpy(values: "Tensor") -> np.ndarray:
    """The same numbers: those of less than four bytes as float32, doubles as they are."""
    return (values.float() if values.is_floating_point() and values.itemsize < 4 else values).numpy()


def _parquet_columns(path: Path) -> dict[str, np.ndarray]:
    """The columns that are lists of one length in every row, [N, D] each; all of them within MAX_BYTES."""
    from pyarrow import parquet, types

    with parquet.ParquetFile(path) as file:
        sizes = {field.name: field.type.list_size for field in file.schema_arrow
                 if types.is_fixed_size_list(field.type) and types.is_floating(field.type.value_type)}  # fmt: skip
        num_rows = file.metadata.num_rows
        if 8 * num_rows * sum(sizes.values()) > MAX_BYTES:
            raise ValueError(_TOO_LARGE)
        table = file.read(columns=list(sizes))
    return {name: table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(num_rows, size)
            for name, size in sizes.items()}  # fmt: skip


def require_format(kind: str) -> None:
    """Raises ConfigError where a format needs a package that is not installed."""
    if kind == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ConfigError("parquet files need one more package; install it with: pip install pyarrow")


def _array(file: IO[bytes], size: int) -> np.ndarray:
    """The array of an .npy file of `size` bytes, read-only; ValueError, among others, where its header says another.

    `numpy.load` would first make room for whatever the header says.
    """
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    shape, is_fortran, dtype = read_header[npy.read_magic(file)](file, _MAX_HEADER)
    count = math.prod(shape)
    if dtype.hasobject or count * dtype.itemsize != size - file.tell() or count > MAX_BYTES // 4:
        raise ValueError
    return np.frombuffer(file.read(), dtype).reshape(shape, order="F" if is_fortran else "C")


def _read_csv(path: Path) -> np.ndarray:
    """float64 [N, D] of the columns z0, z1, ...; other columns may hold anything. Raises DataError."""
    values = array("d")
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.reader(iter(partial(file.readline, _MAX_LINE), ""))
            columns = {name.strip(): place for place, name in enumerate(next(rows, []))}
            places: list[int] = []
            while (name := f"z{len(places)}") in columns:
                places.append(columns[name])
            if not places:
                raise DataError(f"{path}: its first line names no columns z0, z1, ...; {_MAKE_ONE}")
            for row in filter(None, rows):
                values.extend(float(row[place]) for place in places)
                if values.itemsize * len(values) > MAX_BYTES:
                    raise DataError(f"{path}: {_TOO_LARGE} as numbers; {_MAKE_ONE}")
    except IndexError as error:
        raise DataError(f"{path}: line {rows.line_num} has {len(row)} columns, fewer than the header") from error
    except ValueError as error:
        raise DataError(f"{path}: line {rows.line_num}: {error}") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({error})") from error
    return np.frombuffer(values).reshape(-1, len(places))
