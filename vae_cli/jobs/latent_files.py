"""Files of latents: `.npz` and `.csv` as `vae encode` writes them, and plain arrays as other tools do."""

import csv
import io
import math
import zipfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from vae_cli.atomic import write_atomically
from vae_cli.errors import ConfigError, DataError
from vae_cli.images.bad_files import BAD_BYTES
from vae_cli.jobs.inputs import require
from vae_cli.tasks.encode import Encoded, numbered

_MEANS, _STDS = "latents", "std"
_MAKE_ONE = "vae encode RUN INPUT --out FILE.npz makes one"
MAX_BYTES = 2**29
"""Of a file, and of the arrays in it when unpacked: the latents of a hundred thousand images."""
_TOO_LARGE = f"more than {MAX_BYTES >> 20} MiB"
_MAX_HEADER = 1000  # characters; those of plain arrays have about a hundred


def write(path: Path, encoded: Encoded, files: Sequence[str], labels: Sequence[str]) -> None:
    """Writes the latents of several images with their names and labels ('' = none), in the format of the suffix.

    Raises WriteError when the disk refuses.
    """
    if path.suffix.lower() != ".csv":
        arrays = {numbered(name, layer): values for name, layers in ((_MEANS, encoded.means), (_STDS, encoded.stds))
                  for layer, values in enumerate(layers)}  # fmt: skip
        arrays |= {"files": np.array(files, np.str_), "labels": np.array(labels, np.str_)}
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]
        write_atomically(path, content.getbuffer())
        return
    rows, text = encoded.flat_means(), io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "label", *(f"z{number}" for number in range(rows.shape[1]))])
    for file, label, row in zip(files, labels, rows.tolist(), strict=True):
        table.writerow([file, label, *(format(value, ".9g") for value in row)])  # nine digits tell any float32 apart
    write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"))


def read(path: Path) -> list[np.ndarray]:
    """The arrays of a file: one for each latent layer, or one that holds all of them; latents are [N, ...].

    Raises ConfigError for a path without such a file, DataError for contents that are none.
    """
    require(path, f"no such file of latents; {_MAKE_ONE}")
    if not path.is_file() or path.suffix.lower() not in (".npz", ".npy", ".csv"):
        raise ConfigError(f"--latents {path}: give a .npz, .npy or .csv file; {_MAKE_ONE}")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: {_TOO_LARGE}; {_MAKE_ONE}")
    arrays = [_read_csv(path)] if path.suffix.lower() == ".csv" else _read_arrays(path)
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
            rows = csv.reader(file)
            columns = {name.strip(): place for place, name in enumerate(next(rows, []))}
            places: list[int] = []
            while (name := f"z{len(places)}") in columns:
                places.append(columns[name])
            if not places:
                raise DataError(f"{path}: its first line names no columns z0, z1, ...; {_MAKE_ONE}")
            for row in filter(None, rows):
                values.extend(float(row[place]) for place in places)
    except IndexError as error:
        raise DataError(f"{path}: line {rows.line_num} has {len(row)} columns, fewer than the header") from error
    except ValueError as error:
        raise DataError(f"{path}: line {rows.line_num}: {error}") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({error})") from error
    return np.array(values).reshape(-1, len(places))
