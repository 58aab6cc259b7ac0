"""Files of latents: `.npz` and `.csv` as `vae encode` writes them, and plain arrays as other tools do."""

import csv
import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vae_cli.atomic import write_atomically
from vae_cli.errors import ConfigError, DataError
from vae_cli.jobs.inputs import require
from vae_cli.tasks.encode import Encoded, numbered

_MEANS, _STDS = "latents", "std"
_MAKE_ONE = "vae encode RUN INPUT --out FILE.npz makes one"


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
    if path.is_dir() or path.suffix.lower() not in (".npz", ".npy", ".csv"):
        raise ConfigError(f"--latents {path}: give a .npz, .npy or .csv file; {_MAKE_ONE}")
    arrays = [_read_csv(path)] if path.suffix.lower() == ".csv" else _read_arrays(path)
    if any(array.ndim == 0 for array in arrays):
        raise DataError(f"{path}: a single number; latents are arrays of a row an image")
    return arrays


def _read_arrays(path: Path) -> list[np.ndarray]:
    """`latents`, `latents_2`, ... of an .npz as far as there are, else its only array; nothing is ever unpickled."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return [found]
        with found:
            names = found.files
            if _MEANS not in names and len(names) != 1:
                what = f"no array called {_MEANS} in it (only {', '.join(names) or 'nothing'})"
                raise DataError(f"{path}: {what}; {_MAKE_ONE}")
            layers = (numbered(_MEANS, layer) for layer in range(len(names)))
            return [found[name] for name in (layers if _MEANS in names else names) if name in names]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or 'damaged'}); {_MAKE_ONE}") from error
    # RuntimeError is zipfile's for zips that are encrypted or newer than it knows.
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        what = "damaged, or no file of plain arrays (pickled objects are never read)"
        raise DataError(f"{path}: {what}; {_MAKE_ONE}") from error


def _read_csv(path: Path) -> np.ndarray:
    """float64 [N, D] of the columns z0, z1, ...; other columns may hold anything. Raises DataError."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({error})") from error
    columns = {name.strip(): place for place, name in enumerate(header)}
    places: list[int] = []
    while (name := f"z{len(places)}") in columns:
        places.append(columns[name])
    if not places:
        raise DataError(f"{path}: its first line names no columns z0, z1, ...; {_MAKE_ONE}")
    values = []
    for number, row in enumerate(rows, start=2):
        try:
            values += [float(row[place]) for place in places if row]
        except IndexError as error:
            raise DataError(f"{path}: line {number} has {len(row)} columns, fewer than the header") from error
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}") from error
    return np.array(values, np.float64).reshape(-1, len(places))
